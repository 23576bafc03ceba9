"""Gossip with the models themselves: D-PSGD, and CHOCO, which compresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp

from ...errors import ConfigError
from ...optim import ranges
from .. import require
from ..codec import require_contraction
from .core import Algorithm, lossless, mean, require_constant, require_one_phase, size


@dataclass(frozen=True)
class DPSGD(Algorithm):
    """Local steps, and a mixture of what the neighbours have.

    Update:   "combine-last":  X ← W (X + Δ)     adapt-then-combine; with Δ = −ηG, W(X − ηG)
              "combine-first": X ← W X + Δ       combine-then-adapt: WX − ηG
              Δ_i = (where the local steps from x_i lead) − x_i
    Source:   Lian et al. 2017, arXiv:1705.09056, algorithm 1 (combine-first); Sayed 2014,
              arXiv:1205.4220, §7 (both)

    Where columns sum to 1, mean(X) moves by mean(Δ) exactly, in either order. With a constant
    learning rate and data that differ it does not settle at the optimum: the error is about linear
    in the rate, and grows as the gap of the graph closes. Combining last holds workers closer
    together. With W = J/n it is federated averaging.

    Args:
        order: "combine-last" or "combine-first".

    Raises:
        ConfigError: another order; in `check`, rows do not sum to 1, or the codec drops much.

    >>> DPSGD().stages[0].phases
    'all'
    """

    order: Literal["combine-last", "combine-first"] = "combine-last"

    survives: ClassVar[tuple[str, ...]] = ("self", "renorm", "pair")
    codecs = "rounded"

    def __post_init__(self):
        ranges.one_of(self, "order", ("combine-last", "combine-first"))

    def begin(self, x, known, seat):
        first = self.order == "combine-first"
        return {"x": x} | ({"change": jnp.zeros_like(x)} if first else {})

    def emit(self, stage, slots, work, t):
        x = slots["x"]
        slots, after = work.steps(slots, x)
        if self.order == "combine-last":
            return slots | {"x": after}, after
        return slots | {"change": after - x}, x

    def absorb(self, stage, slots, mixed, sent, t):
        if self.order == "combine-last":
            return slots | {"x": mixed}
        return slots | {"x": mixed + slots["change"]}


@dataclass(frozen=True)
class Choco(Algorithm):
    """Gossip that sends what a codec makes of a difference: CHOCO-SGD.

    Update:   x' = x + Δ;  q_i = C(x'_i − x̂_i);  x̂_i ← x̂_i + q_i;  s_i ← s_i + Σ_j w_ij q_j
              x_i = x'_i + rate (s_i − x̂_i)
    Source:   Koloskova, Stich & Jaggi 2019, arXiv:1902.00340, algorithms 2 and 6

    x̂_i is what all who hear i know of it, and s_i = Σ_j w_ij x̂_j. Mixing keeps the mean for any
    codec. With a codec that drops nothing and a rate of 1 it is D-PSGD that combines last. The rate
    that the theory proves is thousands of times too small in practice, and one that is too large
    diverges: try several. A message that is lost leaves x̂ different at two ends for ever, so that
    none may be.

    Health:   replica_gap = ‖mean s − mean x̂‖, 0 but for rounding

    Args:
        rate: of the mixing, in (0, 1].

    Raises:
        ConfigError: rate is out of range; in `check`, rounds differ or have several phases; W is
            not doubly stochastic; no contraction is known of the codec.

    >>> Choco(0.3).own
    'sent'
    """

    rate: float = 0.3

    codecs = "any"
    own = "sent"

    def __post_init__(self):
        if not 0 < self.rate <= 1:
            raise ConfigError(f"Choco's rate must be in (0, 1], got {self.rate}")

    def check(self, schedule, codec, shapes, dtype, faults):
        super().check(schedule, codec, shapes, dtype, faults)
        if not lossless(codec, dtype):
            require_contraction(codec, shapes, "Choco")

    def begin(self, x, known, seat):
        return {"x": x, "told": known, "heard": known}

    def emit(self, stage, slots, work, t):
        slots, after = work.steps(slots, slots["x"])
        return slots | {"x": after}, after - slots["told"]

    def absorb(self, stage, slots, mixed, sent, t):
        told, heard = slots["told"] + sent, slots["heard"] + mixed
        return slots | {
            "x": slots["x"] + self.rate * (heard - told),
            "told": told,
            "heard": heard,
        }

    def health(self, slots, shares):
        """How far what is heard is, in the mean, from what was told."""
        return {"replica_gap": size(mean(slots["heard"] - slots["told"], shares))}

    def _check_schedule(self, schedule):
        require_constant(schedule, "Choco")
        require_one_phase(schedule, "Choco")
        require.doubly_stochastic(schedule, "Choco")
        require.connected(schedule, "Choco")
