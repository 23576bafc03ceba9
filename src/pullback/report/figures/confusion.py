"""How often each class was taken for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import words
from ..history import History
from . import ink
from .figure import Absent, Figure, Table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_MOST_WRITTEN = 12  # classes whose cells still have room for their numbers
_MOST_LISTED = 30  # classes whose counts still make a table to read


def confusion(history: History) -> Figure | Absent:
    """Draw the confusion matrix: a row for each true class, counts and per cent of the row."""
    title = "Confusion matrix"
    row = history.judged("confusion")
    if row is None:
        reason = "a regression has no classes" if history.metric == "r2" else "it was not recorded"
        return Absent("confusion", title, reason)
    counts = np.array(row["counts"], dtype=int)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    k, names = len(counts), history.classes(len(counts))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False)
        picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="none")
        ink.colour_bar(canvas, picture, "share of the true class")
        axes.set(xlabel="predicted", ylabel="true")
        _name_classes(axes, names)
        if k <= _MOST_WRITTEN:
            _write_cells(axes, counts, share)

    right, every = int(np.trace(counts)), int(counts.sum())
    shown = "counts, and per cent of the row; empty cells are zero"
    return Figure(
        id="confusion",
        title=title,
        caption=f"The {words.count(every)} examples of the {row['part']} part: a row for each true "
        "class, a column for each predicted one; "
        + (shown if k <= _MOST_WRITTEN else "the colour is the share of the row")
        + ".",
        alt=f"{words.count(right)} of {words.count(every)} examples lie on the diagonal. "
        + _most_frequent_mistake(counts, names),
        image=ink.svg(paint, 5.4, min(4.9, 2.6 + 0.3 * k)),
        format="svg",
        table=_table(counts, share, names),
    )


def _name_classes(axes: Axes, names: list[str]) -> None:
    """Write the names on both axes, of many classes only some; long ones slant."""
    k = len(names)
    at = range(0, k, 1 if k <= _MOST_LISTED else math.ceil(k / 20))
    shown = [words.short(names[i], 14) for i in at]
    axes.set_yticks(at, shown)
    if max(map(len, shown)) * k <= 48:
        axes.set_xticks(at, shown)
    else:
        axes.set_xticks(at, shown, rotation=45, ha="right", rotation_mode="anchor")


def _write_cells(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    for i, j in np.argwhere(counts).tolist():
        colour = ink.PAPER if share[i, j] > 0.5 else ink.INK
        per_cent = f"{100 * share[i, j]:.0f} %"
        axes.text(j, i, str(counts[i, j]), ha="center", va="bottom", size=8.5, color=colour)
        axes.text(j, i, per_cent, ha="center", va="top", size=6.5, color=colour)


def _most_frequent_mistake(counts: np.ndarray, names: list[str]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.any():
        return "There is no mistake."
    i, j = divmod(int(wrong.argmax()), len(counts))
    pair = f"{words.short(names[i])} taken for {words.short(names[j])}"
    return f"The most frequent mistake: {pair}, {words.plural(int(wrong[i, j]), 'time')}."


def _table(counts: np.ndarray, share: np.ndarray, names: list[str]) -> Table:
    """Write the matrix; for many classes its mistakes instead, the most frequent first."""
    percent = [[words.percent(float(p)) for p in row] for row in share]
    k = len(names)
    if k <= _MOST_LISTED:
        rows = [
            [names[i], *(f"{counts[i, j]} ({percent[i][j]})" for j in range(k))] for i in range(k)
        ]
        return table(["true \\ predicted", *names], rows)
    mistakes = [(i, j) for i, j in np.argwhere(counts).tolist() if i != j]
    mistakes.sort(key=lambda cell: -counts[cell])
    return table(
        ["true", "predicted", "count", "share of the true class"],
        [[names[i], names[j], counts[i, j], percent[i][j]] for i, j in mistakes],
    )
