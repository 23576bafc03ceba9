"""Pictures with a hole."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..errors import ConfigError
from .core import OfPictures


@dataclass(frozen=True)
class Cutout(OfPictures):
    """Set a square of each picture to 0, its background.

    The square is centred on a pixel drawn from all of them, so that it may reach over the border.
    Of an even size, the centre is the pixel after its middle.

    Source:   DeVries & Taylor 2017, arXiv:1708.04552, §3.2

    Args:
        size: the side of the square, in pixels.

    Raises:
        ConfigError: size is below 1.

    >>> x, y, weight = jnp.ones((1, 3, 3, 1)), jnp.ones((1, 1)), jnp.ones(1)
    >>> float(Cutout(1)(jax.random.key(0), x, y, weight)[0].sum())
    8.0
    """

    size: int

    def __post_init__(self):
        if self.size < 1:
            raise ConfigError(f"Cutout's size must be at least 1, got {self.size}")

    def __call__(self, key, x, y, weight):
        n, height, width, _ = x.shape
        of_row, of_column = jax.random.split(key)
        rows = self._covered(of_row, n, height)[:, :, None, None]
        columns = self._covered(of_column, n, width)[:, None, :, None]
        return jnp.where(rows & columns, 0, x), y, weight

    def _covered(self, key, n, length):
        """Which lines the square of each picture covers, (n, length)."""
        first = jax.random.randint(key, (n, 1), 0, length) - self.size // 2
        line = jnp.arange(length)[None]
        return (first <= line) & (line < first + self.size)

    def check(self, setting):
        super().check(setting)
        height, width, _ = setting.picture
        if self.size >= min(height, width):
            raise ConfigError(
                f"Cutout of size {self.size} can hide a whole picture of {height} × {width}",
                next=f"give a size below {min(height, width)}",
            )
