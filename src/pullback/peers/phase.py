"""Phases: who sends to whom at once, what weight it gets there, and what a lost message means.

A round of communication is a tuple of phases, and a schedule repeats its rounds. A master with its
workers, stars joined by their hubs, and gossip on any graph are all phases; an engine only moves
and mixes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from ..errors import ConfigError

OnLoss = Literal["self", "renorm", "pair", "mass"]

# What sums may differ by from 1: more than rounding, less than a digit that was left out.
_NEAR = 1e-9


class Row(NamedTuple):
    """What one worker's mixing needs: the messages that it may get, in the order they are added."""

    src: Int[np.ndarray, " k"]
    weight: Float[np.ndarray, " k"]
    keep: float


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Phase:
    """Messages that are sent at once: a sparse matrix, whose entry (i, j) weighs what i hears of j.

    Mixing:   x_i ← keep_i x_i + Σ_e weight_e x_src(e),  e into i, in the order of their senders
    Shapes:   src, dst, weight (E,), sorted by (dst, src); keep (n,)

    In every phase but one the rows sum to 1: keep_i + Σ_e weight_e = 1, e into i. In a phase with
    the policy "mass" it is the columns: keep_j + Σ_e weight_e = 1, e out of j. Such a phase keeps
    the sum of all workers and not their agreement; push-sum divides by what it makes of ones.

    A message that does not arrive is, by the policy `on_loss`:

    - "self": replaced by what its receiver has, so that rows still sum to 1;
    - "renorm": left out, and what did arrive is divided by the sum of its weights; who has nothing
      to divide stays as it is. A hub then has the mean over the workers that it has heard;
    - "pair": replaced as by "self", and so is the message the other way, as if the link were not
      there. The phase must be reversible, and the mean that it keeps is kept under every loss;
    - "mass": returned to its sender, which adds it to its own, so that columns still sum to 1.

    A phase is a constant to JAX: it is hashed and compared by its content.

    Args:
        src: who sends each message.
        dst: who gets it.
        weight: what it weighs there.
        keep: what each worker's own value weighs.
        carries: the name of the slot of the state that travels.
        on_loss: the policy.

    Raises:
        ConfigError: an edge joins nobody, joins a worker to itself, is there twice or is out of
            order; a weight is not finite; a sum is not 1; the policy is unknown, or does not fit
            the weights.

    Make one with the function `phase`, which sorts.
    """

    src: Int[np.ndarray, " e"]
    dst: Int[np.ndarray, " e"]
    weight: Float[np.ndarray, " e"]
    keep: Float[np.ndarray, " n"]
    carries: str = "x"
    on_loss: OnLoss = "self"

    def __post_init__(self):
        for name, kind in (("src", int), ("dst", int), ("weight", float), ("keep", float)):
            array = np.array(getattr(self, name), kind)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        _check_policy(self.on_loss)
        self._check_edges()
        self._check_sums()
        if self.on_loss == "renorm" and min(self.weight.min(initial=0), self.keep.min()) < 0:
            raise ConfigError(
                "a phase that divides by the weights that arrived needs weights of at least 0",
                next='use the policy "self"',
            )
        if self.on_loss == "pair" and not self.reversible:
            raise ConfigError(
                "a phase whose messages are lost in pairs must be reversible: every edge goes both "
                "ways, and the flows along it are equal",
                next='use symmetric weights, or the policy "self"',
            )

    @property
    def n(self) -> int:
        """How many workers there are."""
        return len(self.keep)

    @property
    def edges(self) -> int:
        """How many messages are sent."""
        return len(self.src)

    @functools.cached_property
    def back(self) -> Int[np.ndarray, " e"]:
        """The edge that goes the other way, for each edge; −1 where there is none."""
        code, other = self.dst * self.n + self.src, self.src * self.n + self.dst
        at = np.searchsorted(code, other).clip(max=max(self.edges - 1, 0))
        return np.where(code[at] == other, at, -1) if self.edges else at

    @functools.cached_property
    def reversible(self) -> bool:
        """Whether some positive shares π make equal flows: π_i w_ij = π_j w_ji for every edge.

        A symmetric phase is; so is one that was weighed for unequal parts of the data.
        """
        if self.edges and self.back.min() < 0:
            return False
        there, returned = self.weight, self.weight[self.back]
        if np.allclose(there, returned, rtol=0, atol=1e-12):
            return True
        return bool((there > 0).all()) and self._has_potential(np.log(there) - np.log(returned))

    def row(self, i: int) -> Row:
        """Return what worker i's mixing needs."""
        mine = self.dst == i
        return Row(self.src[mine], self.weight[mine], float(self.keep[i]))

    def matrix(self, up: Bool[np.ndarray, " e"] | None = None) -> Float[np.ndarray, "n n"]:
        """Return the dense matrix that this phase is, where only the messages `up` arrive.

        >>> phase({(1, 0): 0.5, (0, 1): 0.5}, n=2, on_loss="mass").matrix(np.array([True, False]))
        array([[1. , 0.5],
               [0. , 0.5]])
        """
        up = np.ones(self.edges, bool) if up is None else np.array(up, bool)
        if self.on_loss == "pair":
            up = up & up[self.back]
        dense = np.diag(self.keep)
        dense[self.dst[up], self.src[up]] = self.weight[up]
        if self.on_loss == "renorm":
            arrived = dense.sum(1)
            some = arrived > 0
            return np.where(
                some[:, None], dense / np.where(some, arrived, 1)[:, None], np.eye(self.n)
            )
        home = (self.src if self.on_loss == "mass" else self.dst)[~up]
        np.add.at(dense, (home, home), self.weight[~up])
        return dense

    def weights_in(self, dtype) -> tuple[np.ndarray, np.ndarray]:
        """Return `weight` and `keep` in another precision.

        What is kept is what the rounded weights leave over: thirds that are rounded one by one
        would sum to a little more than 1, and everything would grow with the rounds.
        """
        weight = self.weight.astype(dtype)
        rest = _rest(self._summed, weight.astype(float), self.n)
        return weight, np.where(self.keep == 0, 0, rest).astype(dtype)

    @property
    def _summed(self) -> np.ndarray:
        """The worker in whose sum each weight stands: its row, or its column."""
        return self.src if self.on_loss == "mass" else self.dst

    def _check_edges(self):
        if not len(self.src) == len(self.dst) == len(self.weight):
            raise ConfigError("a phase's src, dst and weight must be of one length")
        for src, dst in zip(self.src.tolist(), self.dst.tolist(), strict=True):
            if not (0 <= src < self.n and 0 <= dst < self.n):
                raise ConfigError(
                    f"an edge of a phase goes from {src} to {dst}, of {self.n} workers",
                    next=f"number the workers from 0 to {self.n - 1}",
                )
            if src == dst:
                raise ConfigError(
                    f"an edge of a phase goes from worker {src} to itself",
                    next="what a worker has of its own is weighed by keep",
                )
        if (np.diff(self.dst * self.n + self.src) <= 0).any():
            raise ConfigError(
                "a phase's edges must be sorted by (dst, src), and each be there once"
            )

    def _check_sums(self):
        if not (np.isfinite(self.weight).all() and np.isfinite(self.keep).all()):
            raise ConfigError("a phase's weights must be finite")
        sums = self.keep + np.bincount(self._summed, self.weight, self.n)
        worst = int(np.argmax(np.abs(sums - 1)))
        if abs(sums[worst] - 1) > _NEAR:
            line = "column" if self.on_loss == "mass" else "row"
            raise ConfigError(
                f"the {line}s of a phase must sum to 1, and {line} {worst} sums to "
                f"{float(sums[worst]):.6g}",
                next='give other weights; only under the policy "mass" do columns sum to 1',
            )

    def _has_potential(self, rise: np.ndarray) -> bool:
        """Whether numbers at the workers differ by `rise` along every edge, from dst to src."""
        height = np.full(self.n, np.nan)
        for root in range(self.n):
            if not np.isnan(height[root]):
                continue
            height[root], reached = 0.0, [root]
            while reached:
                i = reached.pop()
                for e in np.flatnonzero(self.dst == i):
                    if np.isnan(height[self.src[e]]):
                        height[self.src[e]] = height[i] + rise[e]
                        reached.append(int(self.src[e]))
        return bool(np.allclose(height[self.src] - height[self.dst], rise, rtol=0, atol=1e-9))

    @functools.cached_property
    def _content(self) -> tuple:
        arrays = (self.src, self.dst, self.weight, self.keep)
        return (*(array.tobytes() for array in arrays), self.carries, self.on_loss)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Phase) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)


def phase(
    weights: Mapping[tuple[int, int], float],
    *,
    n: int,
    keep: Iterable[float] | None = None,
    carries: str = "x",
    on_loss: OnLoss = "self",
) -> Phase:
    """Make a phase of the weights of its messages.

    Args:
        weights: (src, dst) ↦ the weight at dst of what src sends.
        n: how many workers there are.
        keep: what each worker's own value weighs; None for what the others leave of 1.
        carries: the name of the slot of the state that travels.
        on_loss: what takes the place of a message that does not arrive.

    Raises:
        ConfigError: as `Phase`.

    >>> gather = phase({(2, 0): 0.25, (1, 0): 0.25}, n=3, on_loss="renorm")
    >>> gather.src.tolist(), gather.keep.tolist()
    ([1, 2], [0.5, 1.0, 1.0])
    """
    edges = sorted(weights, key=lambda edge: edge[::-1])
    src = np.array([src for src, _ in edges], int)
    dst = np.array([dst for _, dst in edges], int)
    weight = np.array([weights[edge] for edge in edges], float)
    if keep is None:
        _check_policy(on_loss)
        home = src if on_loss == "mass" else dst
        # An edge to nobody is left to Phase, which says so.
        inside = (home >= 0) & (home < n)
        rest = _rest(home[inside], weight[inside], n)
        # What rounding leaves of 1 is no weight: a hub without data keeps nothing.
        keep = np.where(np.abs(rest) < 1e-12, 0, rest)
    keep = np.array(list(keep), float)
    if len(keep) != n:
        raise ConfigError(f"keep must be one number for each of {n} workers, got {len(keep)}")
    return Phase(src, dst, weight, keep, carries, on_loss)


def gossip(matrix: Float[np.ndarray, "n n"], on_loss: OnLoss = "self") -> Phase:
    """Make a phase of a dense matrix: a message for every entry off the diagonal that is not 0.

    >>> gossip(np.array([[0.5, 0.5], [0.5, 0.5]])).edges
    2
    """
    dst, src = np.nonzero(np.where(np.eye(len(matrix), dtype=bool), 0, matrix))
    return Phase(src, dst, matrix[dst, src], np.diag(matrix), on_loss=on_loss)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Schedule:
    """Rounds of phases, repeated: round t is that of number t modulo the period.

    Raises:
        ConfigError: there is no round, or no phase in one; the phases are not of the same workers,
            or sum to 1 along rows here and columns there.

    >>> swap = phase({(1, 0): 1.0, (0, 1): 1.0}, n=2)
    >>> Schedule(((swap,), (swap, swap))).product().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    rounds: tuple[tuple[Phase, ...], ...]

    def __post_init__(self):
        if not self.rounds or not all(self.rounds):
            raise ConfigError("a schedule needs a round, and each of its rounds a phase")
        if len({each.n for each in self.phases}) > 1:
            raise ConfigError("the phases of a schedule must have the same number of workers")
        if len({each.on_loss == "mass" for each in self.phases}) > 1:
            raise ConfigError(
                'phases with the policy "mass" keep sums, the others agreement: a schedule cannot '
                "have both"
            )

    @property
    def n(self) -> int:
        """How many workers there are."""
        return self.rounds[0][0].n

    @property
    def period(self) -> int:
        """After how many rounds they repeat."""
        return len(self.rounds)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases of a period, in order."""
        return tuple(each for phases in self.rounds for each in phases)

    def round(self, t: int) -> tuple[Phase, ...]:
        """Return the phases of round t, from 0."""
        return self.rounds[t % self.period]

    def matrix(self, t: int) -> Float[np.ndarray, "n n"]:
        """Return what round t makes of the workers, as one matrix: its last phase stands first."""
        return _product(self.round(t))

    def product(self) -> Float[np.ndarray, "n n"]:
        """Return what a whole period makes of the workers, as one matrix."""
        return _product(self.phases)

    def losing(self, on_loss: OnLoss) -> Schedule:
        """Return the same rounds with another policy in every phase."""
        return Schedule(
            tuple(tuple(replace(each, on_loss=on_loss) for each in one) for one in self.rounds)
        )


def _check_policy(on_loss: str) -> None:
    if on_loss not in get_args(OnLoss):
        known = ", ".join(get_args(OnLoss))
        raise ConfigError(f"a phase's on_loss must be one of {known}, got {on_loss!r}")


def _rest(home: np.ndarray, weight: np.ndarray, n: int) -> np.ndarray:
    """What the weights in each worker's sum leave of 1."""
    return 1 - np.bincount(home, weight, n)


def _product(phases: Iterable[Phase]) -> np.ndarray:
    return functools.reduce(np.matmul, [each.matrix() for each in phases][::-1])
