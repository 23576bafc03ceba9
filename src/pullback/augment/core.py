"""The contract of an augmentation, those of pictures, and several in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from ..errors import ConfigError
from ..loss import Loss


class Setting(NamedTuple):
    """What a batch is, for an augmentation to be refused where it does not fit.

    Attributes:
        picture: (height, width, channels) of one example; None if it is no picture.
        source: where the data are from, such as "mnist".
        standardized: whether each feature was brought to mean 0 and deviation 1.
        loss: what is minimised.
        target: the mean of all targets, (1, k).
        batch_size: examples in a step.
    """

    picture: tuple[int, int, int] | None
    source: str
    standardized: bool
    loss: Loss
    target: np.ndarray
    batch_size: int


@dataclass(frozen=True)
class Augmentation:
    """A random change of a batch. A subclass holds its settings only; all it draws is of the key.

    Pictures come as (n, height, width, channels), all other examples in their own shape.
    """

    def __call__(
        self, key, x: Float[Array, "n ..."], y: Float[Array, "n k"], weight: Float[Array, " n"]
    ) -> tuple[Float[Array, "n ..."], Float[Array, "n k"], Float[Array, " n"]]:
        """Return what training sees in place of a batch, in the same shapes."""
        raise NotImplementedError

    def check(self, setting: Setting) -> None:
        """Refuse a setting in which the augmentation would do harm, or nothing.

        Raises:
            ConfigError: it does not fit.
        """


@dataclass(frozen=True)
class OfPictures(Augmentation):
    """One that moves or removes pixels: it wants pictures on a background of 0."""

    def check(self, setting):
        name = type(self).__name__
        if setting.picture is None:
            raise ConfigError(
                f"{name} wants pictures, the examples are none",
                next="set data.image to their height and width, or leave it out",
            )
        if setting.standardized:
            raise ConfigError(
                f"{name} wants pixels of one scale on a background of 0, and standardize gives "
                "each pixel a scale of its own",
                next="set data.standardize = false, or leave it out",
            )


@dataclass(frozen=True)
class Compose(Augmentation):
    """Augmentations in turn. ``Compose()`` changes nothing.

    Each draws from a key of its place in the list.

    Shapes:   x as the network reads it; with a `picture` its steps see (n, *picture)

    Args:
        steps: the augmentations, the first of them first.
        picture: (height, width, channels) of one example; None leaves x in its own shape.

    >>> x, y, weight = np.ones((2, 4)), np.ones((2, 1)), np.ones(2)
    >>> float(Compose()(None, x, y, weight)[0].sum())
    8.0
    """

    steps: tuple[Augmentation, ...] = ()
    picture: tuple[int, int, int] | None = None

    def __call__(self, key, x, y, weight):
        shape = x.shape
        if self.picture is not None:
            x = x.reshape(-1, *self.picture)
        for place, step in enumerate(self.steps):
            x, y, weight = step(jax.random.fold_in(key, place), x, y, weight)
        return x.reshape(shape), y, weight

    def check(self, setting):
        for step in self.steps:
            step.check(setting)
