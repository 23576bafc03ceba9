"""Early stopping beside L2: what both leave of the minimum, and how far apart they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...early_stopping import descent_share, ridge_share
from .. import words
from . import ink
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from ...early_stopping import Comparison

_SHOWN = 1e-3  # a rate at which descent is nearly the flow that it follows


def early_stopping(found: Comparison) -> Figure:
    """Draw the shares along one curvature, and the distance on a regression over τ."""
    pace = np.geomspace(0.01, 100, 120)
    steps = np.maximum(np.round(pace / _SHOWN), 1)
    descent, ridge = descent_share(1.0, _SHOWN, steps), ridge_share(1.0, 1 / (steps * _SHOWN))
    worst = int(np.argmax(descent - ridge))

    def paint(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        left.plot(steps * _SHOWN, descent, label="descent, stopped", **ink.nth(0))
        left.plot(steps * _SHOWN, ridge, label="L2 with α = 1/(τε)", **ink.nth(1))
        left.plot(steps * _SHOWN, descent - ridge, label="how far apart", **ink.nth(2))
        left.set(xscale="log", xlabel="τελ (log scale)", ylabel="share of the way to the minimum")
        right.plot(found.steps, found.distances, **ink.nth(2))
        right.plot(found.steps, found.remaining, label="descent to the minimum", **ink.nth(3))
        right.set(xscale="log", yscale="log", xlabel="τ, steps (log scale)")
        right.set_ylabel("relative distance of the weights (log scale)")
        for axis in (left.xaxis, right.xaxis, right.yaxis):
            ink.log_ticks(axis)
        handles, labels = (
            [*a, *b]
            for a, b in zip(
                left.get_legend_handles_labels(), right.get_legend_handles_labels(), strict=True
            )
        )
        canvas.legend(handles, labels, loc="outside upper left", ncols=4)

    return Figure(
        id="early-stopping",
        title="Early stopping beside L2",
        caption="Left: what share of the way to the minimum is gone along one curvature λ, for a "
        "small ε. Where τελ is small or large the two agree; between them descent is ahead. "
        f"Right: a linear regression with curvatures from {words.number(found.curvatures.min())} "
        f"to {words.number(found.curvatures.max())}: how far the weights of stopped descent are "
        "from those of ridge regression with α = 1/(τε), and from the minimum that neither has "
        "reached.",
        alt=f"The shares differ most, by {words.number(float((descent - ridge)[worst]))}, at τελ = "
        f"{words.number(float(steps[worst] * _SHOWN))}. On the regression the relative distance is "
        f"at most {words.number(float(found.distances.max()))}.",
        image=ink.svg(paint, 10.8, 3.8),
        format="svg",
        table=table(
            ["τ", "α = 1/(τε)", "descent to ridge", "descent to the minimum"],
            [
                [tau, *(words.cell(float(x)) for x in row)]
                for tau, *row in zip(
                    found.steps, found.strengths, found.distances, found.remaining, strict=True
                )
            ],
        ),
        wide=True,
    )
