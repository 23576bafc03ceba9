"""The binary step, which has no useful derivative, and the estimate that may stand for it."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from ...errors import ConfigError
from ..core import Map


@dataclass(frozen=True)
class BinaryStep(Map):
    """Say whether x is not negative.

    Forward:  y = 1 where x ≥ 0, else 0
    Reverse:  refused, since the derivative is 0 wherever there is one. With straight_through,
              dx = dy where |x| ≤ 1, else 0: the derivative of HardTanh, not that of y; from |x| ≤ 1
    Range:    {0, 1}, not falling
    Smooth:   not continuous at 0
    Kink:     at x = 0, y = 1 and there is no slope
    Shapes:   x, y of any one shape
    Source:   the sheets, table of activations; Hubara et al. 2016, arXiv:1602.02830, eq. 4, for the
              straight-through estimate

    Args:
        straight_through: whether training may pass through, by the estimate. No difference of
            values can confirm it: a gradient check refuses networks with it.

    Raises:
        ConfigError: from `reverse`, when it is traced, without straight_through.

    >>> from ..core import Run
    >>> BinaryStep().forward({}, {}, jnp.array([-0.5, 0.0, 2.0]), Run())[0].tolist()
    [0.0, 1.0, 1.0]
    """

    straight_through: bool = False

    @property
    def estimated(self):
        return self.straight_through

    def forward(self, params, state, x, run):
        y = (x >= 0).astype(x.dtype)
        return y, (jnp.abs(x) <= 1 if self.straight_through else None), state

    def reverse(self, params, saved, dy):
        if not self.straight_through:
            raise ConfigError(
                "BinaryStep cannot be trained through: its derivative is 0 wherever there is one",
                next="set straight_through for an estimate of it, or use Sigmoid",
            )
        return {}, jnp.where(saved, dy, jnp.zeros_like(dy))
