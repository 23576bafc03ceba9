"""A few levels for each entry, rounded at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import ConfigError
from . import bits, exact
from .core import Codec, Cost, only_if, pieces, sizes, vector


@dataclass(frozen=True)
class Quantise(Codec):
    """Round each entry at random to one of 2s + 1 multiples of its tensor's norm over s: QSGD.

    Codec:    C(v)_i = (‖v‖/s) sign(v_i) l_i, s = 2^(bits − 1) − 1, for each tensor
              l_i = ⌊x_i⌋ + 1 with probability x_i − ⌊x_i⌋, else ⌊x_i⌋;  x_i = s|v_i|/‖v‖
    Bytes:    ⌈d·bits/8⌉ for each tensor, and a scale ‖v‖/s of the parameters' dtype
    Error:    E C(v) = v with E‖C(v) − v‖² ≤ ω‖v‖², ω = min(d/s², √d/s) of the largest tensor;
              ω/(1 + ω) ‖v‖² if it is to contract
    Source:   Alistarh et al. 2017, arXiv:1610.02132, §3.1 and Lemma 3.1, with the Euclidean norm;
              to contract: Koloskova et al. 2019, arXiv:1902.00340

    All symbols have the same length: the paper's Elias code is left out. A tensor of zeros stays
    one.

    Args:
        bits: of a symbol, the sign with them: from 2 to 16.
        contract: divide by 1 + ω of each tensor, so that the error is below ‖v‖², and no longer
            0 on average.

    Raises:
        ConfigError: bits is not a whole number from 2 to 16.

    >>> codec, shapes, key, v = Quantise(4), ((2,),), jax.random.key(0), jnp.array([0.0, -7.0])
    >>> codec.decode(codec.encode(v, key, shapes), key, shapes, v.dtype).tolist()
    [0.0, -7.0]
    """

    bits: int = 8
    contract: bool = False

    def __post_init__(self):
        if self.bits not in range(2, 17):
            raise ConfigError(
                f"Quantise's bits must be a whole number from 2 to 16, got {self.bits}",
                next="Sign sends one bit",
            )

    @property
    def levels(self) -> int:
        """The s levels above 0."""
        return 2 ** (self.bits - 1) - 1

    def encode(self, v, key, shapes):
        v = vector(v, shapes)
        lengths = sizes(shapes)
        draws = pieces(jax.random.uniform(key, v.shape, v.dtype), lengths)
        found = [self._rounded(p, u) for p, u in zip(pieces(v, lengths), draws, strict=True)]
        scales = jnp.stack([scale for scale, _ in found])
        symbols = jnp.concatenate([bits.pack_bits(symbol, self.bits) for _, symbol in found])
        return {"scales": scales, "symbols": symbols}

    def decode(self, buffers, key, shapes, dtype):
        lengths = sizes(shapes)
        packed = pieces(buffers["symbols"], tuple(bits.byte_count(d, self.bits) for d in lengths))
        scales = buffers["scales"].astype(dtype)
        parts = []
        for i, (part, d) in enumerate(zip(packed, lengths, strict=True)):
            symbol = bits.unpack_bits(part, self.bits, d).astype(jnp.int32)
            level = (symbol - self.levels).astype(dtype)
            parts.append(only_if(jnp.all(symbol <= 2 * self.levels), scales[i] * level))
        return jnp.concatenate(parts)

    def cost(self, shapes, dtype):
        lengths = sizes(shapes)
        payload = sum(bits.byte_count(d, self.bits) for d in lengths)
        return Cost(payload, header=len(lengths) * np.dtype(dtype).itemsize)

    def distortion(self, shapes):
        worst = self._variance(max(sizes(shapes)))
        return worst / (1 + worst) if self.contract else worst

    @property
    def unbiased(self):
        return not self.contract

    def _variance(self, d: int) -> float:
        return min(d / self.levels**2, math.sqrt(d) / self.levels)

    def _rounded(self, v, draw):
        """The scale of one tensor, and its symbols: sign · level + s, in [0, 2s]."""
        s = self.levels
        norm, unit = exact.norm(v)
        # Rounding may take the largest entry past the last level, by a bit.
        x = jnp.minimum(jnp.abs(v) * (1 / unit) * jnp.where(norm > 0, s / norm, 0), s)
        level = (jnp.floor(x) + (draw < x - jnp.floor(x)).astype(v.dtype)).astype(jnp.int32)
        symbols = (jnp.where(v < 0, -level, level) + s).astype(jnp.uint32)
        shrink = 1 + self._variance(v.size) if self.contract else 1
        return norm * unit * (1 / (s * shrink)), symbols
