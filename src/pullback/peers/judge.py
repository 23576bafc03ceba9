"""What is made of all workers' states together: their common model, and how well each does."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import tree
from ..arithmetic import full_precision
from ..train import Batch, Learner, Part, Task
from ..train.measure import sums
from ..tree import Tree
from .algorithm import Algorithm, Slots
from .local import Flat


def mean_state(slots: Slots, shares: Any) -> Tree:
    """Return the mean of the maps' statistics; what is no number is the first worker's."""

    def one(a):
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a[0]
        return jnp.tensordot(jnp.asarray(shares, a.dtype), a, 1)

    return jax.tree.map(one, slots["local"].state)


def learner(
    algorithm: Algorithm, flat: Flat, slots: Slots, shares: Any, worker: int | None
) -> Learner:
    """Return one worker as it would be evaluated or saved, or what all stand for together.

    Args:
        algorithm: of the run.
        flat: how parameters lie in a vector.
        slots: of all workers.
        shares: (n,), of the slots' dtype.
        worker: its number; None for all together, with the mean of their maps' statistics.
    """
    local = slots["local"]
    if worker is None:
        x, state = algorithm.consensus(slots, shares), mean_state(slots, shares)
        return Learner(flat.tree(x), state, jax.tree.map(lambda a: a[0], local.rule))
    mine = jax.tree.map(lambda a: a[worker], slots)
    return Learner(flat.tree(algorithm.model(mine)), mine["local"].state, mine["local"].rule)


def evaluate(
    task: Task,
    algorithm: Algorithm,
    flat: Flat,
    slots: Slots,
    shares: Any,
    parts: Mapping[str, Part],
) -> dict[str, Any]:
    """Return, for each part, the row of the common model and those of all workers in the slots."""
    own = jax.vmap(algorithm.model)(slots)
    states = jax.tree.map(
        lambda one, each: jnp.concatenate([one[None], each]),
        mean_state(slots, shares),
        slots["local"].state,
    )
    models = jnp.concatenate([algorithm.consensus(slots, shares)[None], own])
    found = {}
    for name, part in parts.items():
        totals = [
            jax.tree.map(
                lambda a: np.asarray(a, np.float64), _measured(task, flat, models, states, chunk)
            )
            for chunk in part.chunks()
        ]
        total = functools.reduce(tree.add, totals)
        rows = [part.row([a[i] for a in total]) for i in range(len(models))]
        found[name] = {"together": rows[0], "workers": rows[1:]}
    return found


@functools.partial(jax.jit, static_argnames=("task", "flat"))
@full_precision()
def _measured(task: Task, flat: Flat, models, states, data: Batch):
    """The sums of an evaluation, for each of many models.

    A model that is the one before it is not evaluated again: after federated averaging all are.
    """

    def one(before, model):
        same, x, state = model
        found = jax.lax.cond(same, lambda: before, lambda: sums(task, flat.tree(x), state, data))
        return found, found

    first = jax.tree.map(lambda a: a[0], (models, states))
    like = jax.eval_shape(lambda x, state: sums(task, flat.tree(x), state, data), *first)
    none = tree.zeros_like(like)
    return jax.lax.scan(one, none, (_repeated((models, states)), models, states))[1]


def _repeated(each: Any) -> Any:
    """Whether all leaves of a line are those of the line before it, (n,)."""

    def equal(a):
        return jnp.all(a[1:] == a[:-1], axis=range(1, a.ndim))

    same = functools.reduce(jnp.logical_and, map(equal, jax.tree.leaves(each)))
    return jnp.concatenate([jnp.zeros(1, bool), same])
