"""Cameras in 3-D and from above, with rotation errors as colour."""

from dataclasses import dataclass
import math

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection
import numpy as np

from posefield.evaluation.plots import INK, SOFT, style, to_png

COLOURS = 'viridis'
ESTIMATE = '#21918c'
# More cameras than this hide one another.
MOST_CAMERAS = 250


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


@dataclass(frozen=True)
class CameraPair:
    """Two poses for each image of a drive, and how far they are apart.

    Attributes:
        references_N44: T_map_cam that are drawn in grey, such as the truth.
        estimates_N44: T_map_cam that are drawn in colour.
        angles_deg_N: between their rotations, degrees.
    """

    references_N44: np.ndarray
    estimates_N44: np.ndarray
    angles_deg_N: np.ndarray

    def drawable(self) -> 'CameraPair':
        """Return the estimates in reach of their references, spread evenly, few enough to draw."""
        distances = np.linalg.norm(
            self.estimates_N44[:, :3, 3] - self.references_N44[:, :3, 3], axis=1
        )
        near = np.flatnonzero(distances <= extent_of(self.references_N44))
        every = math.ceil(len(near) / MOST_CAMERAS) or 1
        chosen = near[::every]
        return CameraPair(
            self.references_N44[chosen], self.estimates_N44[chosen], self.angles_deg_N[chosen]
        )


@dataclass(frozen=True)
class Names:
    """What the legend and the colour bar call things."""

    reference: str = 'true camera'
    estimate: str = 'estimated camera'
    angle: str = 'rotation error (deg)'


def extent_of(poses_N44: np.ndarray) -> float:
    """Return the diagonal of the box around the cameras; 1 when they all stand at one place."""
    return float(np.linalg.norm(np.ptp(poses_N44[:, :3, 3], axis=0))) or 1.0


def colour_range(*angles_deg: np.ndarray) -> Normalize:
    """Return colours for all of the angles; a few lost frames do not make the rest alike."""
    tops = [min(np.quantile(angles, 0.95), 4 * np.median(angles)) for angles in angles_deg]
    return Normalize(0.0, max(*tops, 1e-3))


def trajectory(pair: CameraPair, unit: str, names: Names | None = None) -> bytes:
    """Draw estimated cameras over the true ones, in 3-D and from above.

    Args:
        pair: in the order of the drive.
        unit: of the map.
        names: for the legend and the colour bar.
    """
    names = names or Names()
    upright = upright_axes(pair.references_N44)
    colours = colour_range(pair.angles_deg_N)
    figure = Figure(figsize=(11, 5.4), layout='constrained')
    grid = figure.add_gridspec(1, 2, width_ratios=(1.3, 1))
    space = figure.add_subplot(grid[0], projection='3d')
    above = figure.add_subplot(grid[1])
    size = _camera_size(pair)
    _draw_space(space, upright, pair, size, colours)
    _frame_space(space, _box(upright, size, pair), zoom=1.12)
    _label_space(space, upright, unit)
    _legend(space, names)
    _draw_above(above, upright, pair, size, colours)
    above.set(xlabel=upright.label(0, unit), ylabel=upright.label(1, unit))
    _colour_bar(figure, above, colours, names.angle, aspect=40)
    return to_png(figure)


def refinement(
    coarse: CameraPair, refined: CameraPair, unit: str, names: Names | None = None
) -> bytes:
    """Draw the same drive before and after refinement, with the same axes and colours.

    Below each is a strip with the rotation error of every frame in the order of the drive.

    Args:
        coarse, refined: hypotheses and refined poses of the same images.
        unit: of the map.
        names: for the legend and the colour bar.
    """
    names = names or Names()
    upright = upright_axes(refined.references_N44)
    colours = colour_range(coarse.angles_deg_N, refined.angles_deg_N)
    size = _camera_size(refined)
    box = _box(upright, size, coarse, refined)
    figure = Figure(figsize=(11, 6.4), layout='constrained')
    grid = figure.add_gridspec(2, 2, height_ratios=(14, 1))
    strips = []
    for column, (title, pair) in enumerate(
        (('Before refinement', coarse), ('After refinement', refined))
    ):
        space = figure.add_subplot(grid[0, column], projection='3d')
        _draw_space(space, upright, pair, size, colours)
        _frame_space(space, box, zoom=0.92)
        _label_space(space, upright, unit)
        median = float(np.median(pair.angles_deg_N))
        space.set_title(f'{title}: median {median:.3g}°', fontsize=11, color=INK)
        if column == 0:
            _legend(space, names)
        strips.append(figure.add_subplot(grid[1, column]))
        _draw_strip(strips[-1], pair.angles_deg_N, colours)
    _colour_bar(figure, strips, colours, names.angle, aspect=60)
    return to_png(figure)


def _camera_size(pair: CameraPair) -> float:
    """Return the size at which cameras are drawn, map units."""
    count = min(len(pair.references_N44), MOST_CAMERAS)
    return extent_of(pair.references_N44) * min(0.1, 0.35 / math.sqrt(count))


def _edges(upright: UprightAxes, size: float, poses_N44: np.ndarray) -> np.ndarray:
    """Return the edges of all cameras, (N, 8, 2, 3) in drawing axes."""
    return upright(np.stack([_frustum(pose, size) for pose in poses_N44]))


def _box(upright: UprightAxes, size: float, *pairs: CameraPair) -> np.ndarray:
    """Return the lowest and highest corner (2, 3), in drawing axes, of all that is drawn."""
    poses = [pairs[0].references_N44, *(pair.drawable().estimates_N44 for pair in pairs)]
    points = _edges(upright, size, np.concatenate(poses)).reshape(-1, 3)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _draw_space(
    axes: Axes3D, upright: UprightAxes, pair: CameraPair, size: float, colours: Normalize
) -> None:
    """Draw the path, and both cameras of the images with a line between them."""
    path = upright(pair.references_N44[:, :3, 3])
    axes.plot(*path.T, color=SOFT, linewidth=0.9, alpha=0.6)
    pair = pair.drawable()
    if not len(pair.references_N44):
        return
    references = _edges(upright, size, pair.references_N44)
    estimates = _edges(upright, size, pair.estimates_N44)
    gaps = np.stack([references[:, 0, 0], estimates[:, 0, 0]], axis=1)
    for lines, width in ((references.reshape(-1, 2, 3), 0.6), (gaps, 0.5)):
        axes.add_collection3d(Line3DCollection(lines, colors=SOFT, linewidths=width, alpha=0.5))
    collection = Line3DCollection(estimates.reshape(-1, 2, 3), cmap=COLOURS, norm=colours)
    collection.set_array(np.repeat(pair.angles_deg_N, estimates.shape[1]))
    collection.set_linewidth(1.2)
    axes.add_collection3d(collection)


def _frame_space(axes: Axes3D, box_23: np.ndarray, zoom: float) -> None:
    """Set limits around a box, with the same scale on all axes."""
    low, high = box_23
    # A flat drive still gets a box with some height, so that tick labels do not collide.
    half = np.maximum((high - low) / 2, 0.2 * float((high - low).max()) / 2)
    middle = (low + high) / 2
    for name, centre, reach in zip('xyz', middle, half, strict=True):
        getattr(axes, f'set_{name}lim')(centre - reach, centre + reach)
    axes.set_box_aspect(half, zoom=zoom)


def _legend(axes: Axes3D, names: Names) -> None:
    handles = [
        axes.plot([], [], color=SOFT, linewidth=1.2, label=names.reference)[0],
        axes.plot([], [], color=ESTIMATE, linewidth=2, label=names.estimate)[0],
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


def _draw_above(
    axes, upright: UprightAxes, pair: CameraPair, size: float, colours: Normalize
) -> None:
    """Draw the plane seen from above."""
    style(axes)
    axes.set_title('From above', fontsize=11)
    path = upright(pair.references_N44[:, :3, 3])
    axes.plot(*path[:, :2].T, color=SOFT, linewidth=0.9, alpha=0.6, zorder=1)
    pair = pair.drawable()
    references = upright(pair.references_N44[:, :3, 3])
    directions = upright(pair.references_N44[:, :3, 2]) * size * 1.6
    axes.quiver(
        *references[:, :2].T,
        *directions[:, :2].T,
        angles='xy',
        scale_units='xy',
        scale=1,
        color=SOFT,
        width=0.003,
        alpha=0.55,
        zorder=1,
    )
    axes.scatter(
        *upright(pair.estimates_N44[:, :3, 3])[:, :2].T,
        c=pair.angles_deg_N,
        cmap=COLOURS,
        norm=colours,
        s=26,
        zorder=3,
        linewidths=0,
    )
    axes.set_aspect('equal', adjustable='datalim')


def _draw_strip(axes, angles_deg_N: np.ndarray, colours: Normalize) -> None:
    """Draw one bar a frame, its colour the rotation error."""
    axes.imshow(
        angles_deg_N[None],
        cmap=COLOURS,
        norm=colours,
        aspect='auto',
        interpolation='nearest',
        extent=(0.5, len(angles_deg_N) + 0.5, 0, 1),
    )
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(colors=SOFT, labelsize=8)
    axes.set_xlabel('frame', color=INK, fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _colour_bar(figure: Figure, axes, colours: Normalize, label: str, aspect: float) -> None:
    bar = figure.colorbar(
        ScalarMappable(colours, COLOURS),
        ax=axes,
        orientation='horizontal',
        extend='max',
        aspect=aspect,
        pad=0.04,
    )
    bar.set_label(label, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=SOFT, labelsize=9)
