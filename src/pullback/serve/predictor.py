"""A model on its device, asked with few shapes, so that few programs are compiled."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from ..estimators.packed import SMALLEST, bucket
from ..model import Model, Predictions, precision
from ..train.measure import BLOCK


class Predictor:
    """Predictions of a model in blocks whose sizes are powers of two, up to `BLOCK`.

    Attributes:
        sizes: the sizes of blocks that so many rows can need: each has a program of its own.
    """

    def __init__(self, model: Model, most: int):
        with precision(model.experiment):
            params, state = jax.device_put((model.params, model.state))
        self.model = dataclasses.replace(model, params=params, state=state)
        powers = (SMALLEST << i for i in range(bucket(most).bit_length()))
        self.sizes = sorted({min(size, BLOCK) for size in powers if size <= bucket(most)})

    def warm(self, size: int) -> None:
        """Compile the program for blocks of a size."""
        shape = (size, *self.model.preparation.shape)
        self.model.predict(np.zeros(shape, self.model.experiment.dtype))

    def __call__(self, x: np.ndarray) -> Predictions:
        """Predict for prepared inputs."""
        short = min(bucket(len(x)), BLOCK) - len(x)
        # Rows do not act on each other, and the first one again is as finite as it was.
        filled = np.concatenate([x, np.repeat(x[:1], short, axis=0)]) if short > 0 else x
        found = self.model.predict(filled)
        return dataclasses.replace(found, values=found.values[: len(x)])
