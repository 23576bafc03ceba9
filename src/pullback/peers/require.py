"""What an algorithm may ask of its topology, each refused with one sentence.

Whether it survives lost messages is asked in `faults`.
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from ..errors import ConfigError
from .phase import Schedule

# Products of matrices whose rows sum to 1 round no worse than this.
_NEAR = 1e-9


def agreement(schedule: Schedule, who: str) -> None:
    """Refuse a schedule under which workers that agree would not stay so: rows must sum to 1."""
    if schedule.phases[0].on_loss == "mass":
        raise ConfigError(
            f"{who} wants rows that sum to 1, and these phases keep sums instead",
            next="mix with MetropolisHastings; Push is for push-sum",
        )


def sums(schedule: Schedule, who: str) -> None:
    """Refuse a schedule that does not keep the sum of all workers: columns must sum to 1."""
    for t in range(schedule.period):
        columns = schedule.matrix(t).sum(0)
        worst = int(np.argmax(np.abs(columns - 1)))
        if abs(columns[worst] - 1) > _NEAR:
            raise ConfigError(
                f"{who} wants columns that sum to 1, and column {worst} sums to "
                f"{float(columns[worst]):.6g}",
                where=f"round {t}",
                next="mix with MetropolisHastings and equal weights, or with Push",
            )


def doubly_stochastic(schedule: Schedule, who: str) -> None:
    """Refuse a schedule with a round that does not keep both agreement and the plain mean."""
    agreement(schedule, who)
    sums(schedule, who)


def symmetric(schedule: Schedule, who: str) -> None:
    """Refuse a schedule with a round whose matrix is not symmetric."""
    for t in range(schedule.period):
        dense = schedule.matrix(t)
        off = np.abs(dense - dense.T)
        i, j = np.unravel_index(int(np.argmax(off)), off.shape)
        if off[i, j] > _NEAR:
            raise ConfigError(
                f"{who} wants a symmetric matrix, and worker {i} weighs {j} by {dense[i, j]:.6g}, "
                f"{j} weighs {i} by {dense[j, i]:.6g}",
                where=f"round {t}",
                next="mix with MetropolisHastings and equal weights, on links that go both ways",
            )


def connected(schedule: Schedule, who: str) -> None:
    """Refuse a schedule in a period of which some workers never hear, by any way, of others."""
    links = nx.empty_graph(schedule.n, create_using=nx.DiGraph)
    for each in schedule.phases:
        links.add_edges_from(zip(each.src.tolist(), each.dst.tolist(), strict=True))
    parts = sorted(map(sorted, nx.strongly_connected_components(links)))
    if len(parts) > 1:
        raise ConfigError(
            f"{who} wants all workers to hear of each other within a period of "
            f"{schedule.period} rounds, and they fall into {len(parts)} parts, as "
            f"{parts[0]} and {parts[1]}"
        )


def tree(graph: nx.Graph, who: str) -> None:
    """Refuse a graph that is no tree: with a cycle, or in several parts, or with one-way links.

    >>> tree(nx.path_graph(3), "RelaySum")
    """
    if graph.is_directed():
        raise ConfigError(f"{who} wants a tree, and these links go one way")
    if not nx.is_tree(graph):
        links = graph.number_of_edges()
        raise ConfigError(
            f"{who} wants a tree, which joins {len(graph)} workers by {len(graph) - 1} links and "
            f"has no cycle; here are {links}",
            next="take Path, or give the links of a tree as an EdgeList",
        )
