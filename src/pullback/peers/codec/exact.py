"""Sums and norms that are the same bits in every program.

Two workers that hold the same vector must send the same bytes, whether a program runs one of them
or all at once: one last bit of a norm moves a random rounding now and then. A sum of `jnp` does not
promise that, for the compiler chooses its order, and it may round a product and the sum after it
at once.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt


@jax.jit
def total(v: Float[Array, " d"]) -> Float[Array, ""]:
    """Add the second half to the first until one number is left; an odd one joins the first half.

    >>> float(total(jnp.array([1.0, 2.0, 3.0])))
    6.0
    """
    while (d := v.size) > 1:
        half = (d + 1) // 2
        v = v[:half] + jnp.pad(v[half:], (0, 2 * half - d))
    return v[0]


@jax.jit
def norm(v: Float[Array, " d"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The Euclidean norm as a pair whose product it is: that of v/unit, and unit, a power of two.

    Taking out the power of two near the largest magnitude rounds nothing, and lets no square
    overflow or vanish.

    >>> [float(x) for x in norm(jnp.array([3.0, -4.0]))]
    [1.25, 4.0]
    """
    exponent = np.array(np.inf, v.dtype).view(_word(v.dtype))
    tiny = np.finfo(v.dtype).tiny
    power = jax.lax.bitcast_convert_type(pattern(jnp.max(jnp.abs(v))) & exponent, v.dtype)
    unit = jnp.clip(power, tiny, 1 / tiny)
    u = v * (1 / unit)
    # The maximum changes no square; it keeps the compiler from joining product and sum.
    return jnp.sqrt(total(jnp.maximum(u * u, 0))), unit


def pattern(v: Float[Array, "*s"]) -> UInt[Array, "*s"]:
    """The bits of the magnitudes as whole numbers: of the same order, with infinity and nan above.

    >>> (pattern(jnp.array([-2.0])) > pattern(jnp.array([1.0]))).tolist()
    [True]
    """
    return jax.lax.bitcast_convert_type(jnp.abs(v), _word(v.dtype))


def _word(dtype) -> np.dtype:
    return np.dtype(f"uint{8 * np.dtype(dtype).itemsize}")
