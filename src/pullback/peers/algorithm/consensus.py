"""Consensus ADMM: local problems that are tied together by duals, which never travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from ...errors import ConfigError
from ...optim import ranges
from .. import require
from .core import Algorithm, mean, size


@dataclass(frozen=True)
class StarADMM(Algorithm):
    """Consensus ADMM where each round gives all workers the exact mean.

    Update:   x_i ≈ argmin f_i(x) + strength/2 ‖x − z + u_i‖²
              z = Σ_i p_i (x_i + u_i);  u_i ← u_i + x_i − z
    Source:   Boyd et al. 2011, "Distributed optimization and statistical learning via the
              alternating direction method of multipliers", §7.1, scaled duals

    The argmin is approached by the local steps, from the last x_i. The worker sends x_i + u_i, and
    the phases of a star, or of stars that are joined, give it z.

    Health:   dual_sum = ‖Σ_i p_i u_i‖, 0 but for rounding;  residual = √mean ‖x_i − z‖²

    Args:
        strength: of the tie.

    Raises:
        ConfigError: strength is not positive; in `check`, a round does not average exactly; any
            fault, since duals that were moved by different means no longer cancel.

    >>> StarADMM(0.5).survives
    ()
    """

    strength: float = 1.0

    def __post_init__(self):
        ranges.positive(self, "strength")

    def begin(self, x, known, seat):
        return {"x": x, "z": x, "dual": jnp.zeros_like(x)}

    def emit(self, stage, slots, work, t):
        dual = slots["dual"]
        slots, x = work.steps(slots, slots["x"], slots["z"] - dual, self.strength)
        return slots | {"x": x}, x + dual

    def absorb(self, stage, slots, mixed, sent, t):
        return slots | {"z": mixed, "dual": slots["dual"] + slots["x"] - mixed}

    def rejoin(self, slots, model):
        """With the mean that another has."""
        return slots | {"x": model, "z": model}

    def consensus(self, slots, shares):
        """The mean z."""
        return mean(slots["z"], shares)

    def health(self, slots, shares):
        """Whether the duals cancel, and how far workers are from their mean."""
        apart = jnp.sum((slots["x"] - slots["z"]) ** 2, 1)
        return {
            "dual_sum": size(mean(slots["dual"], shares)),
            "residual": jnp.sqrt(shares @ apart),
        }

    def _check_schedule(self, schedule):
        require.agreement(schedule, "StarADMM")
        for t in range(schedule.period):
            dense = schedule.matrix(t)
            if np.abs(dense - dense[:1]).max() > 1e-9:
                raise ConfigError(
                    "StarADMM wants rounds that give every worker the same mean",
                    where=f"round {t}",
                    next="take Star, Stars or Complete, or GraphADMM",
                )


@dataclass(frozen=True)
class GraphADMM(Algorithm):
    """Consensus ADMM between neighbours.

    Update:   p_i ← p_i + strength Σ_j w_ij (x_i − x_j) = p_i + strength (x_i − m_i),  m = W x
              x_i ≈ argmin f_i(x) + p_iᵀx + strength Σ_j w_ij ‖x − (x_i + x_j)/2‖²
                  = argmin f_i(x) + p_iᵀx + strength ‖x − (x_i + m_i)/2‖²
    Source:   Shi et al. 2014, arXiv:1307.5561, in the form of Yu, Vincent & Schwager 2022,
              arXiv:2109.08665 (DiNNO), algorithm 1

    Variant:  an edge's strength is multiplied by its weight in W, so that one mixture is all that a
              worker needs; what i weighs itself by holds it near its last x_i. Theirs has an equal
              strength on all edges, and none for oneself.

    The argmin is approached by the local steps, from the last x_i. In the first round, before a
    message, they are held near where they began.

    Health:   dual_sum = ‖Σ_i p_i‖, 0 but for rounding. A message that is lost in one direction
              alone breaks it for good: hence only "pair".

    Args:
        strength: of the tie.

    Raises:
        ConfigError: strength is not positive; in `check`, W is not symmetric, or its workers do
            not all hear of each other.

    >>> GraphADMM(0.5).survives
    ('pair',)
    """

    strength: float = 1.0

    survives: ClassVar[tuple[str, ...]] = ("pair",)
    # Duals cancel in the sum of all: one that is forgotten leaves the others apart.
    replaceable = False

    def __post_init__(self):
        ranges.positive(self, "strength")

    def begin(self, x, known, seat):
        return {"x": x, "dual": jnp.zeros_like(x), "between": x}

    def emit(self, stage, slots, work, t):
        centre = slots["between"] - slots["dual"] / (2 * self.strength)
        slots, x = work.steps(slots, slots["x"], centre, 2 * self.strength)
        return slots | {"x": x}, x

    def absorb(self, stage, slots, mixed, sent, t):
        x = slots["x"]
        return slots | {
            "dual": slots["dual"] + self.strength * (x - mixed),
            "between": (x + mixed) / 2,
        }

    def health(self, slots, shares):
        """Whether the duals cancel."""
        return {"dual_sum": size(slots["dual"].sum(0))}

    def _check_schedule(self, schedule):
        require.symmetric(schedule, "GraphADMM")
        require.doubly_stochastic(schedule, "GraphADMM")
        require.connected(schedule, "GraphADMM")
