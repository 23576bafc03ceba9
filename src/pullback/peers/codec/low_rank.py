"""Matrices as products of two thin ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
import numpy as np

from ...optim import ranges
from .core import Codec, Cost, Shapes, only_if, pieces, sizes, sound, vector


@dataclass(frozen=True)
class LowRank(Codec):
    """Send a matrix M (m, n) as P (m, r) and Q (n, r), found by subspace iteration: PowerSGD.

    Codec:    C(M) = P Qᵀ;  Q begins with normal numbers, and `iterations` times
              P = orthonormal columns that span those of M Q,  Q = Mᵀ P
    Bytes:    those of r(m + n) numbers; vectors, and matrices that need no more, are sent in full
    Error:    ‖C(M) − M‖² = ‖M‖² − ‖Q‖², for P Pᵀ is a projection;
              E‖C(M) − M‖² ≤ (1 − r/min(m, n))‖M‖²: the best fit by columns of M Q is no worse than
              M projected on the span of Q, and that is random
    Source:   Vogels et al. 2019, arXiv:1905.13727, algorithm 1, without memory between rounds:
              Q begins anew each time, so that more than one iteration may pay

    The last axis of a tensor is one side of its matrix, all others are the other. The products of
    matrices are the compiler's: the factors of one vector agree to rounding, not to the bit,
    between a program of one worker and one of many. Whoever decodes them adds in one order.

    Args:
        rank: r.
        iterations: of the subspace.

    Raises:
        ConfigError: rank or iterations is not a whole number of at least 1.

    >>> codec, shapes, key = LowRank(1), ((6, 5),), jax.random.key(0)
    >>> v = jnp.outer(jnp.arange(6.0), jnp.ones(5)).reshape(-1)
    >>> back = codec.decode(codec.encode(v, key, shapes), key, shapes, v.dtype)
    >>> float(jnp.max(jnp.abs(back - v))) < 1e-5
    True
    """

    rank: int = 1
    iterations: int = 1

    def __post_init__(self):
        ranges.whole(self, "rank")
        ranges.whole(self, "iterations")

    def encode(self, v, key, shapes):
        v = vector(v, shapes)
        values = []
        for place, (part, shape) in enumerate(zip(pieces(v, sizes(shapes)), shapes, strict=True)):
            if (sides := self._sides(shape)) is None:
                values.append(part)
            else:
                p, q = self._factors(part.reshape(sides), jax.random.fold_in(key, place))
                values += [p.reshape(-1), q.reshape(-1)]
        # What a decomposition makes of nan is nobody's promise.
        return {"values": only_if(sound(v), jnp.concatenate(values))}

    def decode(self, buffers, key, shapes, dtype):
        parts = []
        for part, shape in zip(pieces(buffers["values"], self._sent(shapes)), shapes, strict=True):
            if (sides := self._sides(shape)) is None:
                parts.append(part)
            else:
                thin = part.reshape(sum(sides), self.rank)
                p, q = thin[: sides[0]], thin[sides[0] :]
                # One product after the other, so that all who decode add in one order.
                terms = [p[:, r, None] * q[None, :, r] for r in range(self.rank)]
                parts.append(reduce(add, terms).reshape(-1))
        return jnp.concatenate(parts).astype(dtype)

    def cost(self, shapes, dtype):
        return Cost(sum(self._sent(shapes)) * np.dtype(dtype).itemsize)

    def distortion(self, shapes):
        sides = [self._sides(shape) for shape in shapes]
        return max(0.0 if pair is None else 1 - self.rank / min(pair) for pair in sides)

    def _sent(self, shapes: Shapes) -> tuple[int, ...]:
        """The numbers that travel for each tensor."""
        sides = [self._sides(shape) for shape in shapes]
        return tuple(
            size if pair is None else self.rank * sum(pair)
            for size, pair in zip(sizes(shapes), sides, strict=True)
        )

    def _sides(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """The sides of a tensor's matrix, or None if it is sent in full."""
        if len(shape) < 2:
            return None
        m, n = math.prod(shape[:-1]), shape[-1]
        return (m, n) if self.rank * (m + n) < m * n else None

    def _factors(self, matrix, key):
        q = jax.random.normal(key, (matrix.shape[1], self.rank), matrix.dtype)
        p = q
        for _ in range(self.iterations):
            p, _ = jnp.linalg.qr(jnp.matmul(matrix, q, precision="highest"))
            q = jnp.matmul(matrix.T, p, precision="highest")
        return p, q
