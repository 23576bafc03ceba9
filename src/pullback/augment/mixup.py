"""Examples mixed with each other, and their targets with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..errors import ConfigError
from .core import Augmentation


@dataclass(frozen=True)
class Mixup(Augmentation):
    """Mix each example with the next one of its batch, and the last with the first.

    The order of a batch is random, so the next one is as good as any.

    Forward:  x' = λ x + (1−λ) x₊,   λ ~ Beta(alpha, alpha) for each example
              w' = λ w + (1−λ) w₊,   y' = (λ w y + (1−λ) w₊ y₊) / w'

    So a loss that is linear in its targets, such as a cross-entropy, is λ w loss(y) + (1−λ) w₊
    loss(y₊): an example of weight 0 has no say. Targets of classes become their shares; a loss that
    wants whole classes is refused. The loss recorded of a step is that of the mixture.

    Source:   Zhang, Cissé, Dauphin, Lopez-Paz 2018, arXiv:1710.09412, §2, without its weights

    Args:
        alpha: of the Beta distribution; near 0 little is mixed, at 1 every λ is as likely.

    Raises:
        ConfigError: alpha is not a positive number.
    """

    alpha: float

    def __post_init__(self):
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"Mixup's alpha must be a positive number, got {self.alpha}")

    def __call__(self, key, x, y, weight):
        n = x.shape[0]
        share = symmetric_beta(key, self.alpha, n, x.dtype)
        own, other = share * weight, (1 - share) * jnp.roll(weight, -1)
        total = own + other
        # Two examples of weight 0 count nothing, whatever their target.
        own = jnp.where(total > 0, own / jnp.where(total > 0, total, 1), 1)
        share = share.reshape(n, *[1] * (x.ndim - 1))
        mixed = share * x + (1 - share) * jnp.roll(x, -1, axis=0)
        return mixed, own[:, None] * y + (1 - own)[:, None] * jnp.roll(y, -1, axis=0), total

    def check(self, setting):
        if setting.batch_size == 1:
            raise ConfigError(
                "Mixup wants steps of at least 2 examples, got batch_size = 1",
                next="raise train.batch_size",
            )
        try:
            # The mean of all targets is a mixture as good as any.
            setting.loss.check(setting.target)
        except ConfigError:
            raise ConfigError(
                f"Mixup gives each example shares of several classes, and {setting.loss} wants one "
                "class",
                next="choose a cross-entropy",
            ) from None


def symmetric_beta(key, alpha: float, n: int, dtype) -> Float[Array, " n"]:
    """Draw from Beta(alpha, alpha) by one formula, which compiles in no time.

    Forward:  ½ + ½ c √((1−v)/(v + (1−v) c²)),   v = u₁^{1/alpha},  c = cos 2πu₂,  u uniform
    Source:   ½ + ½ t/√(2 alpha + t²) of a Student variate t with 2 alpha degrees of freedom, drawn
              by Bailey 1994, Polar generation of random variates with the t-distribution
    """
    u = jax.random.uniform(key, (2, n), dtype)
    v, c = u[0] ** (1 / alpha), jnp.cos(2 * math.pi * u[1])
    return 0.5 + 0.5 * c * jnp.sqrt((1 - v) / (v + (1 - v) * c * c))
