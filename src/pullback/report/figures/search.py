"""What a search found: the trials in their order, what mattered, and where the good ones lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from . import ink
from .figure import Absent, Figure, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Rows = Sequence[Mapping[str, Any]]
# Contours are drawn through points that span a plane; fewer are only shown.
_FEWEST = 5


def history(rows: Rows, measure: str, lowest: bool) -> Figure | Absent:
    """Draw the value of each trial, and the best so far."""
    id, title = "trials", "Trials"
    done = _complete(rows)
    if not done:
        return Absent(id, title, "no trial is complete")
    numbers, values = [row["trial"] for row in done], [row["value"] for row in done]
    best = (np.minimum if lowest else np.maximum).accumulate(values)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.plot(numbers, values, "o", color=ink.PALETTE[0], label="trial")
        axes.step(numbers, best, where="post", color=ink.PALETTE[1], label="best so far")
        ink.log_or_linear(axes, values, measure)
        axes.set_xlabel("trial")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes)

    return Figure(
        id=id,
        title=title,
        caption=f"The {measure} of each complete trial, and the best so far.",
        alt=f"{words.plural(len(done), 'trial')}; the best has {words.number(float(best[-1]))}.",
        image=ink.svg(paint, 5.4, 3.3),
        format="svg",
        table=table(
            ["trial", measure, "best so far"],
            [
                [n, words.cell(value), words.cell(float(top))]
                for n, value, top in zip(numbers, values, best, strict=True)
            ],
        ),
    )


def importance(shares: Mapping[str, float]) -> Figure | Absent:
    """Draw how much of the differences between trials each setting explains."""
    id, title = "importance", "What mattered"
    if not shares:
        return Absent(id, title, "it wants several complete trials that differ")
    ordered = sorted(shares.items(), key=lambda item: item[1])
    names, values = [name for name, _ in ordered], [value for _, value in ordered]

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.barh([words.short(name, 32) for name in names], values, color=ink.PALETTE[0])
        axes.set_xlabel("importance")
        axes.grid(visible=False, axis="y")

    return Figure(
        id=id,
        title=title,
        caption="The share of the variance between trials that each setting explains by itself "
        "and with others: fANOVA over a random forest (Hutter, Hoos & Leyton-Brown 2014).",
        alt=", ".join(f"{name} {words.percent(value)}" for name, value in reversed(ordered)) + ".",
        image=ink.svg(paint, 5.4, 1.2 + 0.35 * len(names)),
        format="svg",
        table=table(
            ["setting", "importance"],
            [[name, words.cell(value)] for name, value in reversed(ordered)],
        ),
    )


def contour(
    rows: Rows, measure: str, scales: Mapping[str, str], keys: Sequence[str]
) -> Figure | Absent:
    """Draw the value of trials over two settings, with contours between them.

    Args:
        rows: the trials.
        measure: what their values are.
        scales: of the ranges, by key; choices have none.
        keys: the settings, the most important first; the first two that are ranges are drawn.
    """
    id, title = "contour", "Where the good trials lie"
    done = _complete(rows)
    ranges = [key for key in keys if key in scales][:2]
    if len(ranges) < 2 or len(done) < _FEWEST:
        return Absent(id, title, f"it wants two ranges, and {_FEWEST} complete trials")
    x, y = ([row["settings"][key] for row in done] for key in ranges)
    values = [row["value"] for row in done]
    places = [_placed(each, scales[key]) for each, key in zip((x, y), ranges, strict=True)]
    if np.linalg.matrix_rank(np.stack(places) - np.mean(places, axis=1)[:, None], tol=1e-9) < 2:
        return Absent(id, title, "the trials lie on one line")

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        drawn = axes.tricontourf(places[0], places[1], values, levels=10, cmap="viridis")
        axes.plot(places[0], places[1], "o", color=ink.INK, markersize=3)
        ink.colour_bar(canvas, drawn, measure)
        for axis, key in zip("xy", ranges, strict=True):
            _label(axes, axis, key, scales[key])

    return Figure(
        id=id,
        title=title,
        caption=f"The {measure} between the complete trials, which are the dots, over "
        f"{ranges[0]} and {ranges[1]}; whatever else was searched differs, too.",
        alt=f"{words.plural(len(done), 'trial')} over {ranges[0]} and {ranges[1]}.",
        image=ink.svg(paint, 5.4, 3.6),
        format="svg",
        table=table(
            [*ranges, measure],
            [[words.cell(each) for each in row] for row in zip(x, y, values, strict=True)],
        ),
    )


def _complete(rows: Rows) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["state"] == "complete"]


def _placed(values: Sequence[float], scale: str) -> np.ndarray:
    """Where values lie on an axis that is even on their scale."""
    found = np.array(values, float)
    if scale == "linear":
        return found
    return np.log10(found) if scale == "log" else -np.log10(1 - found)


def _label(axes: Axes, axis: str, key: str, scale: str) -> None:
    """Name an axis, and write the values of the setting at its ticks."""
    from matplotlib.ticker import FuncFormatter

    def said(place: float, _) -> str:
        if scale == "linear":
            return f"{place:g}"
        return f"{10**place:.2g}" if scale == "log" else f"{1 - 10**-place:.3g}"

    getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(said))
    getattr(axes, f"set_{axis}label")(words.short(key, 32))
