"""How well the workers of a run do: each by itself, and all together along what it costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import words
from ..history import PARTS, History
from . import ink
from .curves import HEIGHT, METRICS, WIDTH, axis_start, label_values, say
from .figure import Absent, Figure, table
from .many import (
    ALONG,
    band_note,
    bin_note,
    binned,
    draw_each,
    few_ticks,
    mean_of,
    scale,
    worker_cells,
    worker_columns,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def part_of(history: History) -> str | None:
    """Name the part that a network is judged by: test, else validation, else train."""
    return next((part for part in reversed(PARTS) if part in history.parts), None)


def worker_metric(history: History) -> Figure | Absent:
    """Draw the accuracy (or R²) of each worker's own model against rounds, and that of all."""
    name, part = METRICS[history.metric], part_of(history)
    title = f"{name[0].upper()}{name[1:]} of each worker"
    if history.peers is None:
        return Absent("worker-metric", title, "one network was trained, without workers")
    if part is None:
        return Absent("worker-metric", title, "nothing was evaluated")
    rows, key = history.evaluations, history.metric
    rounds = [row["round"] for row in rows]
    each = np.array(
        [[worker[key] for worker in row["parts"][part]["workers"]] for row in rows], float
    ).T
    common = [row[part][key] for row in rows]
    start = axis_start([common, *each.tolist()])

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        # Beneath the others, which it hides where every round averages exactly.
        ink.curve(axes, rounds, common, color="#aab3bf", linewidth=5, label="together")
        draw_each(axes, rounds, each)
        label_values(axes, key, [*each.ravel(), *common], start)
        axes.set_xlabel("round")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes, columns=4)

    last = each[:, -1]
    return Figure(
        id="worker-metric",
        title=title,
        caption=f"On the {part} part, before the first round and after those that were evaluated. "
        f"Together: the one model that all workers stand for.{band_note(len(each))}"
        + (" The first values lie below the axis." if start is not None else ""),
        alt=f"Curves over {words.plural(rounds[-1], 'round')}. At the end the workers reach "
        f"{say(key, float(np.nanmin(last)))} to {say(key, float(np.nanmax(last)))}, together "
        f"{say(key, common[-1])}.",
        image=ink.svg(paint, WIDTH, HEIGHT + 0.3),
        format="svg",
        table=table(
            ["round", "together", *worker_columns(len(each))],
            [
                [r, say(key, all_), *(say(key, v) for v in worker_cells(column))]
                for r, all_, column in zip(rounds, common, each.T, strict=True)
            ],
        ),
    )


def common_metric(history: History) -> Figure | Absent:
    """Draw the accuracy of all together, and the workers' mean, along all that it costs."""
    name, part = METRICS[history.metric], part_of(history)
    title = f"{name[0].upper()}{name[1:]} by epochs, rounds, bytes and time"
    if part is None:
        return Absent("common-metric", title, "nothing was evaluated")
    rows, key = history.evaluations, history.metric
    common = [row[part][key] for row in rows]
    mean = [float(np.mean([w[key] for w in row["parts"][part]["workers"]])) for row in rows]
    start = axis_start([common, mean])

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(ALONG), sharey=True)
        for axes, along in zip(panels, ALONG, strict=True):
            unit, label = scale(along, max(row[along] for row in rows))
            x = [row[along] / unit for row in rows]
            ink.curve(axes, x, common, color=ink.INK, linewidth=2, label="together")
            style = {"color": ink.PALETTE[1], "linestyle": ink.DASHES[1]}
            ink.curve(axes, x, mean, label="mean of the workers", **style)
            axes.set_xlabel(label)
            few_ticks(axes)
        label_values(panels[0], key, [*common, *mean], start)
        ink.legend(canvas, panels[0])

    last = rows[-1]
    return Figure(
        id="common-metric",
        title=title,
        caption=f"On the {part} part: the one model that all workers stand for, and the mean over "
        "the workers' own models. An epoch is as many examples as the training part has, seen by "
        "all workers together; time is that of the clock, not of this machine."
        + (" The first values lie below the axis." if start is not None else ""),
        alt=f"Four panels with the same two curves; at the end, after "
        f"{words.plural(last['round'], 'round')}, {words.memory(last['bytes'])} and "
        f"{words.duration(last['seconds'])}, together {say(key, common[-1])}, the mean "
        f"{say(key, mean[-1])}.",
        image=ink.svg(paint, 2 * WIDTH, 2.9),
        format="svg",
        table=table(
            ["round", "epoch", "messages", "bytes", "seconds", "together", "mean of the workers"],
            [
                [
                    row["round"],
                    words.cell(row["epoch"]),
                    row["messages"],
                    row["bytes"],
                    words.cell(row["seconds"]),
                    say(key, all_),
                    say(key, each),
                ]
                for row, all_, each in zip(rows, common, mean, strict=True)
            ],
        ),
        wide=True,
    )


def worker_loss(history: History) -> Figure | Absent:
    """Draw the training loss of each worker in each round."""
    title, rows = "Training loss of each worker", history.all("round")
    loss = np.array([row["loss"] for row in rows], float).reshape(len(rows), -1).T
    if not np.isfinite(loss).any():
        return Absent("worker-loss", title, "no round with a finite loss was recorded")
    rounds, each = binned([row["round"] for row in rows], loss, mean_of)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        draw_each(axes, rounds, each)
        ink.log_or_linear(axes, [float(v) for v in each.ravel()], "loss")
        axes.set_xlabel("round")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes, columns=4)

    idle = not np.isfinite(loss).all()
    return Figure(
        id="worker-loss",
        title=title,
        caption="The mean loss of a worker's mini-batches in a round, each before its step."
        + (" Where there is no point the worker made no step, or its loss is no number." * idle)
        + band_note(len(each))
        + bin_note(len(rows)),
        alt=f"Curves over {words.plural(len(rows), 'round')}; in the last the losses are "
        f"{words.number(_least(loss[:, -1]))} to {words.number(_most(loss[:, -1]))}.",
        image=ink.svg(paint, WIDTH, HEIGHT + 0.3),
        format="svg",
        table=table(
            ["round", *worker_columns(len(each))],
            [
                [words.cell(r, 7), *(say("loss", v) for v in worker_cells(column))]
                for r, column in zip(rounds, each.T, strict=True)
            ],
        ),
    )


def _least(values: np.ndarray) -> float:
    return float(np.nanmin(values)) if np.isfinite(values).any() else math.nan


def _most(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else math.nan
