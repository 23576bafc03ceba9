"""One bit for each entry."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from . import bits
from .core import Codec, Cost, pieces, sizes, vector
from .exact import total


@dataclass(frozen=True)
class Sign(Codec):
    """Send the signs, and for each tensor the mean magnitude of its entries.

    Codec:    C(v) = (‖v‖₁/d) sign(v), for each tensor of d entries; sign(0) = +1
    Bytes:    ⌈d/8⌉ for each tensor, and a scale of the parameters' dtype
    Error:    ‖C(v) − v‖² = ‖v‖² − ‖v‖₁²/d exactly, ≤ (1 − 1/d)‖v‖²; far less where the magnitudes
              are alike
    Source:   Karimireddy et al. 2019, arXiv:1901.09847, algorithm 1, tensor by tensor

    >>> codec, shapes, v = Sign(), ((3,),), jnp.array([1.0, -2.0, 0.0])
    >>> codec.decode(codec.encode(v, None, shapes), None, shapes, v.dtype).tolist()
    [1.0, -1.0, 1.0]
    """

    def encode(self, v, key, shapes):
        v = vector(v, shapes)
        parts = pieces(v, sizes(shapes))
        scales = jnp.stack([total(jnp.abs(part)) * (1 / part.size) for part in parts])
        signs = [bits.pack_bits((part >= 0).astype(jnp.uint32), 1) for part in parts]
        return {"scales": scales, "signs": jnp.concatenate(signs)}

    def decode(self, buffers, key, shapes, dtype):
        lengths = sizes(shapes)
        packed = pieces(buffers["signs"], tuple(bits.byte_count(d, 1) for d in lengths))
        scales = buffers["scales"].astype(dtype)
        return jnp.concatenate(
            [
                jnp.where(bits.unpack_bits(part, 1, d) == 1, scales[i], -scales[i])
                for i, (part, d) in enumerate(zip(packed, lengths, strict=True))
            ]
        )

    def cost(self, shapes, dtype):
        lengths = sizes(shapes)
        payload = sum(bits.byte_count(d, 1) for d in lengths)
        return Cost(payload, header=len(lengths) * np.dtype(dtype).itemsize)

    def distortion(self, shapes):
        return 1 - 1 / max(sizes(shapes))
