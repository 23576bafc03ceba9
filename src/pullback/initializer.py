"""How weights begin: one frozen dataclass for each distribution.

An initialiser is called with a key, a shape, the fan-in and fan-out, and a dtype. Fans are the
numbers of terms that are added into one output and of outputs that one input feeds: d_in and d_out
of an affine map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

from .errors import ConfigError


@dataclass(frozen=True)
class Initializer:
    """Draws the first weights of a map."""

    def __call__(
        self, key, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype
    ) -> Float[Array, ...]:
        """Return an array of `shape` and `dtype`, drawn with `key`."""
        raise NotImplementedError


@dataclass(frozen=True)
class FanInUniform(Initializer):
    """Uniform on [−1/√d_in, 1/√d_in): variance 1/(3 d_in).

    Source: IFT6390 homework 3, practical part, §3.1.2 (there called Glorot's, which it is not).
    """

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(key, shape, dtype, -bound, bound)


@dataclass(frozen=True)
class Glorot(Initializer):
    """Uniform on ±√(6/(d_in + d_out)): variance 2/(d_in + d_out), for tanh and sigmoid.

    Source: Glorot & Bengio 2010, eq. 16.
    """

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        bound = math.sqrt(6 / (fan_in + fan_out))
        return jax.random.uniform(key, shape, dtype, -bound, bound)


@dataclass(frozen=True)
class He(Initializer):
    """Normal with variance 2/d_in, for ReLU and its kin.

    Source: He et al. 2015, arXiv:1502.01852, eq. 10.
    """

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return jax.random.normal(key, shape, dtype) * math.sqrt(2 / fan_in)


@dataclass(frozen=True)
class LeCun(Initializer):
    """Normal with variance 1/d_in: keeps unit variance through linear maps; SELU asks for it.

    Source: LeCun et al. 1998, Efficient BackProp, eq. 16; Klambauer et al. 2017, arXiv:1706.02515.
    """

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return jax.random.normal(key, shape, dtype) * math.sqrt(1 / fan_in)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal with mean 0 and standard deviation `scale`, whatever the fans."""

    scale: float = 0.01

    def __post_init__(self):
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"Normal's scale must be a positive number, got {self.scale}")

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return jax.random.normal(key, shape, dtype) * self.scale
