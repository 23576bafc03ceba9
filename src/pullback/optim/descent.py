"""Gradient descent.

A rule follows the protocol of Optax: ``init(params) -> state`` and ``update(grads, state, params)
-> updates, state``, where updates are ADDED to the parameters. Rules of either library serve in the
other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from .. import tree
from ..errors import ConfigError
from ..tree import Tree


class Rule(Protocol):
    """What turns gradients into updates. Optax's `GradientTransformation` is one."""

    def init(self, params: Tree, /) -> Any:
        """The state before the first step."""
        ...

    def update(self, grads: Tree, state: Any, params: Tree, /) -> tuple[Tree, Any]:
        """What to add to the parameters, and the next state."""
        ...


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent.

    Update:  params ← params − learning_rate · grads
    State:   none
    Source:  CA6 (6a); Robbins & Monro 1951

    Raises:
        ConfigError: learning_rate is not a positive finite number.

    >>> import jax.numpy as jnp
    >>> updates, _ = SGD(0.5).update({"w": jnp.array(4.0)}, (), {"w": jnp.array(1.0)})
    >>> float(updates["w"])
    -2.0
    """

    learning_rate: float

    def __post_init__(self):
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(
                f"SGD's learning_rate must be a positive number, got {self.learning_rate}"
            )

    def init(self, params):
        return ()

    def update(self, grads, state, params=None):
        return tree.scale(-self.learning_rate, grads), state
