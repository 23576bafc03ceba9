"""What a phase makes of what workers have: of all at once, or of one with what it has heard.

The messages of a receiver are added one after the other, in the order of their senders. So a sum
has the same bits wherever it is taken, and mixing needs no more memory than one copy of them all.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..arithmetic import full_precision
from .phase import OnLoss, Phase

Payload = Float[Array, " d"] | Float[np.ndarray, " d"]


def mix_all(
    phase: Phase,
    x: Float[Array, "n d"],
    up: Bool[Array, " e"] | None = None,
    sent: Float[Array, "n d"] | None = None,
) -> Float[Array, "n d"]:
    """Mix a whole network.

    Args:
        phase: a constant.
        x: what each worker has.
        up: which messages arrive; all, if not given. It may be traced: another mask compiles
            nothing anew.
        sent: what each worker's messages say, where that is not what it has: decoded, for one.

    >>> from .phase import phase
    >>> pull = phase({(1, 0): 0.5}, n=2)
    >>> mix_all(pull, jnp.array([[0.0], [4.0]])).tolist()
    [[2.0], [4.0]]
    >>> mix_all(pull, jnp.array([[0.0], [4.0]]), jnp.array([False])).tolist()
    [[0.0], [4.0]]
    """
    weight, keep = phase.weights_in(x.dtype)
    arrive = jnp.ones(phase.edges, bool) if up is None else jnp.asarray(up)
    if phase.on_loss == "pair":
        arrive = arrive & arrive[phase.back]
    return _mix(
        phase.on_loss,
        x,
        x if sent is None else sent,
        keep,
        *_ends(phase.src, phase.dst),
        weight,
        arrive,
    )


def mix_one(
    phase: Phase,
    i: int,
    x: Payload,
    inbox: Mapping[int, Payload],
    *,
    undelivered: Iterable[int] = (),
    sent: Payload | None = None,
) -> Float[Array, " d"]:
    """Mix what one worker has with the messages that it got: row i of `mix_all`, to the last bit.

    Args:
        phase: as for all.
        i: the worker.
        x: what it has.
        inbox: by sender, what has arrived.
        undelivered: who did not get what it sent. Only the policies "pair" and "mass" ask: under
            them a worker must learn it.
        sent: what its own messages said, where that is not what it has.

    >>> from .phase import phase
    >>> pull = phase({(1, 0): 0.5}, n=2)
    >>> mix_one(pull, 0, jnp.array([0.0]), {1: jnp.array([4.0])}).tolist()
    [2.0]
    """
    gone = set(undelivered)
    weight, keep = phase.weights_in(x.dtype)
    mine = (phase.dst == i) | ((phase.src == i) & (phase.on_loss == "mass"))
    x, nothing = jnp.asarray(x), jnp.zeros(x.shape, x.dtype)
    # The row is a network of its own: worker 0 is i, and worker k is at the other end of edge k.
    said, arrive = [x if sent is None else jnp.asarray(sent)], []
    for src, dst in zip(phase.src[mine].tolist(), phase.dst[mine].tolist(), strict=True):
        there = src in inbox if dst == i else dst not in gone
        arrive.append(there and not (phase.on_loss == "pair" and src in gone))
        said.append(jnp.asarray(inbox[src]) if dst == i and there else nothing)
    incoming, ends = phase.dst[mine] == i, np.arange(1, len(said))
    mixed = _mix(
        phase.on_loss,
        jnp.stack([x, *[nothing] * len(ends)]),
        jnp.stack(said),
        np.concatenate([keep[[i]], np.ones(len(ends), keep.dtype)]),
        *_ends(np.where(incoming, ends, 0), np.where(incoming, 0, ends)),
        weight[mine],
        np.array(arrive, bool),
    )
    return mixed[0]


def _ends(src: np.ndarray, dst: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In 32 bits, which mean the same whether or not JAX counts in 64."""
    return src.astype(np.int32), dst.astype(np.int32)


@functools.partial(jax.jit, static_argnames="on_loss")
@full_precision()
def _mix(on_loss: OnLoss, x, sent, keep, src, dst, weight, up):
    """Add the edges one by one: a loop, so that every sum is rounded alike in every network."""
    keep, src, dst, weight, up = map(jnp.asarray, (keep, src, dst, weight, up))

    def add(e, sums):
        y, arrived = sums
        i, j, w, there = dst[e], src[e], weight[e], up[e]
        if on_loss == "mass":
            return y.at[jnp.where(there, i, j)].add(w * sent[j]), arrived
        if on_loss == "renorm":
            # To a worker that is not there, what is lost is dropped.
            heard = jnp.where(there, i, len(x))
            return y.at[heard].add(w * sent[j]), arrived.at[heard].add(w)
        return y.at[i].add(w * jnp.where(there, sent[j], x[i])), arrived

    # What weighs nothing does not count, even where it is nan: a hub can mend who has diverged.
    own = jnp.where(keep[:, None] == 0, jnp.zeros_like(x), keep[:, None] * x)
    # Who hears nobody has no edges, and a loop over none cannot even be written down.
    y, arrived = jax.lax.fori_loop(0, len(src), add, (own, keep)) if len(src) else (own, keep)
    if on_loss != "renorm":
        return y
    some = (arrived > 0)[:, None]
    return jnp.where(some, y / jnp.where(some, arrived[:, None], jnp.ones_like(y)), x)
