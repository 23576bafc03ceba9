"""Several runs on one pair of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import words
from ..history import History, distinct_names, value
from . import ink
from .curves import HEIGHT, METRICS, WIDTH, axis_start, label_values, say
from .figure import Absent, Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def training_loss(histories: Sequence[History]) -> Figure | Absent:
    """Overlay the loss of the training part by epoch."""
    return _overlay(histories, "train", "loss")


def held_out_loss(histories: Sequence[History]) -> Figure | Absent:
    """Overlay the loss of a part that was not trained on."""
    return _overlay(histories, _held_out(histories), "loss")


def held_out_metric(histories: Sequence[History]) -> Figure | Absent:
    """Overlay the accuracy (or R²) on a part that was not trained on."""
    part, metrics = _held_out(histories), {history.metric for history in histories}
    if len(metrics) > 1:
        reason = "some of the runs classify, some are regressions"
        return Absent(f"{part}-metric", "Accuracy", reason)
    return _overlay(histories, part, metrics.pop())


def _held_out(histories: Sequence[History]) -> str:
    """Choose validation where every run has it, else test, else what all were trained on."""
    choices = ("validation", "test")
    shared = [p for p in choices if all(p in history.parts for history in histories)]
    return shared[0] if shared else "train"


def _overlay(histories: Sequence[History], part: str, key: str) -> Figure | Absent:
    name = "loss" if key == "loss" else METRICS[key]
    title = f"{part.capitalize()} {name}"
    id = f"{part}-{'loss' if key == 'loss' else 'metric'}"
    curves = {
        run: [(row["epoch"], value(row, part, key)) for row in history.evaluations]
        for run, history in zip(distinct_names(histories), histories, strict=True)
    }
    curves = {
        run: points for run, points in curves.items() if any(math.isfinite(y) for _, y in points)
    }
    if not curves:
        return Absent(id, title, "no run recorded it")
    each = [[y for _, y in points] for points in curves.values()]
    start = None if key == "loss" else axis_start(each)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for n, (run, points) in enumerate(curves.items()):
            x, y = zip(*points, strict=True)
            ink.curve(axes, x, y, **ink.nth(n), label=words.short(run))
        label_values(axes, key, [y for curve in each for y in curve], start)
        axes.set_xlabel("epoch")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes, columns=3)

    said = ", ".join(f"{words.short(run)} {say(key, y[-1][1])}" for run, y in curves.items())
    return Figure(
        id=id,
        title=title,
        caption=f"{title} of {words.plural(len(curves), 'run')} by epoch."
        + (" The first values lie below the axis." if start is not None else ""),
        alt=f"{title} by epoch. Last values: {said}.",
        image=ink.svg(paint, WIDTH, HEIGHT),
        format="svg",
        table=table(
            ["run", "epoch", name],
            [
                [run, words.cell(x, 7), say(key, y)]
                for run, points in curves.items()
                for x, y in points
            ],
        ),
    )
