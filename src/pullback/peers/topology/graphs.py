"""Graphs with a name, on which workers gossip with their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from ...errors import ConfigError
from ...optim import ranges
from .core import Topology


@dataclass(frozen=True)
class Ring(Topology):
    """Each worker has two neighbours; of two workers, each has one.

    Gap:      1 − (1 + 2 cos(2π/n))/3 with Metropolis–Hastings, n > 2

    Args:
        workers: how many, at least 2.

    Raises:
        ConfigError: there are fewer.

    >>> sorted(Ring(4).graph().edges)
    [(0, 1), (0, 3), (1, 2), (2, 3)]
    """

    workers: int

    def __post_init__(self):
        ranges.whole(self, "workers", 2)

    def graph(self) -> nx.Graph:
        """A cycle."""
        return nx.cycle_graph(self.workers)


@dataclass(frozen=True)
class Path(Topology):
    """A chain: a ring that is open between the last worker and the first.

    Args:
        workers: how many, at least 2.

    Raises:
        ConfigError: there are fewer.

    >>> list(Path(3).graph().edges)
    [(0, 1), (1, 2)]
    """

    workers: int

    def __post_init__(self):
        ranges.whole(self, "workers", 2)

    def graph(self) -> nx.Graph:
        """A path."""
        return nx.path_graph(self.workers)


@dataclass(frozen=True)
class Grid(Topology):
    """Rows and columns; worker number r · columns + c is in row r and column c.

    Args:
        rows: how many.
        columns: how many.

    Raises:
        ConfigError: a side is below 1; there are fewer than two workers.

    >>> sorted(Grid(2, 2).graph().edges)
    [(0, 1), (0, 2), (1, 3), (2, 3)]
    """

    rows: int
    columns: int

    def __post_init__(self):
        ranges.whole(self, "rows")
        ranges.whole(self, "columns")
        if self.rows * self.columns < 2:
            raise ConfigError("Grid needs two workers at least, got 1 row of 1 column")

    def graph(self) -> nx.Graph:
        """A grid."""
        return _numbered(nx.grid_2d_graph(self.rows, self.columns))


@dataclass(frozen=True)
class Torus(Topology):
    """A grid whose rows and columns are rings.

    In a ring of two, both neighbours are the same worker: it is one neighbour, with one weight, and
    workers have a neighbour less.

    Args:
        rows: how many, at least 2.
        columns: how many, at least 2.

    Raises:
        ConfigError: a side is below 2.

    >>> dict(Torus(2, 3).graph().degree)[0]
    3
    """

    rows: int
    columns: int

    def __post_init__(self):
        if min(self.rows, self.columns) == 1:
            raise ConfigError("a Torus with a side of 1 is a ring", next="use Ring")
        ranges.whole(self, "rows", 2)
        ranges.whole(self, "columns", 2)

    def graph(self) -> nx.Graph:
        """A torus."""
        return _numbered(nx.grid_2d_graph(self.rows, self.columns, periodic=True))


@dataclass(frozen=True)
class Complete(Topology):
    """Each worker speaks to every other.

    Gap:      1: one round averages

    Args:
        workers: how many, at least 2.

    Raises:
        ConfigError: there are fewer.

    >>> Complete(4).schedule().product().tolist()[0]
    [0.25, 0.25, 0.25, 0.25]
    """

    workers: int

    def __post_init__(self):
        ranges.whole(self, "workers", 2)

    def graph(self) -> nx.Graph:
        """A complete graph."""
        return nx.complete_graph(self.workers)


@dataclass(frozen=True)
class Hypercube(Topology):
    """The corners of a cube of log₂ n dimensions: neighbours' numbers differ in one bit.

    Gap:      2/(1 + log₂ n) with Metropolis–Hastings

    Args:
        workers: how many: a power of two, at least 2.

    Raises:
        ConfigError: it is none.

    >>> sorted(Hypercube(8).graph()[5])
    [1, 4, 7]
    """

    workers: int

    def __post_init__(self):
        ranges.whole(self, "workers", 2)
        if self.workers & (self.workers - 1):
            below = 1 << (self.workers.bit_length() - 1)
            raise ConfigError(
                f"Hypercube's workers must be a power of two, got {self.workers}",
                next=f"take {below} or {2 * below}, or ExponentialGraph, which takes any number",
            )

    def graph(self) -> nx.Graph:
        """A hypercube."""
        return _numbered(nx.hypercube_graph(self.workers.bit_length() - 1))


@dataclass(frozen=True)
class TwoCliques(Topology):
    """Two complete halves and one link between them: the hardest that well connected groups get.

    Args:
        workers: how many, at least 2; the first half has the odd one. The link is between the last
            of the first half and the first of the second.

    Raises:
        ConfigError: there are fewer.

    >>> sorted(TwoCliques(5).graph().edges)
    [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4)]
    """

    workers: int

    def __post_init__(self):
        ranges.whole(self, "workers", 2)

    def graph(self) -> nx.Graph:
        """Two cliques."""
        first = (self.workers + 1) // 2
        halves = nx.complete_graph(first), nx.complete_graph(self.workers - first)
        graph = nx.disjoint_union(*halves)
        graph.add_edge(first - 1, first)
        return graph


def _numbered(graph: nx.Graph) -> nx.Graph:
    """The same graph with its nodes numbered from 0, in the order of their coordinates."""
    return nx.convert_node_labels_to_integers(graph, ordering="sorted")
