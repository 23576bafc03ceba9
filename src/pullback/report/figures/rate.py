"""A schedule of the learning rate, drawn step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...optim import Schedule, resolve
from .. import words
from . import ink
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_ROWS = 24


def learning_rate(schedule: Schedule, steps_per_epoch: int, epochs: int) -> Figure:
    """Draw the learning rate of each step of a run."""
    steps = steps_per_epoch * epochs
    counts = np.arange(steps)
    rates = np.asarray(resolve(schedule, steps_per_epoch, steps)(counts), dtype=float)
    title = type(schedule).__name__

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        # A rate holds from its step to the next: stairs, not a line between them.
        axes.stairs(rates, np.arange(steps + 1) / steps_per_epoch, baseline=None, **ink.nth(0))
        axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, 1.05 * rates.max()))
        ink.whole_ticks(axes.xaxis)

    kept = slice(None, None, max(1, steps // _ROWS))
    return Figure(
        id=f"rate-{title.lower()}",
        title=title,
        caption=f"{schedule}: the learning rate of each step, in {words.plural(epochs, 'epoch')} "
        f"of {words.plural(steps_per_epoch, 'step')}.",
        alt=f"{title}: the learning rate begins at {words.number(float(rates[0]))}, is at most "
        f"{words.number(float(rates.max()))}, and ends at {words.number(float(rates[-1]))}.",
        image=ink.svg(paint, 3.9, 2.7),
        format="svg",
        table=table(
            ["step", "learning rate"],
            [[n, words.cell(r)] for n, r in zip(counts[kept], rates[kept].tolist(), strict=True)],
        ),
    )
