"""Early stopping beside L2, as the slides have it: α ≈ 1/(τε)."""

from __future__ import annotations

import numpy as np

from ... import early_stopping
from ..chart import Curve, chart
from .core import Given, Shown


def early_stopping_is_l2(
    given: Given,
    *,
    learning_rate: float = 0.05,
    steps: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
) -> Shown:
    """Hold stopped descent against ridge regression with α = 1/(τε) on one linear regression.

    Numbers: "largest-gap", of the shares 1 − e⁻ˢ and s/(1 + s) of the way to the minimum, over
    s = τελ; "gap-at", the s where it is; "first-distance" and "largest-distance", of the weights.
    """
    x, t = early_stopping.example()
    found = early_stopping.compare(x, t, learning_rate, tuple(steps))
    pace = np.geomspace(0.01, 100, 400)
    small = 1e-4
    counts = np.maximum(np.round(pace / small), 1)
    descent = early_stopping.descent_share(1.0, small, counts)
    ridge = early_stopping.ridge_share(1.0, 1 / (counts * small))
    gap = descent - ridge
    return Shown(
        {
            "largest-gap": float(gap.max()),
            "gap-at": float(counts[gap.argmax()] * small),
            "first-distance": float(found.distances[0]),
            "largest-distance": float(found.distances.max()),
        },
        (
            chart(
                "shares",
                "How far along one curvature",
                "What share of the way to the minimum is gone along a curvature λ after τ steps of "
                "size ε, beside a penalty of strength α = 1/(τε).",
                "τελ",
                "share of the way",
                [
                    Curve(name="descent, stopped", x=pace, y=descent),
                    Curve(name="L2", x=pace, y=ridge),
                    Curve(name="how far apart", x=pace, y=gap),
                ],
                log="x",
            ),
            chart(
                "distance",
                "Weights of a regression",
                "Of a linear regression with eight curvatures over three powers of ten: how far "
                "stopped descent is from ridge regression, and from the minimum.",
                "steps τ",
                "relative distance",
                [
                    Curve(name="to ridge", x=found.steps, y=found.distances),
                    Curve(name="to the minimum", x=found.steps, y=found.remaining),
                ],
                log="xy",
            ),
        ),
    )
