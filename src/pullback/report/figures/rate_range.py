"""The range test of the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import words
from . import ink
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from ...diagnose import RateRange


def rate_range(found: RateRange) -> Figure:
    """Draw the loss against the learning rate, with what is suggested."""
    marks = [
        ("steepest", found.steepest, ink.PALETTE[2], ink.DASHES[0]),
        ("tenth of the lowest", found.tenth, ink.PALETTE[4], ink.DASHES[1]),
        ("lowest", found.lowest, ink.PALETTE[3], ink.DASHES[2]),
        ("diverged", found.diverged, ink.PALETTE[1], ink.DASHES[3]),
    ]

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.plot(found.rates, found.losses, color="#b8bfc9", linewidth=0.9, label="each step")
        axes.plot(found.rates, found.smooth, color=ink.PALETTE[0], label="average of neighbours")
        for name, rate, colour, dashes in marks:
            if rate is not None:
                axes.axvline(
                    rate,
                    color=colour,
                    linestyle=dashes,
                    linewidth=1.3,
                    label=f"{name} {words.number(rate)}",
                )
        axes.set_xscale("log")
        axes.set_xlabel("learning rate (log scale)")
        ink.log_ticks(axes.xaxis)
        ink.log_or_linear(axes, found.smooth, "loss")
        # A single loss far above the average would leave nothing of the curve to be seen.
        axes.set_ylim(top=min(axes.get_ylim()[1], 2 * max(found.smooth)))
        ink.legend(canvas, axes, columns=3)

    return Figure(
        id="lr-range",
        title="Loss against learning rate",
        caption=f"The loss of {words.plural(len(found.rates), 'step')}, while the learning "
        "rate grows by one factor from step to step, up to where the loss diverges.",
        alt="; ".join(
            f"{name}: {words.number(rate)}" for name, rate, _, _ in marks if rate is not None
        )
        or "The loss falls nowhere.",
        image=ink.svg(paint, 7.6, 4.4),
        format="svg",
        table=table(
            ["learning rate", "loss", "average"],
            [
                list(map(words.cell, row))
                for row in zip(found.rates, found.losses, found.smooth, strict=True)
            ],
        ),
        wide=True,
    )
