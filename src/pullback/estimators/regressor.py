"""Numbers: one or several for each example."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from . import settings
from .base import Network


class NetworkRegressor(RegressorMixin, Network):
    """A network that tells numbers, one or several for each example.

    Its arguments are those of `NetworkClassifier`, without `class_weight`, and what is said there
    of names, types, shapes and weights holds here. Targets are taken as they are: scale those far
    from 1, as by `TransformedTargetRegressor`.

    Args:
        hidden, activation, normalization, dropout, input_dropout, initializer, bias, net: the
            network.
        loss: None takes squared-error, which is half the square; others are "huber",
            "absolute-error", "quantile", "poisson-likelihood", "gaussian-likelihood", ….
        penalty, augment, image, rule, learning_rate, epochs, batch_size: the training.
        validation_fraction, patience, tol: when it ends, and with which weights.
        metric: what judges the validation part: "loss", "r2", another name of a scorer of
            scikit-learn, or a function of (estimator, X, y), of which more is better.
        warm_start, precision, device, random_state, verbose: as there.

    Attributes:
        net_, params_, state_: the network, and its weights as NumPy arrays.
        history_: lists with an entry for each epoch: "loss", and with validation
            "validation_loss" and "validation_r2".
        n_iter_, loss_, best_epoch_: as there.

    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> line = NetworkRegressor((), rule="lbfgs", tol=0.0).fit(X, y)
    >>> line.predict([[3.0]]).round(3).tolist()
    [7.0]
    """

    _scored: str = "r2"

    def __init__(
        self,
        hidden: Any = (100,),
        activation: Any = "relu",
        *,
        normalization: Any = None,
        dropout: Any = 0.0,
        input_dropout: float = 0.0,
        initializer: Any = "glorot",
        bias: bool = True,
        net: Any = None,
        loss: Any = None,
        penalty: Any = None,
        augment: Any = None,
        image: Any = None,
        rule: Any = "adam",
        learning_rate: Any = None,
        epochs: int = 200,
        batch_size: Any = "auto",
        validation_fraction: float = 0.0,
        metric: Any = "loss",
        patience: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        precision: Any = None,
        device: Any = None,
        random_state: Any = None,
        verbose: Any = False,
    ):
        self.hidden = hidden
        self.activation = activation
        self.normalization = normalization
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.initializer = initializer
        self.bias = bias
        self.net = net
        self.loss = loss
        self.penalty = penalty
        self.augment = augment
        self.image = image
        self.rule = rule
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.metric = metric
        self.patience = patience
        self.tol = tol
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def partial_fit(self, X, y, sample_weight=None):
        """Train one epoch over these examples, from where training stands.

        Args:
            X: (n, d), as in fit.
            y: (n,) or (n, k).
            sample_weight: (n,).

        Returns:
            The estimator itself.
        """
        return self._go_on(X, y, sample_weight)

    def predict(self, X) -> np.ndarray:
        """The numbers of each row, (n,) or (n, k) as y was."""
        _, found = self._outputs(X)
        return found[:, 0] if self._flat else found

    def saliency(self, X, target: int | None = None) -> np.ndarray:
        """Gradient × input: how each feature of each row moves an output of the network, (n, d).

        Args:
            X: (n, d).
            target: which output, from 0; it may be left out where there is one.

        Raises:
            ValueError: there are several outputs, and none is named; or the number is none.

        Source: Shrikumar et al. 2017, arXiv:1605.01713, §3 (gradient × input)
        """
        z, _ = self._outputs(X)
        if target is None and z.shape[1] > 1:
            raise ValueError(f"saliency wants a target, 0 to {z.shape[1] - 1}, got None")
        target = 0 if target is None else target
        if not 0 <= target < z.shape[1]:
            raise ValueError(f"target must be 0 to {z.shape[1] - 1}, got {target!r}")
        dy = np.zeros_like(z)
        dy[:, target] = 1
        return self._gradient_by_input(X, dy)

    def _tidy(self, y):
        return y.toarray() if hasattr(y, "toarray") else np.asarray(y)

    def _learn(self, y, weight, again, classes=None):
        columns = 1 if y.ndim == 1 else y.shape[1]
        if again and columns != self.n_targets_:
            raise ValueError(f"y has {columns} columns, and had {self.n_targets_}")
        self._flat, self.n_targets_ = y.ndim == 1, columns
        self._loss = settings.loss(self.loss, "squared-error")
        self._loss.check(self._targets(y, float))

    def _targets(self, y, dtype):
        return y.astype(dtype).reshape(len(y), -1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
