"""Curves of learning: loss and accuracy of each part, loss by mini-batch, loss by output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from ..history import History, value
from . import ink
from .figure import Absent, Figure, Table, table, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

METRICS = {"accuracy": "accuracy", "r2": "R²"}
WIDTH, HEIGHT = 5.4, 3.3
_MOST_DRAWN = 2000  # steps that are drawn one by one
_MOST_BINS = 600  # of three numbers each, where there are more
_MOST_PANELS = 20
_MOST_POINTS = 120


def loss_curves(history: History) -> Figure | Absent:
    """Draw the loss of each part of the data against epochs (or steps), the best epoch marked."""
    return _learning(history, "loss", "loss", "Loss")


def metric_curves(history: History) -> Figure | Absent:
    """Draw the accuracy (or R² of a regression) of each part, the best epoch marked."""
    name = METRICS[history.metric]
    return _learning(history, history.metric, "metric", name[0].upper() + name[1:])


def _learning(history: History, key: str, id: str, title: str) -> Figure | Absent:
    rows = history.evaluations
    curves = {part: [value(row, part, key) for row in rows] for part in history.parts}
    # A part may be evaluated more seldom than another: its curve has no gaps there.
    at = {part: [n for n, row in enumerate(rows) if row.get(part)] for part in curves}
    everything = [v for curve in curves.values() for v in curve]
    if not any(math.isfinite(v) for v in everything):
        return Absent(id, title, "no finite value was recorded")
    along = "step" if any(row["epoch"] != int(row["epoch"]) for row in rows) else "epoch"
    best, start = history.best, None if key == "loss" else axis_start([*curves.values()])

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for part, curve in curves.items():
            x, y = zip(*((rows[n][along], curve[n]) for n in at[part]), strict=True)
            ink.curve(axes, x, y, **ink.PARTS[part], label=part)
        if best:
            label = f"best epoch: {words.number(best['epoch'])}"
            axes.axvline(best[along], color=ink.INK, linestyle=(0, (1, 2)), lw=1.2, label=label)
            axes.plot(best[along], value(best, "validation", key), "o", color=ink.INK)
        label_values(axes, key, everything, start)
        _label_time(axes, along, rows[-1])
        ink.legend(canvas, axes)

    said = ", ".join(f"{part} {say(key, curve[-1])}" for part, curve in curves.items())
    return Figure(
        id=id,
        title=f"{title} by {along}",
        caption=_learning_caption(history, key, title, cut=start is not None),
        alt=f"Curves of {title.lower()} over {words.plural(len(rows), 'evaluation')}. "
        f"Last values: {said}.",
        image=ink.svg(paint, WIDTH, HEIGHT),
        format="svg",
        table=table(
            ["epoch", "step", *curves],
            [
                [
                    words.cell(row["epoch"], 7),
                    row["step"],
                    *(say(key, curve[n]) for curve in curves.values()),
                ]
                for n, row in enumerate(rows)
            ],
        ),
    )


def _learning_caption(history: History, key: str, title: str, *, cut: bool) -> str:
    best, penalty = history.best, history.evaluations[-1].get("penalty")
    said = [f"{title} over the whole of each part of the data, with the weights of that moment."]
    if best:
        low = words.number(best["validation"]["loss"])
        epoch = words.number(best["epoch"])
        said.append(f"Dotted: epoch {epoch}, where the validation loss is lowest ({low}).")
    if cut:
        said.append("The first values lie below the axis.")
    if key == "loss" and penalty:
        said.append(f"The penalty, {words.number(penalty)} at the end, is not part of it.")
    return " ".join(said)


def say(key: str, found: float) -> str:
    """Say a loss, an accuracy or an R² in a table; one that was not measured is a dash."""
    if math.isnan(found):
        return "–"
    return words.percent(found) if key == "accuracy" else words.cell(found)


def axis_start(curves: Sequence[Sequence[float]]) -> float | None:
    """Choose where an axis starts if a few low values would press all others together.

    No curve is hidden altogether.

    >>> axis_start([[0.1] + [0.9, 0.95] * 10]) is None, axis_start([[0.1, 0.5, 0.9]]) is None
    (False, True)
    >>> axis_start([[0.1] + [0.9, 0.95] * 10, [0.1, 0.2]]) is None
    True
    >>> axis_start([[0.1, 0.94, 0.96, 0.97, 0.98, 0.98, 0.98, 0.98]] * 4) is None
    False
    """
    finite = [[v for v in curve if math.isfinite(v)] for curve in curves]
    seen = np.concatenate(finite)
    # Of eight values, as few as are drawn of long rounds, one is low at the start.
    low, high = float(np.quantile(seen, 0.15, method="higher")), float(seen.max())
    crowded = high - low < 0.25 * (high - seen.min())
    start = low - 0.5 * (high - low)
    hidden = any(curve and max(curve) <= start for curve in finite)
    return start if crowded and not hidden and high > low else None


def label_values(axes: Axes, key: str, values: Sequence[float], start: float | None) -> None:
    """Name and scale the vertical axis of a loss, an accuracy or an R²."""
    if key == "loss":
        ink.log_or_linear(axes, values, "loss")
        return
    axes.set_ylabel(METRICS[key])
    axes.set_ylim(bottom=start)
    if key == "accuracy":
        ink.percent_ticks(axes)


def _label_time(axes: Axes, along: str, last: dict[str, Any]) -> None:
    """Name the horizontal axis; one in steps gets the epochs above it."""
    axes.set_xlabel(along)
    ink.whole_ticks(axes.xaxis)
    if along == "step" and last["epoch"] > 0:
        per_epoch = last["step"] / last["epoch"]
        there, back = (lambda step: step / per_epoch), (lambda epoch: epoch * per_epoch)
        above = axes.secondary_xaxis("top", functions=(there, back))
        above.set_xlabel("epoch")
        ink.whole_ticks(above.xaxis)


def step_loss(history: History) -> Figure | Absent:
    """Draw the loss of every mini-batch; of many, the least, mean and greatest of each bin."""
    title = "Loss of each mini-batch"
    rows = history.all("step")
    step = np.array([row["step"] for row in rows], dtype=float)
    loss = np.array([row["loss"] for row in rows], dtype=float)
    finite = np.isfinite(loss)
    if not finite.any():
        return Absent("step-loss", title, "no step with a finite loss was recorded")
    broken = step[~finite]
    at, low, mean, high = _envelope(step[finite], loss[finite])
    binned = len(at) < finite.sum()

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        if binned:
            band = {"color": ink.PALETTE[5], "alpha": 0.45, "linewidth": 0}
            axes.fill_between(at, low, high, label="least to greatest", **band)
        name = "mean" if binned else "mini-batch"
        axes.plot(at, mean, color=ink.PALETTE[0], linewidth=1, label=name)
        if len(broken):
            axes.axvline(broken[0], color=ink.ALARM, linestyle=ink.DASHES[1], label="not finite")
        ink.log_or_linear(axes, [*low, *high], "loss")
        axes.set_xlabel("step")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes)

    caption = "Loss of the mini-batch before each update."
    if binned:
        caption += (
            f" {words.plural(int(finite.sum()), 'step')} drawn in {len(at)} bins of about"
            f" {round(finite.sum() / len(at))}: mean (line), least and greatest (band)."
        )
    if len(broken):
        caption += f" From step {words.count(int(broken[0]))} on the loss is not finite."
    ends = words.number(float(mean[0])), words.number(float(mean[-1]))
    return Figure(
        id="step-loss",
        title=title,
        caption=caption,
        alt=f"Loss of {words.plural(len(rows), 'step')}: {ends[0]} at first, {ends[1]} at the end.",
        image=ink.svg(paint, 2 * WIDTH, 2.8),
        format="svg",
        table=table(
            ["step (middle of the bin)", "least", "mean", "greatest"]
            if binned
            else ["step", "loss"],
            [
                [words.cell(x, 7), *map(words.cell, (a, b, c) if binned else (b,))]
                for x, a, b, c in zip(at, low, mean, high, strict=True)
            ],
        ),
        wide=True,
    )


def _envelope(step: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the middle, least, mean and greatest of bins in order; a bin each if there are few."""
    bins = len(loss) if len(loss) <= _MOST_DRAWN else _MOST_BINS
    starts = np.linspace(0, len(loss), bins, endpoint=False).astype(int)
    sizes = np.diff(np.append(starts, len(loss)))
    middle, mean = (np.add.reduceat(a, starts) / sizes for a in (step, loss))
    return middle, np.minimum.reduceat(loss, starts), mean, np.maximum.reduceat(loss, starts)


def output_loss(history: History) -> Figure | Absent:
    """Draw the part that each output (class) has in the loss, one small panel for each."""
    id, title = "output-loss", "Loss of each output"
    rows = [row for row in history.evaluations if (row.get("train") or {}).get("outputs")]
    if not rows:
        return Absent(id, title, "it was not recorded")
    k = len(rows[-1]["train"]["outputs"])
    if k == 1:
        return Absent(id, title, "the network has one output, whose loss is the loss above")
    names = history.classes(k)
    parts = [p for p in ("train", "validation") if (rows[-1].get(p) or {}).get("outputs")]
    ends = [_part_of_loss(rows[-1], parts[-1], j) for j in range(k)]
    by_size = sorted(range(k), key=lambda j: ends[j] if math.isfinite(ends[j]) else math.inf)
    panels = sorted(by_size[-_MOST_PANELS:])
    across = min(5, len(panels))
    down = math.ceil(len(panels) / across)
    kept = thin(rows, _MOST_POINTS)

    def paint(canvas: Canvas) -> None:
        grid = canvas.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        drawn = []
        for axes, j in zip(grid, panels, strict=False):
            axes.set_title(words.short(names[j], 16))
            for part in parts:
                curve = [_part_of_loss(row, part, j) for row in kept]
                style = ink.PARTS[part] | {"linewidth": 1.2}
                ink.curve(axes, [row["epoch"] for row in kept], curve, **style, label=part)
                drawn += curve
        ink.log_or_linear(grid[0], drawn, "loss")
        ink.share_labels(canvas, grid, len(panels), x="epoch", y=grid[0].get_ylabel())
        ink.legend(canvas, grid[0])

    caption = (
        "The part that each output has in the mean loss; the parts add up to the loss."
        " The panels share their axes."
    )
    if len(panels) < k:
        caption += f" Of {k} outputs the {len(panels)} with the greatest loss at the end are drawn."
    worst = f"{words.short(names[by_size[-1]])}, {words.number(ends[by_size[-1]])}"
    return Figure(
        id=id,
        title=title,
        caption=caption,
        alt=f"{words.plural(len(panels), 'panel')}, each with the loss of one output by epoch. The "
        f"greatest at the end ({parts[-1]}): {worst}.",
        image=ink.svg(paint, 2 * WIDTH, 0.9 + 1.25 * down),
        format="svg",
        table=_output_table(rows, parts, names),
        wide=True,
    )


def output_steps(history: History) -> Figure | Absent:
    """Draw the part that each output has in the loss of each mini-batch, one panel for each."""
    id, title = "output-steps", "Loss of each output, by mini-batch"
    rows = [row for row in history.all("step") if row.get("outputs")]
    k = len(rows[0]["outputs"]) if rows else 0
    if k < 2:
        reason = "no step was recorded" if not rows else "the network has one output"
        return Absent(id, title, reason)
    names = history.classes(k)
    losses = np.array([row["outputs"] for row in rows], dtype=float)
    bins = min(len(rows), _MOST_POINTS)
    starts = np.linspace(0, len(rows), bins, endpoint=False).astype(int)
    sizes = np.diff(np.append(starts, len(rows)))
    steps = np.array([row["step"] for row in rows], dtype=float)
    at = np.add.reduceat(steps, starts) / sizes
    mean = np.add.reduceat(losses, starts, axis=0) / sizes[:, None]
    low, high = (of.reduceat(losses, starts, axis=0) for of in (np.minimum, np.maximum))
    panels = range(min(k, _MOST_PANELS))
    across = min(5, len(panels))
    down = math.ceil(len(panels) / across)

    def paint(canvas: Canvas) -> None:
        grid = canvas.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, j in zip(grid, panels, strict=False):
            axes.set_title(words.short(names[j], 16))
            if bins < len(rows):
                band = {"color": ink.PALETTE[5], "alpha": 0.45, "linewidth": 0}
                axes.fill_between(at, low[:, j], high[:, j], label="least to greatest", **band)
            label = "mean" if bins < len(rows) else "mini-batch"
            axes.plot(at, mean[:, j], color=ink.PALETTE[0], linewidth=1, label=label)
        ink.share_labels(canvas, grid, len(panels), x="step", y="loss")
        ink.legend(canvas, grid[0])

    caption = (
        f"The part that each output has in the loss of a mini-batch, before its update: "
        f"{words.plural(len(rows), 'step')} in {bins} bins. The panels share their axes."
    )
    if len(panels) < k:
        caption += f" Of {k} outputs the first {len(panels)} are drawn."
    return Figure(
        id=id,
        title=title,
        caption=caption,
        alt=f"{words.plural(len(panels), 'panel')}, each with the loss of one output by step. At "
        f"the end they are {words.number(float(mean[-1].min()))} to "
        f"{words.number(float(mean[-1].max()))}.",
        image=ink.svg(paint, 2 * WIDTH, 0.9 + 1.25 * down),
        format="svg",
        table=table(
            ["output", "first bin", "last bin"],
            [
                [name, words.cell(mean[0, j]), words.cell(mean[-1, j])]
                for j, name in enumerate(names)
            ],
        ),
        wide=True,
    )


def _part_of_loss(row: dict[str, Any], part: str, j: int) -> float:
    outputs = (row.get(part) or {}).get("outputs")
    return float(outputs[j]) if outputs else math.nan


def _output_table(rows: list[dict[str, Any]], parts: list[str], names: list[str]) -> Table:
    ends = (rows[0], rows[-1])
    return table(
        ["output", *(f"{part}, {when}" for part in parts for when in ("first", "last"))],
        [
            [name, *(words.cell(_part_of_loss(row, part, j)) for part in parts for row in ends)]
            for j, name in enumerate(names)
        ],
    )
