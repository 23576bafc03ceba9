"""Sums that are handed on along a tree, so that everyone hears everyone exactly once: RelaySum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import networkx as nx

from ...errors import ConfigError
from ...optim import ranges
from .. import require
from .core import Algorithm, Stage, require_constant


@dataclass(frozen=True)
class RelaySum(Algorithm):
    """Each worker tells each neighbour the sum of all that is on its own side of their link.

    Local:    x'_i = x_i + Δ_i
    Message:  m_{i→j} = p_i x'_i + Σ_{k≠j} m_{k→i},  c_{i→j} = p_i + Σ_{k≠j} c_{k→i},
              over i's neighbours k, and what they said in the round before
    Update:   x_i = (1 − Σ_j c_{j→i}) x'_i + Σ_j m_{j→i},  of what they said in this round
    Source:   Vogels et al. 2021, arXiv:2110.04175, algorithm 1 (RelaySGD, which sums models); there
              p = 1/n, and all is n times as much

    p are the shares of the data, Σ p = 1. A message has one number more than a model, c: the share
    of the network that is in it. On a tree every change takes one way to every worker, so that
    after as many rounds as links lie between the two farthest workers (the diameter) each x_i is
    the mean of all workers' x', those d links away d − 1 rounds old: the weights of a mixing are
    not used, but for the shares that they imply, and a long tree costs delay, not weight. What has
    not come yet is filled up by one's own x'. With a constant learning rate it settles at the
    optimum, however the data differ.

    What is kept: not the mean of X. Where nothing is lost it is, from the diameter on,
        Φ = Σ_j p_j (x'_j + Σ_i p_i Σ_{s=1}^{d_ij − 1} x'_j of s rounds ago),
    what workers have and what is under way; it moves by Σ_j p_j Δ_j in a round.

    Lost:     the last message of that link that came stays in its place, for at most `keep` rounds
              in a row: so a lost message only delays. After that it is as if nobody were behind the
              link, so that who has died for good does not hold the others where it stood. The
              authors' program drops at once, which is keep = 0; then it does not settle. Who comes
              back has forgotten what it had heard.

    Each worker keeps a message of each of its links; in the simulation, where all have the same
    shapes, of as many links as the worker with the most: a star costs n models for each worker.

    Health:   least_heard = min_i (p_i + Σ_j c_{j→i}), 1 from the diameter on if nothing is lost

    Args:
        keep: rounds in a row for which a lost message is replaced by the last one that came.

    Raises:
        ConfigError: keep is not a whole number of at least 0; in `check`, the links are no tree,
            go one way, change from round to round, or are used in several phases, as by stars: give
            the same links as an EdgeList.

    >>> RelaySum().stages[0].shapes(((2, 2),))
    ((2, 2), ())
    """

    keep: int = 5

    survives: ClassVar[tuple[str, ...]] = ("self",)
    keeps_mean = False
    per_link = True

    def __post_init__(self):
        ranges.whole(self, "keep", 0)

    @property
    def stages(self):
        """One, in which the share that is in a sum travels with it."""
        return (Stage("relay", numbers=1),)

    def begin(self, x, known, seat):
        links = jnp.asarray(seat.links)
        share = jnp.asarray(seat.share, x.dtype) / jnp.asarray(seat.workers, x.dtype)
        return {
            "x": x,
            "share": share,
            "heard": jnp.zeros((len(links), len(x)), x.dtype),
            "counts": jnp.zeros(len(links), x.dtype),
            "missed": jnp.zeros(len(links), jnp.int32),
        }

    def emit(self, stage, slots, work, t):
        slots, after = work.steps(slots, slots["x"])
        share, heard, counts = slots["share"], slots["heard"], slots["counts"]
        # To each neighbour all, but for what it has said itself.
        sums = (share * after + heard.sum(0))[None] - heard
        shares = share + counts.sum() - counts
        return slots | {"x": after}, jnp.concatenate([sums, shares[:, None]], 1)

    def absorb(self, stage, slots, mixed, sent, t):
        arrived, missed = mixed.arrived, slots["missed"] + 1
        kept = missed <= self.keep
        counts = jnp.where(kept, slots["counts"], jnp.zeros_like(slots["counts"]))
        heard = jnp.where(kept[:, None], slots["heard"], jnp.zeros_like(slots["heard"]))
        counts = jnp.where(arrived, mixed.messages[:, -1], counts)
        heard = jnp.where(arrived[:, None], mixed.messages[:, :-1], heard)
        return slots | {
            "x": (1 - counts.sum()) * slots["x"] + heard.sum(0),
            "heard": heard,
            "counts": counts,
            "missed": jnp.where(arrived, jnp.zeros_like(missed), missed),
        }

    def rejoin(self, slots, model):
        """With nothing heard: it was of before."""
        forgotten = {name: jnp.zeros_like(slots[name]) for name in ("heard", "counts")}
        return slots | forgotten | {"x": model}

    def health(self, slots, shares):
        """How much of the network is in the mixture of the worker that has heard least."""
        return {"least_heard": (slots["share"] + slots["counts"].sum(1)).min()}

    def _check_schedule(self, schedule):
        require.agreement(schedule, "RelaySum")
        require_constant(schedule, "RelaySum")
        phase, *others = schedule.phases
        if others:
            raise ConfigError(
                f"RelaySum wants rounds of one phase, these have {len(schedule.phases)}",
                next="give the links of the tree as an EdgeList, or take FedAvg",
            )
        one_way = phase.edges and phase.back.min() < 0
        graph = nx.empty_graph(schedule.n, nx.DiGraph if one_way else nx.Graph)
        graph.add_edges_from(zip(phase.src.tolist(), phase.dst.tolist(), strict=True))
        require.tree(graph, "RelaySum")
