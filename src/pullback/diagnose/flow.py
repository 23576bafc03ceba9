"""How gradients flow through the layers, and how far updates move them: from the recorded norms."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .finding import Finding, listed

# A δ so many times smaller or larger than at the last layer, or a gradient than at the start.
FADED, GROWN = 1e-3, 1e3
# The rule of thumb is an update of a thousandth of the weight, and a hundred times each way.
SMALL, LARGE = 1e-5, 1e-1

VANISHING_NEXT = (
    "an activation that does not flatten out on both sides (relu, selu), an initialiser made for "
    "it (he, lecun), batch-norm or layer-norm, skip connections, or fewer layers"
)
EXPLODING_NEXT = "clipping by norm, smaller first weights, normalisation, or a lower learning rate"


@dataclass(frozen=True)
class LayerFlow:
    """What was recorded of a layer with parameters.

    Attributes:
        name: the owner of the parameters.
        signal: the median, over the record, of its δ relative to that of the last layer.
        growth: the greatest norm of its gradient, relative to the first that was recorded.
        ratio: the median of update/weight.
        most: the greatest update/weight.
        frozen: whether it was never updated, though it had gradients.
    """

    name: str
    signal: float
    growth: float
    ratio: float
    most: float
    frozen: bool

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def layer_flows(rows: Sequence[dict[str, Any]], order: Sequence[str]) -> list[LayerFlow]:
    """Sum up the rows of a record of the kind "layers".

    Args:
        rows: the rows, in order of training.
        order: the layers from input to output.
    """
    if not rows:
        return []
    names = [name for name in order if name in rows[0]["layers"]]
    flows = []
    for name in names:
        own = [row["layers"][name] for row in rows]
        last = [row["layers"][names[-1]]["delta"] for row in rows]
        gradients = [norms["gradient"] for norms in own]
        moved = [norms["ratio"] for norms in own if norms["weight"] > 0]
        flows.append(
            LayerFlow(
                name,
                _median([n["delta"] / end for n, end in zip(own, last, strict=True) if end > 0]),
                max(gradients) / gradients[0] if gradients[0] > 0 else math.nan,
                _median(moved),
                max(moved, default=math.nan),
                any(gradients) and not any(norms["update"] for norms in own),
            )
        )
    return flows


def flow_findings(flows: Sequence[LayerFlow]) -> list[Finding]:
    """What the norms tell: gradients that fade or grow on their way, updates out of range."""
    if not flows:
        return []
    found, last = [], flows[-1].name
    if faded := [flow for flow in flows if flow.signal < FADED]:
        worst = min(faded, key=lambda flow: flow.signal)
        says = (
            f"at {_names(faded)} the norm of δ is below {FADED:g} of that at {last}; it is least "
            f"at {worst.name}, {worst.signal:.2g} of it{_each(flows, worst)}."
        )
        numbers = _numbers(faded, "signal")
        found.append(Finding("vanishing gradients", says, VANISHING_NEXT, numbers, _layers(faded)))
    if grown := [flow for flow in flows if flow.signal > GROWN]:
        worst = max(grown, key=lambda flow: flow.signal)
        says = (
            f"at {_names(grown)} the norm of δ is above {GROWN:g} times that at {last}; it is "
            f"greatest at {worst.name}, {worst.signal:.2g} times it{_each(flows, worst)}."
        )
        numbers = _numbers(grown, "signal")
        found.append(Finding("exploding gradients", says, EXPLODING_NEXT, numbers, _layers(grown)))
    if burst := [flow for flow in flows if flow.growth > GROWN]:
        worst = max(burst, key=lambda flow: flow.growth)
        says = (
            f"at {_names(burst)} the gradient grew to more than {GROWN:g} times its first norm; "
            f"most at {worst.name}, to {worst.growth:.2g} times it."
        )
        numbers = _numbers(burst, "growth")
        found.append(Finding("exploding gradients", says, EXPLODING_NEXT, numbers, _layers(burst)))
    return found + _update_findings(flows)


def fading_finding(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    """A gradient that has all but gone; of a network that fits its data, that is no fault."""
    if len(rows) < 2:
        return []
    first, last = (
        math.hypot(*(norms["gradient"] for norms in row["layers"].values()))
        for row in (rows[0], rows[-1])
    )
    if not first > 0 or last >= FADED * first:
        return []
    says = (
        f"the norm of the whole gradient fell from {first:.2g} at epoch {rows[0]['epoch']} to "
        f"{last:.2g} at epoch {rows[-1]['epoch']}, and the training error is still above the best: "
        "training stands on a plateau."
    )
    next = f"another start or a higher learning rate; {VANISHING_NEXT}"
    return [Finding("vanishing gradients", says, next, {"first": first, "last": last})]


def _update_findings(flows: Sequence[LayerFlow]) -> list[Finding]:
    found = []
    if small := [flow for flow in flows if flow.most < SMALL and not flow.frozen]:
        least = min(small, key=lambda flow: flow.most)
        says = (
            f"no recorded step moved {_names(small)} by more than {SMALL:g} of the norm of the "
            f"weights; the least was {least.name}, by at most {least.most:.2g} of it."
        )
        next = "a higher learning rate, or an adaptive rule such as adam"
        found.append(Finding("small updates", says, next, _numbers(small, "most"), _layers(small)))
    if large := [flow for flow in flows if flow.ratio > LARGE]:
        most = max(large, key=lambda flow: flow.ratio)
        says = (
            f"the median update of {_names(large)} is above {LARGE:g} of the norm of the weights; "
            f"greatest at {most.name}, {most.ratio:.2g} of it."
        )
        next = "a lower learning rate (`pullback lr-range` suggests one), or a warm-up"
        found.append(Finding("large updates", says, next, _numbers(large, "ratio"), _layers(large)))
    return found


def _each(flows: Sequence[LayerFlow], worst: LayerFlow) -> str:
    """The factor of one layer, where all between the worst and the last have the same."""
    between = len(flows) - 1 - flows.index(worst)
    if between < 2 or not worst.signal > 0:
        return ""
    return f", a factor of {worst.signal ** (1 / between):.2g} for each of {between} layers"


def _median(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan


def _names(flows: Sequence[LayerFlow]) -> str:
    return listed(_layers(flows))


def _layers(flows: Sequence[LayerFlow]) -> tuple[str, ...]:
    return tuple(flow.name for flow in flows)


def _numbers(flows: Sequence[LayerFlow], key: str) -> dict[str, float]:
    return {flow.name: getattr(flow, key) for flow in flows}
