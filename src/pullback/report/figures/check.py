"""The gradient check: analytic derivatives against central differences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import words
from . import ink
from .figure import Absent, Figure, table, thin
from ..history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_MOST_DRAWN = 4000
_MOST_BLOCKS = 40
_WORST = 20
_MISSING = "the derivatives of this run were not checked; `pullback check` does it"


class _Entry(NamedTuple):
    block: str
    index: str
    analytic: float
    numeric: float
    ok: bool

    @property
    def along(self) -> bool:
        """Whether it is a derivative along a direction, in which every entry takes part."""
        return self.index == "direction"

    @property
    def apart(self) -> float:
        """|analytic − numeric|."""
        return abs(self.analytic - self.numeric)


def check_scatter(history: History) -> Figure | Absent:
    """Draw every checked derivative: its analytic value against its numeric one, on logarithmic axes."""
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
        f"{words.plural(len(drawn), 'derivative')} on {words.plural(row['examples'], 'example')} in float64, "
        "analytic against central differences; on the line they are equal. Zeros lie on the edge."
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
        alt=f"{words.plural(len(drawn), 'dot')}, {sum(not e.ok for e in drawn)} of them in blocks that "
        f"failed; the furthest apart differ by {words.number(worst[0].apart)}.",
        image=ink.svg(paint, 5.4, 4.4),
        format="svg",
        table=table(
            ["block", "entry", "analytic", "numeric", "apart"],
            [
                [
                    e.block,
                    e.index,
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
    blocks = sorted(
        row["blocks"], key=lambda b: -b["error"] if math.isfinite(b["error"]) else -math.inf
    )
    shown = blocks[:_MOST_BLOCKS]
    finite = [b["error"] for b in shown if math.isfinite(b["error"]) and b["error"] > 0]
    floor = min([threshold, *finite]) / 10

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        ceiling = max([threshold, *finite]) * 10
        at = np.arange(len(shown))
        error = [
            min(max(b["error"], floor), ceiling) if math.isfinite(b["error"]) else ceiling
            for b in shown
        ]
        colours = [ink.PALETTE[0] if b["ok"] else ink.PALETTE[1] for b in shown]
        axes.hlines(at, floor, error, color=colours, linewidth=1.4)
        for ok, marker in ((True, "o"), (False, "X")):
            mine = [i for i in at if shown[i]["ok"] is ok]
            axes.scatter(
                [error[i] for i in mine],
                mine,
                color=ink.PALETTE[0 if ok else 1],
                marker=marker,
                s=30,
                label="within" if ok else "wrong",
                zorder=3,
            ) if mine else None
        axes.axvline(
            threshold, color=ink.INK, linestyle=ink.DASHES[1], linewidth=1.2, label="threshold"
        )
        axes.set(xscale="log", xlabel="relative error (log scale)", xlim=(floor, ceiling * 2))
        axes.set_yticks(at, [words.short(b["name"]) for b in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        ink.log_ticks(axes.xaxis)
        ink.legend(canvas, axes)

    wrong = [b for b in row["blocks"] if not b["ok"]]
    caption = f"Relative error of the derivative in each block, the threshold at {words.number(threshold)}."
    if len(shown) < len(blocks):
        caption += f" The worst {len(shown)} of {len(blocks)} blocks are drawn."
    return Figure(
        id="check-blocks",
        title=title,
        caption=caption,
        alt=f"{words.plural(len(blocks), 'block')}, {len(wrong)} above the threshold; the worst is "
        f"{words.short(blocks[0]['name'])}, {words.number(blocks[0]['error'])}.",
        image=ink.svg(paint, 5.4, 1.3 + 0.26 * max(len(shown), 3)),
        format="svg",
        table=table(
            ["block", "relative error", "threshold", "verdict"],
            [
                [
                    b["name"],
                    words.cell(b["error"]),
                    words.cell(threshold),
                    "right" if b["ok"] else "wrong",
                ]
                for b in blocks
            ],
        ),
    )
