"""What a round of mixing does: its matrix, its spectrum, and how disagreement shrinks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from . import ink
from .figure import Absent, Figure, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_WRITTEN = 8  # workers whose weights still have room in the cells
_NAMED = 32  # workers whose numbers all stand at the axes
_FLOOR = 1e-5  # what is left of disagreement below this is drawn here


def matrix(row: Mapping[str, Any]) -> Figure | Absent:
    """Draw what a period makes of the workers' values, as a heat map."""
    period = row["survey"]["period"]
    title = "Weights of a round" if period == 1 else f"Weights of {period} rounds"
    if row["matrix"] is None:
        return Absent("matrix", title, f"{row['workers']} workers have too many weights to read")
    weights, n = np.array(row["matrix"], float), row["workers"]
    low = float(weights.min())
    span = float(np.abs(weights).max())

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False)
        shades = {"cmap": "Blues", "vmin": 0, "vmax": span}
        if low < 0:
            shades = {"cmap": "RdBu", "vmin": -span, "vmax": span}
        picture = axes.imshow(weights, interpolation="none", **shades)
        ink.colour_bar(canvas, picture, "weight")
        axes.set(xlabel="of worker", ylabel="at worker")
        if n <= _NAMED:
            axes.set_xticks(range(n))
            axes.set_yticks(range(n))
        if n <= _WRITTEN:
            for i, j in np.argwhere(weights).tolist():
                dark = abs(weights[i, j]) > 0.55 * span
                colour = ink.PAPER if dark else ink.INK
                text = f"{weights[i, j]:.2g}"
                axes.text(j, i, text, ha="center", va="center", size=7.5, color=colour)

    over = "" if period == 1 else f", all {period} of a period one after another"
    return Figure(
        id="matrix",
        title=title,
        caption=f"Row i: how much of each worker's value worker i has after mixing{over}. "
        "Uniform columns are agreement.",
        alt=f"A heat map of {n} × {n} weights, from {words.number(low)} to "
        f"{words.number(float(weights.max()))}; "
        f"{words.percent(float((weights != 0).mean()))} of them are not zero.",
        image=ink.svg(paint, 5.4, 4.4),
        format="svg",
        table=table(
            ["at \\ of", *map(str, range(n))],
            [[i, *(words.cell(w, 4) for w in line)] for i, line in enumerate(weights.tolist())],
        ),
    )


def spectrum(row: Mapping[str, Any]) -> Figure:
    """Draw the eigenvalues of mixing by size, with the gap below the first."""
    moduli, seen = row["eigenvalues"], row["survey"]
    n, period = len(moduli), seen["period"]
    second = 1 - seen["long_run_gap"]

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        at = np.arange(1, n + 1)
        style: dict[str, Any] = {"color": ink.PALETTE[0]}
        if n <= _NAMED:
            axes.vlines(at, 0, moduli, linewidth=1.5, alpha=0.5, **style)
        axes.plot(at, moduli, "o" if n <= 100 else ".", label="eigenvalue", **style)
        axes.axhline(
            1 - seen["gap"],
            color=ink.PALETTE[1],
            linestyle=ink.DASHES[1],
            label=f"1 − gap = {words.number(1 - seen['gap'])}",
        )
        _mark_gap(axes, n, second, seen["long_run_gap"])
        axes.set(xlabel="eigenvalue, by size", ylabel="modulus", ylim=(-0.04, 1.1))
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes)

    each = "of a round" if period == 1 else f"of a round, from those of {period} together"
    return Figure(
        id="spectrum",
        title="Spectrum of mixing",
        caption=f"The moduli of the eigenvalues {each}. The first is 1: agreement stays. The "
        "second says what is left of disagreement in a round of many (bracket: the long-run gap); "
        "dashed: what is left at most after any one round.",
        alt=f"{words.plural(n, 'eigenvalue')}, the first 1 and the second "
        f"{words.number(second)}: a long-run gap of {words.number(seen['long_run_gap'])}; the gap "
        f"of one round is {words.number(seen['gap'])}.",
        image=ink.svg(paint, 5.4, 3.3),
        format="svg",
        table=table(
            ["eigenvalue", "modulus"],
            [[k, words.cell(each)] for k, each in enumerate(moduli, start=1)],
        ),
    )


def _mark_gap(axes: Axes, n: int, second: float, gap: float) -> None:
    """Draw a bracket from the second eigenvalue up to the first, right of all others."""
    at = n + max(0.6, 0.04 * n)
    axes.annotate(
        "",
        (at, second),
        (at, 1.0),
        arrowprops={"arrowstyle": "<->", "color": ink.INK, "shrinkA": 0, "shrinkB": 0},
    )
    axes.text(
        at - 0.015 * n - 0.05,
        (1 + second) / 2 if gap > 0.1 else 1.03,
        f"gap {words.number(gap)}",
        ha="right",
        va="center" if gap > 0.1 else "bottom",
        size=8.5,
    )
    axes.set_xlim(0.4, at + max(0.4, 0.02 * n))


def disagreement(row: Mapping[str, Any]) -> Figure | Absent:
    """Draw what is left of disagreement after each round of mixing alone."""
    title, found = "How disagreement shrinks", row["disagreement"]
    if found is None:
        reason = f"it is followed round by round for few workers, here are {row['workers']}"
        return Absent("disagreement", title, reason)
    rounds = range(len(found["worst"]))
    exact = found["worst"][-1] < 1e-10

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for n, (key, label) in enumerate(
            [("worst", "from the worst start"), ("typical", "from a typical start")]
        ):
            left = [max(each, _FLOOR) for each in found[key]]
            ink.curve(axes, rounds, left, **ink.nth(n), label=label)
        axes.axhline(0.01, color=ink.QUIET, linestyle=ink.DASHES[2], linewidth=1, label="1 %")
        low = min(found["worst"][-1], found["typical"][-1])
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(_FLOOR * 0.7, 10 ** math.floor(math.log10(max(low, _FLOOR)))))
        ink.log_ticks(axes.yaxis)
        axes.set(xlabel="round", ylabel="what is left (log scale)")
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes)

    last = len(rounds) - 1
    after = f"after {words.plural(last, 'round')}"
    end = f"{after} none is left" if exact else f"{after} {words.number(found['worst'][-1])} is"
    return Figure(
        id="disagreement",
        title=title,
        caption="The distance of all workers' values from their mean, as a part of what it was, "
        f"where they only mix: {end}{'' if exact else ' left of the worst'}. A typical start is "
        "the root mean square over all starts."
        + (f" What is below {words.number(_FLOOR)} is drawn there." if exact else ""),
        alt=f"Two falling curves over {words.plural(last, 'round')} of mixing; from the worst "
        f"start {words.number(found['worst'][-1])} is left at the end.",
        image=ink.svg(paint, 5.4, 3.3),
        format="svg",
        table=table(
            ["round", "worst", "typical"],
            [
                [t, words.cell(a), words.cell(b)]
                for t, (a, b) in enumerate(zip(found["worst"], found["typical"], strict=True))
            ],
        ),
    )


def counted(row: Mapping[str, Any]) -> Figure | None:
    """Draw the weights that were asked for and the implied ones; None where they are the same."""
    seen = row["survey"]
    if seen["bias"] < 1e-9:
        return None
    data, implied = seen["data_weights"], seen["implied_weights"]
    n = len(data)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        at = np.arange(n)
        if n <= _NAMED:
            axes.bar(at - 0.2, data, 0.38, color=ink.PALETTE[0], label="weight asked for")
            axes.bar(at + 0.2, implied, 0.38, color=ink.PALETTE[1], label="weight in fact")
        else:
            axes.plot(at, data, ".", color=ink.PALETTE[0], label="weight asked for")
            axes.plot(at, implied, "x", color=ink.PALETTE[1], label="weight in fact")
        axes.set(xlabel="worker", ylabel="weight", ylim=(0, None))
        ink.whole_ticks(axes.xaxis)
        ink.legend(canvas, axes)

    return Figure(
        id="weights",
        title="Weights asked for, and weights in fact",
        caption="What each worker should count for in the objective, by its data or as all, and "
        "what it counts for in the one that is minimised in fact.",
        alt=f"Pairs of bars for {words.plural(n, 'worker')}, which differ by at most "
        f"{words.number(seen['bias'])}.",
        image=ink.svg(paint, 5.4, 3.3),
        format="svg",
        table=table(
            ["worker", "weight asked for", "weight in fact"],
            [
                [i, words.cell(a), words.cell(b)]
                for i, (a, b) in enumerate(zip(data, implied, strict=True))
            ],
        ),
    )
