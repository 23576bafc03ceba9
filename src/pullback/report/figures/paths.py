"""Paths over a surface with the length of each step, and the same rules on the same gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...paths import CLAIMED_ON_A_PLATEAU, CLAIMED_WHERE_GRADIENTS_VANISH
from .. import words
from . import ink
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from ...paths import Magnitudes, Path, Picture

_SHORTEST = 1e-7  # shorter steps lie on the lower edge: a method that has arrived
_ROWS = (0, 1, 2, 5, 10, 20, 50, 100, 200)


def surface_paths(picture: Picture) -> Figure:
    """Draw the map of a surface with the paths over it, and the length of each step beside it."""
    ends = ", ".join(
        f"{_name(path)} {words.number(float(path.values[-1]))}" for path in picture.paths
    )
    return Figure(
        id=f"paths-{picture.name}",
        title=picture.name.replace("-", " ").capitalize(),
        caption="Left: lines of equal value, each two with an equal share of the map between them. "
        "Every path begins at the ring, and is drawn as far as it stays near the window. "
        f"{_cross(picture)}Right: the length of each step; what is shorter than "
        f"{words.number(_SHORTEST)} lies on the lower edge.",
        alt=f"Paths of {words.plural(len(picture.paths), 'rule')} over the surface "
        f"{picture.name}; the values where they end: {ends}.",
        image=ink.svg(lambda canvas: _paint(canvas, picture), 10.8, 4.6),
        format="svg",
        table=table(
            ["what walks", "learning rate", "steps", "x", "y", "value", "longest step"],
            [
                [
                    path.label,
                    words.cell(path.rate),
                    len(path.updates),
                    *(words.cell(float(x)) for x in path.points[-1]),
                    words.cell(float(path.values[-1])),
                    words.cell(float(path.updates.max(initial=0))),
                ]
                for path in picture.paths
            ],
        ),
        wide=True,
    )


def update_magnitudes(found: Sequence[Magnitudes]) -> Figure:
    """Draw how long the steps of rules are that all see the same gradients."""

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axes, situation in zip(panels, found, strict=True):
            for n, (name, updates) in enumerate(situation.updates.items()):
                steps = np.arange(1, len(updates) + 1) - situation.flat
                axes.plot(steps, updates, label=name, **ink.nth(n))
            if situation.flat:
                axes.axvline(0.5, color=ink.QUIET, linewidth=0.8)
            axes.set(yscale="log", title=situation.title)
            ink.log_ticks(axes.yaxis)
        canvas.supxlabel("step on the plateau", fontsize=9, color=ink.QUIET)
        canvas.supylabel("length of the step (log scale)", fontsize=9, color=ink.QUIET)
        ink.legend(canvas, panels[0], columns=8)

    rows = [n for n in _ROWS if all(n < len(each.updates["sgd"]) - each.flat for each in found)]
    return Figure(
        id="update-magnitudes",
        title="Length of the steps on a plateau",
        caption="All rules have one learning rate and see the same gradients of one number. On a "
        "plateau where they begin, those that divide by the root of past squares take long steps "
        "however small the gradient is, and descent and momentum stand still. On one that they "
        "reach down a slope, momentum carries on, and what the slope left in the squares holds the "
        "others back: AdaGrad for good. The sheets' order on a plateau, "
        f"{' > '.join(CLAIMED_ON_A_PLATEAU)}, is that of the right panel alone; their order where "
        f"gradients vanish, {' > '.join(CLAIMED_WHERE_GRADIENTS_VANISH)}, is never met.",
        alt="; ".join(
            f"{each.title}: after {n} steps, from the longest to the shortest, "
            f"{', '.join(each.order(n))}"
            for each in found
            for n in (0, rows[-1])
        ),
        image=ink.svg(paint, 10.8, 4.0),
        format="svg",
        table=table(
            ["situation", "step", *found[0].updates],
            [
                [each.title, n + 1, *(words.cell(u[each.flat + n]) for u in each.updates.values())]
                for each in found
                for n in rows
            ],
        ),
        wide=True,
    )


def _paint(canvas: Canvas, picture: Picture) -> None:
    left, right = canvas.subplots(1, 2, width_ratios=(1.35, 1))
    ink.ground(left, picture.x, picture.y, picture.field)
    for n, path in enumerate(picture.paths):
        _draw_path(left, path, picture, ink.nth(n))
        steps = np.arange(1, len(path.updates) + 1)
        right.plot(steps, np.maximum(path.updates, _SHORTEST), **ink.nth(n))
    if picture.surface.minimum is not None:
        left.plot(*picture.surface.minimum, "x", color=ink.INK, markersize=8, zorder=5)
    left.plot(*picture.surface.start, "o", mfc="none", color=ink.INK, markersize=8, zorder=5)
    across, up = picture.surface.window
    left.set(xlim=across, ylim=up, xlabel="x", ylabel="y")
    longest = max(across[1] - across[0], up[1] - up[0])
    shortest = min(path.updates.min(initial=longest) for path in picture.paths)
    right.set(yscale="log", ylim=(max(shortest, _SHORTEST) / 2, 3 * longest), xlabel="step")
    right.set_ylabel("length of the step (log scale)")
    ink.log_ticks(right.yaxis)
    ink.legend(canvas, left, columns=7)


def _draw_path(axes: Axes, path: Path, picture: Picture, style: dict[str, Any]) -> None:
    """Draw a path as far as it stays near the window, with a dot for each of few steps."""
    low, high = np.array(picture.surface.window).T
    margin = high - low
    near = np.all((low - margin <= path.points) & (path.points <= high + margin), axis=1)
    kept = path.points[: len(near) if near.all() else max(int(near.argmin()), 1)]
    marker = "o" if len(kept) <= 40 else ""
    axes.plot(*kept.T, label=_name(path), marker=marker, markersize=3, **style)


def _name(path: Path) -> str:
    return path.label if path.rate is None else f"{path.label} {path.rate:g}"


def _cross(picture: Picture) -> str:
    return "" if picture.surface.minimum is None else "The cross is the lowest point. "
