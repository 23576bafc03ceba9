"""Weights per class: what an example counts also depends on what it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from ..errors import ConfigError, ShapeError
from .core import Loss


@dataclass(frozen=True)
class ClassWeighted(Loss):
    """Another loss, in which each example counts as much as its class.

    Forward:  weight_i ← weight_i · c_i,  c_i = Σ_j t_ij c_j; for one 0/1 output (1 − t) c_0 + t c_1
    Reverse:  that of the loss, with these weights
    Link:     that of the loss

    The value is a mean by these weights, in training and where it is reported.

    Args:
        loss: of classes.
        weights: c, one for each class, in the order of the classes.

    Raises:
        ConfigError: a weight is negative or not finite, or all are 0.
        ShapeError: there are not as many weights as classes.

    >>> from pullback.loss import SquaredError
    >>> loss, t = ClassWeighted(SquaredError(), (1.0, 3.0)), jnp.array([[0.0], [1.0]])
    >>> float(loss.forward(jnp.array([[2.0], [1.0]]), t, jnp.ones(2))[0])
    0.5
    """

    loss: Loss
    weights: tuple[float, ...]

    def __post_init__(self):
        if not all(math.isfinite(c) and c >= 0 for c in self.weights) or not any(self.weights):
            raise ConfigError(
                "class weights must be numbers of at least 0, and one of them positive, "
                f"got {list(self.weights)}"
            )

    @property
    def probabilities(self):
        return self.loss.probabilities

    def check(self, t):
        self.loss.check(t)

    def columns(self, classes):
        return self.loss.columns(classes)

    def width(self, columns):
        return self.loss.width(columns)

    def weigh(self, t, weight):
        single = t.shape[1] == 1
        if len(self.weights) != (2 if single else t.shape[1]):
            raise ShapeError(
                f"{self} wants targets of {len(self.weights)} classes, got {t.shape[1]} columns",
                next="give a weight for each class",
            )
        rows = jnp.concatenate([1 - t, t], axis=1) if single else t
        return weight * (rows @ jnp.asarray(self.weights, t.dtype))

    def terms(self, z, t):
        return self.loss.terms(z, t)

    def slopes(self, z, t):
        return self.loss.slopes(z, t)

    def link(self, z):
        return self.loss.link(z)


def balanced(
    labels: np.ndarray, classes: int, weight: np.ndarray | None = None
) -> tuple[float, ...]:
    """Weights under which all classes count alike: n/(k n_c), as scikit-learn has them.

    An example of weight 2 counts as two examples.

    Args:
        labels: the class of each example, (n,), from 0.
        classes: k.
        weight: of the examples, (n,).

    Raises:
        ConfigError: a class has no example, or none of any weight.

    >>> balanced(np.array([0, 0, 0, 1]), 2)
    (0.6666666666666666, 2.0)
    """
    counts = np.bincount(labels, weight, classes)
    if not counts.all():
        raise ConfigError(
            f"balanced weights want examples of every class, and class {int(counts.argmin())} "
            "has none in the training part",
            next="give the weights one by one",
        )
    return tuple((counts.sum() / (classes * counts)).tolist())
