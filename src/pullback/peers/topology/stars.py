"""Stars: leaves that speak to a hub, hubs that speak to each other, and their trees.

They know no mixing matrix. Hubs gather means weighted by the data and scatter what came of them, so
that after one round every worker has the exact mean over all data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import networkx as nx

from ...errors import ConfigError
from ...optim import ranges
from ..mixing import Mixing, Weights, data_shares
from ..phase import Phase, Schedule, phase
from .core import Topology


@dataclass(frozen=True)
class Star(Topology):
    """A master and its workers.

    Gather:   x_hub ← Σ_i p_i x_i / Σ_i p_i, over itself and all that arrive
    Scatter:  x_i ← x_hub
    Source:   McMahan et al. 2017, arXiv:1602.05629, algorithm 1; CA6, exercise 6d

    Args:
        workers: how many there are, the hub counted.
        hub: its number.
        hub_has_data: whether it trains too. A master without data, as in CA6, does not.

    Raises:
        ConfigError: there are fewer than two workers; the hub is none of them.

    >>> [each.edges for each in Star(6).schedule().round(0)]
    [5, 5]
    """

    workers: int
    hub: int = 0
    hub_has_data: bool = True

    def __post_init__(self):
        ranges.whole(self, "workers", 2)
        if not 0 <= self.hub < self.workers:
            raise ConfigError(
                f"Star's hub must be one of the workers 0 to {self.workers - 1}, got {self.hub}"
            )

    def graph(self) -> nx.Graph:
        """A star."""
        return _linked(self.workers, self.hubs())

    def hubs(self) -> Mapping[int, tuple[int, ...]]:
        """The hub, with all others."""
        return {self.hub: tuple(i for i in range(self.workers) if i != self.hub)}

    def without_data(self) -> tuple[int, ...]:
        """The hubs, unless they have."""
        return () if self.hub_has_data else tuple(self.hubs())

    def schedule(self, mixing: Mixing | None = None, weights: Weights | None = None) -> Schedule:
        """Gather and scatter; there is nothing to mix."""
        totals = _Totals.of(self, weights)
        return Schedule(((totals.gather(self.hubs()), totals.scatter(self.hubs())),))


@dataclass(frozen=True)
class Stars(Topology):
    """Stars whose hubs all speak to each other.

    Gather:   each hub takes the mean over its star, weighted by the data
    Exchange: each hub takes the mean over the hubs, weighted by the data of their stars
    Scatter:  each leaf takes what its hub has
    Source:   CA6, exercise 6e: (1, 2)–3–4–(5, 6). The sheet counts workers from 1; here they are
              counted from 0, and its worker k is number k − 1: hubs 2 and 3, leaves 0, 1 and 4, 5.

    A star that is not heard in the exchange is left out of the mean, as a leaf is in the gathering.

    Args:
        groups: the stars; the first of each is its hub, and the others are its leaves.
        hubs_have_data: whether hubs train too.

    Raises:
        ConfigError: the groups are not each of the workers from 0 on, once; there are fewer than
            two workers; a star has no data.

    >>> [each.edges for each in Stars().schedule().round(0)]
    [4, 2, 4]
    """

    groups: tuple[tuple[int, ...], ...] = ((2, 0, 1), (3, 4, 5))
    hubs_have_data: bool = True

    def __post_init__(self):
        named = sorted(i for group in self.groups for i in group)
        if not all(self.groups) or named != list(range(len(named))) or len(named) < 2:
            raise ConfigError(
                f"Stars' groups must hold each of the workers from 0 on once, and at least two of "
                f"them, got {self.groups}"
            )
        if not self.hubs_have_data and min(map(len, self.groups)) < 2:
            raise ConfigError("a star of Stars has neither leaves nor a hub with data")

    def graph(self) -> nx.Graph:
        """Stars, and a link between any two hubs."""
        return _linked(sum(map(len, self.groups)), self.hubs(), list(self.hubs()))

    def hubs(self) -> Mapping[int, tuple[int, ...]]:
        """Each hub, with its leaves."""
        return {group[0]: group[1:] for group in self.groups}

    def without_data(self) -> tuple[int, ...]:
        """The hubs, unless they have."""
        return () if self.hubs_have_data else tuple(self.hubs())

    def schedule(self, mixing: Mixing | None = None, weights: Weights | None = None) -> Schedule:
        """Gather, exchange and scatter; a phase without a message is left out."""
        hubs = self.hubs()
        totals = _Totals.of(self, weights)
        gather = totals.gather(hubs)
        phases = (gather, totals.exchange(list(hubs)), totals.scatter(hubs))
        return Schedule((tuple(each for each in phases if each.edges),))


@dataclass(frozen=True)
class StarTree(Topology):
    """A tree of stars: hubs whose leaves are hubs again.

    Gather:   from the lowest level up, each hub takes the mean over its subtree, weighted by data
    Scatter:  from the root down, each takes what its hub has

    A round has two phases for each level below the root, and 2(n − 1) messages.

    Args:
        branching: how many each hub of a level has below it, from the root down. Workers are
            numbered level by level, and the root is 0.
        hubs_have_data: whether those that have others below them train too.

    Raises:
        ConfigError: branching is empty, or a number in it is below 1.

    >>> tree = StarTree((2, 3))
    >>> tree.n, [each.edges for each in tree.schedule().round(0)]
    (9, [6, 2, 2, 6])
    """

    branching: tuple[int, ...]
    hubs_have_data: bool = True

    def __post_init__(self):
        if not self.branching or any(each != int(each) or each < 1 for each in self.branching):
            raise ConfigError(
                f"StarTree's branching must be whole numbers of at least 1, got {self.branching}"
            )

    def graph(self) -> nx.Graph:
        """A tree."""
        return _linked(sum(self._sizes()), self.hubs())

    def hubs(self) -> Mapping[int, tuple[int, ...]]:
        """Each worker that has others below it, with these."""
        return {hub: below for level in self._levels() for hub, below in level.items()}

    def without_data(self) -> tuple[int, ...]:
        """The hubs, unless they have."""
        return () if self.hubs_have_data else tuple(self.hubs())

    def schedule(self, mixing: Mixing | None = None, weights: Weights | None = None) -> Schedule:
        """Gather level by level, and scatter; there is nothing to mix."""
        totals = _Totals.of(self, weights)
        levels = self._levels()
        up = tuple(totals.gather(level) for level in reversed(levels))
        return Schedule(((*up, *(totals.scatter(level) for level in levels)),))

    def _sizes(self) -> list[int]:
        """How many workers each level has."""
        return [1, *accumulate(self.branching, lambda a, b: a * b)]

    def _levels(self) -> list[dict[int, tuple[int, ...]]]:
        """For each level of hubs, who is below each of them."""
        sizes, levels, first = self._sizes(), [], 0
        for size, each in zip(sizes[:-1], self.branching, strict=True):
            below = first + size
            levels.append(
                {
                    first + k: tuple(range(below + k * each, below + (k + 1) * each))
                    for k in range(size)
                }
            )
            first = below
        return levels


@dataclass
class _Totals:
    """For how much data each worker speaks: at first its own, and all it has gathered since."""

    data: list[float]

    @classmethod
    def of(cls, stars: Topology, weights: Weights | None) -> _Totals:
        return cls(data_shares(weights, stars.n, stars.without_data()).tolist())

    def gather(self, hubs: Mapping[int, Sequence[int]]) -> Phase:
        """Each hub takes the mean over itself and those below it, and now speaks for all."""
        after = {hub: math.fsum(self.data[i] for i in (hub, *below)) for hub, below in hubs.items()}
        weights = {
            (i, hub): self.data[i] / after[hub] for hub, below in hubs.items() for i in below
        }
        for hub, total in after.items():
            self.data[hub] = total
        return phase(weights, n=len(self.data), on_loss="renorm")

    def exchange(self, hubs: Sequence[int]) -> Phase:
        """Each hub takes the mean over the hubs."""
        total = math.fsum(self.data[hub] for hub in hubs)
        weights = {(a, b): self.data[a] / total for a in hubs for b in hubs if a != b}
        return phase(weights, n=len(self.data), on_loss="renorm")

    def scatter(self, hubs: Mapping[int, Sequence[int]]) -> Phase:
        """Each takes what its hub has."""
        weights = {(hub, i): 1.0 for hub, below in hubs.items() for i in below}
        return phase(weights, n=len(self.data))


def _linked(n: int, hubs: Mapping[int, Sequence[int]], among: Sequence[int] = ()) -> nx.Graph:
    """The graph of hubs and those below them; those `among` are linked with each other."""
    graph = nx.empty_graph(n)
    graph.add_edges_from((hub, i) for hub, below in hubs.items() for i in below)
    graph.add_edges_from((a, b) for a in among for b in among if a < b)
    return graph
