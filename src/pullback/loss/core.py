"""The contract of a loss, which owns its link from logits to predictions.

A loss is a sum over targets of terms, averaged over the batch with the examples' weights:

    value = Σ_i share_i Σ_j term(z_i, t_ij),   share = weight / Σ weight

so that it does not change when an example of weight 2 is given twice instead, and padding of weight
0 is not seen. A subclass writes `terms`, their `slopes`, and the `link`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import ConfigError, ShapeError

Logits = Float[Array, "n outputs"]
Targets = Float[Array, "n k"]


@dataclass(frozen=True)
class Loss:
    """How wrong predictions are, and the cotangent with which the reverse pass begins.

    Besides, a loss says what it asks of the data (`check`, `columns`) and of the network (`width`).
    """

    def terms(self, z: Logits, t: Targets) -> Targets:
        """What each target of each example costs."""
        raise NotImplementedError

    def slopes(self, z: Logits, t: Targets) -> Logits:
        """The derivative of each example's cost, all its terms together, with respect to z."""
        raise NotImplementedError

    def link(self, z: Logits) -> Targets:
        """The predictions that logits stand for, in the units of the targets."""
        raise NotImplementedError

    @property
    def probabilities(self) -> bool:
        """Whether a prediction for a class is its probability; otherwise it is a score."""
        return False

    def check(self, t: np.ndarray | None) -> None:
        """Refuse targets on which the loss could be minimised, and would mean nothing.

        Args:
            t: the targets (n, k), numbers; None where they are classes.

        Raises:
            ConfigError: they do not suit.
        """

    def columns(self, classes: int) -> int:
        """How many target columns so many classes become: one-hot rows, unless said otherwise."""
        return classes

    def width(self, columns: int) -> int:
        """How many outputs of the network so many target columns ask for."""
        return columns

    def weigh(self, t: Targets, weight: Float[Array, " n"]) -> Float[Array, " n"]:
        """How much each example counts, from what it weighs by itself."""
        return weight

    def outputs(self, z: Logits, t: Targets, weight: Float[Array, " n"]) -> Float[Array, " k"]:
        """The loss parted by target: Σ_i share_i term_ij. Its sum is the value."""
        return _share(self.weigh(t, weight)) @ self.terms(z, t)

    def forward(
        self, z: Float[Array, " ..."], t: Float[Array, " ..."], weight: Float[Array, " ..."]
    ) -> tuple[Float[Array, ""], Any]:
        """Return the value, and what the reverse needs. Here the shapes are checked.

        Raises:
            ShapeError: z and t do not fit together, or the weights are not one per example.
        """
        if t.ndim != 2 or z.shape != (t.shape[0], self.width(t.shape[1])):
            wanted = f"(n, {self.width(t.shape[1])})" if t.ndim == 2 else "(n, k)"
            raise ShapeError(
                f"{self} wants logits {wanted} for targets (n, k), got {z.shape} and {t.shape}",
                next="give the last map as many outputs as the loss wants for the targets",
            )
        if weight.shape != z.shape[:1]:
            raise ShapeError(f"{self} wants weights of shape {z.shape[:1]}, got {weight.shape}")
        return jnp.sum(self.outputs(z, t, weight)), (z, t, _share(self.weigh(t, weight)))

    def reverse(self, saved) -> Logits:
        """The cotangent of z: dz_ij = share_i · slope_ij."""
        z, t, share = saved
        return share[:, None] * self.slopes(z, t)


def _share(weight):
    """Weights that sum to one; a batch in which every weight is 0 has no say, instead of 0/0."""
    total = jnp.sum(weight)
    return weight / jnp.where(total > 0, total, jnp.ones_like(total))


def unfit(loss: Loss, wants: str, t: np.ndarray | None) -> ConfigError:
    """The error that says which targets a loss wants instead of these."""
    got, task = ("classes", "regression") if t is None else ("other numbers", "classification")
    return ConfigError(
        f"{type(loss).__name__} wants {wants}, the targets are {got}",
        next=f"choose another loss, or set data.task = '{task}'",
    )
