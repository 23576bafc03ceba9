"""Normalisation: over the batch (three deviations), and over the features of each example."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp

from ..errors import ConfigError, ShapeError
from .core import Map


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Normalised:
    """What the reverse needs.

    Attributes:
        u: the normalised x.
        inverse: 1/s.
        largest: which row has the largest |u| of each feature; for linf in training.
        of_batch: whether mean and s are those of this batch.
    """

    u: Any
    inverse: Any
    largest: Any
    of_batch: bool = field(metadata={"static": True})


@dataclass(frozen=True)
class BatchNorm(Map):
    """Normalise each feature over the batch, then give it a learned deviation and mean.

    Forward:  u = (x − μ)/s,  y = gain · u + shift, with, over the m entries of a feature,
              l2:    s = √(σ² + eps),  σ² = Σ (x − μ)²/m
              l1:    s = eps + Σ |x − μ|/m
              linf:  s = eps + max |x − μ|
    Reverse:  dshift = Σ dy,  dgain = Σ dy · u,
              dx = gain/s · (dy − (dshift + dgain · (m h − Σ h))/m),  h = ∂s/∂(x − μ):
              l2:    h = u/m
              l1:    h = sign(u)/m, where sign(0) = 0
              linf:  h = sign(u) where |u| is the largest, for the first of several, else 0
    Shapes:   x, y (n, k) or (n, ..., k); m = n · ... entries of each of k features; all else (k,)
    Source:   Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1; the notes Neural Networks, §9
              (their reverse has σ² − ε in the place of σ² + ε); CA6 algorithm 5 for l1, after Wu et
              al. 2018, arXiv:1802.09769; Santurkar et al. 2018, arXiv:1805.11604, for linf

    In training μ and s are those of the batch, and the running statistics in the state move by
    ``momentum · old + (1 − momentum) · batch`` (CA6's α; PyTorch calls 1 − α the momentum).
    They begin at mean 0 and variance, or deviation, 1. An evaluation normalises with them and is an
    affine map, and so is its reverse: dx = gain/s · dy. What runs for l2 is the variance and not
    its root, so that batches add up as they do in the notes; it is the biased one, which training
    divides by.

    A batch with a single entry of each feature has no deviation. It gives y = shift and dx = 0, as
    the equations say, and leaves the running statistics as they are: the last batch of an epoch may
    be that small. An affine map before needs no bias: μ takes it away again. CA6's l1 deviation of
    a normal variable is √(2/π) of its standard deviation; no factor mends this, since the gain
    learns it. Examples count alike here, whatever their weights in the loss.

    Args:
        deviation: "l2", "l1" or "linf".
        eps: keeps s from 0.
        momentum: how much of the old running statistics is kept in each step.

    Raises:
        ConfigError: another deviation; eps is not positive; momentum is not in [0, 1).
        ShapeError: x has no batch axis, or no feature.

    >>> from pullback.maps import Run
    >>> x = jnp.array([[1.0], [3.0]])
    >>> norm = BatchNorm("l1", momentum=0.5)
    >>> params, state = norm.init(None, x)
    >>> y, _, state = norm.forward(params, state, x, Run(train=True))
    >>> y.round(3).tolist(), float(state["mean"][0])
    ([[-1.0], [1.0]], 1.0)
    """

    deviation: Literal["l2", "l1", "linf"] = "l2"
    eps: float = 1e-5
    momentum: float = 0.9

    def __post_init__(self):
        if self.deviation not in ("l2", "l1", "linf"):
            raise ConfigError(
                f"BatchNorm's deviation must be 'l2', 'l1' or 'linf', got {self.deviation!r}"
            )
        _check_eps(self)
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"BatchNorm's momentum must be in [0, 1), got {self.momentum}")

    @property
    def statistic(self) -> str:
        """What the state holds beside the mean: "variance" for l2, else "deviation"."""
        return "variance" if self.deviation == "l2" else "deviation"

    def init(self, key, x):
        if len(x.shape) < 2 or x.shape[-1] < 1:
            raise ShapeError(f"BatchNorm wants x of shape (n, ..., k), got {tuple(x.shape)}")
        k = x.shape[-1]
        params = {"gain": jnp.ones(k, x.dtype), "shift": jnp.zeros(k, x.dtype)}
        return params, {"mean": jnp.zeros(k, x.dtype), self.statistic: jnp.ones(k, x.dtype)}

    def forward(self, params, state, x, run):
        rows = x.reshape(-1, x.shape[-1])
        largest = None
        if run.train:
            mean, centred = _centre(rows, 0)
            measured, largest = self._measure(centred)
            if len(rows) > 1:
                batch = {"mean": mean[0], self.statistic: measured}
                state = {
                    name: self.momentum * old + (1 - self.momentum) * batch[name]
                    for name, old in state.items()
                }
        else:
            centred, measured = rows - state["mean"][None], state[self.statistic]
        inverse = 1 / self.scale(measured)
        u = centred * inverse[None]
        y = params["gain"][None] * u + params["shift"][None]
        return y.reshape(x.shape), _Normalised(u, inverse, largest, run.train), state

    def reverse(self, params, saved, dy):
        u = saved.u
        dx = dy.reshape(u.shape)
        dshift, dgain = jnp.sum(dx, axis=0), jnp.sum(dx * u, axis=0)
        if saved.of_batch:
            dx = dx - (dshift / len(u))[None] - (dgain / len(u))[None] * self._pull(saved)
        dx = (params["gain"] * saved.inverse)[None] * dx
        return {"gain": dgain, "shift": dshift}, dx.reshape(dy.shape)

    def scale(self, measured):
        """The divisor s, from a variance (l2) or a deviation."""
        if self.deviation == "l2":
            return jnp.sqrt(measured + self.eps)
        return measured + self.eps

    def _measure(self, centred):
        """The variance or deviation, and for linf the row that it is found in."""
        if self.deviation == "l2":
            return jnp.mean(centred * centred, axis=0), None
        size = jnp.abs(centred)
        if self.deviation == "l1":
            return jnp.mean(size, axis=0), None
        largest = jnp.argmax(size, axis=0)
        return _picked(size, largest)[0], largest

    def _pull(self, saved: _Normalised):
        """How s follows each entry of x, directly and through the mean: m h − Σ h."""
        u = saved.u
        if self.deviation == "l2":
            return u  # its sum is 0
        if self.deviation == "l1":
            sign = jnp.sign(u)
            return sign - jnp.mean(sign, axis=0, keepdims=True)
        sign = jnp.sign(_picked(u, saved.largest))
        here = jnp.arange(len(u))[:, None] == saved.largest[None]
        return jnp.where(here, (len(u) - 1) * sign, -sign)


@dataclass(frozen=True)
class LayerNorm(Map):
    """Normalise each example over its features, then give each feature a learned scale and mean.

    Forward:  u = (x − μ)/√(σ² + eps),  y = gain · u + shift            μ, σ² over the last axis
    Reverse:  dshift = Σ dy,  dgain = Σ dy · u over the batch,
              dx = (du − mean(du) − u · mean(du · u))/√(σ² + eps),  du = gain · dy
    Shapes:   x, y (n, ..., k); gain, shift (k,)
    Source:   Ba, Kiros & Hinton 2016, arXiv:1607.06450, eq. 3 and 4; the sheets on batch
              normalisation

    It computes the same in training and in evaluation, whatever the batch. It does not take away
    the bias of an affine map before it, which moves the features against each other.

    Args:
        eps: keeps the divisor from 0.

    Raises:
        ConfigError: eps is not positive.
        ShapeError: x has no batch axis, or a single feature, which would always become 0.

    >>> LayerNorm().init(None, jnp.ones((8, 3)))[0]["gain"].shape
    (3,)
    """

    eps: float = 1e-5

    def __post_init__(self):
        _check_eps(self)

    def init(self, key, x):
        if len(x.shape) < 2 or x.shape[-1] < 2:
            raise ShapeError(
                f"LayerNorm wants x of shape (n, ..., k) with k of at least 2, got "
                f"{tuple(x.shape)}",
                next="a single feature has no deviation; use BatchNorm",
            )
        k = x.shape[-1]
        return {"gain": jnp.ones(k, x.dtype), "shift": jnp.zeros(k, x.dtype)}, {}

    def forward(self, params, state, x, run):
        rows = x.reshape(-1, x.shape[-1])
        _, centred = _centre(rows, 1)
        inverse = 1 / jnp.sqrt(jnp.mean(centred * centred, axis=1, keepdims=True) + self.eps)
        u = centred * inverse
        y = params["gain"][None] * u + params["shift"][None]
        return y.reshape(x.shape), (u, inverse), state

    def reverse(self, params, saved, dy):
        u, inverse = saved
        rows, gain, k = dy.reshape(u.shape), params["gain"], u.shape[1]
        along = rows * u
        # Products with a vector, each much faster than a sum over the last axis.
        mean = jnp.matmul(rows, gain, precision="highest")[:, None] / k
        mean_along = jnp.matmul(along, gain, precision="highest")[:, None] / k
        dx = inverse * (gain[None] * rows - mean - u * mean_along)
        return {"gain": jnp.sum(along, axis=0), "shift": jnp.sum(rows, axis=0)}, dx.reshape(
            dy.shape
        )


def _check_eps(map: BatchNorm | LayerNorm) -> None:
    if not (math.isfinite(map.eps) and map.eps > 0):
        kind = type(map).__name__
        raise ConfigError(f"{kind}'s eps must be a positive number, got {map.eps}")


def _picked(x, row):
    """The entry of each column that lies in its given row, (1, k)."""
    return jnp.take_along_axis(x, row[None], axis=0)


def _centre(x, axis: int):
    """The mean along an axis, and x without it.

    The mean of entries of 10⁴ is rounded by 10⁻³, which is much beside a deviation of 1. So what it
    left behind is taken out too. Both passes must take out the same mean, bit for bit: it comes out
    of the sum as it is, for a division after it may be fused with the subtraction in one pass, and
    be rounded before it in another.
    """
    mean = jnp.sum(x * (1 / x.shape[axis]), axis, keepdims=True)
    centred = x - mean
    left = jnp.mean(centred, axis, keepdims=True)
    return mean + left, centred - left
