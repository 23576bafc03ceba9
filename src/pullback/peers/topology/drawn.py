"""Random graphs, drawn from a seed until they are connected."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx

from ...errors import ConfigError
from ...optim import ranges
from .core import Topology

DRAWS = 100
"""How many graphs are drawn before a topology gives up."""


@dataclass(frozen=True)
class RandomRegular(Topology):
    """A graph drawn among those in which every worker has so many neighbours.

    Args:
        workers: how many.
        degree: how many neighbours each has.
        seed: of the draw.

    Raises:
        ConfigError: no such graph exists, or none that is connected; in `graph`, none of
            100 that were drawn is connected.

    >>> set(dict(RandomRegular(10, 3).graph().degree).values())
    {3}
    """

    workers: int
    degree: int
    seed: int = 0

    def __post_init__(self):
        ranges.whole(self, "workers", 2)
        ranges.whole(self, "degree", 1 if self.workers == 2 else 2)
        if self.degree >= self.workers:
            raise ConfigError(
                f"RandomRegular's degree must be below the number of workers, {self.workers}, got "
                f"{self.degree}"
            )
        if self.workers * self.degree % 2:
            raise ConfigError(
                f"RandomRegular's workers or degree must be even, got {self.workers} and "
                f"{self.degree}",
                next="an edge has two ends, and their number is workers times degree",
            )

    def graph(self) -> nx.Graph:
        """The graph that the seed gives."""
        # Drawing many neighbours takes very long; drawing the few that are none is the same.
        others = self.workers - 1 - self.degree

        def draw(source):
            if others < self.degree:
                return nx.complement(nx.random_regular_graph(others, self.workers, source))
            return nx.random_regular_graph(self.degree, self.workers, source)

        return _connected(draw, self.seed, "take a larger degree or another seed")


@dataclass(frozen=True)
class ErdosRenyi(Topology):
    """A graph in which any two workers are neighbours with the same probability.

    Below a probability of about ln n / n most of these graphs are not connected. What is not is
    drawn again, 100 times at most.

    Source:   Gilbert 1959, who draws each edge; Erdős & Rényi 1959 fix their number

    Args:
        workers: how many.
        probability: that two of them are neighbours.
        seed: of the draw.

    Raises:
        ConfigError: there are fewer than two workers; probability is not in (0, 1]; in `graph`,
            none of 100 that were drawn is connected.

    >>> ErdosRenyi(10, 0.5, seed=3).graph().edges == ErdosRenyi(10, 0.5, seed=3).graph().edges
    True
    """

    workers: int
    probability: float
    seed: int = 0

    def __post_init__(self):
        ranges.whole(self, "workers", 2)
        if not 0 < self.probability <= 1:
            raise ConfigError(f"ErdosRenyi's probability must be in (0, 1], got {self.probability}")

    def graph(self) -> nx.Graph:
        """The graph that the seed gives."""
        return _connected(
            lambda source: nx.gnp_random_graph(self.workers, self.probability, source),
            self.seed,
            "take a larger probability: about ln n / n is where they begin to be",
        )


def _connected(draw: Callable[[random.Random], nx.Graph], seed: int, advice: str) -> nx.Graph:
    """The first connected graph among those drawn, with its nodes and edges in order."""
    source = random.Random(seed)
    for _ in range(DRAWS):
        graph = draw(source)
        if nx.is_connected(graph):
            ordered = nx.empty_graph(len(graph))
            ordered.add_edges_from(sorted(tuple(sorted(edge)) for edge in graph.edges))
            return ordered
    raise ConfigError(f"none of {DRAWS} random graphs that were drawn is connected", next=advice)
