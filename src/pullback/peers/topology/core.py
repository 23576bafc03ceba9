"""What a topology is: a graph of workers, and the phases in which they speak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from ..mixing import MetropolisHastings, Mixing, Weights
from ..phase import Schedule


@dataclass(frozen=True)
class Topology:
    """Who speaks to whom; the workers are numbered from 0.

    A subclass gives `graph`. Unless it says otherwise, every worker hears all its neighbours in
    every round, which has one phase, and mixes.

    Attributes:
        usual: how it mixes, if nothing else is said.
    """

    usual: ClassVar[Mixing] = MetropolisHastings()

    @property
    def n(self) -> int:
        """How many workers there are."""
        return len(self.graph())

    def graph(self) -> nx.Graph | nx.DiGraph:
        """Return the links, as a graph of 0 to n − 1; a DiGraph where they go one way."""
        raise NotImplementedError

    def graphs(self) -> Sequence[nx.Graph | nx.DiGraph]:
        """Return the links of each round of a period."""
        return [self.graph()]

    def hubs(self) -> Mapping[int, tuple[int, ...]]:
        """Return who speaks for whom: the hubs, each with the workers that have no other."""
        return {}

    def without_data(self) -> tuple[int, ...]:
        """Return the hubs that have no data of their own."""
        return ()

    def schedule(self, mixing: Mixing | None = None, weights: Weights | None = None) -> Schedule:
        """Return the phases of each round of a period.

        Args:
            mixing: how workers weigh what they hear; None for the usual. Stars have no use for it.
            weights: the amounts of data of the workers, to any sum: the mean over the data is
                kept. None for equal ones.

        Raises:
            ConfigError: the graph cannot be mixed so, or not with these weights.
        """
        mixing = self.usual if mixing is None else mixing
        return Schedule(tuple((mixing.phase(graph, weights),) for graph in self.graphs()))
