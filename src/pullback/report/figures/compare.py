"""Several runs on one pair of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import words
from ..history import History, distinct_names, value
from . import ink
from .curves import HEIGHT, METRICS, WIDTH
from .figure import Absent, Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def training_loss(histories: Sequence[History]) -> Figure | Absent:
    """Overlay the loss of the training part by epoch."""
    return _overlay(histories, "train", "loss", "Training loss")


def held_out_loss(histories: Sequence[History]) -> Figure | Absent:
    """Overlay the loss of a part that was not trained on."""
    part = _held_out(histories)
    return _overlay(histories, part, "loss", f"{part.capitalize()} loss")


def held_out_metric(histories: Sequence[History]) -> Figure | Absent:
    """Overlay the accuracy (or R²) on a part that was not trained on."""
    part, metrics = _held_out(histories), {history.metric for history in histories}
    if len(metrics) > 1:
        reason = "some of the runs are classifications, some are regressions"
        return Absent(f"{part}-metric", "Accuracy", reason)
    (key,) = metrics
    return _overlay(histories, part, key, f"{part.capitalize()} {METRICS[key]}")


def _held_out(histories: Sequence[History]) -> str:
    """Choose validation where every run has it, else test, else what all were trained on."""
    shared = [p for p in ("validation", "test") if all(p in history.parts for history in histories)]
    return shared[0] if shared else "train"


def _overlay(histories: Sequence[History], part: str, key: str, title: str) -> Figure | Absent:
    id = f"{part}-{'loss' if key == 'loss' else 'metric'}"
    rows = [
        (name, row["epoch"], value(row, part, key))
        for name, history in zip(distinct_names(histories), histories, strict=True)
        for row in history.evaluations
    ]
    rows = [row for row in rows if math.isfinite(row[2])]
    if not rows:
        return Absent(id, title, "no run recorded it")
    names = list(dict.fromkeys(name for name, _, _ in rows))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for n, name in enumerate(names):
            mine = [(x, y) for owner, x, y in rows if owner == name]
            colour, dash = divmod(n, len(ink.PALETTE))[::-1]
            style = {
                "color": ink.PALETTE[colour],
                "linestyle": ink.DASHES[(colour + dash) % len(ink.DASHES)],
            }
            ink.curve(axes, *zip(*mine, strict=True), label=words.short(name), **style)
        if key == "loss":
            ink.log_or_linear(axes, [y for _, _, y in rows], "loss")
        else:
            axes.set_ylabel(METRICS[key])
        axes.set_xlabel("epoch")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes, columns=3)

    said = words.percent if key == "accuracy" else words.number
    last = {name: y for name, _, y in rows}
    return Figure(
        id=id,
        title=title,
        caption=f"{title} of {words.plural(len(names), 'run')} by epoch.",
        alt=f"{title} by epoch. Last values: "
        + ", ".join(f"{words.short(name)} {said(y)}" for name, y in last.items())
        + ".",
        image=ink.svg(paint, WIDTH, HEIGHT),
        format="svg",
        table=table(
            ["run", "epoch", title.lower()],
            [[name, words.number(epoch), said(y)] for name, epoch, y in rows],
        ),
    )
