"""What activations have in common: functions of one entry, without and with a learned parameter.

An activation saves its own output where the derivative can be had from it as exactly, because the
next affine map keeps that array anyway: the pair then costs no memory of its own. Where the output
does not tell the slope (it is not monotone, or flat where the slope still changes), the input is
saved instead, never both.

Slopes far out are as exact as float32 allows relative to max(1, |slope|), not to a tail of 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from ...errors import ConfigError, ShapeError
from ..core import Map


@dataclass(frozen=True)
class Elementwise(Map):
    """A function of each entry. A subclass writes `value` and `slope`, and what is `kept`.

    Forward:  y = value(x)
    Reverse:  dx = dy · slope(y)
    Shapes:   x, y of any one shape
    """

    def value(self, x) -> Any:
        """The function."""
        raise NotImplementedError

    def kept(self, x, y) -> Any:
        """What `slope` wants of the two; y unless a subclass says otherwise."""
        return y

    def slope(self, kept) -> Any:
        """The derivative with respect to x, from what was kept."""
        raise NotImplementedError

    def forward(self, params, state, x, run):
        y = self.value(x)
        return y, self.kept(x, y), state

    def reverse(self, params, saved, dy):
        return {}, dy * self.slope(saved)


@dataclass(frozen=True)
class Learned(Map):
    """A function of each entry with a parameter p, learned: one for each feature, or one for all.

    A subclass names the `parameter`, and writes `value` and `slopes`.

    Forward:  y = value(p, x)
    Reverse:  dp = Σ dy · ∂y/∂p over all that share p,  dx = dy · ∂y/∂x
    Shapes:   x, y (..., d); p (d,), or () if it is shared

    Args:
        initial: where every p begins.
        shared: whether one p serves all features.

    Raises:
        ConfigError: initial is not finite.
        ShapeError: x has no axis of features, and p is not shared.
    """

    parameter: ClassVar[str]
    initial: float = 0.0
    shared: bool = False

    def __post_init__(self):
        if not math.isfinite(self.initial):
            raise ConfigError(
                f"{type(self).__name__}'s initial must be a finite number, got {self.initial}"
            )

    def value(self, p, x) -> Any:
        """The function; p has as many axes as x."""
        raise NotImplementedError

    def slopes(self, p, x) -> tuple[Any, Any]:
        """The derivatives with respect to p and x, entry by entry."""
        raise NotImplementedError

    def init(self, key, x):
        if not self.shared and len(x.shape) < 2:
            raise ShapeError(
                f"{type(self).__name__} wants x of shape (n, ..., d), got {tuple(x.shape)}",
                next=f"set shared, for one {self.parameter} instead of one for each feature",
            )
        shape = () if self.shared else x.shape[-1:]
        return {self.parameter: jnp.full(shape, self.initial, x.dtype)}, {}

    def forward(self, params, state, x, run):
        return self.value(_spread(params[self.parameter], x), x), x, state

    def reverse(self, params, saved, dy):
        p = params[self.parameter]
        dp, dx = self.slopes(_spread(p, saved), saved)
        return {self.parameter: jnp.sum(dy * dp, axis=_before(p, dy))}, dy * dx


def _before(p, x) -> tuple[int, ...]:
    """The axes of x over which p is one and the same."""
    return tuple(range(x.ndim - p.ndim))


def _spread(p, x):
    return jnp.expand_dims(p, _before(p, x))


def require_positive(map: Map, name: str) -> None:
    """Refuse a hyper-parameter that is not a positive, finite number."""
    value = getattr(map, name)
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{type(map).__name__}'s {name} must be a positive number, got {value}")


def polynomial(coefficients: Sequence[float], t):
    """Σ_k coefficients[k] tᵏ, by Horner's rule.

    >>> float(polynomial((1.0, 2.0, 3.0), jnp.array(2.0)))
    17.0
    """
    sum = jnp.full_like(t, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        sum = sum * t + coefficient
    return sum


def derivative(coefficients: Sequence[float]) -> tuple[float, ...]:
    """The coefficients of a polynomial's derivative.

    >>> derivative((1.0, 2.0, 3.0))
    (2.0, 6.0)
    """
    return tuple(k * coefficient for k, coefficient in enumerate(coefficients))[1:]


def parted(x, edge: float):
    """Where |x| < edge; x there, elsewhere 0; x elsewhere, there 1.

    For a function that has a series near 0, where its closed form cancels, and the closed form
    beyond: the branch not taken is then harmless, in its derivatives too.
    """
    near = jnp.abs(x) < edge
    return near, jnp.where(near, x, jnp.zeros_like(x)), jnp.where(near, jnp.ones_like(x), x)
