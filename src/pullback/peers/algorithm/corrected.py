"""Gossip that reaches the exact optimum with a constant learning rate, however the data differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp

from ...optim import ranges
from .. import require
from .core import Algorithm, Stage, mean, require_constant, size


@dataclass(frozen=True)
class GradientTracking(Algorithm):
    """Each worker follows an estimate of what all workers' local steps do in the mean.

    Update:   "combine-first": Y ← Y' + Δ − Δ_old;  X ← W X + Y;  Y' ← W Y    one message (x, y)
              "combine-last":  Y ← W (Y + Δ − Δ_old);  X ← W (X + Y)          two messages
              Δ_i = (where the local steps from x_i lead) − x_i, which with one step of SGD is −ηG
    Source:   Pu & Nedić 2021, arXiv:1805.11454, eq. 3 (combine-last: Xu et al. 2015, "Augmented
              distributed gradient methods", which mixes y from the first round on)

    Δ_old is the change that was stored, and not taken again. Y and Δ begin at 0, so that in the
    first round Y = Δ. Since it is the change that is tracked and not the gradient, any rule may
    make it. With several local steps the point where it settles is that where the changes cancel,
    which is near the optimum and not at it.

    Health:   tracker_gap = ‖mean y − mean Δ‖, 0 but for rounding. A message that is lost in one
              direction alone breaks it for good, and the error stays: hence only "pair".

    Args:
        order: "combine-first" or "combine-last".

    Raises:
        ConfigError: another order; in `check`, W is not doubly stochastic.

    >>> [stage.parts for stage in GradientTracking().stages]
    [2]
    """

    order: Literal["combine-first", "combine-last"] = "combine-first"

    survives: ClassVar[tuple[str, ...]] = ("pair",)
    # Its tracker would be missing for good in the sum of all.
    replaceable = False

    def __post_init__(self):
        ranges.one_of(self, "order", ("combine-first", "combine-last"))

    @property
    def stages(self):
        """One with both vectors, or one for each."""
        if self.order == "combine-first":
            return (Stage("both", parts=2),)
        return (Stage("tracker"), Stage("model"))

    def begin(self, x, known, seat):
        return {"x": x, "y": jnp.zeros_like(x), "change": jnp.zeros_like(x)}

    def emit(self, stage, slots, work, t):
        x = slots["x"]
        if stage.name == "model":
            return slots, x + slots["y"]
        slots, after = work.steps(slots, x)
        change = after - x
        y = slots["y"] + change - slots["change"]
        slots = slots | {"y": y, "change": change}
        return slots, y if stage.name == "tracker" else jnp.concatenate([x, y])

    def absorb(self, stage, slots, mixed, sent, t):
        if stage.name == "model":
            return slots | {"x": mixed}
        if stage.name == "tracker":
            return slots | {"y": mixed}
        x, y = jnp.split(mixed, 2)
        return slots | {"x": x + slots["y"], "y": y}

    def health(self, slots, shares):
        """How far the trackers are, in the mean, from what they track."""
        return {"tracker_gap": size(mean(slots["y"] - slots["change"], shares))}

    def _check_schedule(self, schedule):
        require.doubly_stochastic(schedule, "GradientTracking")
        require.connected(schedule, "GradientTracking")


@dataclass(frozen=True)
class Extra(Algorithm):
    """The difference of two rounds of D-PSGD, which cancels its error: EXTRA.

    Update:   X₁ = W X₀ + Δ₀;  X_{t+2} = (I + W) X_{t+1} − (I + W)/2 X_t + Δ_{t+1} − Δ_t
    Source:   Shi et al. 2015, arXiv:1404.6264, eq. 2.5–2.6, with W̃ = (I + W)/2

    Δ is the change by the local steps, −ηG with one step of SGD. One message, as in D-PSGD.

    Health:   mean_gap = ‖mean x_{t+1} − mean x_t − mean Δ_t‖, 0 but for rounding

    Raises:
        ConfigError: in `check`, rounds differ; W is not symmetric, or its workers do not all hear
            of each other; any fault, since lost messages change W between two rounds.

    >>> Extra().survives
    ()
    """

    def begin(self, x, known, seat):
        return {"x": x, "half": x, "change": jnp.zeros_like(x)}

    def emit(self, stage, slots, work, t):
        x = slots["x"]
        slots, after = work.steps(slots, x)
        # What the last round leaves behind waits in "half" until this one is mixed.
        change = after - x
        rest = slots["half"] + slots["change"]
        return slots | {"half": rest, "change": change}, x

    def absorb(self, stage, slots, mixed, sent, t):
        both = slots["x"] + mixed
        return slots | {"x": both - slots["half"] + slots["change"], "half": both / 2}

    def health(self, slots, shares):
        """How far the mean is from where the local steps lead it."""
        gap = slots["x"] - slots["half"] - slots["change"]
        return {"mean_gap": size(mean(gap, shares))}

    def _check_schedule(self, schedule):
        require_constant(schedule, "Extra")
        require.symmetric(schedule, "Extra")
        require.doubly_stochastic(schedule, "Extra")
        require.connected(schedule, "Extra")


@dataclass(frozen=True)
class ExactDiffusion(Algorithm):
    """D-PSGD that combines last and takes back what the last round did by itself: D².

    Update:   Ψ⁺ = X + Δ;  X ← (I + W)/2 (Ψ⁺ + X − Ψ);  Ψ ← Ψ⁺,  from Ψ = X
    Source:   Yuan et al. 2019, arXiv:1702.05122, algorithm 1; Tang et al. 2018, arXiv:1803.07068,
              algorithm 1, is the same with W for (I + W)/2

    Health:   mean_gap = ‖mean x − mean Ψ‖, 0 but for rounding

    Raises:
        ConfigError: in `check`, rounds differ; W is not symmetric, or its workers do not all hear
            of each other; any fault, since lost messages change W between two rounds.

    >>> ExactDiffusion().codecs
    'exact'
    """

    def begin(self, x, known, seat):
        return {"x": x, "psi": x}

    def emit(self, stage, slots, work, t):
        x = slots["x"]
        slots, after = work.steps(slots, x)
        return slots | {"x": after + x - slots["psi"], "psi": after}, after + x - slots["psi"]

    def absorb(self, stage, slots, mixed, sent, t):
        return slots | {"x": (slots["x"] + mixed) / 2}

    def health(self, slots, shares):
        """How far mixing moved the mean."""
        return {"mean_gap": size(mean(slots["x"] - slots["psi"], shares))}

    def _check_schedule(self, schedule):
        require_constant(schedule, "ExactDiffusion")
        require.symmetric(schedule, "ExactDiffusion")
        require.doubly_stochastic(schedule, "ExactDiffusion")
        require.connected(schedule, "ExactDiffusion")
