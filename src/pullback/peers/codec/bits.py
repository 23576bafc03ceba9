"""Numbers of a few bits each, packed into bytes."""

from __future__ import annotations

from functools import partial, reduce
from operator import or_

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8, UInt32


def byte_count(count: int, width: int) -> int:
    """The bytes that so many numbers of so many bits fill: ⌈count · width / 8⌉.

    >>> byte_count(3, 3)
    2
    """
    return -(-count * width // 8)


@partial(jax.jit, static_argnums=1)
def pack_bits(symbols: UInt32[Array, " m"], width: int) -> UInt8[Array, " b"]:
    """Write each number in `width` bits, one after the other, the lowest bit first.

    Eight numbers fill `width` bytes, so that each byte of such a group is put together from a fixed
    few of its numbers: no array of single bits is made.

    Args:
        symbols: numbers below 2^width.
        width: from 0 to 32.

    >>> pack_bits(jnp.array([1, 2, 3], jnp.uint32), 4).tolist()
    [33, 3]
    """
    groups = jnp.pad(symbols, (0, -symbols.size % 8)).reshape(-1, 8)
    columns = [
        reduce(or_, [_shift(groups[:, i], i * width - 8 * byte) for i in _met(byte, width)]) & 255
        for byte in range(width)
    ]
    if not columns:
        return jnp.zeros(0, jnp.uint8)
    full = jnp.stack(columns, axis=1).astype(jnp.uint8).reshape(-1)
    return full[: byte_count(symbols.size, width)]


@partial(jax.jit, static_argnums=(1, 2))
def unpack_bits(packed: UInt8[Array, " b"], width: int, count: int) -> UInt32[Array, " m"]:
    """Read `count` numbers that `pack_bits` wrote.

    >>> unpack_bits(jnp.array([33, 3], jnp.uint8), 4, 3).tolist()
    [1, 2, 3]
    """
    if not width:
        return jnp.zeros(count, jnp.uint32)
    full = jnp.pad(packed.astype(jnp.uint32), (0, -(-count // 8) * width - packed.size))
    groups, mask = full.reshape(-1, width), np.uint32(2**width - 1)
    columns = [
        reduce(
            or_,
            [
                _shift(groups[:, byte], 8 * byte - i * width)
                for byte in range(width)
                if i in _met(byte, width)
            ],
        )
        & mask
        for i in range(8)
    ]
    return jnp.stack(columns, axis=1).reshape(-1)[:count]


def _met(byte: int, width: int) -> range:
    """Which of a group's eight numbers have bits in this byte of it."""
    return range(8 * byte // width, (8 * byte + 7) // width + 1)


def _shift(x: Array, left: int) -> Array:
    return x << left if left >= 0 else x >> -left
