"""Moving averages of the gradients and of their squares: Adam and its kin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .. import tree
from ..tree import Tree
from . import ranges
from .adaptive import moving, squared
from .core import Rated, no_steps, require_found
from .decay import decayed


class Moments(NamedTuple):
    """What Adam remembers.

    steps: those taken. mean: the average of the gradients. square: that of their squares.
    """

    steps: Int[Array, ""]
    mean: Tree
    square: Tree


@dataclass(frozen=True)
class Adam(Rated):
    """Adaptive moment estimation.

    Update:  t ← steps + 1
             mean ← b1 · mean + (1 − b1) · grads
             square ← b2 · square + (1 − b2) · grads²
             m̂ = mean / (1 − b1ᵗ),  ŝ = square / (1 − b2ᵗ)
             params ← params − learning_rate · m̂ / (√ŝ + eps)
             Without bias_correction, m̂ = mean and ŝ = square.
    State:   steps; mean and square, from 0, as they are before the correction
    Source:  Kingma & Ba 2015, arXiv:1412.6980, algorithm 1 (eps outside the root of the corrected
             square, not the quicker form at the end of its §2); the sheets; the notes §7.4

    PyTorch and Optax have the same rule. The notes have eps inside the root in the text and outside
    in the code; their code stores the corrected averages back, so that they are corrected again at
    the next step, and counts steps as epoch + batch.

    Args:
        learning_rate: a positive number, or a schedule.
        b1: how much of the mean is left after a step.
        b2: how much of the square is left.
        eps: keeps the quotient finite.
        bias_correction: whether to divide by the weight that averages from 0 have not gathered yet.

    Raises:
        ConfigError: learning_rate or eps is not positive; b1 or b2 is not in [0, 1).

    >>> rule, params = Adam(0.5), {"w": jnp.array(1.0)}
    >>> updates, _ = rule.update({"w": jnp.array(-8.0)}, rule.init(params), params)
    >>> round(float(updates["w"]), 4)
    0.5
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    bias_correction: bool = True

    def __post_init__(self):
        super().__post_init__()
        ranges.below_one(self, "b1", "b2")
        ranges.positive(self, "eps")

    def init(self, params) -> Any:
        return Moments(no_steps(), tree.zeros_like(params), tree.zeros_like(params))

    def update(self, grads, state, params) -> tuple[Tree, Any]:
        after = self._moments(grads, state)
        mean = self._corrected(after.mean, self.b1, after.steps)
        square = self._corrected(after.square, self.b2, after.steps)
        return tree.scale(-self.rate(state), _quotient(mean, square, self.eps)), after

    def _moments(self, grads, state) -> Moments:
        return Moments(
            state.steps + 1,
            moving(self.b1, state.mean, grads),
            moving(self.b2, state.square, squared(grads)),
        )

    def _corrected(self, average, share, steps):
        return corrected(average, share, steps) if self.bias_correction else average


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay.

    Update:  that of Adam, and params ← params − learning_rate · decay · params, both from the
             parameters before the step
    State:   that of Adam
    Source:  Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, with the learning rate as the
             schedule multiplier η of its decay, as in PyTorch and Optax

    PyTorch and Optax decay all parameters, here only those that `on` names. It is
    `WeightDecay(Adam(...), decay)`.

    Args:
        learning_rate, b1, b2, eps, bias_correction: those of `Adam`.
        decay: the share of the parameters that is taken off, per learning rate.
        on: which parameters decay; see `pullback.penalty.core.covers`.

    Raises:
        ConfigError: as `Adam`; decay is negative; `on` names no parameter.

    >>> rule, params = AdamW(0.5, decay=0.1), {"weight": jnp.array(4.0)}
    >>> updates, _ = rule.update({"weight": jnp.array(0.0)}, rule.init(params), params)
    >>> round(float(updates["weight"]), 4)
    -0.2
    """

    decay: float = 0.01
    on: tuple[str, ...] = ("weight",)

    def __post_init__(self):
        super().__post_init__()
        ranges.not_negative(self, "decay")

    def init(self, params):
        require_found(self, self.on, params)
        return super().init(params)

    def update(self, grads, state, params):
        updates, after = super().update(grads, state, params)
        return decayed(updates, params, self.rate(state) * self.decay, self.on), after


class LargestMoments(NamedTuple):
    """What AMSGrad remembers: Adam's moments, and the largest square that it has divided by."""

    steps: Int[Array, ""]
    mean: Tree
    square: Tree
    largest: Tree


@dataclass(frozen=True)
class AMSGrad(Adam):
    """Adam whose divisor never shrinks.

    Update:  t, mean, square, m̂, ŝ as in Adam
             largest ← max(largest, ŝ)
             params ← params − learning_rate · m̂ / (√largest + eps)
    State:   that of Adam; largest, from 0
    Source:  Reddi et al. 2018, arXiv:1904.09237, algorithm 2, which is bias_correction=False

    The largest is that of the corrected squares, as in Optax. PyTorch keeps the largest of the
    uncorrected and corrects it anew at each step, so that its divisor does shrink at first.

    Args:
        learning_rate, b1, b2, eps, bias_correction: those of `Adam`.

    Raises:
        ConfigError: as `Adam`.

    >>> rule, params = AMSGrad(0.5), {"w": jnp.array(1.0)}
    >>> _, state = rule.update({"w": jnp.array(-8.0)}, rule.init(params), params)
    >>> round(float(rule.update({"w": jnp.array(0.0)}, state, params)[1].largest["w"]), 2)
    64.0
    """

    def init(self, params):
        start = super().init(params)
        return LargestMoments(start.steps, start.mean, start.square, tree.zeros_like(params))

    def update(self, grads, state, params):
        after = self._moments(grads, state)
        mean = self._corrected(after.mean, self.b1, after.steps)
        square = self._corrected(after.square, self.b2, after.steps)
        largest = jax.tree.map(jnp.maximum, state.largest, square)
        updates = tree.scale(-self.rate(state), _quotient(mean, largest, self.eps))
        return updates, LargestMoments(after.steps, after.mean, after.square, largest)


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov's momentum: one step ahead of the mean.

    Update:  t, mean, square, ŝ as in Adam
             m̂ = b1 · mean / (1 − b1ᵗ⁺¹) + (1 − b1) · grads / (1 − b1ᵗ)
             params ← params − learning_rate · m̂ / (√ŝ + eps)
             Without bias_correction, m̂ = b1 · mean + (1 − b1) · grads.
    State:   that of Adam
    Source:  Dozat 2016, with the momentum b1 constant, as in Optax. PyTorch lets it rise with time,
             b1 · (1 − 0.96^(0.004 t)/2), so its first steps are about half as much ahead

    Args:
        learning_rate, b1, b2, eps, bias_correction: those of `Adam`.

    Raises:
        ConfigError: as `Adam`.

    >>> rule, params = NAdam(0.19), {"w": jnp.array(1.0)}
    >>> updates, _ = rule.update({"w": jnp.array(8.0)}, rule.init(params), params)
    >>> round(float(updates["w"]), 4)  # 0.19 (0.9 · 0.8 / 0.19 + 0.1 · 8 / 0.1) / 8
    -0.28
    """

    def update(self, grads, state, params):
        after = self._moments(grads, state)
        mean = self._corrected(after.mean, self.b1, after.steps + 1)
        fresh = self._corrected(tree.scale(1 - self.b1, grads), self.b1, after.steps)
        ahead = tree.add(tree.scale(self.b1, mean), fresh)
        square = self._corrected(after.square, self.b2, after.steps)
        return tree.scale(-self.rate(state), _quotient(ahead, square, self.eps)), after


class MeanAndLargest(NamedTuple):
    """steps: those taken. mean: of the gradients. largest: of them, fading."""

    steps: Int[Array, ""]
    mean: Tree
    largest: Tree


@dataclass(frozen=True)
class AdaMax(Rated):
    """Adam by the largest gradient in the place of the root of the squares.

    Update:  t ← steps + 1
             mean ← b1 · mean + (1 − b1) · grads
             largest ← max(b2 · largest, |grads| + eps)
             params ← params − learning_rate / (1 − b1ᵗ) · mean / largest
    State:   steps; mean and largest, from 0
    Source:  Kingma & Ba 2015, arXiv:1412.6980, algorithm 2. eps, which it has not, keeps 0/0 away
             as in PyTorch and Optax

    Args:
        learning_rate: a positive number, or a schedule.
        b1: how much of the mean is left after a step.
        b2: how much of the largest is left.
        eps: what is added to each gradient's magnitude.

    Raises:
        ConfigError: learning_rate or eps is not positive; b1 or b2 is not in [0, 1).

    >>> rule, params = AdaMax(0.5), {"w": jnp.array(1.0)}
    >>> updates, _ = rule.update({"w": jnp.array(-8.0)}, rule.init(params), params)
    >>> round(float(updates["w"]), 4)
    0.5
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        super().__post_init__()
        ranges.below_one(self, "b1", "b2")
        ranges.positive(self, "eps")

    def init(self, params):
        return MeanAndLargest(no_steps(), tree.zeros_like(params), tree.zeros_like(params))

    def update(self, grads, state, params):
        steps = state.steps + 1
        mean = moving(self.b1, state.mean, grads)
        largest = jax.tree.map(
            lambda u, g: jnp.maximum(self.b2 * u, jnp.abs(g) + self.eps), state.largest, grads
        )
        direction = jax.tree.map(lambda m, u: m / u, corrected(mean, self.b1, steps), largest)
        return tree.scale(-self.rate(state), direction), MeanAndLargest(steps, mean, largest)


def corrected(average: Tree, share: float, steps) -> Tree:
    """A moving average from 0, divided by the weight that it has gathered: 1 − shareᵗ.

    The weight is computed without that difference, which costs float32 two digits for 0.999.
    """
    gathered = -jnp.expm1(steps.astype(float) * jnp.log1p(share - 1))
    return jax.tree.map(lambda a: a / gathered.astype(a.dtype), average)


def _quotient(mean: Tree, square: Tree, eps: float) -> Tree:
    return jax.tree.map(lambda m, s: m / (jnp.sqrt(s) + eps), mean, square)
