"""How much of the loss's derivative arrives at each layer of trained networks."""

from __future__ import annotations

import re

import numpy as np

from ...record import Record
from ...runs import RunFolder
from ..chart import Curve, chart
from .core import Given, Shown


def gradient_flow(given: Given) -> Shown:
    """Hold the norms of δ, the cotangent of each affine layer's output, against those of the last.

    They are those that each run recorded in its last epoch, over one mini-batch. The output's δ is
    y − t over the batch for cross-entropy, and so of one size whatever the depth; what is told is
    how it grows or fades on its way to the input.

    Numbers, of each arm: "ARM.first-over-output", ‖δ₁‖/‖δ_L‖, L the number of affine layers;
    "ARM.first-over-last", ‖δ₁‖/‖δ_{L−1}‖, the first hidden layer's against the last one's;
    "ARM.per-layer", the geometric mean of the growth from one hidden layer to the one before it,
    nan where there is one.
    """
    numbers, curves, updates = {}, [], []
    for arm, run in given.runs.items():
        layers = _last(run)
        delta = np.array([layers[name]["delta"] for name in layers])
        hidden = len(delta) - 1
        grown = delta[0] / delta[-2] if hidden else np.nan
        numbers |= {
            f"{arm}.first-over-output": float(delta[0] / delta[-1]),
            f"{arm}.first-over-last": float(grown),
            f"{arm}.per-layer": float(grown ** (1 / (hidden - 1))) if hidden > 1 else np.nan,
        }
        at = np.arange(1, len(delta) + 1)
        curves.append(Curve(name=arm, x=at, y=delta / delta[-1]))
        updates.append(Curve(name=arm, x=at, y=[layers[name]["ratio"] for name in layers]))
    return Shown(
        numbers,
        (
            chart(
                "flow-by-layer",
                "Gradient flow by layer",
                "Norm of δ at the output of each affine layer over that at the output of the "
                "network, at the end of training. A curve that falls to the left is a gradient "
                "that vanishes towards the input.",
                "affine layer, from the input",
                "‖δ‖ over the output's",
                curves,
                log="y",
            ),
            chart(
                "ratio-by-layer",
                "Update over weight by layer",
                "How far the last recorded update moved the weights of each layer, relative to "
                "their size.",
                "affine layer, from the input",
                "update / weight, norms",
                updates,
                log="y",
            ),
        ),
    )


def _last(run) -> dict[str, dict[str, float]]:
    """The norms of the affine layers in the last epoch that was watched, from the input on."""
    rows = list(Record.read(RunFolder.open(run).metrics).rows("layers"))
    found = rows[-1]["layers"]
    names = [name for name in found if re.fullmatch(r"affine\d+", name)]
    return {name: found[name] for name in sorted(names, key=lambda n: int(n[len("affine") :]))}
