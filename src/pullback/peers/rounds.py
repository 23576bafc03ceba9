"""The compiled rounds of a simulation: what all workers do at once, from masks to messages.

What a plan of faults takes away comes in as masks, so that another plan, another block of rounds
and another seed compile nothing anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .. import tree
from ..arithmetic import full_precision
from ..train import Batch, Task
from . import devices
from .algorithm import Algorithm, Heard, Slots, Stage, Turn, message_key
from .algorithm.core import lossless, mean, size
from .codec import Codec, error_feedback
from .ends import Ends
from .local import Flat, RoundWork, draw_key
from .mix import mix_all


class Net(NamedTuple):
    """All that is static in the compiled rounds.

    Attributes:
        task, algorithm, codec: those of the run.
        rounds: the turns of each round of a period.
        flat: how parameters lie in a vector.
        how: workers are mapped: "vmap", or "map", so many (`chunk`) at once.
        mesh: the devices over which workers are spread; None for one.
    """

    task: Task
    algorithm: Algorithm
    rounds: tuple[tuple[Turn, ...], ...]
    codec: Codec
    flat: Flat
    how: str
    chunk: int = 1
    mesh: Mesh | None = None


class Block(NamedTuple):
    """What comes into a block of rounds; R rounds, T turns, E edges at most.

    Shapes: rows (R, n, steps, batch), −1 for none; steps, alive, returned, donor (R, n);
        up, send (R, T, E)
    """

    rows: Any
    steps: Any
    alive: Any
    returned: Any
    donor: Any
    up: Any
    send: Any


class Seen(NamedTuple):
    """What comes out of one round.

    Shapes: loss, steps, finite (n,); distance, drift and all of health ()
    """

    loss: Any
    steps: Any
    finite: Any
    distance: Any
    drift: Any
    health: dict[str, Any]


@functools.partial(jax.jit, static_argnames="net", donate_argnames="slots")
@full_precision()
def run_rounds(net: Net, slots: Slots, data: Batch, block: Block, shares, seed, first, count):
    """Take the first `count` rounds of a block; the others of it are passed by.

    One program serves every number of rounds, so that a cut anywhere changes no bit.
    """

    def take(slots, r):
        here = jax.tree.map(lambda a: a[r], block)
        return _round(net, slots, data, here, shares, seed, first + r)

    def skip(slots, r):
        return slots, tree.zeros_like(like)

    like = jax.eval_shape(take, slots, 0)[1]

    def one(slots, r):
        slots, seen = jax.lax.cond(r < count, take, skip, slots, r)
        return devices.pin(net.mesh, slots), seen

    return jax.lax.scan(one, slots, jnp.arange(block.steps.shape[0], dtype=np.int32))


def _round(net: Net, slots: Slots, data: Batch, here: Block, shares, seed, t):
    """One round of all workers."""
    algorithm = net.algorithm
    slots = before = _rejoined(algorithm, slots, here)
    drift, worked, turn = jnp.zeros((), shares.dtype), here.alive, 0

    def absorb(stage, slots, value, sent, t):
        one = functools.partial(algorithm.absorb, stage)
        return jax.vmap(one, (0, 0, 0, None))(slots, value, sent, t)

    for stage in algorithm.stages:
        slots, value = _emitted(net, stage, (data, seed, t), (slots, here.rows, here.steps))
        if stage == algorithm.stages[0]:
            # Whose local work failed is seen here; after mixing its neighbours have failed too.
            worked = jax.vmap(tree.all_finite)((slots, value)) | ~here.alive
        sent: Any = None
        whole = value
        if algorithm.per_link:
            sent, value = value, _handed(net, turn, value, (here.up[turn], here.send[turn]))
            slots, turn = absorb(stage, slots, value, sent, t), turn + 1
            continue
        for _ in [each for each in net.rounds[0] if each[0] == stage]:
            masks = here.up[turn], here.send[turn]
            value, said, memory = _exchange(net, turn, value, slots.get("memory"), masks, seed, t)
            slots = slots if memory is None else slots | {"memory": memory}
            sent, turn = said if sent is None else sent, turn + 1
        own = sent if algorithm.own == "sent" else whole
        drift = drift + size(mean(value - own, shares))
        slots = absorb(stage, slots, value, sent, t)
    slots = jax.tree.map(lambda new, old: _where(here.alive, new, old), slots, before)
    models, finite = jax.vmap(algorithm.model)(slots), jax.vmap(tree.all_finite)(slots)
    local = slots["local"]
    there = here.alive.astype(shares.dtype) / here.alive.astype(shares.dtype).sum()
    apart = jnp.sum((models - mean(models, there)[None]) ** 2, 1)
    return slots, Seen(
        loss=jnp.where(here.alive, local.loss, jnp.zeros_like(local.loss)),
        steps=jnp.where(here.alive, local.steps, 0),
        finite=jnp.where(jnp.all(worked), finite, worked),
        distance=jnp.sqrt(there @ apart),
        drift=drift,
        health=algorithm.health(slots, shares),
    )


def _rejoined(algorithm: Algorithm, slots: Slots, here: Block) -> Slots:
    """The slots, where those that come back have another's parameters."""

    def join(slots):
        models = jax.vmap(algorithm.model)(slots)
        joined = jax.vmap(algorithm.rejoin)(slots, models[here.donor])
        return jax.tree.map(lambda new, old: _where(here.returned, new, old), joined, slots)

    return jax.lax.cond(jnp.any(here.returned), join, lambda slots: slots, slots)


def emit_one(net: Net, stage: Stage, data: Batch, seed, t, slots: Slots, rows, steps, worker):
    """What one worker does in a stage before it sends."""

    def batch(i):
        chosen = rows[i]
        # A row that is none stands for the first of the batch, with a weight of 0.
        x, y, weight = (a[jnp.where(chosen < 0, chosen[0], chosen)] for a in data)
        return Batch(x, y, jnp.where(chosen < 0, jnp.zeros_like(weight), weight))

    key = draw_key(seed, worker, t)
    work = RoundWork(net.task, net.flat, batch, steps, key)
    return net.algorithm.emit(stage, slots, work, t)


def _exchange(net: Net, turn: int, value, memory, masks, seed, t):
    """One turn: all messages encoded, decoded and mixed. Return also what they said, and memory."""

    def way(each: Turn) -> Callable:
        return functools.partial(_send_and_mix, net, turn, each, seed)

    ways = [way(each[turn]) for each in net.rounds]
    if len(ways) == 1:
        return ways[0](value, memory, masks, t)
    return jax.lax.switch(t % len(ways), ways, value, memory, masks, t)


def _send_and_mix(net: Net, turn: int, each: Turn, seed, value, memory, masks, t):
    stage, phase = each
    if not phase.edges:
        return value, value, memory
    up, send = (mask[: phase.edges] for mask in masks)
    said = value
    if stage.coded and not (memory is None and lossless(net.codec, value.dtype)):
        shapes, senders = stage.shapes(net.flat.shapes), np.unique(phase.src)

        def one(v, owed, sender):
            key = message_key(seed, t, turn, sender)
            fed = error_feedback(net.codec, v, owed, key, shapes)
            return fed.decoded, fed.memory

        owed = jnp.zeros_like(value) if memory is None else memory
        decoded, rest = jax.vmap(one)(value[senders], owed[senders], senders)
        said = value.at[senders].set(decoded)
        if memory is not None:
            sends = jnp.zeros(len(value), bool).at[phase.src].max(send)
            memory = _where(sends, memory.at[senders].set(rest), memory)
    own = said if net.algorithm.own == "sent" else value
    if net.mesh is None:
        return mix_all(phase, own, up & send, said), said, memory
    own, told = devices.pin(net.mesh, (own, said), 1)
    return devices.pin(net.mesh, mix_all(phase, own, up & send, told)), said, memory


def _handed(net: Net, turn: int, value, masks) -> Heard:
    """One turn whose messages are of links, and arrive as they are: what came over each."""
    (phase,) = {each[turn].phase for each in net.rounds}
    up, send = (mask[: phase.edges] for mask in masks)
    ends = Ends.of(phase)
    value = devices.pin(net.mesh, value, 2)
    messages = devices.pin(net.mesh, value[ends.neighbour, ends.far])
    return Heard(messages, (up & send)[ends.edge] & ends.there)


def _emitted(net: Net, stage: Stage, common, mine):
    """What all workers do in a stage before they send; each device does it for its own."""

    def each(common, mine):
        def one(a):
            return emit_one(net, stage, *common, *a)

        # Only the first stage works; a map over the others would do nothing but copy their slots.
        if net.how == "vmap" or stage != net.algorithm.stages[0]:
            return jax.vmap(one)(mine)
        return jax.lax.map(one, mine, batch_size=net.chunk if net.chunk > 1 else None)

    if net.mesh is not None:
        specs = devices.spec(None), devices.spec()
        each = jax.shard_map(
            each, mesh=net.mesh, in_specs=specs, out_specs=devices.spec(), check_vma=False
        )
    workers = jnp.arange(mine[-1].shape[0], dtype=np.int32)
    return each(common, (*mine, workers))


def _where(mask, a, b):
    """One array or the other for each worker."""
    return jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)
