"""Figures of the reports, drawn with matplotlib and returned as PNG bytes."""

from collections.abc import Sequence
import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter, PercentFormatter
import numpy as np

INK, SOFT, ACCENT, BAD, GRID = '#1d2733', '#5b6875', '#1f6fb2', '#b3261e', '#dfe4ea'
PLAIN = FormatStrFormatter('%g')


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG at twice the screen's density."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=160, format='png')
    return buffer.getvalue()


def style(axes: Axes) -> None:
    """Give axes the look of all figures."""
    axes.tick_params(colors=SOFT, labelsize=9)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ('left', 'bottom'))
        spine.set_color(GRID)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.title.set_color(INK)


def histograms(panels: Sequence[tuple[np.ndarray, str]]) -> bytes:
    """Draw one histogram for each (values, label), without the infinite values."""
    figure = Figure(figsize=(11, 3.2), layout='constrained')
    for index, (values, label) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        values = np.asarray(values, dtype=float)
        finite = values[np.isfinite(values)]
        style(axes)
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


def over_frames(panels: Sequence[tuple[np.ndarray, str]]) -> bytes:
    """Draw one curve over the frames for each (values, label), one below the other."""
    figure = Figure(figsize=(11, 2.3 * len(panels)), layout='constrained')
    first = None
    for index, (values, label) in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, index + 1, sharex=first)
        first = first or axes
        style(axes)
        frames = np.arange(1, len(values) + 1)
        axes.plot(frames, values, color=ACCENT, linewidth=1.4, marker='.', markersize=4)
        axes.axhline(float(np.median(values)), color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_title(f'median {np.median(values):.3g}', fontsize=10, loc='left')
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlabel('frame')
    return to_png(figure)


def cumulative(panels: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> bytes:
    """Draw the share of frames below each error, for (refined, coarse, label) panels."""
    figure = Figure(figsize=(11, 3.6), layout='constrained')
    for index, (refined, coarse, label) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        style(axes)
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
    style(axes)
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
