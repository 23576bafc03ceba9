"""Examples in shapes that few fits do not share, so that few fits compile anew.

A compiled program is made for the shapes of its arrays. Here they are powers of two: the rows of
the data, the number of steps, and, where one step sees all examples, its batch. What
fills a shape up is never visited, or has weight 0, so that no result depends on it beyond rounding.
The number of steps that are taken is an argument of the program. So fits of similar sizes with
equal settings share one program, which JAX keeps as long as the process lives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ..data import Batches
from ..data.aligned import empty
from ..data.batches import Chunk, order
from ..maps import BatchNorm, Net

SMALLEST = 16

# Steps for which the host hands over the order of the data at once, where an epoch has fewer.
AHEAD = 32


def bucket(n: int) -> int:
    """The least power of two that is not below n, and at least 16.

    >>> bucket(3), bucket(16), bucket(150)
    (16, 16, 256)
    """
    return max(SMALLEST, 1 << (n - 1).bit_length())


def mixes(net: Net) -> bool:
    """Whether a training pass may let the examples of a batch act on each other.

    A batch-norm does, wherever it sits. Of maps from elsewhere nothing is known: they may.

    >>> from pullback.maps import Affine, Relu, chain
    >>> mixes(chain(Affine(3), Relu())), mixes(chain(Affine(3), BatchNorm(), Relu()))
    (False, True)
    """
    return any(_mixes(node.map) for node in net.nodes)


def _mixes(part: Any) -> bool:
    if isinstance(part, tuple):
        return any(map(_mixes, part))
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return False
    if isinstance(part, BatchNorm) or not type(part).__module__.startswith("pullback."):
        return True
    return any(_mixes(getattr(part, field.name)) for field in dataclasses.fields(part))


class Packed(Batches):
    """Mini-batches of arrays in memory, in shapes that fits share.

    What `fit` takes for an epoch may here be several passes over the data, so that an epoch of one
    small step costs no more than its step.

    The last batch of an epoch is filled up with rows of weight 0, which a loss does not see. Where
    the network `mixes` examples it would see them: then that batch keeps its own size, as a branch
    of the program, and so does a batch of all examples.

    Shapes: rows (bucket of n, or of n + 1 where a row of weight 0 is wanted), order (bucket of the
    steps, batch). The rows beyond n repeat the first one, so that whatever is computed of them is
    as finite as the rest.

    A batch of all examples is in the order of the data. Otherwise the order is drawn anew in each
    pass, from the seed and the number of the pass alone.

    Attributes:
        passes: how many passes over the data an epoch of these stands for.
        steps_per_pass: the number of batches in each.
    """

    def __init__(
        self,
        x: np.ndarray,
        targets: np.ndarray,
        weight: np.ndarray,
        batch_size: int,
        seed: int,
        whole_batches: bool,
        total: int = 1,
        looked_at: bool = True,
    ):
        """Fill up the arrays.

        Args:
            x: inputs (n, d).
            targets: (n, k).
            weight: (n,).
            batch_size: examples per step, at most n.
            seed: of the order.
            whole_batches: whether a batch may hold nothing but examples; see `mixes`.
            total: how many passes there will be.
            looked_at: whether the host looks at the weights after each pass.
        """
        super().__init__(x, targets, weight, batch_size, seed, limit_bytes=float("inf"))
        n, self._total = len(x), total
        self._every = batch_size >= n
        self.batch_size = bucket(n) if self._every and not whole_batches else batch_size
        self.steps_per_pass = -(-n // self.batch_size)
        self._rest = n % batch_size if whole_batches else 0
        # A smaller batch is a branch at the end of the program, so it ends what is handed over.
        alone = looked_at or self._rest
        self.passes = 1 if alone else max(1, AHEAD // self.steps_per_pass)
        padded = self.steps_per_pass * self.batch_size > n and not whole_batches
        self._rows = bucket(n + padded)
        self._given = x, targets, weight
        self._lines = bucket(self.steps_per_epoch)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, targets and weights, filled up when they are first asked for."""
        x, targets, weight = self._given
        weights = empty((self._rows,), weight.dtype)
        weights[: len(weight)], weights[len(weight) :] = weight, 0
        return _filled(x, self._rows), _filled(targets, self._rows), weights

    def outline(self) -> Chunk:
        """An epoch's chunk of which only the shapes are known: nothing is copied for it."""

        def like(shape: tuple[int, ...], dtype: Any) -> Any:
            return jax.ShapeDtypeStruct(shape, dtype)

        return Chunk(
            *(like((self._rows, *a.shape[1:]), a.dtype) for a in self._given),
            order=like((self._lines, self.batch_size), np.int32),
            rest=like((self._rest,), np.int32),
            full=0,
            has_rest=self._rest > 0,
            first=0,
            last=True,
            resident=True,
        )

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in all passes of an epoch."""
        return self.steps_per_pass * self.passes

    def epoch(self, number: int) -> Iterator[Chunk]:
        """The one chunk of an epoch."""
        n, size = len(self.targets), self.batch_size
        first = number * self.passes
        passes = min(self.passes, self._total - first)
        full = self.steps_per_pass - (self._rest > 0)
        lines = np.full((self._lines, size), n, np.int32)
        rest = np.zeros(self._rest, np.int32)
        for i in range(passes):
            visit = self._visit(first + i)
            lines[i * full : (i + 1) * full].reshape(-1)[: n - self._rest] = visit[: n - self._rest]
            rest = visit[n - self._rest :]
        yield Chunk(
            *self.arrays,
            order=lines,
            full=full * passes,
            rest=rest,
            has_rest=self._rest > 0,
            first=0,
            last=True,
            resident=True,
        )

    def _visit(self, number: int) -> np.ndarray:
        n = len(self.targets)
        return np.arange(n, dtype=np.int32) if self._every else order(self._seed, number, n)


def _filled(rows: np.ndarray, length: int) -> np.ndarray:
    """The rows, followed by the first one up to a length."""
    out = empty((length, *rows.shape[1:]), rows.dtype)
    out[: len(rows)], out[len(rows) :] = rows, rows[:1]
    return out
