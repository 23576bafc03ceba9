"""What a trained network says of rows: outputs, every wire, and derivatives by its own reverse.

Rows go through in blocks whose sizes are powers of two, filled up where they are short, so that few
sizes make programs of their own. A network in evaluation treats every row by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import full_precision
from ..loss import Loss
from ..maps import Net, Run
from .packed import bucket

# Rows that pass at once: enough to fill the machine, little enough that hidden layers stay small.
BLOCK = 2048


def in_blocks(call: Callable[[np.ndarray], Any], x: Any) -> Any:
    """Apply a function of rows block by block, and put the blocks together again.

    Args:
        call: takes rows (n, d); returns a tree of arrays (n, ...).
        x: rows, dense or sparse; of sparse ones a block at a time is made dense.
    """
    done = [
        jax.tree.map(lambda a, n=rows: np.asarray(a)[:n], call(block)) for block, rows in _blocks(x)
    ]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *done)


def _blocks(x: Any) -> Iterator[tuple[np.ndarray, int]]:
    size = min(BLOCK, bucket(x.shape[0]))
    for begin in range(0, x.shape[0], size):
        rows = x[begin : begin + size]
        rows = rows.toarray() if hasattr(rows, "toarray") else rows
        short = np.repeat(rows[:1], size - len(rows), axis=0)
        yield np.concatenate([rows, short]), len(rows)


@partial(jax.jit, static_argnames=("net", "loss"))
@full_precision()
def outputs(net: Net, loss: Loss, params, state, x):
    """The network's output z (n, outputs), and the prediction that it stands for (n, k)."""
    z = net.forward(params, state, x, Run())[0]
    return z, loss.link(z)


@partial(jax.jit, static_argnames="net")
@full_precision()
def wires(net: Net, params, state, x):
    """The output of every node, by name."""
    found, _, _ = net.trace(params, state, x, Run())
    return {node.name: found[node.name] for node in net.nodes}


@partial(jax.jit, static_argnames="net")
@full_precision()
def jacobian(net: Net, params, state, x):
    """The derivative of each output by each input, (n, outputs, d), by the reverse on x.

    Reverse:  row j of an example's Jacobian is dx at dy = e_j; the examples do not mix, so one
              reverse pass gives that row for all of them
    """
    z, saved, _ = net.forward(params, state, x, Run())

    def row(direction):
        dy = jnp.broadcast_to(direction[None], z.shape)
        return net.reverse(params, saved, dy)[1]

    return jnp.moveaxis(jax.lax.map(row, jnp.eye(z.shape[1], dtype=z.dtype)), 0, 1)


@partial(jax.jit, static_argnames="net")
@full_precision()
def gradient(net: Net, params, state, x, dy):
    """The derivative of Σ_j dy_j z_j of each example by its inputs, (n, d)."""
    _, saved, _ = net.forward(params, state, x, Run())
    return net.reverse(params, saved, dy)[1]
