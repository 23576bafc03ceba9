"""The compiled run of many steps, and the one step that also measures every layer.

The steps of an epoch, up to wherever the host wants to look, are one call of one compiled program
with a dynamic first and last step. So an epoch may be cut anywhere, to evaluate, to save, or to
stop, without a second compilation and without a change in a single bit of the result.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Lowered

from .. import tree
from ..arithmetic import full_precision
from ..data import Chunk
from ..maps import Run
from ..tree import Tree
from .step import Batch, Learner, Pass, Task, step


class Stretch(NamedTuple):
    """What a run of steps needs of a chunk, beside its arrays; see `pullback.data.Chunk`."""

    order: Any
    rest: Any
    full: Any
    first: Any


@partial(jax.jit, static_argnames="task")
@full_precision()
def advance(task: Task, learner: Learner, data: Batch, stretch: Stretch, start, stop, key):
    """Take the steps from `start` to `stop` of a chunk, or to the first without a finite loss.

    Returns the learner, the loss of each step parted by output (steps, k), and whether all of the
    learner is finite. The smaller last batch is a branch of the same program, so it costs no
    compilation of its own.
    """
    steps = stretch.order.shape[0]

    def take(i, learner, losses, index):
        batch = Batch(*(a[index] for a in data))
        learner, seen = step(
            task, learner, batch, Run(jax.random.fold_in(key, stretch.first + i), True)
        )
        return i + 1, learner, losses.at[i].set(seen.outputs)

    def go(carry):
        i, learner, losses = carry
        return take(i, learner, losses, stretch.order[i])

    def goes_on(carry):
        i, _, losses = carry
        return (i < jnp.minimum(stop, stretch.full)) & ((i == start) | _finite(losses[i - 1]))

    losses = jnp.zeros((steps + 1, data.y.shape[1]), data.x.dtype)
    carry = jax.lax.while_loop(goes_on, go, (jnp.asarray(start, jnp.int32), learner, losses))
    if stretch.rest.shape[0]:
        due = (carry[0] == stretch.full) & (carry[0] < stop)
        carry = jax.lax.cond(
            due, lambda c: take(c[0], c[1], c[2], stretch.rest), lambda c: c, carry
        )
    _, learner, losses = carry
    return learner, losses, tree.all_finite(learner)


def traced(task: Task, learner: Learner, chunk: Chunk, key) -> Lowered:
    """`advance`, traced for a chunk, and a learner of which only shapes need be known yet.

    JAX keeps what it has traced and compiled: the first call with such arrays finds both.
    """
    stretch = Stretch(chunk.order, chunk.rest, np.int32(chunk.full), np.int32(chunk.first))
    data = Batch(chunk.x, chunk.y, chunk.weight)
    return advance.lower(task, learner, data, stretch, np.int32(0), np.int32(chunk.steps), key)


def _finite(outputs):
    return jnp.isfinite(jnp.sum(outputs))


@partial(jax.jit, static_argnames="task")
@full_precision()
def watched(task: Task, learner: Learner, data: Batch, stretch: Stretch, i, key):
    """Take one step that also measures every layer, from the same pass."""
    batch = Batch(*(a[stretch.order[i]] for a in data))
    after, seen = step(task, learner, batch, Run(jax.random.fold_in(key, stretch.first + i), True))
    return after, seen.outputs, layer_norms(task, learner.params, seen), tree.all_finite(after)


def layer_norms(task: Task, params: Tree, seen: Pass) -> dict[str, dict[str, Any]]:
    """The norms of each layer that has parameters, by owner.

    delta is the norm of the cotangent of the layer's output (over all nodes that share it), ratio
    is update/weight.
    """
    norms = {}
    for owner, weights in params.items():
        if not jax.tree.leaves(weights):
            continue
        deltas = [seen.wires[node.name] for node in task.net.nodes if node.owner == owner]
        weight, update = tree.norm(weights), tree.norm(seen.updates[owner])
        norms[owner] = {
            "delta": tree.norm(deltas),
            "gradient": tree.norm(seen.grads[owner]),
            "weight": weight,
            "update": update,
            "ratio": jnp.where(weight > 0, update / jnp.where(weight > 0, weight, 1), 0),
        }
    return norms
