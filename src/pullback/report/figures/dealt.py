"""Which labels each worker has, how many examples, and how unlike the whole that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from ..history import History
from . import ink
from .figure import Absent, Figure, Table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_BARS = 40  # workers that still have a bar each
_COLOURS = 2 * len(ink.PALETTE)  # labels that colours and hatches tell apart


def labels(history: History) -> Figure | Absent:
    """Draw the labels of each worker of a run."""
    row = history.last("partition")
    if row is None:
        return Absent("labels", "What each worker has", "the partition was not recorded")
    return label_counts(row)


def distances(history: History) -> Figure | Absent:
    """Draw how unlike the whole the labels of each worker of a run are."""
    row = history.last("partition")
    if row is None:
        return Absent("distance", "Distance of labels", "the partition was not recorded")
    return label_distances(row)


def label_counts(row: Mapping[str, Any]) -> Figure:
    """Draw how many examples of each label each worker has: bars, or a heat map of many."""
    workers, names = row["workers"], _names(row)
    n = len(workers)
    counts = np.array([each.get("labels", [each["examples"]]) for each in workers], int)
    with_labels = "labels" in workers[0]
    bars = n <= _BARS and counts.shape[1] <= _COLOURS

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        if bars:
            _stack(axes, counts, names if with_labels else None)
            axes.set(xlabel="worker", ylabel="examples")
            if with_labels:
                _legend(canvas, axes, min(7, max(2, 56 // _longest(names))))
        elif with_labels:
            _shade(canvas, axes, counts, names)
        else:
            axes.plot(range(n), counts[:, 0], ".", color=ink.PALETTE[0])
            axes.set(xlabel="worker", ylabel="examples", ylim=(0, None))
        ink.whole_ticks(axes.xaxis)

    kind = "A bar" if bars else "A column" if with_labels else "A dot"
    held = "its examples by label" if with_labels else "its examples"
    sizes = [each["examples"] for each in workers if each["examples"]]
    more = f" {words.plural(n - len(sizes), 'worker')} without." if len(sizes) < n else ""
    more += f" {words.plural(row['dropped'], 'example')} dropped." if row["dropped"] else ""
    lines = -(-len(names) // 7) if with_labels and bars else 1
    return Figure(
        id="labels",
        title="What each worker has",
        caption=f"{kind} for each worker: {held}. There are {words.count(row['examples'])}, from "
        f"{words.count(min(sizes, default=0))} to {words.count(row['largest'])} each.{more}",
        alt=f"{words.plural(n, 'worker')} with {words.count(row['smallest'])} to "
        f"{words.count(row['largest'])} examples"
        + (f" of {len(names)} labels." if with_labels else "."),
        image=ink.svg(paint, 5.4, 3.4 + 0.18 * lines),
        format="svg",
        table=_table(row, names),
    )


def _names(row: Mapping[str, Any]) -> list[str]:
    """The labels' names; their numbers where there are none."""
    classes, k = row.get("classes"), len(row["workers"][0].get("labels", []))
    found = classes if classes and len(classes) == k else range(k)
    return [words.short(name, 14) for name in found]


def _legend(canvas: Canvas, axes: Axes, columns: int) -> None:
    """Put the legend above, its names from left to right, line by line."""
    handles, names = axes.get_legend_handles_labels()
    columns = min(columns, len(names))
    order = [k for column in range(columns) for k in range(column, len(names), columns)]
    canvas.legend(
        [handles[k] for k in order],
        [names[k] for k in order],
        loc="outside upper left",
        ncols=columns,
    )


def _longest(names: Sequence[str]) -> int:
    """How many letters a name and its mark take in the legend."""
    return 6 + max(map(len, names), default=0)


def _stack(axes: Axes, counts: np.ndarray, names: Sequence[str] | None) -> None:
    at, below = np.arange(len(counts)), np.zeros(len(counts), int)
    for k, column in enumerate(counts.T):
        lap, colour = divmod(k, len(ink.PALETTE))
        axes.bar(
            at,
            column,
            0.82,
            bottom=below,
            color=ink.PALETTE[colour],
            hatch="////" if lap else None,
            edgecolor=ink.PAPER,
            linewidth=0.4,
            label=names[k] if names else None,
        )
        below = below + column


def _shade(canvas: Canvas, axes: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    axes.grid(visible=False)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    picture = axes.imshow(share.T, cmap="Blues", vmin=0, aspect="auto", interpolation="none")
    ink.colour_bar(canvas, picture, "share of the worker's examples")
    step = -(-len(names) // 20)
    axes.set_yticks(range(0, len(names), step), names[::step])
    axes.set(xlabel="worker", ylabel="label")


def _table(row: Mapping[str, Any], names: Sequence[str]) -> Table:
    by_label = [f"label {name}" for name in names] if len(names) <= 20 else []
    measured = {"distance": "distance", "effective": "effective labels"} if names else {}
    return table(
        ["worker", "examples", *measured.values(), *by_label],
        [
            [
                each["worker"],
                each["examples"],
                *(words.cell(each.get(key), 3) for key in measured),
                *(each["labels"] if by_label else []),
            ]
            for each in row["workers"]
        ],
    )


def label_distances(row: Mapping[str, Any]) -> Figure | Absent:
    """Draw the total variation between each worker's labels and those of all."""
    title = "Distance of labels"
    if "distance" not in row:
        return Absent("distance", title, "the examples have no labels")
    found = [each.get("distance", np.nan) for each in row["workers"]]
    n, mean = len(found), row["distance"]

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        style: dict[str, Any] = {"color": ink.PALETTE[0], "label": "worker"}
        if n <= _BARS:
            axes.bar(range(n), found, 0.82, **style)
        else:
            axes.plot(range(n), found, ".", **style)
        if mean is not None:
            dashed = {"color": ink.PALETTE[1], "linestyle": ink.DASHES[1]}
            axes.axhline(mean, label=f"mean {words.number(mean)}", **dashed)
        axes.set(xlabel="worker", ylabel="total variation", ylim=(0, 1))
        ink.whole_ticks(axes.xaxis)
        handles, names = axes.get_legend_handles_labels()
        canvas.legend(handles[::-1], names[::-1], loc="outside upper left", ncols=2)

    seen = [each for each in found if each == each]
    least, most = (words.number(each) for each in (min(seen), max(seen))) if seen else ("–", "–")
    return Figure(
        id="distance",
        title=title,
        caption="Half the sum of the differences between the shares of the labels at a worker and "
        "in the whole: 0 where it has a sample of all, near 1 where it has labels of its own.",
        alt=f"A mark for each of {words.plural(n, 'worker')}, from {least} to {most}.",
        image=ink.svg(paint, 5.4, 3.4),
        format="svg",
        table=table(
            ["worker", "examples", "total variation"],
            [
                [each["worker"], each["examples"], words.cell(each.get("distance"), 3)]
                for each in row["workers"]
            ],
        ),
    )
