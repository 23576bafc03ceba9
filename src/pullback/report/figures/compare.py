"""Several runs on one pair of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import words
from ..history import History
from ..seeds import grouped
from . import ink
from .curves import HEIGHT, METRICS, WIDTH, axis_start, label_values, say
from .figure import Absent, Figure, table
from .many import ALONG, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


# A name of so many letters leaves no room for three in a line of the legend.
LONG = 16


def training_loss(histories: Sequence[History]) -> Figure | Absent:
    """Overlay the loss of the training part by epoch."""
    return _overlay(histories, "train", "loss")


def held_out_loss(histories: Sequence[History]) -> Figure | Absent:
    """Overlay the loss of a part that was not trained on."""
    return _overlay(histories, _held_out(histories), "loss")


def held_out_metric(histories: Sequence[History], along: str = "epoch") -> Figure | Absent:
    """Overlay the accuracy (or R²) on a part that was not trained on.

    Args:
        histories: the runs.
        along: "epoch"; of runs over peers "round", "bytes" and "seconds" too, on which others are
            left out.
    """
    part, metrics = _held_out(histories), {history.metric for history in histories}
    if len(metrics) > 1:
        reason = "some of the runs classify, some are regressions"
        return Absent(f"{part}-metric", "Accuracy", reason)
    chosen = [each for each in histories if along == "epoch" or each.peers is not None]
    return _overlay(chosen, part, metrics.pop(), along)


def _possible(
    key: str, low: Sequence[float], high: Sequence[float], least: float
) -> tuple[list[float], list[float]]:
    """A band as far as its measure can lie there: that of the mean of few runs may go beyond.

    Of a loss, which may have a logarithmic axis, what is below half of the least mean is left out.

    >>> _possible("accuracy", [-0.2, 0.8], [0.6, 1.3], 0.1)
    ([0.0, 0.8], [0.6, 1.0])
    >>> _possible("loss", [-1.0, 0.75], [3.0, 1.0], 0.5)
    ([0.25, 0.75], [3.0, 1.0])
    """
    ends = {"accuracy": (0.0, 1.0), "loss": (min(least, least / 2), math.inf)}
    bottom, top = ends.get(key, (-math.inf, 1.0))
    return [max(each, bottom) for each in low], [min(each, top) for each in high]


def _held_out(histories: Sequence[History]) -> str:
    """Choose validation where every run has it, else test, else what all were trained on."""
    choices = ("validation", "test")
    shared = [p for p in choices if all(p in history.parts for history in histories)]
    return shared[0] if shared else "train"


def _overlay(
    histories: Sequence[History], part: str, key: str, along: str = "epoch"
) -> Figure | Absent:
    name = "loss" if key == "loss" else METRICS[key]
    title, by = f"{part.capitalize()} {name}", along if along == "epoch" else ALONG[along]
    id = f"{part}-{'loss' if key == 'loss' else 'metric'}"
    if along != "epoch":
        id, title = f"{id}-{along}", f"{title} by {by}"
    curves = {group.name: group.points(part, key, along) for group in grouped(histories)}
    curves = {
        run: points
        for run, points in curves.items()
        if any(math.isfinite(y.mean) for _, y in points)
    }
    if not curves:
        return Absent(id, title, "no run recorded it")
    each = [[y.mean for _, y in points] for points in curves.values()]
    start = None if key == "loss" else axis_start(each)
    least = min((v for curve in each for v in curve if math.isfinite(v)), default=0.0)
    banded = any(y.count > 1 for points in curves.values() for _, y in points)
    unit, label = scale(along, max(x for points in curves.values() for x, _ in points))
    whole = along == "round" or (along == "epoch" and all(h.peers is None for h in histories))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for n, (run, points) in enumerate(curves.items()):
            x, y = zip(*((at / unit, found) for at, found in points), strict=True)
            ink.curve(axes, x, [each.mean for each in y], **ink.nth(n), label=words.short(run))
            if y[0].count > 1:
                low, high = _possible(
                    key, [each.low for each in y], [each.high for each in y], least
                )
                axes.fill_between(x, low, high, color=ink.nth(n)["color"], alpha=0.2, linewidth=0)
        label_values(axes, key, [y for curve in each for y in curve], start)
        axes.set_xlabel("epoch" if along == "epoch" else label)
        if whole:
            ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes, columns=3 if max(map(len, curves)) < LONG else 2)

    said = ", ".join(f"{words.short(run)} {say(key, y[-1][1].mean)}" for run, y in curves.items())
    return Figure(
        id=id,
        title=title,
        caption=f"{part.capitalize()} {name} of {words.plural(len(histories), 'run')} by {by}."
        + (
            " Runs that differ only in the seed are one curve, their mean; the band is where the "
            "mean lies with 95 % certainty."
            if banded
            else ""
        )
        + (" The first values lie below the axis." if start is not None else ""),
        alt=f"{part.capitalize()} {name} by {by}. Last values: {said}.",
        image=ink.svg(paint, WIDTH, HEIGHT),
        format="svg",
        table=table(
            ["run", by, name, *(["low", "high"] if banded else [])],
            [
                [
                    run,
                    words.cell(x, 7),
                    say(key, y.mean),
                    *([say(key, y.low), say(key, y.high)] if banded else []),
                ]
                for run, points in curves.items()
                for x, y in points
            ],
        ),
    )
