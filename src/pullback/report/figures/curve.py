"""Functions of one number beside their derivatives, for the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import words
from . import ink
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from ...catalogue.curves import Plot

_ROWS = 24


def function(id: str, title: str, plot: Plot) -> Figure:
    """Draw every curve of a plot, its value solid and its derivative dashed."""
    several = len(plot.curves) > 1

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.axhline(0, color=ink.RULE, linewidth=1)
        for n, curve in enumerate(plot.curves):
            first, second = (n, n) if several else (0, 1)
            of = f" {curve.name}" if several else ""
            value, slope = _unbroken(curve.value), _unbroken(curve.slope)
            axes.plot(curve.x, value, color=ink.PALETTE[first], label=f"value{of}")
            axes.plot(
                curve.x,
                slope,
                color=ink.PALETTE[second],
                linestyle=ink.DASHES[1],
                label=f"derivative{of}",
            )
        axes.set_xlabel(plot.axis)
        ink.legend(canvas, axes, columns=2)

    kept = slice(None, None, len(plot.curves[0].x) // _ROWS)
    header, columns = [plot.axis], [plot.curves[0].x[kept]]
    for curve in plot.curves:
        header += [f"value, {curve.name}", f"derivative, {curve.name}"]
        columns += [curve.value[kept], curve.slope[kept]]
    rows = [[words.cell(float(number)) for number in row] for row in zip(*columns, strict=True)]
    low, high = plot.curves[0].x[[0, -1]]
    values = np.concatenate([curve.value for curve in plot.curves])
    return Figure(
        id=id,
        title=title,
        caption=f"{plot.about}: value and derivative, drawn by forward and reverse.",
        alt=f"{title} from {plot.axis} = {low:g} to {high:g}: values from "
        f"{words.number(float(values.min()))} to {words.number(float(values.max()))}.",
        image=ink.svg(paint, 3.9, 2.7),
        format="svg",
        table=table(header, rows),
    )


def _unbroken(values: np.ndarray) -> np.ndarray:
    """Values with a gap where they jump, so that no line is drawn up a step."""
    steps = np.abs(np.diff(values))
    jumps = steps > max(20 * float(np.median(steps)), 0.2 * float(np.ptp(values)))
    broken = values.astype(float).copy()
    broken[1:][jumps] = np.nan
    return broken
