"""Inside the network: how gradients flow through its layers, and how its weights spread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from ..history import History
from . import ink
from .figure import Absent, Figure, table, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_NORMS = ("delta", "gradient", "weight", "update", "ratio")
_MOST_COLUMNS = 400
_MOST_RIDGES = 6
_MOST_PANELS = 12


def delta_flow(history: History) -> Figure | Absent:
    """Draw the norm of the cotangent of each layer's output, layer by epoch."""
    return _heat(
        history,
        "delta",
        "delta-flow",
        "Gradient flow",
        "norm of δ",
        "How much of the loss's derivative arrives at each layer: the norm of the cotangent δ of "
        "its output, on one mini-batch of the epoch. A column that fades towards the input is a "
        "vanishing gradient.",
    )


def update_ratio(history: History) -> Figure | Absent:
    """Draw the norm of each layer's update over that of its weights, layer by epoch."""
    return _heat(
        history,
        "ratio",
        "update-ratio",
        "Update over weight",
        "update / weight, norms",
        "How far one update moves the weights of each layer, relative to their size.",
    )


def _heat(
    history: History, key: str, id: str, title: str, label: str, meaning: str
) -> Figure | Absent:
    rows = [row for row in history.all("layers") if row["layers"]]
    names = _in_order(history, rows)
    kept = thin(rows, _MOST_COLUMNS)
    field = np.array([[_norm(row, name, key) for row in kept] for name in names])
    good = np.isfinite(field) & (field > 0)
    if not good.any():
        return Absent(id, title, "no finite value above zero was recorded")

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False)
        picture = _log_picture(axes, field, good)
        axes.set_yticks(range(len(names)), [words.short(name, 18) for name in names])
        marks = sorted(set(thin(range(len(kept)), 9)))
        axes.set_xticks(marks, [words.number(kept[i]["epoch"]) for i in marks])
        axes.set_xlabel("epoch")
        ink.log_ticks(ink.colour_bar(canvas, picture, f"{label} (log scale)").yaxis)

    if not good.all():
        meaning += " Grey: zero or not finite."
    if len(kept) < len(rows):
        meaning += f" {len(kept)} of {words.count(len(rows))} recorded epochs are drawn."
    last = zip(names, field[:, -1].tolist(), strict=True)
    ends = ", ".join(f"{words.short(name)} {words.number(norm)}" for name, norm in last)
    return Figure(
        id=id,
        title=title,
        caption=meaning,
        alt=f"{label} of {words.plural(len(names), 'layer')} by epoch; at the end: {ends}.",
        image=ink.svg(paint, 5.4, 1.3 + max(0.28 * len(names), 1.2)),
        format="svg",
        table=table(
            ["epoch", "layer", *_NORMS],
            [
                [words.cell(row["epoch"]), name, *(words.cell(_norm(row, name, n)) for n in _NORMS)]
                for row in rows
                for name in names
            ],
        ),
    )


def _log_picture(axes: Axes, field: np.ndarray, good: np.ndarray) -> Any:
    """Colour a row for each layer by logarithms; grey where there is none."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    low, high = float(field[good].min()), float(field[good].max())
    return axes.imshow(
        np.where(good, field, np.nan),
        cmap=colormaps["viridis"].with_extremes(bad="#c9ced6"),
        norm=LogNorm(low, high if high > low else 1.01 * low),
        aspect="auto",
        interpolation="none",
    )


def _in_order(history: History, rows: list[dict[str, Any]]) -> list[str]:
    """Name the layers that were measured from input to output, then parameters that some share."""
    layers = (history.last("network") or {"layers": []})["layers"]
    measured = list(dict.fromkeys(name for row in rows for name in row["layers"]))
    first = [layer["name"] for layer in layers if layer["name"] in measured]
    return [*first, *(name for name in measured if name not in first)]


def _norm(row: dict[str, Any], name: str, key: str) -> float:
    return float(row["layers"][name][key]) if name in row["layers"] else math.nan


def weight_ridges(history: History) -> Figure | Absent:
    """Draw the histogram of each block of parameters at a few epochs, one ridge above the other."""
    title = "Weights"
    rows = thin([row for row in history.all("weights") if row["layers"]], _MOST_RIDGES)
    if not rows:
        return Absent("weights", title, "no histogram was recorded")
    blocks = list(rows[-1]["layers"])
    shown = thin(blocks, _MOST_PANELS)
    across = min(4, len(shown))
    down = math.ceil(len(shown) / across)
    epochs = [words.number(row["epoch"]) for row in rows]

    def paint(canvas: Canvas) -> None:
        grid = canvas.subplots(down, across, squeeze=False).ravel()
        for axes, block in zip(grid, shown, strict=False):
            _ridges(axes, [row["layers"][block] for row in rows])
            axes.set_title(words.short(block, 26))
            axes.set_yticks(range(len(rows)), reversed(epochs))
        ink.share_labels(canvas, grid, len(shown), x="value", y="epoch")

    caption = "Histograms of the parameters at a few epochs, the first on top, all of one height."
    if len(shown) < len(blocks):
        caption += f" {len(shown)} of {len(blocks)} blocks are drawn."
    return Figure(
        id="weights",
        title=title,
        caption=caption,
        alt=f"Histograms of {words.plural(len(shown), 'block')} of parameters at epochs "
        f"{', '.join(epochs)}.",
        image=ink.svg(paint, 10.8, 0.7 + 2.1 * down),
        format="svg",
        table=table(
            ["block", "epoch", "least", "first quarter", "third quarter", "greatest"],
            [
                [block, words.cell(row["epoch"]), *map(words.cell, _spread(row["layers"][block]))]
                for block in blocks
                for row in rows
            ],
        ),
        wide=True,
    )


def _ridges(axes: Axes, histograms: list[dict[str, Any]]) -> None:
    """Draw outlines one above the other, the last in front."""
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0.85, 0.1, len(histograms)))
    for level, (histogram, shade) in enumerate(zip(histograms, shades, strict=True)):
        edges = np.array(histogram["edges"], dtype=float)
        # A block of one value has bins of no width.
        density = np.array(histogram["counts"], dtype=float) / np.maximum(np.diff(edges), 1e-300)
        outline = np.concatenate([[0.0], np.repeat(density / max(density.max(), 1e-300), 2), [0.0]])
        base, x = len(histograms) - 1 - level, np.repeat(edges, 2)
        top, order = base + 1.6 * outline, level + 1
        axes.fill_between(x, base, top, color=shade, linewidth=0, zorder=order)
        axes.plot(x, top, color=ink.PAPER, linewidth=0.8, zorder=order)
    full = [edges for histogram in histograms for edges in _full(histogram)]
    margin = 0.03 * (max(full) - min(full))
    axes.set_xlim(min(full) - margin, max(full) + margin)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)


def _full(histogram: dict[str, Any]) -> tuple[float, float]:
    """Return the edges of the outermost bins that hold anything; one alone holds equal values."""
    held = np.flatnonzero(histogram["counts"])
    return histogram["edges"][held[0]], histogram["edges"][held[-1] + 1]


def _spread(histogram: dict[str, Any]) -> tuple[float, ...]:
    """Return least, quartiles and greatest, as the histogram tells them."""
    edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"], dtype=float)
    below = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1)
    return edges[0], *np.interp([0.25, 0.75], below, edges), edges[-1]
