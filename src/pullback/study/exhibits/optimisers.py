"""The sheets' rules over surfaces, and how long their steps are on a plateau."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ...paths import (
    CLAIMED_ON_A_PLATEAU,
    CLAIMED_WHERE_GRADIENTS_VANISH,
    USUAL,
    Magnitudes,
    Picture,
    picture,
    plateau_magnitudes,
    surface_of,
    walker,
)
from ..chart import Chart, Curve, Panel, Plane
from .core import Given, Shown

_CELLS = 51


def optimiser_paths(
    given: Given,
    *,
    surfaces: tuple[str, ...] = ("narrow-bowl", "plateau", "steep-then-flat"),
    walkers: tuple[str, ...] = USUAL,
    steps: int = 100,
    after: int = 10,
) -> Shown:
    """Let rules walk over surfaces, each with the best of some rates, and measure their steps.

    Numbers: of each surface and walker the value where it ended, "plateau.adam" for one. Of the
    sheets' orders of the lengths of steps on a plateau, `after` steps on it, the share of pairs
    that are as they say: "three-after-a-slope" and "three-from-the-start" of momentum, Adam and
    AdaGrad; "eight-after-a-slope" and "eight-from-the-start" of the eight where gradients vanish.
    """
    walks = [walker(each) for each in walkers]
    pictures = [picture(name, surface_of(name), walks, steps) for name in surfaces]
    begun, reached = plateau_magnitudes()
    numbers = {
        f"{each.name}.{path.label}": float(path.values[-1])
        for each in pictures
        for path in each.paths
    }
    for count, claimed in (
        ("three", CLAIMED_ON_A_PLATEAU),
        ("eight", CLAIMED_WHERE_GRADIENTS_VANISH),
    ):
        numbers[f"{count}-after-a-slope"] = _agreement(reached, claimed, after)
        numbers[f"{count}-from-the-start"] = _agreement(begun, claimed, after)
    return Shown(
        numbers,
        (
            *(_over(each) for each in pictures),
            _down(pictures, steps),
            _lengths((begun, reached)),
        ),
    )


def _agreement(found: Magnitudes, claimed: Sequence[str], after: int) -> float:
    """The share of pairs of rules of which the one that is claimed to step further does."""
    pairs = list(itertools.combinations(claimed, 2))
    length = {name: found.updates[name][found.flat + after] for name in claimed}
    return float(np.mean([length[first] > length[second] for first, second in pairs]))


def _over(found: Picture) -> Chart:
    """The paths over the map; what leaves it is not drawn beyond it."""
    (left, right), (below, above) = found.surface.window
    thin = np.linspace(0, len(found.x) - 1, min(len(found.x), _CELLS)).astype(int)
    curves = []
    for path in found.paths:
        x, y = path.points.T
        inside = (left <= x) & (x <= right) & (below <= y) & (y <= above)
        rate = "" if path.rate is None else f", rate {path.rate:g}"
        curves.append(
            Curve(
                name=path.label + rate, x=np.where(inside, x, np.nan), y=np.where(inside, y, np.nan)
            )
        )
    return Chart(
        id=f"over-{found.name}",
        title=f"Paths over the surface {found.name}",
        caption="Lines of equal value. Each rule has the best learning rate of 1, 2 and 5 in "
        "every power of ten with which it stays on the map; second-order methods find their own.",
        x="θ1",
        y="θ2",
        panels=(
            Panel(
                curves=tuple(curves),
                plane=Plane(
                    x=found.x[thin],
                    y=found.y[thin],
                    values=tuple(found.field[np.ix_(thin, thin)]),
                ),
            ),
        ),
    )


def _down(pictures: Sequence[Picture], steps: int) -> Chart:
    def above(found: Picture, values: np.ndarray) -> np.ndarray:
        lowest = min(path.values.min() for path in found.paths)
        if found.surface.minimum is not None:
            lowest = min(lowest, found.field.min())
        return np.maximum(values - lowest, 1e-12)

    return Chart(
        id="values",
        title="How they come down",
        caption="How far each is above the lowest value that any of them, or the map, has seen; "
        "what is less than 10⁻¹² is drawn there.",
        x="step",
        y="value above the lowest",
        panels=tuple(
            Panel(
                title=each.name,
                curves=tuple(
                    Curve(name=path.label, x=range(len(path.values)), y=above(each, path.values))
                    for path in each.paths
                ),
            )
            for each in pictures
        ),
        log="y",
    )


def _lengths(situations: Sequence[Magnitudes]) -> Chart:
    return Chart(
        id="lengths",
        title="Length of the steps on a plateau",
        caption="All rules have one learning rate and see the same gradients of one number. On a "
        "plateau where they begin, those that divide by the root of past squares take long steps. "
        "On one that they reach down a slope, what the slope left in the squares holds them back.",
        x="step on the plateau",
        y="length of the step",
        panels=tuple(
            Panel(
                title=each.title,
                curves=tuple(
                    Curve(
                        name=name,
                        x=np.arange(1, len(updates) + 1) - each.flat,
                        y=np.where(updates > 0, updates, np.nan),
                    )
                    for name, updates in each.updates.items()
                ),
            )
            for each in situations
        ),
        log="y",
    )
