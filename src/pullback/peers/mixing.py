"""Mixing: how much each worker takes of what it hears, as a matrix W for a graph.

The entry (i, j) of W weighs what i hears of j. Rows sum to 1, so that workers that agree stay as
they are; and pᵀW = pᵀ, where p are the shares of the data, so that the mean over the data is kept.
With equal shares that is: columns sum to 1 too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from jaxtyping import Float

from ..errors import ConfigError
from .phase import OnLoss, Phase, gossip

Weights = Sequence[float] | Float[np.ndarray, " n"]

# How far a matrix that is given may be from what it must be.
_NEAR = 1e-9


@dataclass(frozen=True)
class Mixing:
    """A way to weigh a graph; its subclasses give W in `_weigh`."""

    @property
    def on_loss(self) -> OnLoss:
        """What becomes of a lost message, if nothing else is said."""
        return "self"

    def matrix(
        self, graph: nx.Graph | nx.DiGraph, weights: Weights | None = None
    ) -> Float[np.ndarray, "n n"]:
        """Return W for a graph of the workers 0 to n − 1; an edge of a DiGraph goes to who hears.

        Args:
            graph: who hears whom.
            weights: the amounts of data, to any sum; None asks for nothing but what W is, which
                for most is the plain mean.

        Raises:
            ConfigError: the graph is not one that can be weighed so; W does not keep the mean over
                data of these amounts.
        """
        n = len(graph)
        shares = data_shares(weights, n)
        dense = self._weigh(graph, shares)
        if weights is not None and self.on_loss != "mass":
            off = float(np.abs(shares @ dense - shares).max())
            if off > _NEAR:
                raise ConfigError(
                    f"{type(self).__name__} does not keep the mean over data of these amounts: a "
                    f"share is off by {off:.2g} after a round",
                    next="mix with MetropolisHastings, or give no weights",
                )
        return dense

    def phase(self, graph: nx.Graph | nx.DiGraph, weights: Weights | None = None) -> Phase:
        """Return the phase in which every worker hears its neighbours and mixes with W."""
        return gossip(self.matrix(graph, weights), self.on_loss)

    def _weigh(self, graph: nx.Graph, shares: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class MetropolisHastings(Mixing):
    """Weights that two workers can settle between themselves.

    Weights:  w_ij = min(1/(1 + d_i), p_j/p_i · 1/(1 + d_j)),  w_ii = the rest,  d the degrees
    Source:   Xiao, Boyd & Lall 2006, "Distributed average consensus with time-varying Metropolis
              weights": 1/(1 + max(d_i, d_j)), which this is for equal shares; Hastings 1970 for
              others

    The flows p_i w_ij = p_j w_ji are equal, so pᵀW = pᵀ; with equal shares W is symmetric.

    Raises:
        ConfigError: in `matrix`, the graph has edges that go one way.

    >>> MetropolisHastings().matrix(nx.path_graph(3)).round(3).tolist()
    [[0.667, 0.333, 0.0], [0.333, 0.333, 0.333], [0.0, 0.333, 0.667]]
    """

    def _weigh(self, graph, shares):
        adjacency = _adjacency(self, graph, both_ways=True)
        # Relative to the largest share: equal shares are then 1 exactly.
        share = shares / shares.max()
        rate = share / (1 + adjacency.sum(1))
        flow = adjacency * np.minimum(rate[:, None], rate[None])
        return _with_rest(flow / share[:, None])


@dataclass(frozen=True)
class Lazy(Mixing):
    """Half of another mixing, half of one's own: (I + W)/2.

    It has no negative eigenvalue, so that nothing swings, and it needs about twice the rounds.

    Args:
        of: the other.

    >>> Lazy().matrix(nx.path_graph(2)).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """

    of: Mixing = MetropolisHastings()

    @property
    def on_loss(self) -> OnLoss:
        """As the other."""
        return self.of.on_loss

    def _weigh(self, graph, shares):
        return (np.eye(len(graph)) + self.of._weigh(graph, shares)) / 2


@dataclass(frozen=True)
class Laplacian(Mixing):
    """One weight for all edges: a step down the disagreement ½ Σ_edges (x_i − x_j)².

    Weights:  W = I − step · P⁻¹L,  P = diag(p)/max p, L the Laplacian of the graph
    Source:   Xiao & Boyd 2004, "Fast linear iterations for distributed averaging", §4.1, where
              P = I: step = 2/(λ_max + λ_2) is the best; λ are the eigenvalues of P^-½ L P^-½

    What a worker keeps may be negative, as at the middle of a star.

    Args:
        step: None for the best one.

    Raises:
        ConfigError: in `matrix`, the step is not in (0, 2/λ_max), where workers would not come to
            agree; the graph has edges that go one way.

    >>> Laplacian().matrix(nx.complete_graph(2)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """

    step: float | None = None

    def _weigh(self, graph, shares):
        adjacency = _adjacency(self, graph, both_ways=True)
        share = shares / shares.max()
        laplacian = np.diag(adjacency.sum(1)) - adjacency
        root = np.sqrt(share)
        spectrum = np.linalg.eigvalsh(laplacian / np.outer(root, root))
        step = 2 / (spectrum[-1] + spectrum[1]) if self.step is None else self.step
        if not 0 < step < 2 / spectrum[-1]:
            raise ConfigError(
                f"Laplacian's step must be in (0, {2 / spectrum[-1]:.6g}) on this graph, got {step}"
            )
        return _with_rest(step * adjacency / share[:, None])


@dataclass(frozen=True)
class EqualShares(Mixing):
    """The plain mean of oneself and all one hears: 1/(d_i + 1), with d_i who is heard by i.

    Rows sum to 1, but columns only if all degrees are equal. On other graphs training minimises
    Σ_i π_i f_i with π_i ∝ d_i + 1, if edges go both ways: the well connected count for more.

    Source:   BlueFog's default

    Raises:
        ConfigError: in `matrix`, amounts of data are given, and π are not their shares.

    >>> EqualShares().matrix(nx.path_graph(3)).round(3).tolist()
    [[0.5, 0.5, 0.0], [0.333, 0.333, 0.333], [0.0, 0.5, 0.5]]
    """

    def _weigh(self, graph, shares):
        heard = _adjacency(self, graph)
        return _with_rest(heard / (1 + heard.sum(1, keepdims=True)))


@dataclass(frozen=True)
class Push(Mixing):
    """For push-sum: each worker gives away equal parts of what it has, 1/(d_j + 1) to each.

    Columns sum to 1, rows need not: what is kept is the sum, on any graph, whatever way its edges
    go. A lost message's part stays with its sender. d_j is to how many j sends.

    Source:   Kempe, Dobra & Gehrke 2003, "Gossip-based computation of aggregate information"

    Amounts of data are no business of the matrix here: push-sum puts them into what it begins with.

    >>> Push().matrix(nx.path_graph(3)).sum(0).round(12).tolist()
    [1.0, 1.0, 1.0]
    """

    @property
    def on_loss(self) -> OnLoss:
        """The sender keeps it."""
        return "mass"

    def _weigh(self, graph, shares):
        heard = _adjacency(self, graph)
        return _with_rest((heard / (1 + heard.sum(0))).T).T


@dataclass(frozen=True)
class Given(Mixing):
    """A matrix of one's own.

    Args:
        rows: W; row i weighs what worker i hears.

    Raises:
        ConfigError: the rows are not those of a square matrix of finite numbers, or do not sum to
            1; in `matrix`, W has another size than the graph, weighs an edge that is not there, or
            leaves out so many that some workers never hear of others.

    >>> Given(((0.5, 0.5), (0.5, 0.5))).matrix(nx.path_graph(2)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """

    rows: tuple[tuple[float, ...], ...]

    def __post_init__(self):
        if any(len(row) != len(self.rows) for row in self.rows):
            raise ConfigError("Given's rows must be those of a square matrix")
        for i, row in enumerate(self.rows):
            if not abs(sum(row) - 1) <= _NEAR:
                raise ConfigError(f"Given's rows must sum to 1, and row {i} sums to {sum(row):.6g}")

    def _weigh(self, graph, shares):
        n = len(graph)
        if len(self.rows) != n:
            raise ConfigError(f"Given has {len(self.rows)} rows for {n} workers")
        dense = np.array(self.rows, float)
        heard = np.where(np.eye(n, dtype=bool), 0, dense)
        for i, j in np.argwhere((heard != 0) & (_adjacency(self, graph) == 0)).tolist():
            raise ConfigError(f"Given weighs what worker {i} hears of {j}, which no edge joins")
        if not nx.is_strongly_connected(nx.DiGraph(heard.T != 0)):
            raise ConfigError("with Given's zeros, some workers never hear of others")
        return dense


def data_shares(
    weights: Weights | None, n: int, without: Sequence[int] = ()
) -> Float[np.ndarray, " n"]:
    """Return the shares of the data that the workers have, which sum to 1.

    Args:
        weights: amounts of data, to any sum; None for equal ones.
        n: how many workers there are.
        without: workers that have no data.

    Raises:
        ConfigError: there is not one amount for each worker; one is not a positive number, or is
            not 0 for a worker without data.

    >>> data_shares([30, 10], 2).tolist(), data_shares(None, 3, without=[0]).tolist()
    ([0.75, 0.25], [0.0, 0.5, 0.5])
    """
    if weights is None:
        weights = [0.0 if i in without else 1.0 for i in range(n)]
    amounts = np.asarray(weights, float)
    if amounts.shape != (n,):
        raise ConfigError(
            f"data weights must be one number for each of {n} workers, got an array of shape "
            f"{amounts.shape}"
        )
    for i, amount in enumerate(amounts.tolist()):
        if i in without and amount != 0:
            raise ConfigError(
                f"worker {i} is a hub without data, and its weight is {amount:g}, not 0"
            )
        if i not in without and not 0 < amount < math.inf:
            raise ConfigError(
                f"the data weight of worker {i} must be a positive number, got {amount:g}",
                next="leave no worker without data",
            )
    return amounts / amounts.sum()


def _adjacency(mixing: Mixing, graph: nx.Graph, both_ways: bool = False) -> np.ndarray:
    """The matrix whose entry (i, j) is 1 if i hears j."""
    if both_ways and graph.is_directed():
        raise ConfigError(
            f"{type(mixing).__name__} wants edges that go both ways, and these go one way",
            next="mix with Push, for push-sum, or with EqualShares",
        )
    heard = np.zeros((len(graph), len(graph)))
    for src, dst in graph.edges():
        heard[dst, src] = 1
    return heard if graph.is_directed() else np.maximum(heard, heard.T)


def _with_rest(heard: np.ndarray) -> np.ndarray:
    """The matrix with what others leave of each row on its diagonal."""
    return heard + np.diag(1 - heard.sum(1))
