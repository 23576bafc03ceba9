"""Evaluation: the loss and the score of a part of the data, and predictions for new rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import tree
from ..arithmetic import full_precision
from ..data import Batches, Chunk, Pixels, Rows
from ..maps import Run
from ..tree import Tree
from .step import Batch, Learner, Task

# Rows evaluated at once: enough to fill the machine, little enough that hidden layers stay small.
BLOCK = 2000


def window(a: Any, first: Any, size: int) -> Any:
    """So many rows of an array from the first on."""
    if isinstance(a, Pixels):
        return replace(a, values=window(a.values, first, size))[:]
    return jax.lax.dynamic_slice_in_dim(a, first, size)


def sums(task: Task, params: Tree, state: Tree, data: Batch, first: Any = 0, rows: int = 0):
    """Sum over examples, by weight: each target's loss and squared error, right classes, weight.

    Over so many rows from the first on; over all if 0 are asked for.

    The loss has weights of its own, which may depend on the class; their sum comes last.

    Blocks of equal size slide over the rows; the last one overlaps the one before it, where its
    weights are 0.
    """
    n = rows or data.x.shape[0]
    size = min(n, BLOCK)

    def block(total, i):
        begin = jnp.minimum(i * size, n - size)
        x, y, weight = (window(a, first + begin, size) for a in data)
        weight = jnp.where(jnp.arange(size) < i * size - begin, 0, weight)
        z, _, _ = task.net.forward(params, state, x, Run())
        found = task.loss.link(z)
        right = _classes(found) == _classes(y)
        counted = task.loss.weigh(y, weight)
        here = (
            counted @ task.loss.terms(z, y),
            weight @ (found - y) ** 2,
            weight @ right.astype(weight.dtype),
            weight.sum(),
            counted.sum(),
        )
        return tree.add(total, here), None

    k, zero = data.y.shape[1], jnp.zeros((), data.x.dtype)
    start = (jnp.zeros(k, data.x.dtype), jnp.zeros(k, data.x.dtype), zero, zero, zero)
    return jax.lax.scan(block, start, jnp.arange(-(-n // size)))[0]


measure = jax.jit(full_precision()(sums), static_argnames="task")


def predictions(task: Task, params: Tree, state: Tree, x: np.ndarray | Pixels | Rows) -> np.ndarray:
    """What the network predicts for each row of x: the loss's link of its output, (n, k)."""
    size = min(len(x), BLOCK)
    blocks = [
        _predicted(task, params, state, _padded(x[i : i + size], size))
        for i in range(0, len(x), size)
    ]
    return np.concatenate([np.asarray(block) for block in blocks])[: len(x)]


def _padded(x, size):
    """Rows filled up to one size, so that the last block needs no program of its own."""
    return np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])


@partial(jax.jit, static_argnames="task")
@full_precision()
def _predicted(task, params, state, x):
    return task.loss.link(task.net.forward(params, state, x, Run())[0])


def _classes(y):
    return y[:, 0] > 0.5 if y.shape[1] == 1 else jnp.argmax(y, axis=1)


class Sent:
    """The way of one `Batches` to the device, where the arrays of resident ones stay."""

    def __init__(self):
        self.resident: Batch | None = None

    def __call__(self, chunk: Chunk) -> Batch:
        """The arrays of a chunk, on the device."""
        if self.resident is not None:
            return self.resident
        data = jax.device_put(Batch(chunk.x, chunk.y, chunk.weight))
        if chunk.resident:
            self.resident = data
        return data


class Part:
    """One part of the data, to be evaluated: resident on the device, or chunk by chunk."""

    def __init__(self, batches: Batches, classifies: bool, sent: Sent | None = None):
        self.batches, self._classifies = batches, classifies
        self._sent = sent or Sent()
        self._variance = _variance(batches.targets, batches.weight)

    def chunks(self) -> Iterator[Batch]:
        """The arrays, a chunk at a time; resident ones are put on the device once."""
        if self._sent.resident is not None:
            yield self._sent.resident
            return
        yield from map(self._sent, self.batches.epoch(0))

    def evaluate(self, task: Task, learner: Learner) -> dict[str, Any]:
        """The loss, its parts by output, and accuracy or R²: means over the examples by weight."""
        total = None
        for data in self.chunks():
            here = jax.tree.map(
                lambda a: np.asarray(a, np.float64),
                measure(task, learner.params, learner.state, data),
            )
            total = here if total is None else tree.add(total, here)
        assert total is not None
        return self.row(total)

    def row(self, total) -> dict[str, Any]:
        """What the `sums` over all its rows say."""
        losses, squares, right, weight, counted = total
        losses = losses / counted if counted > 0 else losses  # else there is nothing to lose
        row = {"loss": float(losses.sum()), "outputs": losses.tolist()}
        if self._classifies:
            return row | {"accuracy": float(right / weight)}
        return row | {"r2": _r2(squares / weight, self._variance)}


def _variance(targets: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The variance of each target, by weight: what a constant prediction would leave."""
    targets, share = targets.astype(np.float64), weight / weight.sum()
    return share @ (targets - share @ targets) ** 2


def _r2(error: np.ndarray, variance: np.ndarray) -> float:
    """The mean of 1 − error/variance; a target that never varies counts 1 if met, else 0."""
    varies = variance > 0
    return float(np.mean(np.where(varies, 1 - error / np.where(varies, variance, 1), error == 0)))
