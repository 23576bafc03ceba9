"""The gradient check: analytic derivatives against central differences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import words
from ..history import History
from . import ink
from .figure import Absent, Figure, table, thin

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_MOST_DRAWN = 4000
_MOST_BLOCKS = 40
_WORST = 20
_MISSING = "the derivatives of this run were not checked; `pullback check` does it"


class _Entry(NamedTuple):
    block: str
    place: str
    analytic: float
    numeric: float
    ok: bool

    @property
    def along(self) -> bool:
        """Whether it is a derivative along a direction, in which every entry takes part."""
        return self.place == "direction"

    @property
    def apart(self) -> float:
        """|analytic − numeric|."""
        return abs(self.analytic - self.numeric)


def check_scatter(history: History) -> Figure | Absent:
    """Draw every checked derivative: its analytic size against its numeric one."""
    title = "Analytic against numeric"
    row = history.last("check")
    if row is None:
        return Absent("check-scatter", title, _MISSING)
    entries = _entries(row)
    finite = [e for e in entries if math.isfinite(e.analytic) and math.isfinite(e.numeric)]
    sizes = [abs(v) for e in finite for v in (e.analytic, e.numeric) if v]
    if not sizes:
        return Absent(
            "check-scatter", title, "no derivative that was checked is finite and not zero"
        )
    worst = sorted(entries, key=lambda e: -e.apart if math.isfinite(e.apart) else -math.inf)[
        :_WORST
    ]
    floor = 10.0 ** math.floor(math.log10(min(sizes)))
    ceiling = 10.0 ** math.ceil(math.log10(max(sizes)) + 1e-9)
    # The worst are drawn whatever is left out.
    drawn = list(dict.fromkeys(thin(finite, _MOST_DRAWN) + [e for e in worst if e in finite]))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.plot([floor, ceiling], [floor, ceiling], color=ink.QUIET, linewidth=1, label="equal")
        groups = (
            ("entry", [e for e in drawn if e.ok and not e.along], "o", ink.PALETTE[0]),
            ("direction", [e for e in drawn if e.ok and e.along], "D", ink.PALETTE[4]),
            ("in a failed block", [e for e in drawn if not e.ok], "X", ink.PALETTE[1]),
        )
        for label, group, marker, colour in groups:
            if group:
                x = [max(abs(e.numeric), floor) for e in group]
                y = [max(abs(e.analytic), floor) for e in group]
                style: dict[str, Any] = {
                    "marker": marker,
                    "color": colour,
                    "linewidths": 0,
                    "alpha": 0.7,
                }
                axes.scatter(x, y, s=16, label=label, rasterized=len(drawn) > 300, **style)
        axes.set(xscale="log", yscale="log", xlabel="|numeric|", ylabel="|analytic|")
        axes.set(xlim=(floor / 1.5, ceiling * 1.5), ylim=(floor / 1.5, ceiling * 1.5))
        ink.log_ticks(axes.xaxis)
        ink.log_ticks(axes.yaxis)
        ink.legend(canvas, axes)

    caption = (
        f"{words.plural(len(drawn), 'derivative')} on {words.plural(row['examples'], 'example')}"
        " in float64, analytic against central differences; on the line they are equal."
        " Zeros lie on the edge."
    )
    if len(drawn) < len(entries):
        caption += f" Of {words.count(len(entries))} checked, these are drawn."
    flipped = sum(e.analytic * e.numeric < 0 for e in drawn if not e.ok)
    if flipped:
        caption += f" {flipped} of the wrong ones differ in sign, which the axes do not show."
    return Figure(
        id="check-scatter",
        title=title,
        caption=caption + " The table lists those that are furthest apart.",
        alt=f"{words.plural(len(drawn), 'dot')}, {sum(not e.ok for e in drawn)} of them in blocks "
        f"that failed; the furthest apart differ by {words.number(worst[0].apart)}.",
        image=ink.svg(paint, 5.4, 4.4),
        format="svg",
        table=table(
            ["block", "entry", "analytic", "numeric", "apart"],
            [
                [
                    e.block,
                    e.place,
                    words.cell(e.analytic, 8),
                    words.cell(e.numeric, 8),
                    words.cell(e.apart),
                ]
                for e in worst
            ],
        ),
    )


def _entries(row: dict[str, Any]) -> list[_Entry]:
    """List what was compared: entries of each block, and directions, which have no index."""
    ok = {block["name"]: block["ok"] for block in row["blocks"]}
    entries = [
        _Entry(block["name"], str(tuple(e["index"])), e["analytic"], e["numeric"], block["ok"])
        for block in row["blocks"]
        for e in block["entries"]
    ]
    return entries + [
        _Entry(e["name"], "direction", e["analytic"], e["numeric"], ok[e["name"]])
        for e in row["directions"]
    ]


def check_blocks(history: History) -> Figure | Absent:
    """Draw the relative error of each block of parameters beside the threshold."""
    title = "Relative error of each block"
    row = history.last("check")
    if row is None:
        return Absent("check-blocks", title, _MISSING)
    threshold = row["threshold"]
    errors = sorted(
        ((_error(block), block["name"], block["ok"]) for block in row["blocks"]),
        key=lambda block: -block[0] if math.isfinite(block[0]) else -math.inf,
    )
    shown = errors[:_MOST_BLOCKS]
    finite = [error for error, _, _ in shown if math.isfinite(error) and error > 0]
    floor, ceiling = min([threshold, *finite]) / 10, max([threshold, *finite]) * 10

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for label, ok, marker, colour in (
            ("within", True, "o", ink.PALETTE[0]),
            ("wrong", False, "X", ink.PALETTE[1]),
        ):
            at = [n for n, block in enumerate(shown) if block[2] is ok]
            # What is no number is as wrong as can be drawn.
            ends = [
                min(max(shown[n][0], floor), ceiling) if math.isfinite(shown[n][0]) else ceiling
                for n in at
            ]
            if at:
                axes.hlines(at, floor, ends, color=colour, linewidth=1.4)
                axes.scatter(ends, at, color=colour, marker=marker, s=30, label=label, zorder=3)
        axes.axvline(threshold, color=ink.INK, linestyle=ink.DASHES[1], lw=1.2, label="threshold")
        axes.set(xscale="log", xlim=(floor, ceiling * 2), xlabel="relative error (log scale)")
        axes.set_yticks(range(len(shown)), [words.short(name) for _, name, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        ink.log_ticks(axes.xaxis)
        ink.legend(canvas, axes)

    caption = (
        "Relative error of each block of parameters: of its entries, or along random directions,"
        f" whichever is greater. Threshold {words.number(threshold)}."
    )
    if len(shown) < len(errors):
        caption += f" The worst {len(shown)} of {len(errors)} blocks are drawn."
    worst, name, _ = errors[0]
    return Figure(
        id="check-blocks",
        title=title,
        caption=caption,
        alt=f"{words.plural(len(errors), 'block')}, {sum(not ok for _, _, ok in errors)} above the "
        f"threshold; the worst is {words.short(name)}, {words.number(worst)}.",
        image=ink.svg(paint, 5.4, 1.3 + 0.26 * max(len(shown), 3)),
        format="svg",
        table=table(
            ["block", "relative error", "threshold", "verdict"],
            [
                [name, words.cell(error), words.cell(threshold), "right" if ok else "wrong"]
                for error, name, ok in errors
            ],
        ),
    )


def _error(block: dict[str, Any]) -> float:
    """Return the greater of a block's errors; nan, where one is no number."""
    errors = (block["error"], block["along_error"])
    return math.nan if any(map(math.isnan, errors)) else max(errors)
