"""All entries, in full or rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from ...optim import ranges
from .core import Codec, Cost, length, vector


@dataclass(frozen=True)
class Dense(Codec):
    """Send every entry, as it is or rounded to a shorter floating-point number.

    Codec:    C(v)_i = v_i rounded to the nearest number of `dtype`, ties to the even one
    Bytes:    d times those of a number
    Error:    ‖C(v) − v‖² ≤ u²‖v‖², u = 2⁻²⁴, 2⁻¹¹, 2⁻⁸ for float32, float16, bfloat16, where all
              entries are normal numbers of that type; below them an entry may vanish, and above
              65504 one of float16 becomes infinite, which is not finite and so is seen

    Args:
        dtype: "same" sends the parameters' own type, bit for bit; "float32", "float16" or
            "bfloat16".

    Raises:
        ConfigError: another word.

    >>> Dense("bfloat16").encode(jnp.ones(3), None, ((3,),))["values"].dtype
    dtype(bfloat16)
    """

    dtype: Literal["same", "float32", "float16", "bfloat16"] = "same"

    def __post_init__(self):
        ranges.one_of(self, "dtype", ("same", "float32", "float16", "bfloat16"))

    def encode(self, v, key, shapes):
        v = vector(v, shapes)
        # A compiler that sees the rounding undone in the same program may leave it out; the barrier
        # hides it.
        return {"values": jax.lax.optimization_barrier(v.astype(self._sent(v.dtype)))}

    def decode(self, buffers, key, shapes, dtype):
        return buffers["values"].astype(dtype)

    def cost(self, shapes, dtype):
        return Cost(length(shapes) * jnp.dtype(self._sent(dtype)).itemsize)

    def distortion(self, shapes):
        return 0.0 if self.dtype == "same" else float(jnp.finfo(self.dtype).eps / 2) ** 2

    def _sent(self, dtype) -> np.dtype:
        return jnp.dtype(dtype if self.dtype == "same" else self.dtype)
