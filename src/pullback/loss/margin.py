"""Hinges: nothing is lost where the right class leads by a margin of one.

Their targets are 0 and 1, as everywhere here; the sign y of the literature is 2 t − 1. A margin is
no probability, so the link is only a score, in the units of the targets: 1 where the margin is met,
0 where the other side meets it, ½ on the boundary between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from .core import Loss, unfit


@dataclass(frozen=True)
class Hinge(Loss):
    """The loss of a support vector machine.

    For two classes with one output; for more, one against the rest, whose terms add.

    Forward:  term = max(0, 1 − y z),  y = 2 t − 1
    Reverse:  slope = −y where y z < 1, else 0
    Kink:     at y z = 1 the slope is 0
    Link:     (1 + z)/2, a score: its side of ½ decides
    Source:   the sheets, soft-margin classifier; their network with labels of 0 and 1 in place of
              ±1 is t = ½ and 1 here

    >>> z, t = jnp.array([[0.5], [2.0], [0.5]]), jnp.array([[1.0], [1.0], [0.0]])
    >>> Hinge().terms(z, t)[:, 0].tolist(), Hinge().slopes(z, t)[:, 0].tolist()
    ([0.5, 0.0, 1.5], [-1.0, 0.0, 1.0])
    """

    def check(self, t):
        if t is not None and not np.isin(t, (0, 1)).all():
            raise unfit(self, "classes or zeros and ones", t)

    def columns(self, classes):
        return 1 if classes == 2 else classes

    def terms(self, z, t):
        return jnp.maximum(1 - (2 * t - 1) * z, 0)

    def slopes(self, z, t):
        y = 2 * t - 1
        return jnp.where(y * z < 1, -y, 0)

    def link(self, z):
        return (1 + z) / 2


@dataclass(frozen=True)
class SquaredHinge(Hinge):
    """The square of `Hinge`: smooth, and harder on what is far on the wrong side.

    Forward:  term = max(0, 1 − y z)²,  y = 2 t − 1
    Reverse:  slope = −2 y max(0, 1 − y z)
    Link:     (1 + z)/2, a score; held within [0, 1] it estimates the probability (Zhang 2004)

    >>> z, t = jnp.array([[0.5], [2.0]]), jnp.array([[1.0], [0.0]])
    >>> SquaredHinge().terms(z, t)[:, 0].tolist()
    [0.25, 9.0]
    """

    def terms(self, z, t):
        return super().terms(z, t) ** 2

    def slopes(self, z, t):
        return -2 * (2 * t - 1) * super().terms(z, t)


@dataclass(frozen=True)
class MulticlassHinge(Loss):
    """The right class must lead each of the others by a margin of one.

    The form of Weston & Watkins: every class that comes too near costs. In that of Crammer & Singer
    only the nearest does; for two classes they are one.

    Forward:  term_j = (1 − t_j) max(0, 1 + z_j − s),  s = Σ_j t_j z_j
    Reverse:  slope_j = c_j − t_j Σ_k c_k,  c_j = 1 − t_j where 1 + z_j − s > 0, else 0
    Kink:     at 1 + z_j − s = 0, c_j = 0
    Link:     z_j − mean z + 1/k, a score: they sum to one, the greatest decides
    Source:   Weston & Watkins 1999, eq. 4

    >>> z, t = jnp.array([[2.0, 1.5, -3.0]]), jnp.array([[1.0, 0.0, 0.0]])
    >>> MulticlassHinge().terms(z, t).tolist(), MulticlassHinge().slopes(z, t).tolist()
    ([[0.0, 0.5, 0.0]], [[-1.0, 1.0, 0.0]])
    """

    def check(self, t):
        if t is not None and not (np.isin(t, (0, 1)).all() and (t.sum(axis=1) == 1).all()):
            raise unfit(self, "classes or one-hot rows", t)

    def terms(self, z, t):
        return (1 - t) * jnp.maximum(_lead(z, t), 0)

    def slopes(self, z, t):
        near = jnp.where(_lead(z, t) > 0, 1 - t, 0)
        return near - t * jnp.sum(near, axis=-1, keepdims=True)

    def link(self, z):
        return z - jnp.mean(z, axis=-1, keepdims=True) + 1 / z.shape[-1]


def _lead(z, t):
    """By how much each class misses the margin below the right one."""
    return 1 + z - jnp.sum(t * z, axis=-1, keepdims=True)
