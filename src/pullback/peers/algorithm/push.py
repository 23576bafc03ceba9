"""Push-sum: averages on graphs whose edges go one way, and under any loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from ...errors import ConfigError
from .. import require
from .core import Algorithm, Stage


@dataclass(frozen=True)
class PushSum(Algorithm):
    """Stochastic gradient push: each worker gives away parts of its sum and of its weight.

    Update:   x ← A (x + share · Δ);  w ← A w;  z = x/w,  from w = share, x = share · z
              Δ = (where the local steps from z lead) − z,  A column-stochastic
    Source:   Assran et al. 2019, arXiv:1811.10792, algorithm 1; Kempe, Dobra & Gehrke 2003

    What is evaluated is z. A worker's share of the data is in what it begins with, so that z goes
    toward the mean over the data. What is lost stays with its sender: were it lost with its mass,
    workers would still agree, and on a wrong mean.

    Health:   weight_sum = Σ w, which is n; least_weight = min w, which is above 0

    Raises:
        ConfigError: in `check`, the phases do not keep sums; some workers never hear of others.

    >>> PushSum().stages[0].shapes(((2, 2),))
    ((2, 2), ())
    """

    survives: ClassVar[tuple[str, ...]] = ("mass",)

    @property
    def stages(self):
        """One, in which the weight travels with the sum."""
        return (Stage("push", numbers=1),)

    def begin(self, x, known, seat):
        share = jnp.asarray(seat.share, x.dtype)
        return {"x": share * x, "w": share, "share": share}

    def emit(self, stage, slots, work, t):
        z = self.model(slots)
        slots, after = work.steps(slots, z)
        x = slots["x"] + slots["share"] * (after - z)
        return slots | {"x": x}, jnp.append(x, slots["w"])

    def absorb(self, stage, slots, mixed, sent, t):
        return slots | {"x": mixed[:-1], "w": mixed[-1]}

    def model(self, slots):
        """The sum over the weight."""
        return slots["x"] / slots["w"]

    def rejoin(self, slots, model):
        """With the weight that it has kept."""
        return slots | {"x": slots["w"] * model}

    def consensus(self, slots, shares):
        """The sum of all sums over that of all weights."""
        return slots["x"].sum(0) / slots["w"].sum()

    def health(self, slots, shares):
        """Whether mass is kept."""
        return {"weight_sum": slots["w"].sum(), "least_weight": slots["w"].min()}

    def _check_schedule(self, schedule):
        if schedule.phases[0].on_loss != "mass":
            raise ConfigError(
                "PushSum wants phases that keep sums, and these keep agreement instead",
                next="mix with Push",
            )
        require.connected(schedule, "PushSum")
