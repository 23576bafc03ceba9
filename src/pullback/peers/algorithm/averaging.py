"""Federated averaging: work at the leaves, a mean at the hub, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from ...data.streams import generator
from ...errors import ConfigError
from ...optim import ranges
from .. import require
from ..codec import require_contraction
from .core import Algorithm, Asked, Stage, mean, rounds_only


@dataclass(frozen=True)
class FedAvg(Algorithm):
    """Local steps at every worker, a weighted mean at the hub, and the hub's step for all.

    Local:    x_i ← local steps from start_i, on f_i(x) + proximal/2 ‖x − start_i‖²
    Gather:   m = Σ_i p_i x_i / Σ_i p_i over those asked in this round and heard; hubs then exchange
    Server:   v ← server_momentum v + (m − start_hub),  x_hub ← start_hub + server_rate v
    Scatter:  x_i ← x_hub, for those asked in the next round
    Source:   McMahan et al. 2017, arXiv:1602.05629, algorithm 1; the server's step: Reddi et al.
              2021, arXiv:2003.00295, algorithm 1 with momentum; proximal: Li et al. 2020,
              arXiv:1812.06127, algorithm 2 (FedProx); the memory: Karimireddy et al. 2019,
              arXiv:1901.09847

    A leaf that hears nothing goes on from what it has. Hubs with data take part in every round.
    With a share of leaves, those asked in round t work and send in it, and the scatter of round
    t − 1 goes to them alone: no other message is sent, and none is counted.

    What is gathered are the models: hubs of several stars that were cut off from each other agree
    again at the next exchange. A codec that drops much wants changes x_i − start_i in their place,
    which are near 0, and then it is best to have a memory of what was dropped. The scatter is sent
    in full: who was not asked before has nothing that a difference could be added to. Where changes
    are sent, hubs that miss each other's stay apart for ever, so that such a plan is refused.

    Args:
        share: of the leaves, how many are asked in a round, one at least; 1 asks all.
        server_rate: how far the hub goes toward the mean.
        server_momentum: how much of the hub's last step is in the next.
        proximal: how strongly local steps are held near their start.
        sends: "model" or "change".
        memory: whether what the codec drops is added to what is sent next.

    Raises:
        ConfigError: a number is out of range; in `check`, the schedule does not gather and scatter;
            the codec wants changes, or the memory another codec; messages between hubs may be lost
            where changes are sent.

    >>> FedAvg(share=0.1).stages[1].phases
    'scatter'
    """

    share: float = 1.0
    server_rate: float = 1.0
    server_momentum: float = 0.0
    proximal: float = 0.0
    sends: Literal["model", "change"] = "model"
    memory: bool = False

    survives: ClassVar[tuple[str, ...]] = ("self", "renorm")
    codecs = "any"
    # Two hubs that exchange must mix the same two messages, or they would drift apart.
    own = "sent"
    keeps_mean = False

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise ConfigError(f"FedAvg's share must be in (0, 1], got {self.share}")
        ranges.positive(self, "server_rate")
        ranges.below_one(self, "server_momentum")
        ranges.not_negative(self, "proximal")
        ranges.one_of(self, "sends", ("model", "change"))

    @property
    def stages(self):
        """Gather, and scatter."""
        return (Stage("gather", "gather"), Stage("scatter", "scatter", coded=False))

    @property
    def feedback(self):
        """As it is set."""
        return self.memory

    def check(self, schedule, codec, shapes, dtype, faults):
        super().check(schedule, codec, shapes, dtype, faults)
        if self.sends == "model" and not rounds_only(codec, shapes):
            raise ConfigError(
                f"FedAvg sends models, and {codec} would drop much of them",
                next='let it send the "change", with memory',
            )
        if self.memory:
            require_contraction(codec, shapes, "FedAvg's memory")
        several = any(len(stage.uses(schedule.round(0))) > 1 for stage in self.stages)
        if self.sends == "change" and several and faults.hinders:
            raise ConfigError(
                "FedAvg sends changes, and hubs that miss one of them stay apart for ever",
                next='let it send the "model", or train without loss, crashes and late workers',
            )

    def begin(self, x, known, seat):
        slots = {"x": x, "serves": jnp.asarray(seat.serves)}
        slots |= {"start": x} if self._steps_from_start else {}
        return slots | ({"step": jnp.zeros_like(x)} if self.server_momentum else {})

    def emit(self, stage, slots, work, t):
        x = slots["x"]
        if stage.name == "scatter":
            return slots, x
        slots, after = work.steps(slots, x, x if self.proximal else None, self.proximal)
        slots = slots | {"x": after} | ({"start": x} if self._steps_from_start else {})
        return slots, after - x if self.sends == "change" else after

    def absorb(self, stage, slots, mixed, sent, t):
        if stage.name == "scatter":
            return slots | {"x": mixed}
        x = slots["x"]
        if not self._steps_from_start:
            return slots | {"x": jnp.where(slots["serves"], mixed, x)}
        start = slots["start"]
        if not self._adaptive:
            return slots | {"x": jnp.where(slots["serves"], start + mixed, x)}
        step = mixed if self.sends == "change" else mixed - start
        if self.server_momentum:
            step = self.server_momentum * slots["step"] + step
            slots = slots | {"step": step}
        return slots | {"x": jnp.where(slots["serves"], start + self.server_rate * step, x)}

    def consensus(self, slots, shares):
        """The mean of what the hubs have, which is one model unless they were cut off."""
        serves = slots["serves"].astype(slots["x"].dtype)
        return mean(slots["x"], serves / serves.sum())

    def asked(self, turns, t, seed):
        """The hubs, and leaves drawn anew for each round from a stream of its own."""
        whole = super().asked(turns, t, seed)
        if self.share == 1:
            return whole
        gathers = [turn.phase for turn in turns if turn.stage.name == "gather"]
        hubs = np.unique(np.concatenate([each.dst for each in gathers]))
        now, later = (self._drawn(hubs, gathers[0].n, when, seed) for when in (t, t + 1))
        send = [
            now[turn.phase.src] if turn.stage.name == "gather" else later[turn.phase.dst]
            for turn in turns
        ]
        return Asked(now, tuple(send))

    @property
    def _adaptive(self) -> bool:
        """Whether the hub does more than take the mean."""
        return self.server_rate != 1 or self.server_momentum != 0

    @property
    def _steps_from_start(self) -> bool:
        """Whether the hub needs to know where a round began; else nobody keeps it."""
        return self._adaptive or self.sends == "change"

    def _drawn(self, hubs, n, t, seed):
        leaves = np.setdiff1d(np.arange(n), hubs)
        count = max(1, round(self.share * len(leaves)))
        drawn = np.zeros(n, bool)
        drawn[hubs] = True
        drawn[generator(seed, "clients", t).permutation(leaves)[:count]] = True
        return drawn

    def _check_schedule(self, schedule):
        require.agreement(schedule, "FedAvg")
        for phases in schedule.rounds:
            if any(not stage.uses(phases) for stage in self.stages):
                raise ConfigError(
                    "FedAvg wants rounds that gather to hubs and scatter from them",
                    next="take Star, Stars or StarTree, or DPSGD for gossip",
                )
