"""Tuning: why values are drawn on a logarithmic scale, and at random rather than on a grid."""

from __future__ import annotations

import numpy as np

from ..chart import Chart, Curve, Panel, Plane, chart
from .core import Given, Shown

_DECADES = ("10⁻⁴ to 10⁻³", "10⁻³ to 10⁻²", "10⁻² to 10⁻¹", "10⁻¹ to 1")


def search_scales(given: Given, *, draws: int = 4_000, side: int = 5, searches: int = 400) -> Shown:
    """Draw a learning rate and a momentum on several scales, and search a plane in two ways.

    A rate in [10⁻⁴, 1] is drawn linearly and by its logarithm; a momentum β in [0.9, 0.999]
    linearly and by the logarithm of 1 − β, since it averages over about 1/(1 − β) steps. And
    `side`² points of a plane, of which one coordinate matters and the other hardly does, are taken
    on a grid and at random.

    Source:  Neural Networks, §8 and Remark 8.1; Bergstra & Bengio 2012

    Numbers: "linear-top" and "log-top", the shares of the rates in the top decade; "linear-long"
    and "log-long", the shares of the momenta that average over more than 100 steps; "grid-values"
    and "random-values", how many values of the coordinate that matters were tried;
    "grid-loss" and "random-loss", the mean of the best found over many such planes.
    """
    rng = np.random.default_rng(given.seed)
    rates = {scale: _draw(scale, 1e-4, 1.0, rng.uniform(size=draws)) for scale in ("linear", "log")}
    momenta = {
        scale: _draw(scale, 0.9, 0.999, rng.uniform(size=draws))
        for scale in ("linear", "log-one-minus")
    }
    shares = {
        scale: np.histogram(np.log10(found), bins=[-4, -3, -2, -1, 0])[0] / draws
        for scale, found in rates.items()
    }
    grid, random, losses = _search(side, searches, rng)
    points = np.linspace(0, 1, 60)
    field = np.array([[_loss(x, y, 0.37) for x in points] for y in points])
    return Shown(
        {
            "linear-top": float(shares["linear"][-1]),
            "log-top": float(shares["log"][-1]),
            "linear-long": float((momenta["linear"] > 0.99).mean()),
            "log-long": float((momenta["log-one-minus"] > 0.99).mean()),
            "grid-values": float(len(np.unique(grid[:, 0]))),
            "random-values": float(len(np.unique(random[:, 0]))),
            "grid-loss": float(losses["grid"].mean()),
            "random-loss": float(losses["random"].mean()),
        },
        (
            chart(
                "decades",
                "Where learning rates fall",
                f"Shares of {draws} draws from 0.0001 to 1 in each power of ten.",
                "learning rate",
                "share of the draws",
                [
                    Curve(name=f"scale: {scale}", x=range(4), y=found)
                    for scale, found in shares.items()
                ],
                bars=True,
                ticks=_DECADES,
                percent=True,
            ),
            Chart(
                id="points",
                title="A grid and random points",
                caption="As many points on a plane of which only the horizontal coordinate matters "
                "much: the grid tries few of its values, each several times.",
                x="what matters",
                y="what hardly does",
                panels=tuple(
                    Panel(
                        title=name,
                        plane=Plane(x=points, y=points, values=tuple(field)),
                        curves=(Curve(name="tried", x=found[:, 0], y=found[:, 1], dots=True),),
                    )
                    for name, found in (("grid", grid), ("random", random))
                ),
                equal=True,
            ),
        ),
    )


def _draw(scale: str, low: float, high: float, u: np.ndarray) -> np.ndarray:
    """Bring uniform numbers u to a range, on one of the scales of [tune]."""
    if scale == "linear":
        return low + (high - low) * u
    if scale == "log":
        return low * (high / low) ** u
    return 1 - _draw("log", 1 - high, 1 - low, u)


def _loss(x, y, best: float):
    """Least at x = best; y moves it by a hundredth of what x does."""
    return (x - best) ** 2 + 0.01 * (y - 0.5) ** 2


def _search(side: int, searches: int, rng: np.random.Generator):
    """Points of the last search of both kinds, and the best loss of every search."""
    line = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    found = {"grid": np.empty(searches), "random": np.empty(searches)}
    random = grid
    for n in range(searches):
        best, random = rng.uniform(), rng.uniform(size=grid.shape)
        for name, points in (("grid", grid), ("random", random)):
            found[name][n] = _loss(points[:, 0], points[:, 1], best).min()
    return grid, random, found
