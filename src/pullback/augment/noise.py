"""Random numbers added to the inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from ..errors import ConfigError
from .core import Augmentation


@dataclass(frozen=True)
class Noise(Augmentation):
    """Add normal noise to every input, which need not be a picture.

    Forward:  y = x + scale · e,   e standard normal

    The sum is not clipped: that would make a background of 0 brighter, and noise has mean 0.

    Source:   Bishop 1995, Training with noise is equivalent to Tikhonov regularization

    Args:
        scale: the deviation, in units of the inputs as the network sees them.

    Raises:
        ConfigError: scale is negative or not finite.
    """

    scale: float

    def __post_init__(self):
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ConfigError(f"Noise's scale must be a number of at least 0, got {self.scale}")

    def __call__(self, key, x, y, weight):
        return x + self.scale * jax.random.normal(key, x.shape, x.dtype), y, weight
