"""Which entries of a vector are meant, and the shortest way to write it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt, UInt8, UInt32

from . import bits

# k whole numbers of 32 bits; of ⌈log₂ d⌉ bits; one bit for each of the d entries.
FORMS = ("plain", "packed", "bitmap")


@partial(jax.jit, static_argnums=1)
def largest(x: UInt[Array, " d"], k: int) -> Bool[Array, " d"]:
    """The mask of the k largest; of equal numbers those that come first.

    The k-th largest is found bit by bit, from the highest: 32 or 64 counts, where sorting takes ten
    times as long, and whole numbers, so that nothing hangs on the order of anything.

    >>> largest(jnp.array([3, 1, 3, 3], jnp.uint32), 2).tolist()
    [True, False, True, False]
    """
    width = 8 * x.dtype.itemsize

    def with_bit(place, least):
        tried = least | (jnp.ones((), x.dtype) << (width - 1 - place).astype(x.dtype))
        return jnp.where(_count(x >= tried) >= k, tried, least)

    least = jax.lax.fori_loop(0, width, with_bit, jnp.zeros((), x.dtype))
    above, equal = x > least, x == least
    return above | (equal & (_ranks(equal) <= k - _count(above)))


@partial(jax.jit, static_argnums=1)
def indices(mask: Bool[Array, " d"], k: int) -> Int[Array, " k"]:
    """The places of a mask's k true entries, in order.

    >>> indices(jnp.array([False, True, True]), 2).tolist()
    [1, 2]
    """
    return jnp.searchsorted(_ranks(mask), jnp.arange(1, k + 1, dtype=jnp.int32)).astype(jnp.int32)


def width(d: int) -> int:
    """The bits that an index below d needs: ⌈log₂ d⌉.

    >>> width(1), width(2), width(199210)
    (0, 1, 18)
    """
    return (d - 1).bit_length()


def byte_count(form: str, k: int, d: int) -> int:
    """The bytes of k indices below d in one of the forms."""
    return {"plain": 4 * k, "packed": bits.byte_count(k, width(d)), "bitmap": -(-d // 8)}[form]


def smallest(k: int, d: int) -> str:
    """The form of the fewest bytes: packed for few, a bitmap for many.

    >>> smallest(1992, 199210), smallest(19921, 199210)
    ('packed', 'bitmap')
    """
    return min(FORMS[::-1], key=lambda form: byte_count(form, k, d))


def write(form: str, mask: Bool[Array, " d"], at: Int[Array, " k"]) -> Array:
    """The buffer of a mask and its indices."""
    if form == "bitmap":
        return bits.pack_bits(mask.astype(jnp.uint32), 1)
    numbers = at.astype(jnp.uint32)
    return numbers if form == "plain" else bits.pack_bits(numbers, width(mask.size))


def read(
    form: str, buffer: UInt8[Array, " b"] | UInt32[Array, " k"], k: int, d: int
) -> tuple[Int[Array, " k"], Bool[Array, ""]]:
    """The indices, and whether they are k rising ones below d, as `write` writes them."""
    if form == "bitmap":
        mask = bits.unpack_bits(buffer, 1, d) == 1
        return indices(mask, k), _count(mask) == k
    at = buffer if form == "plain" else bits.unpack_bits(buffer, width(d), k)
    rising = jnp.all(at[1:] > at[:-1]) & (at[-1] < np.uint32(d))
    return at.astype(jnp.int32), rising


def _count(mask: Bool[Array, " d"]) -> Int[Array, ""]:
    return jnp.sum(mask, dtype=jnp.int32)


def _ranks(mask: Bool[Array, " d"]) -> Int[Array, " d"]:
    return jnp.cumsum(mask, dtype=jnp.int32)
