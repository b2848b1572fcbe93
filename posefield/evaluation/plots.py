"""Figures of the reports, drawn with matplotlib and returned as PNG bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
import io
import math

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FormatStrFormatter,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)
from mpl_toolkits.mplot3d.art3d import Line3DCollection
import numpy as np

INK, SOFT, ACCENT, BAD, GRID = '#1d2733', '#5b6875', '#1f6fb2', '#b3261e', '#dfe4ea'
COLOURS = 'viridis'
PLAIN = FormatStrFormatter('%g')


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG at twice the screen's density."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=160, format='png')
    return buffer.getvalue()


def _style(axes: Axes) -> None:
    axes.tick_params(colors=SOFT, labelsize=9)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ('left', 'bottom'))
        spine.set_color(GRID)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.title.set_color(INK)


@dataclass(frozen=True)
class UprightAxes:
    """Map axes reordered for drawing, so that the cameras' up points up.

    Attributes:
        order: map axes drawn to the right, to the back and upwards.
        downwards: whether the last of them points down in the map, and so is drawn reversed.
    """

    order: tuple[int, int, int]
    downwards: bool

    def __call__(self, points_N3: np.ndarray) -> np.ndarray:
        """Return points or directions in drawing axes; a rotation, never a mirror image."""
        return points_N3[..., list(self.order)] * [1.0, 1.0, -1.0 if self.downwards else 1.0]

    def label(self, index: int, unit: str) -> str:
        """Return the label of one drawing axis."""
        return f'{"xyz"[self.order[index]]} ({unit})'


def upright_axes(poses_N44: np.ndarray) -> UprightAxes:
    """Return the drawing axes in which the mean camera is as upright as map axes allow."""
    up = -poses_N44[:, :3, 1].mean(axis=0)
    axis = int(np.argmax(np.abs(up)))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    downwards = bool(up[axis] < 0)
    return UprightAxes((second, first, axis) if downwards else (first, second, axis), downwards)


def _frustum(T_map_cam: np.ndarray, size: float) -> np.ndarray:
    """Return the 8 edges (8, 2, 3) of a small camera pyramid in the map frame."""
    x, y = 0.6 * size, 0.45 * size
    corners = np.array([[-x, -y, size], [x, -y, size], [x, y, size], [-x, y, size]])
    corners = corners @ T_map_cam[:3, :3].T + T_map_cam[:3, 3]
    centre = np.broadcast_to(T_map_cam[:3, 3], corners.shape)
    sides = np.stack([centre, corners], axis=1)
    rim = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
    return np.concatenate([sides, rim])


def trajectory(
    estimates_N44: np.ndarray, truths_N44: np.ndarray, rotation_errors_deg_N: np.ndarray, unit: str
) -> bytes:
    """Draw estimated cameras (rotation error as colour) over the true ones, in 3-D and from above.

    Args:
        estimates_N44, truths_N44: T_map_cam in the order of the drive.
        rotation_errors_deg_N: degrees.
        unit: of the map.
    """
    axes = upright_axes(truths_N44)
    extent = float(np.linalg.norm(np.ptp(truths_N44[:, :3, 3], axis=0))) or 1.0
    size = extent * min(0.1, 0.35 / math.sqrt(len(truths_N44)))
    # A few lost frames must not make all the others the same colour.
    top = min(np.quantile(rotation_errors_deg_N, 0.95), 4 * np.median(rotation_errors_deg_N))
    colours = Normalize(0.0, max(float(top), 1e-3))
    figure = Figure(figsize=(11, 5.4), layout='constrained')
    grid = figure.add_gridspec(1, 2, width_ratios=(1.3, 1))
    space = figure.add_subplot(grid[0], projection='3d')
    above = figure.add_subplot(grid[1])
    true_edges, edges = (
        axes(np.stack([_frustum(pose, size) for pose in poses]))
        for poses in (truths_N44, estimates_N44)
    )
    _draw_space(space, true_edges, edges, rotation_errors_deg_N, colours)
    _label_space(space, axes, unit)
    truths, estimates = axes(truths_N44[:, :3, 3]), axes(estimates_N44[:, :3, 3])
    directions = axes(truths_N44[:, :3, 2]) * size * 1.6
    scatter = _draw_above(above, truths, estimates, directions, rotation_errors_deg_N, colours)
    above.set(xlabel=axes.label(0, unit), ylabel=axes.label(1, unit))
    bar = figure.colorbar(
        scatter, ax=above, orientation='horizontal', extend='max', aspect=40, pad=0.04
    )
    bar.set_label('rotation error (deg)', color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=SOFT, labelsize=9)
    return to_png(figure)


def _draw_space(axes, true_edges_N823, edges_N823, errors_deg_N, colours: Normalize) -> None:
    axes.plot(*true_edges_N823[:, 0, 0].T, color=SOFT, linewidth=0.9, alpha=0.6)
    axes.add_collection3d(
        Line3DCollection(true_edges_N823.reshape(-1, 2, 3), colors=SOFT, linewidths=0.6, alpha=0.5)
    )
    collection = Line3DCollection(edges_N823.reshape(-1, 2, 3), cmap=COLOURS, norm=colours)
    collection.set_array(np.repeat(errors_deg_N, edges_N823.shape[1]))
    collection.set_linewidth(1.2)
    axes.add_collection3d(collection)
    points = np.concatenate([true_edges_N823, edges_N823]).reshape(-1, 3)
    low, high = points.min(axis=0), points.max(axis=0)
    # A flat drive still gets a box with some height, so that tick labels do not collide.
    half = np.maximum((high - low) / 2, 0.2 * float((high - low).max()) / 2)
    middle = (low + high) / 2
    for name, centre, reach in zip('xyz', middle, half, strict=True):
        getattr(axes, f'set_{name}lim')(centre - reach, centre + reach)
    axes.set_box_aspect(half, zoom=1.12)
    handles = [
        axes.plot([], [], color=SOFT, linewidth=1.2, label='true camera')[0],
        axes.plot([], [], color='#21918c', linewidth=2, label='estimated camera')[0],
    ]
    axes.legend(handles=handles, loc='upper left', frameon=False, fontsize=9, labelcolor=INK)


def _label_space(axes, upright: UprightAxes, unit: str) -> None:
    axes.view_init(elev=35, azim=-65)
    for index, name in enumerate('xyz'):
        item = getattr(axes, f'{name}axis')
        item.set_pane_color((1, 1, 1, 0))
        item.set_tick_params(colors=SOFT, labelsize=8)
        item.set_major_locator(MaxNLocator(4 if index == 2 else 5))
        item.label.set(color=INK, size=9, text=upright.label(index, unit))
    if upright.downwards:
        axes.zaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{0.0 - value:.3g}'))


def _draw_above(axes, truths_N3, estimates_N3, directions_N3, errors_deg_N, colours: Normalize):
    """Draw the plane seen from above; return what the colour bar describes."""
    _style(axes)
    axes.set_title('From above', fontsize=11)
    axes.plot(*truths_N3[:, :2].T, color=SOFT, linewidth=0.9, alpha=0.6, zorder=1)
    axes.quiver(
        *truths_N3[:, :2].T,
        *directions_N3[:, :2].T,
        angles='xy',
        scale_units='xy',
        scale=1,
        color=SOFT,
        width=0.003,
        alpha=0.55,
        zorder=1,
    )
    scatter = axes.scatter(
        *estimates_N3[:, :2].T,
        c=errors_deg_N,
        cmap=COLOURS,
        norm=colours,
        s=26,
        zorder=3,
        linewidths=0,
    )
    axes.set_aspect('equal', adjustable='datalim')
    return scatter


def histograms(panels: Sequence[tuple[np.ndarray, str]]) -> bytes:
    """Draw one histogram for each (values, label), without the infinite values."""
    figure = Figure(figsize=(11, 3.2), layout='constrained')
    for index, (values, label) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        values = np.asarray(values, dtype=float)
        finite = values[np.isfinite(values)]
        _style(axes)
        if len(finite):
            # The longest tenth goes into the last bin, so that one outlier hides nothing.
            limit = float(np.quantile(finite, 0.9)) * 1.8
            limit = min(limit, float(finite.max())) or 1.0
            shown = np.minimum(finite, limit)
            axes.hist(shown, bins=24, range=(0, limit), color=ACCENT, rwidth=0.9)
            median = float(np.median(finite))
            axes.axvline(median, color=INK, linewidth=1.2)
            axes.set_title(f'median {median:.3g}', fontsize=10, loc='left')
            if finite.max() > limit:
                label += f', last bin to {finite.max():.3g}'
        axes.set_xlabel(label)
        axes.set_ylabel('frames')
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return to_png(figure)


def cumulative(panels: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> bytes:
    """Draw the share of frames below each error, for (refined, coarse, label) panels."""
    figure = Figure(figsize=(11, 3.6), layout='constrained')
    for index, (refined, coarse, label) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        _style(axes)
        for values, name, colour in ((coarse, 'hypothesis', SOFT), (refined, 'refined', ACCENT)):
            ordered = np.sort(np.asarray(values, dtype=float))
            shares = np.arange(1, len(ordered) + 1) / len(ordered)
            drawn = np.isfinite(ordered)
            axes.step(
                np.maximum(ordered[drawn], 1e-6),
                shares[drawn],
                where='post',
                label=name,
                color=colour,
                linewidth=2,
            )
        axes.set(xscale='log', ylim=(0, 1.02), xlabel=label, ylabel='share of frames')
        axes.xaxis.set_major_formatter(PLAIN)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(frameon=False, fontsize=9, loc='lower right', labelcolor=INK)
    return to_png(figure)


def score_against_error(
    scores_N: np.ndarray, relatives_N: np.ndarray, accepted_N: np.ndarray
) -> bytes:
    """Draw the acceptance score against the relative translation error."""
    figure = Figure(figsize=(11, 3.4), layout='constrained')
    axes = figure.add_subplot()
    _style(axes)
    relatives = np.maximum(np.asarray(relatives_N, dtype=float) * 100, 1e-3)
    for chosen, name, colour in (
        (accepted_N, 'accepted', ACCENT),
        (~accepted_N, 'not accepted', BAD),
    ):
        axes.scatter(
            scores_N[chosen],
            relatives[chosen],
            s=28,
            color=colour,
            label=name,
            alpha=0.75,
            linewidths=0,
        )
    for limit in (2, 10):
        axes.axhline(limit, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f'{limit} %',
            (1, limit),
            xycoords=('axes fraction', 'data'),
            color=SOFT,
            fontsize=9,
            ha='right',
            va='bottom',
        )
    axes.set(yscale='log', xlabel='score', ylabel='translation error (% of depth)')
    axes.set_xlim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(
        frameon=False,
        fontsize=9,
        loc='lower left',
        bbox_to_anchor=(0, 1),
        ncols=2,
        borderaxespad=0.2,
        labelcolor=INK,
    )
    return to_png(figure)
