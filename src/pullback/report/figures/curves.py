"""Curves of learning: loss and accuracy of each part, loss of each mini-batch, loss of each output."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from . import ink
from .figure import Absent, Figure, Table, table, thin
from ..history import History, value

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
    return _learning(history, "loss", "Loss")


def metric_curves(history: History) -> Figure | Absent:
    """Draw the accuracy (or R² of a regression) of each part, the best epoch marked."""
    name = METRICS[history.metric]
    return _learning(history, history.metric, name[0].upper() + name[1:])


def _learning(history: History, key: str, title: str) -> Figure | Absent:
    id = "loss" if key == "loss" else "metric"
    rows, parts = history.evaluations, history.parts
    if not any(math.isfinite(value(row, part, key)) for row in rows for part in parts):
        return Absent(id, title, f"no finite {title} was recorded")
    steps = any(row["epoch"] != int(row["epoch"]) for row in rows)
    x = [row["step"] if steps else row["epoch"] for row in rows]
    curves = {part: [value(row, part, key) for row in rows] for part in parts}
    best = history.best
    cut = None if key == "loss" else _cut([v for y in curves.values() for v in y])

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for part, y in curves.items():
            ink.curve(axes, x, y, label=part, **ink.PART_STYLES[part])
        if key == "loss":
            ink.log_or_linear(axes, [v for y in curves.values() for v in y], "loss")
        else:
            axes.set_ylabel(METRICS[key])
            axes.set_ylim(bottom=cut)
        if key == "accuracy":
            ink.percent_ticks(axes)
        _horizontal(axes, rows, steps)
        if best:
            at = best["step"] if steps else best["epoch"]
            mark = {"color": ink.INK, "linestyle": (0, (1, 2)), "linewidth": 1.2}
            axes.axvline(at, label=f"best epoch: {words.number(best['epoch'])}", **mark)
            axes.plot(at, value(best, "validation", key), "o", color=ink.INK, markersize=5)
        ink.legend(canvas, axes)

    said = [f"{part} {_say(key, y[-1])}" for part, y in curves.items()]
    caption = f"{title} over the whole of each part of the data, with the weights of that moment."
    if best:
        caption += (
            f" Dotted: epoch {words.number(best['epoch'])}, where the validation loss is lowest"
            f" ({words.number(best['validation']['loss'])})."
        )
    if cut is not None:
        caption += " The first values lie below the axis."
    if key == "loss" and any(row.get("penalty") for row in rows):
        caption += (
            f" The penalty, {words.number(rows[-1]['penalty'])} at the end, is not part of it."
        )
    return Figure(
        id=id,
        title=f"{title} by epoch" if not steps else f"{title} by step",
        caption=caption,
        alt=f"Curves of {title.lower()} over {words.plural(len(rows), 'evaluation')}. "
        f"Last values: {', '.join(said)}.",
        image=ink.svg(paint, WIDTH, HEIGHT),
        format="svg",
        table=table(
            ["epoch", "step", *parts],
            [
                [
                    words.cell(row["epoch"], 7),
                    row["step"],
                    *(_say(key, value(row, p, key)) for p in parts),
                ]
                for row in rows
            ],
        ),
    )


def _say(key: str, x: float) -> str:
    if math.isnan(x):
        return "–"
    return words.percent(x) if key == "accuracy" else words.cell(x)


def _cut(values: list[float]) -> float | None:
    """Choose where the axis starts, if a few low values at the start would press all others together."""
    seen = np.array([v for v in values if math.isfinite(v)])
    low, high = float(np.quantile(seen, 0.1)), float(seen.max())
    crowded = high - low < 0.25 * (high - seen.min())
    return low - 0.5 * (high - low) if crowded and high > low else None


def _horizontal(axes: Axes, rows: list[dict[str, Any]], steps: bool) -> None:
    """Count along the horizontal axis in epochs; in steps where evaluations lie inside epochs."""
    axes.set_xlabel("step" if steps else "epoch")
    ink.whole_ticks(axes.xaxis)
    if steps and rows[-1]["epoch"] > 0:
        per_epoch = rows[-1]["step"] / rows[-1]["epoch"]
        above = axes.secondary_xaxis(
            "top", functions=(lambda s: s / per_epoch, lambda e: e * per_epoch)
        )
        above.set_xlabel("epoch")
        ink.whole_ticks(above.xaxis)


def step_loss(history: History) -> Figure | Absent:
    """Draw the loss of every mini-batch; many steps are drawn by the least, mean and greatest of each bin."""
    title = "Loss of each mini-batch"
    rows = history.all("step")
    if not rows:
        return Absent("step-loss", title, "no step was recorded")
    step = np.array([row["step"] for row in rows], dtype=float)
    loss = np.array([row["loss"] for row in rows], dtype=float)
    broken = step[~np.isfinite(loss)]
    step, loss = step[np.isfinite(loss)], loss[np.isfinite(loss)]
    if not len(loss):
        return Absent("step-loss", title, "no step had a finite loss")
    # Equal bins of steps in order; reduceat takes the least, the sum and the greatest of each.
    starts = np.linspace(0, len(loss), len(loss) if len(loss) <= _MOST_DRAWN else _MOST_BINS, endpoint=False).astype(int)
    sizes = np.diff(np.append(starts, len(loss)))
    middle, mean = (np.add.reduceat(a, starts) / sizes for a in (step, loss))
    low, high = np.minimum.reduceat(loss, starts), np.maximum.reduceat(loss, starts)
    thinned = len(loss) > _MOST_DRAWN

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        if thinned:
            band = {"color": ink.PALETTE[5], "alpha": 0.45, "linewidth": 0}
            axes.fill_between(middle, low, high, label="least to greatest", **band)
        label = "mean" if thinned else "mini-batch"
        axes.plot(middle, mean, color=ink.PALETTE[0], linewidth=1, label=label)
        if len(broken):
            axes.axvline(broken[0], color=ink.ALARM, linestyle=ink.DASHES[1], label="not finite")
        ink.log_or_linear(axes, np.concatenate([low, high]).tolist(), "loss")
        axes.set_xlabel("step")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes)

    caption = "Loss of the mini-batch before each update."
    if thinned:
        caption += (
            f" {words.plural(len(loss), 'step')} drawn in {len(starts)} bins of about"
            f" {round(len(loss) / len(starts))}: mean (line), least and greatest (band)."
        )
    if len(broken):
        caption += f" From step {words.count(int(broken[0]))} on the loss is not a finite number."
    bins = zip(middle, low, mean, high, strict=True)
    return Figure(
        id="step-loss",
        title=title,
        caption=caption,
        alt=f"Loss over {words.plural(len(loss), 'step')}, from {words.number(float(mean[0]))} at the start "
        f"to {words.number(float(mean[-1]))} at the end.",
        image=ink.svg(paint, 2 * WIDTH, 2.8),
        format="svg",
        wide=True,
        table=table(
            ["step (middle of bin)", "least", "mean", "greatest"],
            [[words.cell(m, 7), *(words.cell(v) for v in rest)] for m, *rest in bins],
        ),
    )


def output_loss(history: History) -> Figure | Absent:
    """Draw the part that each output (class) has in the loss, one small panel for each."""
    title = "Loss of each output"
    rows = [row for row in history.evaluations if (row.get("train") or {}).get("outputs")]
    if not rows:
        return Absent("output-loss", title, "no loss per output was recorded")
    k = len(rows[-1]["train"]["outputs"])
    if k == 1:
        return Absent(
            "output-loss", title, "the network has one output, whose loss is the loss above"
        )
    names = history.classes(k)
    parts = [p for p in ("train", "validation") if (rows[-1].get(p) or {}).get("outputs")]
    kept = thin(rows, _MOST_POINTS)
    x = [row["epoch"] for row in kept]
    shown = parts[-1]  # of the two, what was not trained on says more
    ends = [_output(rows[-1], shown, j) for j in range(k)]
    panels = sorted(range(k), key=lambda j: -ends[j] if math.isfinite(ends[j]) else -math.inf)
    panels = sorted(panels[:_MOST_PANELS])
    across = min(5, len(panels))
    down = math.ceil(len(panels) / across)

    def paint(canvas: Canvas) -> None:
        grid = canvas.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat
        drawn = [_output(row, part, j) for row in kept for part in parts for j in panels]
        for axes, j in zip(grid, panels, strict=False):
            for part in parts:
                style = ink.PART_STYLES[part] | {"linewidth": 1.2}
                ink.curve(axes, x, [_output(row, part, j) for row in kept], label=part, **style)
            axes.set_title(words.short(names[j], 16))
        ink.log_or_linear(grid[0], drawn, "loss")
        scale = grid[0].get_ylabel()
        grid[0].set_ylabel("")
        for axes in list(grid)[len(panels) :]:
            axes.remove()
        canvas.supxlabel("epoch", fontsize=9, color=ink.QUIET)
        canvas.supylabel(scale, fontsize=9, color=ink.QUIET)
        ink.legend(canvas, grid[0])

    caption = (
        "The part that each output has in the mean loss; the parts add up to the loss. The panels"
        " share their axes."
    )
    if len(panels) < k:
        caption += f" Of {k} outputs the {len(panels)} with the greatest loss at the end are drawn."
    worst = max(panels, key=lambda j: ends[j] if math.isfinite(ends[j]) else math.inf)
    header = ["output", *(f"{part}, {when}" for part in parts for when in ("first", "last"))]
    return Figure(
        id="output-loss",
        title=title,
        caption=caption,
        alt=f"One panel for each of {len(panels)} outputs with its loss by epoch; the greatest at the "
        f"end is that of {words.short(names[worst])}, {words.number(ends[worst])} ({shown}).",
        image=ink.svg(paint, 2 * WIDTH, 0.9 + 1.25 * down),
        format="svg",
        wide=True,
        table=_output_table(header, rows, parts, names),
    )


def _output_table(
    header: list[str], rows: list[dict[str, Any]], parts: list[str], names: list[str]
) -> Table:
    pair = (rows[0], rows[-1])
    return table(
        header,
        [
            [name, *(words.cell(_output(row, part, j)) for part in parts for row in pair)]
            for j, name in enumerate(names)
        ],
    )


def _output(row: dict[str, Any], part: str, j: int) -> float:
    outputs = (row.get(part) or {}).get("outputs")
    return float(outputs[j]) if outputs else math.nan
