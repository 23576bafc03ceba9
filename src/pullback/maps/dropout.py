"""Dropout: noise on activations or weights while training, and none afterwards.

Every mask comes from the key of the pass, which a network derives from the node's name: two layers
and two steps have different masks, and a layer added elsewhere moves none. The notes draw all masks
of all steps from one seed, so that the same units are dropped for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from ..errors import ConfigError
from .affine import Affine
from .core import Map, Run


@dataclass(frozen=True)
class Dropout(Map):
    """Set entries to 0 with probability `rate` while training, and scale up the others.

    Forward:  y = x · mask/(1 − rate),  mask 1 with probability 1 − rate, else 0;  y = x in
              evaluation
    Reverse:  dx = dy · mask/(1 − rate), with the same mask;  dx = dy in evaluation
    Shapes:   x, y of any one shape; every entry has its own draw
    Source:   Srivastava et al. 2014, JMLR 15, §4, inverted so that an evaluation scales nothing:
              the notes Neural Networks, §5.2; CA6 (6f)

    Args:
        rate: the probability with which an entry is dropped, in [0, 1); the notes' 1 − p.

    Raises:
        ConfigError: rate is not in [0, 1); a training pass has no key.

    >>> y, _, _ = Dropout(0.5).forward({}, {}, jnp.ones(1000), Run(jax.random.key(0), train=True))
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]
    """

    rate: float = 0.5

    def __post_init__(self):
        _check_rate(self)

    def forward(self, params, state, x, run):
        if not run.train:
            return x, None, state
        mask = jax.random.bernoulli(_key(self, run), 1 - self.rate, x.shape)
        return _kept(x, mask, self.rate), mask, state

    def reverse(self, params, saved, dy):
        return {}, dy if saved is None else _kept(dy, saved, self.rate)


@dataclass(frozen=True)
class GaussianDropout(Map):
    """Multiply each entry by a normal number of mean 1 while training.

    Forward:  y = x · noise,  noise ~ N(1, rate/(1 − rate));  y = x in evaluation
    Reverse:  dx = dy · noise, with the same noise;  dx = dy in evaluation
    Shapes:   x, y of any one shape; every entry has its own draw
    Source:   Srivastava et al. 2014, JMLR 15, §10

    Args:
        rate: in [0, 1); the noise has the mean and the variance that `Dropout` has at this rate.

    Raises:
        ConfigError: rate is not in [0, 1); a training pass has no key.

    >>> float(GaussianDropout().forward({}, {}, jnp.ones(()), Run())[0])
    1.0
    """

    rate: float = 0.5

    def __post_init__(self):
        _check_rate(self)

    def forward(self, params, state, x, run):
        if not run.train:
            return x, None, state
        deviation = (self.rate / (1 - self.rate)) ** 0.5
        noise = 1 + deviation * jax.random.normal(_key(self, run), x.shape, x.dtype)
        return x * noise, noise, state

    def reverse(self, params, saved, dy):
        return {}, dy if saved is None else dy * saved


@dataclass(frozen=True)
class DropConnect(Affine):
    """An affine map whose weights are dropped while training.

    Forward:  y = x @ w + bias,  w = weight · mask/(1 − rate);  w = weight in evaluation
    Reverse:  dweight = (xᵀ @ dy) · mask/(1 − rate),  dbias = Σ dy,  dx = dy @ wᵀ
    Shapes:   x (n, d_in); y (n, width); weight and mask (d_in, width); bias (width,)
    Source:   Wan et al. 2013, Regularization of neural networks using DropConnect, §3

    One mask serves a whole batch: then a step costs two matrix products as without it, where the
    paper draws a mask for each example and needs n weights. The gradient of one step is as expected
    in both; that of the batch varies more here, since its examples share their draw. The bias is
    never dropped, and an evaluation takes the mean weight, where the paper samples.

    Args:
        width: the number of outputs.
        bias: whether a bias is added; it begins at zero.
        initializer: draws the weight.
        rate: the probability with which a weight is dropped, in [0, 1).

    Raises:
        ConfigError: width is not positive; rate is not in [0, 1); a training pass has no key.
        ShapeError: x is not a matrix.

    >>> DropConnect(3, rate=0.2).init(jax.random.key(0), jnp.ones((8, 5)))[0]["weight"].shape
    (5, 3)
    """

    rate: float = field(default=0.5, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        _check_rate(self)

    def forward(self, params, state, x, run):
        mask = None
        if run.train:
            mask = jax.random.bernoulli(_key(self, run), 1 - self.rate, params["weight"].shape)
            params = self._dropped(params, mask)
        y, x, state = super().forward(params, state, x, run)
        return y, (x, mask), state

    def reverse(self, params, saved, dy):
        x, mask = saved
        if mask is None:
            return super().reverse(params, x, dy)
        dparams, dx = super().reverse(self._dropped(params, mask), x, dy)
        return self._dropped(dparams, mask), dx

    def _dropped(self, params, mask):
        return params | {"weight": _kept(params["weight"], mask, self.rate)}


def _kept(x, mask, rate: float):
    return jnp.where(mask, x / (1 - rate), jnp.zeros_like(x))


def _check_rate(map: Dropout | GaussianDropout | DropConnect) -> None:
    if not 0 <= map.rate < 1:
        raise ConfigError(
            f"{type(map).__name__}'s rate must be in [0, 1), got {map.rate}",
            next="it is the probability of being dropped, not of being kept",
        )


def _key(map: Map, run: Run):
    if run.key is None:
        raise ConfigError(
            f"{map} draws at random in training, and the pass has no key",
            next="give one: Run(jax.random.key(0), train=True)",
        )
    return run.key
