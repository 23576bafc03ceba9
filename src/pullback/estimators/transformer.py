"""What a hidden layer makes of the features, as features for another estimator."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils import get_tags
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from ..errors import ConfigError, nearest
from .base import Network
from .classifier import NetworkClassifier
from .regressor import NetworkRegressor


class NetworkTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, MetaEstimatorMixin, BaseEstimator
):
    """Train a network, and give the outputs of one of its layers.

    Transform:  x ↦ the wire of the named node, in evaluation; pictures become rows

    Args:
        estimator: what is trained, a `NetworkClassifier` or `NetworkRegressor`; None takes one of
            the two with its defaults, by whether y are classes. One that is trained already stays
            as it is inside of `sklearn.frozen.FrozenEstimator`.
        node: whose output is given, by its name; None takes what the last map reads.
        random_state: given to the estimator; None leaves it its own.

    Attributes:
        estimator_: the one that was trained.
        node_: the name of the node.

    Raises:
        ConfigError: the network has no such node, or no hidden layer.

    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> hidden = NetworkTransformer(NetworkClassifier((5,), epochs=1, patience=0, random_state=0))
    >>> hidden.fit_transform(X, y).shape
    (4, 5)
    """

    def __init__(self, estimator: Any = None, node: str | None = None, random_state: Any = None):
        self.estimator = estimator
        self.node = node
        self.random_state = random_state

    def fit(self, X, y, **fit_params):
        """Train the network; what is given beside X and y goes to its fit."""
        given: Any = self.estimator
        if given is None:
            numbers = type_of_target(y, input_name="y").startswith("continuous")
            given = NetworkRegressor() if numbers else NetworkClassifier()
        chosen: Any = clone(given)
        if self.random_state is not None:
            chosen.set_params(random_state=self.random_state)
        self.estimator_ = chosen.fit(X, y, **fit_params)
        network: Any = self._network
        if not isinstance(network, Network):
            raise ConfigError(f"estimator must be a network of pullback, got {given!r}")
        names = [node.name for node in network.net_.nodes]
        self.node_ = network.net_.nodes[-1].inputs[0] if self.node is None else self.node
        if self.node_ not in names:
            raise ConfigError(
                f"the network has no node {self.node_!r}"
                if self.node is not None
                else "the network has no hidden layer, hidden is ()",
                next=nearest(self.node_, names) if self.node is not None else "give it one",
            )
        x = jax.ShapeDtypeStruct((1, network.n_features_in_), np.float32)
        self._n_features_out = math.prod(network.net_.shapes(x)[self.node_].shape[1:])
        if hasattr(network, "feature_names_in_"):
            self.feature_names_in_ = network.feature_names_in_
        return self

    def transform(self, X) -> np.ndarray:
        """The output of the node for each row, (n, features)."""
        check_is_fitted(self)
        found = self._network.activations(X)[self.node_]
        return found.reshape(len(found), -1)

    @property
    def _network(self) -> Any:
        """The estimator inside of a frozen one."""
        return getattr(self.estimator_, "estimator", self.estimator_)

    @property
    def n_features_in_(self) -> int:
        """The features that the network was trained on."""
        check_is_fitted(self)
        return self.estimator_.n_features_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(NetworkClassifier() if self.estimator is None else self.estimator)
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.target_tags.required = True
        return tags
