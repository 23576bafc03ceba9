"""How weights begin: one frozen dataclass for each distribution.

An initialiser is called with a key, a shape, the fan-in and fan-out, and a dtype. Fans are the
numbers of terms that are added into one output and of outputs that one input feeds: d_in and d_out
of an affine map. The last axis of a weight counts the outputs.

A variance of 1/d_in keeps that of the values on their way up through linear units, 1/d_out that of
the cotangents on their way down. The sources only ask for weights that are small and not zero
(Neural Networks, §2.3.1; Training Deep Nets, gradient based learning); the sheets add that large
ones saturate tanh and sigmoid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .errors import ConfigError

Distribution = Literal["normal", "uniform"]


@dataclass(frozen=True)
class Initializer:
    """Draws the first weights of a map."""

    def __call__(
        self, key, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype
    ) -> Float[Array, ...]:
        """Return an array of `shape` and `dtype`, drawn with `key`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Initializer):
    """The same value everywhere.

    Units of one layer that begin equal get equal gradients and stay equal: `pullback check` says
    so where it happens.

    Source: the sheets, "Initializations", d.

    Raises:
        ConfigError: the value is not finite.
    """

    value: float

    def __post_init__(self):
        if not math.isfinite(self.value):
            raise ConfigError(f"Constant's value must be a finite number, got {self.value}")

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return jnp.full(shape, self.value, dtype)


@dataclass(frozen=True)
class Zeros(Initializer):
    """0 everywhere: right for a model without hidden layers, or for a last layer.

    With zeros everywhere the cotangents of hidden layers are 0; and where their activation gives 0
    at 0, so is the gradient of every weight: only the last bias learns.

    Source: Neural Networks, §2.3.1; the sheets, "0 initialization kills learning".
    """

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return jnp.zeros(shape, dtype)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal with mean 0 and standard deviation `scale`, whatever the fans.

    Source: Neural Networks, §2.3.1: small, but not zero.

    Raises:
        ConfigError: scale is not positive and finite.
    """

    scale: float = 0.01

    def __post_init__(self):
        _positive("Normal's scale", self.scale)

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return jax.random.normal(key, shape, dtype) * self.scale


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform on [−scale, scale), whatever the fans: variance scale²/3.

    Raises:
        ConfigError: scale is not positive and finite.
    """

    scale: float = 0.01

    def __post_init__(self):
        _positive("Uniform's scale", self.scale)

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return jax.random.uniform(key, shape, dtype, -self.scale, self.scale)


@dataclass(frozen=True)
class FanInUniform(Initializer):
    """Uniform on [−1/√d_in, 1/√d_in): variance 1/(3 d_in).

    Source: IFT6390 homework 3, practical part, §3.1.2 (there called Glorot's, which it is not).
    """

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return _draw("uniform", key, shape, dtype, 1 / (3 * fan_in))


@dataclass(frozen=True)
class Glorot(Initializer):
    """Variance 2/(d_in + d_out), for tanh and sigmoid; uniform on ±√(6/(d_in + d_out)) or normal.

    Between what keeps values, 1/d_in, and what keeps cotangents, 1/d_out.

    Source: Glorot & Bengio 2010, eq. 12 (the variance) and 16 (the uniform form).

    Raises:
        ConfigError: the distribution is neither "normal" nor "uniform".
    """

    distribution: Distribution = "uniform"

    def __post_init__(self):
        _known(self.distribution, "Glorot")

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return _draw(self.distribution, key, shape, dtype, 2 / (fan_in + fan_out))


@dataclass(frozen=True)
class He(Initializer):
    """Variance 2/d_in, for ReLU and its kin, which drop half of it; normal or uniform.

    Source: He et al. 2015, arXiv:1502.01852, eq. 10.

    Raises:
        ConfigError: the distribution is neither "normal" nor "uniform".
    """

    distribution: Distribution = "normal"

    def __post_init__(self):
        _known(self.distribution, "He")

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return _draw(self.distribution, key, shape, dtype, 2 / fan_in)


@dataclass(frozen=True)
class LeCun(Initializer):
    """Variance 1/d_in: keeps that of values through linear maps, as SELU asks; normal or uniform.

    Source: LeCun et al. 1998, Efficient BackProp, eq. 16; Klambauer et al. 2017, arXiv:1706.02515.

    Raises:
        ConfigError: the distribution is neither "normal" nor "uniform".
    """

    distribution: Distribution = "normal"

    def __post_init__(self):
        _known(self.distribution, "LeCun")

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        return _draw(self.distribution, key, shape, dtype, 1 / fan_in)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """`gain` times a random orthogonal matrix: it keeps lengths, not only their average.

    All axes but the last count as one. A matrix that is not square has orthonormal columns or rows,
    whichever are fewer. The draw is Haar's, the same after any rotation: the Q of a normal matrix's
    QR, its signs set so that R has a positive diagonal (without that Q is not uniform).

    Source: Saxe, McClelland & Ganguli 2014, arXiv:1312.6120; the signs: Mezzadri 2007,
    arXiv:math-ph/0609050, §5.

    Args:
        gain: the factor; √2 makes up for ReLU.

    Raises:
        ConfigError: gain is not positive and finite.
    """

    gain: float = 1.0

    def __post_init__(self):
        _positive("Orthogonal's gain", self.gain)

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = jnp.linalg.qr(jax.random.normal(key, tall, dtype))
        q = q * jnp.where(jnp.diagonal(r) < 0, -1, 1).astype(dtype)[None]
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@dataclass(frozen=True)
class Sparse(Initializer):
    """Each unit gets `connections` normal incoming weights and zeros elsewhere.

    How far a unit's input spreads then does not depend on the width below it, and units differ more
    than with dense weights. A unit with no more inputs than that gets them all.

    Source: Martens 2010, Deep learning via Hessian-free optimization, §5: 15 connections.

    Args:
        connections: the number of incoming weights that are not 0.
        scale: their standard deviation.

    Raises:
        ConfigError: connections is below 1, or scale is not positive and finite.
    """

    connections: int = 15
    scale: float = 1.0

    def __post_init__(self):
        if self.connections < 1:
            raise ConfigError(f"Sparse's connections must be at least 1, got {self.connections}")
        _positive("Sparse's scale", self.scale)

    def __call__(self, key, shape, fan_in, fan_out, dtype):
        choosing, drawing = jax.random.split(key)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        first = jnp.broadcast_to((jnp.arange(rows) < self.connections)[:, None], (rows, columns))
        chosen = jax.random.permutation(choosing, first, axis=0, independent=True)
        drawn = jax.random.normal(drawing, shape, dtype) * self.scale
        return jnp.where(chosen.reshape(shape), drawn, 0)


def _draw(distribution: Distribution, key, shape, dtype, variance: float):
    """Draw with mean 0 and the given variance."""
    if distribution == "normal":
        return jax.random.normal(key, shape, dtype) * math.sqrt(variance)
    bound = math.sqrt(3 * variance)
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _known(distribution: str, name: str) -> None:
    if distribution not in ("normal", "uniform"):
        raise ConfigError(
            f"{name}'s distribution must be 'normal' or 'uniform', got {distribution!r}"
        )


def _positive(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{what} must be a positive number, got {value}")
