"""The order of the data: mini-batches of one fixed shape, resident in memory or streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError, ShapeError
from .aligned import aligned
from .pixels import Pixels
from .rows import Rows, blocks, row_bytes
from .streams import generator


def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order in which an epoch visits n examples, (n,) int32.

    It depends on seed, epoch and n alone, so a resumed run needs no generator's state.
    """
    return generator(seed, "order", epoch).permutation(n).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive steps of an epoch, over rows that are in memory together.

    All chunks of one `Batches` have arrays of the same shapes, so that one compiled program serves:
    where a chunk is short, the rows and the indices beyond it are zeros that nothing refers to.

    Shapes: x (c, ...), y (c, k), weight (c,); order (c // batch, batch); rest (n % batch,)

    Args:
        x: inputs.
        y: targets.
        weight: weights.
        order: the rows of each full batch; only the first `full` lines hold.
        full: the number of full batches.
        rest: the rows of the last, smaller batch of the epoch; only holds if `has_rest`.
        has_rest: whether this chunk has that batch.
        first: the number of steps that the epoch made before this chunk.
        last: whether this chunk ends the epoch.
        resident: whether x, y and weight are the same arrays in every epoch.
    """

    x: np.ndarray | Pixels
    y: np.ndarray
    weight: np.ndarray
    order: np.ndarray
    full: int
    rest: np.ndarray
    has_rest: bool
    first: int
    last: bool
    resident: bool

    @property
    def steps(self) -> int:
        """The number of steps in this chunk."""
        return self.full + self.has_rest


class Batches:
    """Mini-batches of a training part, shuffled anew in every epoch.

    Inputs that fit into `limit_bytes` are one resident chunk in a uniformly random order.

    Larger ones are read in chunks of at most half of it, so that one can be read while another is
    in use: each epoch starts at a random row, cuts the rows from there into consecutive chunks,
    visits the chunks in random order (a short one last), and the rows of each in random order.
    Neighbours in the file stay near each other, so a file sorted by class is better shuffled once.

    Either way every epoch visits every row once, and only its last batch may be smaller.

    Attributes:
        x: inputs; of what is streamed the rows on disk.
        targets: (n, k).
        weight: (n,).
        passes: how often an epoch visits every row.
    """

    passes = 1

    def __init__(
        self,
        x: np.ndarray | Pixels | Rows,
        targets: np.ndarray,
        weight: np.ndarray | None,
        batch_size: int,
        seed: int,
        limit_bytes: float,
    ):
        """Check the arrays, and bring resident ones into memory.

        Args:
            x: inputs (n, ...); resident `Pixels` stay bytes. JAX on a processor reads them where
                they lie, so they must not change while training goes on. An array that begins
                where it cannot is copied once: who needs it no longer should let it go.
            targets: (n, k), of the type in which to train.
            weight: (n,); None counts every example alike.
            batch_size: examples per step.
            seed: the seed of the order.
            limit_bytes: inputs larger than this are streamed, unless they are `Pixels`.

        Raises:
            ConfigError: the batch size is not positive.
            ShapeError: the arrays differ in length.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        lengths = (len(x), len(targets), len(x) if weight is None else len(weight))
        if len(set(lengths)) != 1:
            raise ShapeError(f"x, targets and weight have {lengths} rows, equal ones are wanted")
        self.x, self.targets = x, targets
        self.weight = (
            np.ones(len(x), targets.dtype) if weight is None else weight.astype(targets.dtype)
        )
        self.batch_size, self._seed = batch_size, seed
        self.streams = False
        self._capacity = len(x)
        if isinstance(x, Pixels):
            return
        self.streams = len(x) * row_bytes(x) > limit_bytes
        if self.streams:
            batch_bytes = batch_size * row_bytes(x)
            self._capacity = batch_size * max(1, int(limit_bytes / 2) // batch_bytes)
        else:
            self.x = x[:]

    def like(self) -> np.ndarray:
        """Return one row of inputs as training sees it, to draw the first weights for."""
        return self.x[:1]

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches, ⌈n / batch⌉."""
        return -(-len(self.x) // self.batch_size)

    def epoch(self, number: int) -> Iterator[Chunk]:
        """Return the chunks of an epoch; they depend on the seed and the epoch's number alone."""
        return self._streamed(number) if self.streams else iter([self._resident(number)])

    def _resident(self, number: int) -> Chunk:
        assert not isinstance(self.x, Rows)
        if isinstance(self.x, np.ndarray):
            self.x = aligned(self.x)
        self.targets, self.weight = aligned(self.targets), aligned(self.weight)
        visit = order(self._seed, number, len(self.x))
        return self._chunk(self.x, self.targets, self.weight, visit, first=0)

    def _streamed(self, number: int) -> Iterator[Chunk]:
        assert not isinstance(self.x, Pixels)
        random = generator(self._seed, "order", number)
        n, size = len(self.x), self._capacity
        start = int(random.integers(n))
        begins = [int(i) * size for i in random.permutation(n // size)]
        if n % size:
            begins.append(n // size * size)
        first = 0
        for begin in begins:
            count = min(size, n - begin)
            x, y, weight = (
                _gathered(source, (start + begin) % n, count, size)
                for source in (self.x, self.targets, self.weight)
            )
            chunk = self._chunk(x, y, weight, random.permutation(count).astype(np.int32), first)
            first += chunk.steps
            yield chunk

    def _chunk(
        self,
        x: np.ndarray | Pixels,
        y: np.ndarray,
        weight: np.ndarray,
        visit: np.ndarray,
        first: int,
    ) -> Chunk:
        """Cut the order of a chunk's rows into full batches and the rest."""
        size = self.batch_size
        full = len(visit) // size
        lines = _padded(visit[: full * size].reshape(full, size), self._capacity // size)
        rest = visit[full * size :]
        return Chunk(
            x=x,
            y=y,
            weight=weight,
            order=lines,
            full=full,
            rest=_padded(rest, len(self.x) % size),
            has_rest=len(rest) > 0,
            first=first,
            last=first + full + (len(rest) > 0) == self.steps_per_epoch,
            resident=not self.streams,
        )


def _gathered(source: np.ndarray | Rows, start: int, count: int, length: int) -> np.ndarray:
    """Return `count` consecutive rows, the first following the last, and zeros up to `length`."""
    out = np.zeros((length, *source.shape[1:]), source.dtype)
    before_end = min(count, len(source) - start)
    for block in blocks(source, start, start + before_end):
        out[block.start - start : block.stop - start] = source[block]
    for block in blocks(source, 0, count - before_end):
        out[before_end + block.start : before_end + block.stop] = source[block]
    return out


def _padded(rows: np.ndarray, length: int) -> np.ndarray:
    """Return the rows followed by zeros up to a length."""
    if len(rows) == length:
        return rows
    out = np.zeros((length, *rows.shape[1:]), rows.dtype)
    out[: len(rows)] = rows
    return out
