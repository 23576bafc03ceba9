"""The errors against the number of examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import words
from . import ink
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from ...diagnose import LearningCurve


def learning_curve(found: LearningCurve) -> Figure:
    """Draw the errors of both parts against the number of examples, with their spread."""
    sizes = [point.size for point in found.points]
    curves = {
        "train": [point.train for point in found.points],
        "validation": [point.validation for point in found.points],
    }
    seeds = len(curves["train"][0])

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for part, values in curves.items():
            errors, style = np.array(values), ink.PARTS[part]
            axes.fill_between(
                sizes,
                errors.min(axis=1),
                errors.max(axis=1),
                color=style["color"],
                alpha=0.15,
                linewidth=0,
            )
            ink.curve(axes, sizes, errors.mean(axis=1).tolist(), **style, label=part)
        if found.next_error is not None:
            expected, colour = 2 * sizes[-1], ink.PARTS["validation"]["color"]
            axes.plot(
                [expected],
                [found.next_error],
                marker="o",
                markerfacecolor=ink.PAPER,
                linestyle="",
                color=colour,
                label=f"expected of {words.count(expected)}",
            )
        axes.set(xscale="log", xlabel="training examples (log scale)", ylabel="error")
        axes.set_ylim(bottom=0)
        axes.set_xticks(sizes, [words.count(size) for size in sizes])
        axes.minorticks_off()
        ink.percent_ticks(axes)
        ink.legend(canvas, axes)

    def said(errors: tuple[float, ...]) -> str:
        return words.percent(float(np.mean(errors)))

    return Figure(
        id="learning-curve",
        title="Error against number of examples",
        caption=f"Means of {words.plural(seeds, 'seed')}, and their range. Every training took "
        f"{words.plural(found.steps, 'step')}.",
        alt="; ".join(
            f"{words.plural(point.size, 'example')}: train {said(point.train)}, validation "
            f"{said(point.validation)}"
            for point in found.points
        ),
        image=ink.svg(paint, 7.6, 4.4),
        format="svg",
        table=table(
            ["examples", "seed", "training error", "validation error"],
            [
                [point.size, n, words.cell(train), words.cell(validation)]
                for point in found.points
                for n, (train, validation) in enumerate(
                    zip(point.train, point.validation, strict=True)
                )
            ],
        ),
        wide=True,
    )
