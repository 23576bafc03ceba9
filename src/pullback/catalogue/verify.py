"""The whole catalogue against its oracles: what `pullback check --all` does.

Every case is checked in float64, entry by entry, against central differences and autodiff (see
`pullback.check`), and in float32 against float64 (see `precision`): maps in training and in
evaluation, losses with uniform weights and with random ones, of which one is zero.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..check import check_gradient, check_map
from ..maps import Net, Recompute, Run
from ..penalty import MaxNorm, Penalty, Proximable, Proximal
from . import precision
from .cases import LOSSES, PENALTIES, LossCase, parameters
from .map_cases import MAPS, MapCase
from .verification import Row, Verification

# The conditioning of a network is its own, not that of its maps: each of these is held to its
# reach, and the whole to inputs of about one.
NET_REACH = 1.0
PENALTY_REACH = 1e4

# For losses: enough that targets of every kind meet logits on either side.
EXAMPLES = 12

# The learning rate of the proximal steps: at this, some weights of a case become zero, but no
# whole group of them, where autodiff has no derivative of the length.
RATE = 1.0


def verify(listen: Callable[[Row], None] = lambda row: None) -> Verification:
    """Check every case; each row is told to `listen` as soon as it and those before it are there.

    Nearly all the time goes into compilation, which threads can share.
    """
    checks = [
        *(partial(verify_map, case) for case in MAPS),
        *(partial(verify_loss, case) for case in LOSSES),
        *(partial(verify_penalty, penalty) for penalty in PENALTIES),
    ]
    rows = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for found in threads.map(lambda check: check(), checks):
            for row in found:
                listen(row)
                rows.append(row)
    return Verification(tuple(rows))


def verify_map(case: MapCase) -> list[Row]:
    """Check a map in training and in evaluation; where both are one program, it is checked once."""
    training, evaluation = Run(jax.random.key(1), True), Run()
    row = _map_row(case, "training", training)
    if _program(case, training) == _program(case, evaluation):
        return [row, dataclasses.replace(row, mode="evaluation")]
    return [row, _map_row(case, "evaluation", evaluation)]


def _program(case: MapCase, run: Run) -> str:
    """What a pass computes, as text."""

    def passes(x):
        params, state = case.map.init(jax.random.key(0), x)
        y, saved, state = case.map.forward(params, state, x, run)
        return y, state, case.map.reverse(params, saved, y)

    return str(jax.make_jaxpr(passes)(case.input(dtype=np.float32)))


def _map_row(case: MapCase, mode: str, run: Run) -> Row:
    map, like = case.map, case.input(dtype=np.float32)
    params, state = map.init(jax.random.key(0), jax.tree.map(jnp.asarray, like))
    y = jax.eval_shape(lambda p, s, x: map.forward(p, s, x, run)[0], params, state, like)
    dy = np.random.default_rng((0, 1)).standard_normal(y.shape)

    def passes(fixed, x):
        params, state, dy = fixed
        y, saved, _ = map.forward(params, state, x, run)
        return y, map.reverse(params, saved, dy)

    errors = check_map(map, case.input(), run, surrogate=case.surrogate)
    reach = min(case.reach, NET_REACH) if isinstance(map, Net | Recompute) else case.reach
    return Row(
        "map",
        type(map).__name__,
        case.name,
        mode,
        errors.entries,
        _worst(errors.differences.values()),
        _worst(errors.autodiff.values()),
        precision.compare(passes, (params, state, dy), like, reach),
    )


def verify_loss(case: LossCase) -> list[Row]:
    """Check a loss with uniform weights, and with random ones of which one is zero."""
    loss = case.loss
    z, t = case.sample(n=EXAMPLES)
    some = np.random.default_rng(1).uniform(0.5, 2, len(z))
    some[1] = 0
    weights = {"uniform weights": np.ones(len(z)), "random weights": some}

    def forward(at, mode):
        return loss.forward(at[mode], jnp.asarray(t), jnp.asarray(weights[mode]))

    def value(at):
        return sum(forward(at, mode)[0] for mode in weights)

    def gradient(at):
        return {mode: loss.reverse(forward(at, mode)[1]) for mode in weights}

    def passes(fixed, z):
        t, weight = fixed
        value, saved = loss.forward(z, t, weight)
        return value, loss.reverse(saved)

    errors = check_gradient(value, gradient, dict.fromkeys(weights, z))
    return [
        Row(
            "loss",
            type(loss).__name__,
            case.name,
            mode,
            z.size,
            errors.differences[mode],
            errors.autodiff[mode],
            precision.compare(passes, (t, weight), z, case.reach),
        )
        for mode, weight in weights.items()
    ]


def verify_penalty(penalty: Penalty) -> list[Row]:
    """Check the derivative of a penalty, and its proximal step or projection where it has one."""
    value, reverse = penalty.differentiated.value, penalty.reverse
    rows = [_penalty_row(penalty, "derivative", value, reverse, lambda p: (value(p), reverse(p)))]
    acts = Proximal(penalty) if isinstance(penalty, Proximable) else penalty
    if isinstance(acts, Proximal | MaxNorm):
        results = partial(acts.after_step, rate=RATE)
        rows.append(_penalty_row(penalty, "proximal step", *envelope(acts), results))
    return rows


def envelope(penalty: Proximal | MaxNorm) -> tuple[Callable, Callable]:
    """The Moreau envelope of a penalty, and its gradient: what the proximal step takes off.

    It is min_p ½ ‖p − params‖² + RATE · value(p), and here p is what the step gives, or lies a
    little before or behind it: of a step that is not the minimiser, the gradient is another.
    """
    # Beyond a projection there is nothing to compare with: the bound has no cost.
    shares = (0.0, -0.01) if isinstance(penalty, MaxNorm) else (0.0, -0.01, 0.01)

    def value(params):
        after = penalty.after_step(params, RATE)
        costs = jnp.stack([cost(params, after, share) for share in shares])
        # Not jnp.min, whose gradient looks for the minimum among values that may be rounded anew.
        return costs[jnp.argmin(costs)]

    def cost(params, after, share):
        p = jax.tree.map(lambda end, start: end + share * (start - end), after, params)
        gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), p, params)
        return 0.5 * sum(jax.tree.leaves(gaps)) + RATE * penalty.value(p)

    def reverse(params):
        return jax.tree.map(lambda w, p: w - p, params, penalty.after_step(params, RATE))

    return value, reverse


def _penalty_row(
    penalty: Penalty, mode: str, value: Callable, reverse: Callable, results: Callable
) -> Row:
    params = parameters()
    errors = check_gradient(
        lambda at: value(at["params"]),
        lambda at: {"params": reverse(at["params"])},
        {"params": params},
    )
    return Row(
        "penalty",
        type(penalty).__name__,
        str(penalty),
        mode,
        errors.entries,
        _worst(errors.differences.values()),
        _worst(errors.autodiff.values()),
        precision.compare(lambda fixed, p: results(p), (), params, PENALTY_REACH),
    )


def _worst(errors: Iterable[float]) -> float:
    """The largest; nan if there is one."""
    return float(np.max([0.0, *errors]))
