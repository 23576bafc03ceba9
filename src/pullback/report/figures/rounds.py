"""What each round did: how far apart it left the workers, what it kept, and what it cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import words
from ..history import History
from . import ink
from .curves import HEIGHT, WIDTH
from .figure import Absent, Figure, table
from .many import bin_note, binned, greatest, log_axis, log_curve, mean_of, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# A distance below this, where a round averages exactly, is rounding in float32.
_ROUNDING = 1e-4

# What an algorithm calls its invariants, in words, and what each must be.
HEALTH = {
    "dual_sum": "sum of the duals (0)",
    "residual": "distance from the hub's model (falls)",
    "tracker_gap": "trackers off the gradients' mean (0)",
    "mean_gap": "mean off its course (0)",
    "replica_gap": "replicas off what was sent (0)",
    "weight_sum": "sum of the weights (n)",
    "least_weight": "least weight (above 0)",
    "least_heard": "least share heard of (1)",
}


def consensus_distance(history: History) -> Figure | Absent:
    """Draw how far the workers' parameters are from their mean, against rounds."""
    title, rows = "Consensus distance", history.all("round")
    found = np.array([[row["distance"] for row in rows]], float)
    if not np.isfinite(found).any():
        return Absent("consensus", title, "no round was recorded")
    rounds, curves = binned([row["round"] for row in rows], found, mean_of)
    curve = curves[0].tolist()
    zero = sum(value == 0 for value in curve)
    averages = (history.peers or {})["survey"]["gap"] > 1 - 1e-9
    exact = averages and max(each for each in curve if each == each) < _ROUNDING

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        log_curve(axes, rounds, curve, **ink.nth(0))
        log_axis(axes, curve, "distance")
        axes.set_xlabel("round")
        ink.whole_ticks(axes.xaxis)

    last = found[0, -1]
    notes = " A round averages exactly here: what is left is rounding." * exact
    notes += f" In {words.plural(zero, 'point')} it is 0, and not drawn." if zero else ""
    return Figure(
        id="consensus",
        title=title,
        caption="√mean ‖xᵢ − x̄‖² of the workers' parameters that are up, after each round: how far "
        f"they are from their mean.{notes}{bin_note(len(rows))}",
        alt=f"A curve over {words.plural(len(rows), 'round')}, from {words.number(curve[0])} to "
        f"{words.number(float(last))}.",
        image=ink.svg(paint, WIDTH, HEIGHT),
        format="svg",
        table=table(
            ["round", "distance"],
            [[words.cell(r, 7), words.cell(v)] for r, v in zip(rounds, curve, strict=True)],
        ),
    )


def health(history: History) -> Figure | Absent:
    """Draw what must stay as it was: the drift of the mean, and the algorithm's invariants."""
    title, rows = "What must stay as it was", history.all("round")
    if not rows:
        return Absent("health", title, "no round was recorded")
    curves: dict[str, list[float]] = {}
    if any(row["drift"] is not None for row in rows):
        curves["drift of the mean (0)"] = [
            math.nan if row["drift"] is None else row["drift"] for row in rows
        ]
    for name in rows[-1]["health"]:
        label = HEALTH[name] if name in HEALTH else words.short(name)
        curves[label] = [row["health"][name] for row in rows]
    if not curves:
        return Absent("health", title, "this algorithm keeps nothing that could be watched")
    found = np.array(list(curves.values()), float)
    rounds, shown = binned([row["round"] for row in rows], found, greatest)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for n, (label, curve) in enumerate(zip(curves, shown.tolist(), strict=True)):
            log_curve(axes, rounds, curve, **ink.nth(n), label=label)
        log_axis(axes, [float(v) for v in shown.ravel()], "value")
        axes.set_xlabel("round")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes, columns=2)

    ends = ", ".join(
        f"{label} {words.number(float(curve[-1]))}"
        for label, curve in zip(curves, found, strict=True)
    )
    zero = " Values of 0 are not drawn." if (found == 0).any() else ""
    return Figure(
        id="health",
        title=title,
        caption="What the algorithm keeps, if it works and no message breaks it; in brackets what "
        f"each should be, but for rounding.{zero}{bin_note(len(rows), 'the greatest')}",
        alt=f"Curves over {words.plural(len(rows), 'round')}. Last values: {ends}.",
        image=ink.svg(paint, WIDTH, HEIGHT + 0.2),
        format="svg",
        table=table(
            ["round", *curves],
            [
                [words.cell(r, 7), *(words.cell(float(v)) for v in column)]
                for r, column in zip(rounds, shown.T, strict=True)
            ],
        ),
    )


def round_cost(history: History) -> Figure | Absent:
    """Draw the bytes and the simulated seconds of each round."""
    title, rows = "What each round cost", history.all("round")
    if not rows:
        return Absent("round-cost", title, "no round was recorded")
    kinds = [kind for kind in ("payload", "index", "header") if any(r["bytes"][kind] for r in rows)]
    found = np.array(
        [*([row["bytes"][kind] for row in rows] for kind in kinds), [r["seconds"] for r in rows]],
        float,
    )
    rounds, shown = binned([row["round"] for row in rows], found, mean_of)
    total = shown[:-1].sum(0)

    def paint(canvas: Canvas) -> None:
        above, below = canvas.subplots(2, 1, sharex=True)
        unit, label = scale("bytes", float(total.max()))
        bottom = np.zeros(len(rounds))
        for n, kind in enumerate(kinds):
            top = bottom + shown[n] / unit
            above.fill_between(
                rounds, bottom, top, step="mid", color=ink.PALETTE[n], linewidth=0, label=kind
            )
            bottom = top
        above.set(ylabel=label.replace("bytes sent", "sent"), ylim=(0, None))
        unit, label = scale("seconds", float(shown[-1].max()))
        ink.curve(below, rounds, (shown[-1] / unit).tolist(), color=ink.PALETTE[0])
        below.set(xlabel="round", ylabel=label.replace("simulated time", "time"), ylim=(0, None))
        ink.whole_ticks(below.xaxis)
        ink.legend(canvas, above)

    return Figure(
        id="round-cost",
        title=title,
        caption="Bytes sent in each round, those of lost messages among them: numbers (payload), "
        "where they stand (index) and what is sent once (header). Below: what the round would take "
        f"by the clock, local work and messages.{bin_note(len(rows))}",
        alt=f"Two panels over {words.plural(len(rows), 'round')}: on average "
        f"{words.memory(round(float(found[:-1].sum(0).mean())))} and "
        f"{words.duration(float(found[-1].mean()))} a round.",
        image=ink.svg(paint, WIDTH, HEIGHT + 0.5),
        format="svg",
        table=table(
            ["round", *(f"{kind} bytes" for kind in kinds), "seconds"],
            [
                [words.cell(r, 7), *(words.cell(float(v), 9) for v in column)]
                for r, column in zip(rounds, shown.T, strict=True)
            ],
        ),
    )
