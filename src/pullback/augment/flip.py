"""Mirror images."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..errors import ConfigError
from .core import OfPictures

_DIGITS = ("digits", "mnist")


@dataclass(frozen=True)
class Flip(OfPictures):
    """Mirror each picture, or not, with even odds for each direction.

    It is refused for digits unless they are allowed: classes would overlap, for a mirrored 2 looks
    like a 5.

    Source:   Training Deep Nets, "Dataset Augmentation", for the warning

    Args:
        horizontal: whether left and right may change places.
        vertical: whether top and bottom may.
        allow_digits: whether digits may be mirrored.

    Raises:
        ConfigError: neither direction is asked for.

    >>> x, y, weight = jnp.eye(2).reshape(1, 2, 2, 1), jnp.ones((1, 1)), jnp.ones(1)
    >>> float(Flip()(jax.random.key(0), x, y, weight)[0].sum())
    2.0
    """

    horizontal: bool = True
    vertical: bool = False
    allow_digits: bool = False

    def __post_init__(self):
        if not (self.horizontal or self.vertical):
            raise ConfigError(
                "Flip wants a direction, got neither", next="set horizontal or vertical"
            )

    def __call__(self, key, x, y, weight):
        turns = jax.random.bernoulli(key, 0.5, (2, x.shape[0], 1, 1, 1))
        if self.horizontal:
            x = jnp.where(turns[0], x[:, :, ::-1], x)
        if self.vertical:
            x = jnp.where(turns[1], x[:, ::-1], x)
        return x, y, weight

    def check(self, setting):
        super().check(setting)
        if setting.source in _DIGITS and not self.allow_digits:
            raise ConfigError(
                f"Flip makes classes of '{setting.source}' overlap: a mirrored 2 looks like a 5",
                next="leave it out, or set its allow_digits = true",
            )
