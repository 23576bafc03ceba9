"""Inside the network: how gradients flow through its layers, and how its weights spread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from . import ink
from .figure import Absent, Figure, table, thin
from ..history import History

if TYPE_CHECKING:
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
        "Gradient flow",
        "norm of δ",
        "How much of the loss's derivative arrives at each layer: the norm of the cotangent δ of its "
        "output. A column that fades towards the input is a vanishing gradient.",
    )


def update_ratio(history: History) -> Figure | Absent:
    """Draw the norm of each layer's update over that of its weights, layer by epoch."""
    return _heat(
        history,
        "ratio",
        "Update over weight",
        "update / weight, norms",
        "How far one update moves the weights of each layer, relative to their size.",
    )


def _heat(history: History, key: str, title: str, label: str, meaning: str) -> Figure | Absent:
    id = {"delta": "delta-flow", "ratio": "update-ratio"}[key]
    rows = [row for row in history.all("layers") if row["layers"]]
    known = {
        name for row in rows for name, norms in row["layers"].items() if norms.get(key) is not None
    }
    names = [name for name in _in_order(history, rows) if name in known]
    if not names:
        return Absent(id, title, "it was not recorded")
    kept = thin(rows, _MOST_COLUMNS)
    field = np.array([[_norm(row, name, key) for row in kept] for name in names])
    good = np.isfinite(field) & (field > 0)
    if not good.any():
        return Absent(id, title, "every value is zero or not finite")

    def paint(canvas: Canvas) -> None:
        from matplotlib.colors import LogNorm

        axes = canvas.subplots()
        axes.grid(visible=False)
        low, high = float(field[good].min()), float(field[good].max())
        picture = axes.imshow(
            np.where(good, field, np.nan),
            cmap=_shades(),
            norm=LogNorm(low, high if high > low else 1.01 * low),
            aspect="auto",
            interpolation="none",
            extent=(-0.5, len(kept) - 0.5, len(names) - 0.5, -0.5),
        )
        axes.set_yticks(range(len(names)), [words.short(name, 18) for name in names])
        marks = sorted(set(thin(range(len(kept)), 9)))
        axes.set_xticks(marks, [words.number(kept[i]["epoch"]) for i in marks])
        axes.set_xlabel("epoch")
        bar = canvas.colorbar(picture, ax=axes, pad=0.02)
        bar.set_label(f"{label} (log scale)")
        bar.outline.set_visible(False)
        ink.log_ticks(bar.ax.yaxis)

    ends = ", ".join(
        f"{words.short(n)} {words.number(float(f))}"
        for n, f in zip(names, field[:, -1], strict=True)
    )
    caption = meaning + (" Grey: zero or not finite." if not good.all() else "")
    if len(kept) < len(rows):
        caption += f" {len(kept)} of {words.count(len(rows))} recorded epochs are drawn."
    return Figure(
        id=id,
        title=title,
        caption=caption,
        alt=f"{label} for {words.plural(len(names), 'layer')} by epoch; at the end: {ends}.",
        image=ink.svg(paint, 5.4, 1.3 + max(0.28 * len(names), 1.2)),
        format="svg",
        table=table(
            ["epoch", "layer", *_NORMS],
            [
                [
                    words.cell(row["epoch"]),
                    name,
                    *(words.cell(_norm(row, name, norm)) for norm in _NORMS),
                ]
                for row in rows
                for name in names
            ],
        ),
    )


def _shades() -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"].with_extremes(bad="#c9ced6")


def _in_order(history: History, rows: list[dict[str, Any]]) -> list[str]:
    """Name the layers from input to output; shared parameters bear their owner's name, and come last."""
    layers = (history.last("network") or {"layers": []})["layers"]
    seen = (name for row in rows for name in row["layers"])
    return list(dict.fromkeys([*(layer["name"] for layer in layers), *seen]))


def _norm(row: dict[str, Any], name: str, key: str) -> float:
    found = row["layers"].get(name, {}).get(key)
    return math.nan if found is None else float(found)


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

    def paint(canvas: Canvas) -> None:
        from matplotlib import colormaps

        shades = colormaps["viridis"](np.linspace(0.85, 0.1, len(rows)))
        grid = list(canvas.subplots(down, across, squeeze=False).flat)
        for axes, block in zip(grid, shown, strict=False):
            for level, row in enumerate(rows):
                edges, height = _density(row["layers"].get(block))
                base = len(rows) - 1 - level
                axes.fill_between(
                    edges, base, base + 1.6 * height, color=shades[level], zorder=level + 1, lw=0
                )
                axes.plot(
                    edges, base + 1.6 * height, color=ink.PAPER, linewidth=0.8, zorder=level + 1
                )
            axes.set_title(words.short(block, 26))
            axes.set_yticks(
                range(len(rows)), [words.number(row["epoch"]) for row in reversed(rows)]
            )
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
        for axes in grid[len(shown) :]:
            axes.remove()
        canvas.supylabel("epoch", fontsize=9, color=ink.QUIET)
        canvas.supxlabel("value", fontsize=9, color=ink.QUIET)

    caption = "Histograms of the parameters at a few epochs, the first on top; each ridge has the same height."
    if len(shown) < len(blocks):
        caption += f" {len(shown)} of {len(blocks)} blocks are drawn."
    return Figure(
        id="weights",
        title=title,
        caption=caption,
        alt=f"Histograms of {words.plural(len(shown), 'block')} of parameters at epochs "
        f"{', '.join(words.number(row['epoch']) for row in rows)}.",
        image=ink.svg(paint, 10.8, 0.7 + 2.1 * down),
        format="svg",
        wide=True,
        table=table(
            ["block", "epoch", "least", "middle half", "greatest"],
            [
                [block, words.cell(row["epoch"]), *_spread(row["layers"][block])]
                for block in blocks
                for row in rows
                if block in row["layers"]
            ],
        ),
    )


def _density(histogram: dict[str, Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """Turn a histogram into an outline: every edge twice, heights from 0 to 1."""
    if histogram is None:
        return np.zeros(0), np.zeros(0)
    edges = np.array(histogram["edges"], dtype=float)
    density = np.array(histogram["counts"], dtype=float) / np.maximum(np.diff(edges), 1e-300)
    outline = np.concatenate([[0.0], np.repeat(density / max(density.max(), 1e-300), 2), [0.0]])
    return np.repeat(edges, 2), outline


def _spread(histogram: dict[str, Any]) -> tuple[str, str, str]:
    edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"], dtype=float)
    cumulated = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1)
    low, high = np.interp([0.25, 0.75], cumulated, edges)
    ends = words.cell(edges[0]), words.cell(edges[-1])
    return ends[0], f"{words.cell(low)} to {words.cell(high)}", ends[1]
