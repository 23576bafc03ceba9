"""A graph of one's own, from a list, a file, or networkx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as FilePath

import networkx as nx

from ...errors import ConfigError
from .core import Topology


@dataclass(frozen=True)
class EdgeList(Topology):
    """The workers and links that are given.

    A file has an edge on each line, two numbers with a space or a comma between them; what follows
    a # is a comment.

    Args:
        edges: pairs of workers, numbered from 0.
        file: a file of edges, in their place.
        workers: how many there are; None for those that the edges name.
        directed: whether an edge goes one way, from the first to the second. Mix such a graph with
            Push, for push-sum, or with EqualShares.

    Raises:
        ConfigError: there are edges and a file, or neither; an edge is there twice, or joins a
            worker to itself or to none; some workers never hear of others. What a file holds is
            checked in `graph`, when it is read.

    >>> EdgeList(((0, 1), (1, 2))).n
    3
    """

    edges: tuple[tuple[int, int], ...] = ()
    file: str | None = None
    workers: int | None = None
    directed: bool = False

    def __post_init__(self):
        if bool(self.edges) == (self.file is not None):
            raise ConfigError("EdgeList takes either edges or a file that holds them")
        if self.edges:
            self.graph()

    @classmethod
    def from_networkx(cls, graph: nx.Graph | nx.DiGraph) -> EdgeList:
        """Return any graph of networkx as a topology; its nodes become 0, 1, 2 … in their order.

        >>> EdgeList.from_networkx(nx.Graph([("a", "b"), ("b", "c")])).edges
        ((0, 1), (1, 2))
        """
        number = {node: i for i, node in enumerate(graph)}
        # The third of an edge of a multigraph is its key: an edge that is there twice is refused.
        edges = tuple((number[edge[0]], number[edge[1]]) for edge in graph.edges)
        return cls(edges, workers=len(graph), directed=graph.is_directed())

    def graph(self) -> nx.Graph | nx.DiGraph:
        """The graph; a file is read anew."""
        edges = list(self.edges) if self.file is None else _read(self.file)
        named = 1 + max((max(edge) for edge in edges), default=-1)
        n = named if self.workers is None else self.workers
        if n > len(edges) + 1:  # said before a graph of n workers is made, which may be any number
            raise self._wrong(f"{len(edges)} edges leave some of {n} workers apart from others")
        graph = nx.empty_graph(n, create_using=nx.DiGraph if self.directed else nx.Graph)
        for a, b in edges:
            if not (0 <= a < n and 0 <= b < n and a != b):
                raise self._wrong(f"an edge must join two of the workers 0 to {n - 1}, got {a}–{b}")
            if graph.has_edge(a, b):
                raise self._wrong(f"the edge {a}–{b} is there twice")
            graph.add_edge(a, b)
        joined = nx.is_strongly_connected if self.directed else nx.is_connected
        if n < 2 or not joined(graph):
            raise self._wrong(f"the edges leave some of {n} workers apart from others")
        return graph

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(what, where=self.file or "EdgeList")


def _read(file: str) -> list[tuple[int, int]]:
    try:
        lines = FilePath(file).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the edges cannot be read: {error}", where=file) from error
    edges = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            raise ConfigError(
                f"an edge is two numbers, got {line.strip()!r}", where=f"{file}, line {number}"
            )
        edges.append((int(words[0]), int(words[1])))
    return edges
