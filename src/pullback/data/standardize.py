"""Features brought to mean 0 and deviation 1, as measured on the training part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from . import aligned
from .pixels import Pixels
from .rows import Rows, blocks


@dataclass(frozen=True, eq=False)
class Standardizer:
    """u = (x − mean) / deviation, for each feature.

    The deviation is the root of the mean square about the mean (divided by n); a feature that is
    constant in the training part has deviation 1.

    Shapes: mean, deviation (...): the shape of one example
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray | Pixels | Rows) -> Standardizer:
        """Measure mean and deviation in float64, in one pass over blocks of rows.

        Source: Chan, Golub, LeVeque 1983, Algorithms for computing the sample variance, eq. 2.1:
            means and sums of squares of two blocks merge without cancellation.
        """
        n, mean, squares = 0, np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
        least, most = np.full(x.shape[1:], np.inf), np.full(x.shape[1:], -np.inf)
        for block in blocks(x):
            part = np.asarray(x[block], np.float64)
            m, part_mean = len(part), part.mean(axis=0)
            shift = part_mean - mean
            squares += np.square(part - part_mean).sum(axis=0) + shift**2 * (n * m / (n + m))
            mean += shift * (m / (n + m))
            n += m
            least, most = np.minimum(least, part.min(axis=0)), np.maximum(most, part.max(axis=0))
        # Rounding leaves a constant feature a tiny deviation: constancy is asked of the values.
        constant = least == most
        mean = np.where(constant, least, mean)
        deviation = np.sqrt(squares / n)
        return cls(mean, np.where(constant | (deviation == 0), 1.0, deviation))

    def apply(self, x: np.ndarray | Pixels, dtype: np.dtype | type) -> np.ndarray:
        """Standardise rows, computing in float64.

        Raises:
            ShapeError: the rows are not of the shape that was fitted.
        """
        if x.shape[1:] != self.mean.shape:
            raise ShapeError(
                f"rows of shape {self.mean.shape} were standardised, got {x.shape[1:]}"
            )
        out = aligned.empty(x.shape, dtype)
        for block in blocks(x):
            with np.errstate(over="ignore"):
                out[block] = (x[block] - self.mean) / self.deviation
        return out

    def to_json(self) -> dict:
        """Return plain lists; numbers come back exactly."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_json(cls, stored: dict) -> Standardizer:
        """Return what `to_json` stored.

        Raises:
            ValueError: mean or deviation are not finite numbers of one shape, or a deviation is not
                positive.
        """
        mean, deviation = np.array(stored["mean"], float), np.array(stored["deviation"], float)
        if mean.shape != deviation.shape:
            raise ValueError(f"means of shape {mean.shape}, deviations of {deviation.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
            raise ValueError("a mean is not finite, or a deviation not positive and finite")
        return cls(mean, deviation)
