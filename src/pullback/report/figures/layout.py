"""Where the workers of a network are drawn, by the form of its links."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import networkx as nx

# Workers on a line; more are bent to an open circle.
_STRAIGHT = 12
# Workers for which all distances are fitted; more are placed by springs.
_FITTED = 100


def positions(
    n: int,
    links: Sequence[Sequence[int]],
    hubs: Sequence[bool],
    topology: Mapping[str, Any],
) -> np.ndarray:
    """Place workers in the plane, within the square from −1 to 1, as (n, 2); the same each time.

    Grids lie in rows and columns; trees, and so stars, around their middle; hubs that all know each
    other on a circle, with their leaves around them; who forms a ring by number on a circle; others
    so that the distances drawn are those in the graph (Kamada & Kawai 1989).

    >>> positions(3, [[0, 1], [0, 2]], [True, False, False], {"name": "star"}).round(3).tolist()[0]
    [0.0, 0.0]
    """
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from((a, b) for a, b in links)
    rows, columns = topology.get("rows"), topology.get("columns")
    if rows and columns and rows * columns == n:
        found = [(c, -r) for r in range(rows) for c in range(columns)]
    elif nx.is_tree(graph):
        found = _line(graph) if max(dict(graph.degree).values()) < 3 else _tree(graph)
    elif all(hubs[i] or graph.degree[i] == 1 for i in range(n)):
        found = _stars(graph, hubs)
    elif all(graph.has_edge(i, (i + 1) % n) for i in range(n)):
        found = [_polar(0.5 * math.pi - 2 * math.pi * i / n) for i in range(n)]
    else:
        close = n <= _FITTED
        placed = nx.kamada_kawai_layout(graph) if close else nx.spring_layout(graph, seed=0)
        found = [tuple(placed[i]) for i in range(n)]
    return _fitted(np.array(found, float))


def _fitted(found: np.ndarray) -> np.ndarray:
    """The same form, with its middle at 0 and its longer side from −1 to 1."""
    found = found - (found.max(0) + found.min(0)) / 2
    return found / max(float(np.abs(found).max()), 1e-9)


def _polar(angle: float, radius: float = 1.0) -> tuple[float, float]:
    return radius * math.cos(angle), radius * math.sin(angle)


def _line(graph: nx.Graph) -> list[tuple[float, float]]:
    """A chain, from one end to the other."""
    n = len(graph)
    end = min(i for i in graph if graph.degree[i] < 2)
    order = _from(graph, end)
    found = dict.fromkeys(graph, (0.0, 0.0))
    for k, i in enumerate(order):
        turn = 0.5 * math.pi - (0.2 + k / max(n - 1, 1) * (2 * math.pi - 0.4))
        found[i] = (float(k), 0.0) if n <= _STRAIGHT else _polar(turn)
    return [found[i] for i in range(n)]


def _from(graph: nx.Graph, end: int) -> list[int]:
    import networkx as nx

    return list(nx.dfs_preorder_nodes(graph, end))


def _tree(graph: nx.Graph) -> list[tuple[float, float]]:
    """A tree around its middle, which is one worker, or two side by side; each keeps its side."""
    import networkx as nx

    found: dict[int, tuple[float, float]] = {}
    middle = sorted(nx.center(graph))
    if len(middle) == 1:
        _fan(graph, middle[0], None, (0.5 * math.pi, -1.5 * math.pi), (0, 0), 0, found)
    else:
        left, right = middle
        _fan(graph, left, right, (1.5 * math.pi, 0.5 * math.pi), (-0.6, 0), 0, found)
        _fan(graph, right, left, (0.5 * math.pi, -0.5 * math.pi), (0.6, 0), 0, found)
    return [found[i] for i in range(len(graph))]


def _fan(
    graph: nx.Graph,
    root: int,
    above: int | None,
    angles: tuple[float, float],
    origin: tuple[float, float],
    depth: int,
    found: dict[int, tuple[float, float]],
) -> None:
    """Place a subtree: each branch gets a part of the angles as large as it has leaves."""
    x, y = _polar(sum(angles) / 2, depth)
    found[root] = (origin[0] + x, origin[1] + y)
    below = [i for i in sorted(graph[root]) if i != above]
    leaves = [_leaves(graph, i, root) for i in below]
    start, whole = angles[0], angles[1] - angles[0]
    for i, count in zip(below, leaves, strict=True):
        stop = start + whole * count / sum(leaves)
        _fan(graph, i, root, (start, stop), origin, depth + 1, found)
        start = stop


def _leaves(graph: nx.Graph, root: int, above: int) -> int:
    below = [i for i in graph[root] if i != above]
    return sum(_leaves(graph, i, root) for i in below) if below else 1


def _stars(graph: nx.Graph, hubs: Sequence[bool]) -> list[tuple[float, float]]:
    """Hubs on a circle, the leaves of each outside of it."""
    middle = [i for i in graph if hubs[i]]
    found: dict[int, tuple[float, float]] = {}
    for k, hub in enumerate(middle):
        angle = 0.5 * math.pi - 2 * math.pi * k / len(middle)
        x, y = found[hub] = _polar(angle)
        below = [i for i in sorted(graph[hub]) if not hubs[i]]
        width = min(math.pi, 0.6 * len(below))
        for j, i in enumerate(below):
            turn = angle + width * (0.5 - (j + 0.5) / len(below))
            dx, dy = _polar(turn, 0.8)
            found[i] = (x + dx, y + dy)
    return [found[i] for i in range(len(graph))]
