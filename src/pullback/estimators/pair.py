"""A loss of the user's own: its terms and their derivative, compared before it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ConfigError
from ..loss import Loss

_STEP = 1e-6
_AGREE = 1e-5


@dataclass(frozen=True)
class Pair(Loss):
    """A loss from two functions of logits z and targets t, both (n, k).

    Args:
        value: the terms, (n, k): what each target of each example costs, of its own logit alone.
        reverse: their derivatives by z, (n, k).

    Predictions are the logits themselves.

    Raises:
        ConfigError: a shape is wrong; the derivative is not that of the value, by central
            differences in float64 at drawn points.

    >>> Pair(lambda z, t: (z - t) ** 4, lambda z, t: 4 * (z - t) ** 3).probabilities
    False
    """

    value: Callable
    slope: Callable

    def __post_init__(self):
        draw = np.random.default_rng(0)
        # Targets are often 0 and 1, or positive; logits lie on both sides of them.
        z = draw.normal(size=(64, 2))
        t = np.concatenate([draw.integers(0, 2, (32, 2)), draw.random((32, 2))]).astype(float)
        with jax.enable_x64(True):
            found = {
                name: np.asarray(call(jnp.asarray(z), jnp.asarray(t)))
                for name, call in (("value", self.value), ("reverse", self.slope))
            }
            above, below = (
                np.asarray(self.value(jnp.asarray(z + side * _STEP), jnp.asarray(t)))
                for side in (1, -1)
            )
        for name, array in found.items():
            if array.shape != z.shape:
                raise ConfigError(
                    f"the {name} of the loss has shape {array.shape} for logits {z.shape}",
                    next="return one number for each target of each example, without a sum",
                )
        numeric = (above - below) / (2 * _STEP)
        error = np.abs(found["reverse"] - numeric) / np.maximum(1, np.abs(numeric))
        # A kink between the two points, as of |z − t|, is no error of the derivative elsewhere.
        wrong = ~(error <= _AGREE)
        if wrong.mean() > 0.02:
            at = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
            raise ConfigError(
                f"the reverse of the loss is not the derivative of its value: at z = {z[at]:.4g}, "
                f"t = {t[at]:.4g} it says {found['reverse'][at]:.6g}, differences "
                f"{numeric[at]:.6g}",
                next="mend reverse, or leave it to a loss of pullback.loss",
            )

    def terms(self, z, t):
        """The terms, as given."""
        return self.value(z, t)

    def slopes(self, z, t):
        """Their derivatives, as given."""
        return self.slope(z, t)

    def link(self, z):
        """The logits."""
        return z
