"""Exponential graphs: each worker hears those at distances 1, 2, 4, 8 … behind it on a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from ...optim import ranges
from ..mixing import EqualShares, Mixing
from .core import Topology


@dataclass(frozen=True)
class ExponentialGraph(Topology):
    """Links that go one way, to the workers 1, 2, 4 … 2^(τ−1) ahead, τ = ⌈log₂ n⌉.

    Weights:  1/(1 + τ) for each and for oneself: every degree is equal, so the mean is kept
    Gap:      2/(1 + ⌈log₂ n⌉) for even n
    Source:   Ying et al. 2021, arXiv:2110.13363, eq. 5

    Args:
        workers: how many, at least 2.

    Raises:
        ConfigError: there are fewer; in `schedule`, the workers' data weights are not equal.

    >>> list(ExponentialGraph(6).graph()[4])
    [5, 0, 2]
    """

    usual: ClassVar[Mixing] = EqualShares()

    workers: int

    def __post_init__(self):
        ranges.whole(self, "workers", 2)

    def graph(self) -> nx.DiGraph:
        """All links."""
        graph = nx.empty_graph(self.workers, create_using=nx.DiGraph)
        for one in _jumps(self.workers):
            graph.add_edges_from(one.edges)
        return graph


@dataclass(frozen=True)
class OnePeerExponential(Topology):
    """In each round each worker speaks to one other: 1 ahead, then 2, 4 …, then 1 again.

    Weights:  ½ for the one heard and for oneself
    Source:   Ying et al. 2021, arXiv:2110.13363, eq. 7 and lemma 1

    A period of ⌈log₂ n⌉ rounds averages exactly if n is a power of two, and not for any other n.

    Args:
        workers: how many, at least 2.

    Raises:
        ConfigError: there are fewer; in `schedule`, the workers' data weights are not equal.

    >>> OnePeerExponential(4).schedule().product().tolist()[0]
    [0.25, 0.25, 0.25, 0.25]
    """

    usual: ClassVar[Mixing] = EqualShares()

    workers: int

    def __post_init__(self):
        ranges.whole(self, "workers", 2)

    def graph(self) -> nx.DiGraph:
        """The links of all rounds."""
        return ExponentialGraph(self.workers).graph()

    def graphs(self) -> Sequence[nx.DiGraph]:
        """One distance for each round."""
        return _jumps(self.workers)


def _jumps(n: int) -> list[nx.DiGraph]:
    """For each distance below n that is a power of two, the links that go so far ahead."""
    rounds = []
    for k in range((n - 1).bit_length()):
        graph = nx.empty_graph(n, create_using=nx.DiGraph)
        graph.add_edges_from((i, (i + 2**k) % n) for i in range(n))
        rounds.append(graph)
    return rounds
