"""How the figures are drawn: one style, one palette, the same bytes each time.

Matplotlib is used through its objects alone, never through pyplot, and its style is set only while
a figure is drawn. The text of an SVG stays text: it is measured in DejaVu Sans, which comes with
matplotlib and is wider than the faces of today's systems, and shown in the reader's own.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..words import power_of_ten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Okabe & Ito 2008, without its yellow, which vanishes on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PARTS = {
    "train": {"color": PALETTE[0], "linestyle": DASHES[0]},
    "validation": {"color": PALETTE[1], "linestyle": DASHES[1]},
    "test": {"color": PALETTE[2], "linestyle": DASHES[2]},
}
_GROUND = ("#c9d8e6", "#ffffff")  # of a surface, from the lowest to the highest
INK, QUIET, RULE, PAPER, ALARM = "#1c2330", "#5b6472", "#e3e6eb", "#ffffff", "#C0392B"

FACES = (
    "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', 'Liberation Sans', "
    "Arial, sans-serif"
)
_MEASURE = "DejaVu Sans"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pullback",
    "text.parse_math": False,  # a class may be called "$5"
    "font.family": [_MEASURE],
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#b8bfc9",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": "#b8bfc9",
    "ytick.color": "#b8bfc9",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "figure.facecolor": PAPER,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.4,
    "savefig.dpi": 160,
}


# Neither a date nor a version: the same bytes each time.
_NAMELESS: dict[str, dict[str, Any]] = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "png": {"Software": None},
}


def svg(paint: Callable[[Canvas], None], width: float, height: float) -> bytes:
    """Draw a figure of the given size in inches and return it as SVG.

    Artists that `paint` marks as rasterised become small pictures inside; all else stays sharp.
    """
    return _slim(_saved(paint, width, height, "svg").decode()).encode()


def png(paint: Callable[[Canvas], None], width: float, height: float) -> bytes:
    """Draw a figure of the given size in inches and return it as PNG."""
    return _saved(paint, width, height, "png")


def _saved(paint: Callable[[Canvas], None], width: float, height: float, format: str) -> bytes:
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    target = io.BytesIO()
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # The reader's faces show the text: that DejaVu Sans lacks a sign does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas = Canvas(figsize=(width, height), layout="constrained")
        paint(canvas)
        canvas.savefig(target, format=format, metadata=_NAMELESS[format])
    return target.getvalue()


def _slim(text: str) -> str:
    """Name the reader's faces once, and drop what no eye sees: third decimals, turns by 0."""
    text = re.sub(r"<[a-z]+ [^>]*>", _slim_tag, text)
    text = re.sub(r">\s+<", "><", text)
    return text.replace("<svg ", f'<svg font-family="{FACES}" ', 1)


def _slim_tag(tag: re.Match[str]) -> str:
    if tag[0].startswith("<path"):
        return re.sub(r"(\.\d\d)\d+", r"\1", tag[0]).replace("\n", " ")
    bare = tag[0].replace(f"; font-family: '{_MEASURE}'", "")
    return re.sub(r' transform="rotate\(-0 [^"]*"', "", bare)


def legend(canvas: Canvas, axes: Axes, columns: int = 4) -> None:
    """Put the legend of an axes in a line above it, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper left", ncols=min(columns, len(labels)))


def ground(axes: Axes, x: Any, y: Any, field: np.ndarray) -> None:
    """Shade a function over a rectangle under whatever is drawn on it, with lines of equal value.

    The lines lie at equal shares of the map between them, by its quantiles.
    """
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

    seen = field[np.isfinite(field)]
    levels = np.unique(np.quantile(seen, np.linspace(0, 1, 22)))
    if len(levels) < 2:
        low = float(seen.min())
        levels = np.array([low, math.nextafter(float(seen.max()), math.inf)])
    shades = LinearSegmentedColormap.from_list("ground", _GROUND)
    axes.grid(visible=False)
    axes.contourf(x, y, field, levels, cmap=shades, norm=BoundaryNorm(levels, 256))
    lines = {"colors": QUIET, "linestyles": "solid", "linewidths": 0.5, "alpha": 0.4}
    axes.contour(x, y, field, levels, **lines)


def pale(j: int) -> tuple[float, ...]:
    """Return the colour of a class mixed with white, so that its dots stand out on it."""
    from matplotlib.colors import to_rgb

    return tuple(1 - 0.45 * (1 - c) for c in to_rgb(PALETTE[j % len(PALETTE)]))


def colour_bar(canvas: Canvas, picture: Any, label: str) -> Axes:
    """Explain the colours of a picture beside it."""
    bar = canvas.colorbar(picture, ax=picture.axes, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar.ax


def share_labels(canvas: Canvas, grid: Iterable[Axes], used: int, *, x: str, y: str) -> None:
    """Name the axes of many panels once, and remove the panels that were not used.

    Panels are narrow: more than a few ticks with many digits would run into each other.
    """
    panels = list(grid)
    for axes in panels[:used]:
        axes.locator_params(axis="x", nbins=4)
    for axes in panels[used:]:
        axes.remove()
    panels[0].set_ylabel("")
    canvas.supxlabel(x, fontsize=9, color=QUIET)
    canvas.supylabel(y, fontsize=9, color=QUIET)


def nth(n: int) -> dict[str, Any]:
    """Return the style of the n-th of many curves: 28 differ, each in colour or in dashes."""
    lap, colour = divmod(n, len(PALETTE))
    return {"color": PALETTE[colour], "linestyle": DASHES[(colour + lap) % len(DASHES)]}


def curve(axes: Axes, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
    """Draw a curve, with dots where it has few points; a value that is not finite leaves a gap."""
    seen = [value if math.isfinite(value) else math.nan for value in y]
    axes.plot(x, seen, marker="o" if len(seen) <= 12 else "", **style)


def log_or_linear(axes: Axes, values: Sequence[float], name: str) -> None:
    """Name the vertical axis; make it logarithmic where positive values differ thirtyfold."""
    seen = [value for value in values if math.isfinite(value)]
    if seen and min(seen) > 0 and max(seen) > 30 * min(seen):
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
        axes.set_ylabel(f"{name} (log scale)")
    else:
        axes.set_ylabel(name)


def log_ticks(axis: Any) -> None:
    """Label a logarithmic axis: plainly near one, else by powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    narrow = high < 100 * low
    plain = narrow or (low > 5e-4 and high < 2e4)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=8))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if plain else _power(value))
    )
    axis.set_minor_locator(NullLocator())


def _power(value: float) -> str:
    return power_of_ten(round(math.log10(value)))


def percent_ticks(axes: Axes) -> None:
    """Write shares of one as per cent, none above all."""
    from matplotlib.ticker import FuncFormatter

    axes.set_ylim(top=min(axes.get_ylim()[1], 1.003))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))


def whole_ticks(axis: Any) -> None:
    """Put ticks at whole numbers only: there is no epoch 2.5."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=8))
