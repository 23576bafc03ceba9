"""The check of the whole catalogue: every error of every class beside the three thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...catalogue.verification import AUTODIFF, DIFFERENCES, FLOAT32, Row, Verification
from .. import words
from . import ink
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_LOW, _HIGH = 1e-18, 1e2
_PANELS = (
    ("differences", "central differences, float64", DIFFERENCES),
    ("autodiff", "autodiff, float64", AUTODIFF),
    ("float32", "float32 against float64", FLOAT32),
)
_WIDTH, _LINE = 10.8, 0.172


def verification(outcome: Verification) -> Figure:
    """Draw the errors of all rows: a line for each class, a panel for each oracle."""
    return Figure(
        id="verification",
        title="Every derivative of the catalogue",
        caption="The relative errors of every case, in each of its modes: a dot each. Zeros lie on "
        "the left edge, what is no number on the right one. A dot at or beyond the dashed line "
        "fails.",
        alt=f"{words.plural(len(outcome.rows), 'check')} of "
        f"{words.plural(len(_names(outcome.rows)), 'class')}, "
        f"{sum(not row.ok for row in outcome.rows)} of which fail; the worst error against central "
        f"differences is {words.number(outcome.worst('differences'))}, against autodiff "
        f"{words.number(outcome.worst('autodiff'))}, of float32 "
        f"{words.number(outcome.worst('float32'))}.",
        image=ink.svg(lambda canvas: _paint(canvas, outcome), _WIDTH, _height(outcome)),
        format="svg",
        table=table(
            ["class", "case", "mode", "derivatives", "differences", "autodiff", "float32", "is"],
            [
                [
                    row.name,
                    row.case,
                    row.mode,
                    row.entries,
                    words.cell(row.differences, 2),
                    words.cell(row.autodiff, 2),
                    words.cell(row.float32, 2),
                    "right" if row.ok else "WRONG",
                ]
                for row in outcome.rows
            ],
        ),
        wide=True,
    )


def verification_png(outcome: Verification) -> bytes:
    """The same picture, as pixels."""
    return ink.png(lambda canvas: _paint(canvas, outcome), _WIDTH, _height(outcome))


def _height(outcome: Verification) -> float:
    return 1.1 + _LINE * len(_names(outcome.rows))


def _names(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.kind, row.name) for row in rows))


def _paint(canvas: Canvas, outcome: Verification) -> None:
    names = _names(outcome.rows)
    line = {name: n for n, name in enumerate(names)}
    panels = canvas.subplots(1, len(_PANELS), sharey=True)
    for axes, (error, title, threshold) in zip(panels, _PANELS, strict=True):
        for ok, marker, colour in ((True, "o", ink.PALETTE[0]), (False, "X", ink.ALARM)):
            dots = [
                (_place(getattr(row, error)), line[row.kind, row.name])
                for row in outcome.rows
                if row.ok is ok and getattr(row, error) is not None
            ]
            if dots:
                x, y = zip(*dots, strict=True)
                axes.scatter(x, y, s=14, marker=marker, color=colour, alpha=0.6, linewidths=0)
        axes.axvline(threshold, color=ink.INK, linestyle=ink.DASHES[1], linewidth=1.2)
        axes.set(xscale="log", xlim=(_LOW / 3, _HIGH * 3), title=title)
        ink.log_ticks(axes.xaxis)
    panels[0].set_yticks(range(len(names)), [name for _, name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    canvas.supxlabel("relative error (log scale)", fontsize=9, color=ink.QUIET)


def _place(error: float) -> float:
    """Where an error is drawn: what is no number is as wrong as can be."""
    return min(max(error, _LOW), _HIGH) if math.isfinite(error) else _HIGH
