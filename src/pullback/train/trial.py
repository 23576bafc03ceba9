"""Which way of multiplying is the faster here: a few steps of both, timed in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from ..arithmetic import Products
from ..data import Batches, Chunk
from .step import Batch, Learner, Task, begin, stream
from .stretch import Stretch, advance

WAYS: tuple[Products, ...] = ("full", "bfloat16")

# Rounds of the trial; the seconds of steps in each way of a round, and these steps at most.
_ROUNDS, _SECONDS, _MOST = 7, 0.05, 200

# Rounding costs accuracy in every product: it must save a twentieth of the time.
_ENOUGH = 0.95


class Trial(NamedTuple):
    """What a step took in each way, and the way that was chosen.

    Attributes:
        products: what was chosen.
        seconds: of one step, the least over rounds, by the way.
    """

    products: Products
    seconds: dict[Products, float]


def try_products(task: Task, batches: Batches, seed: int) -> Trial:
    """Take steps of a task in every way, from first weights, and choose.

    The programs are those that train, and stay compiled. "bfloat16" is chosen where a step takes at
    most 0.95 of the time of "full"; nothing that is trained is kept.

    Args:
        task: what will be trained.
        batches: the training part in mini-batches.
        seed: of the first weights and the order of the data.
    """
    chunk = next(batches.epoch(0))
    learner = begin(task, seed, batches.like())
    walk = _Walk(learner, chunk, stream(seed, "masks"))
    tasks: dict[Products, Task] = {way: replace(task, products=way) for way in WAYS}
    counts = {}
    for way, each in tasks.items():
        walk.seconds(each, 1)
        one = min(walk.seconds(each, 1) for _ in range(3))
        most = min(_MOST, max(1, chunk.full))
        counts[way] = int(min(most, max(1, _SECONDS // one)))
    seconds: dict[Products, float] = dict.fromkeys(WAYS, float("inf"))
    for _ in range(_ROUNDS):
        for way, each in tasks.items():
            # Other work on the machine only ever adds to a time.
            took = walk.seconds(each, counts[way]) / counts[way]
            seconds[way] = min(seconds[way], took)
    return Trial(_faster(seconds), seconds)


def _faster(seconds: Mapping[Products, float]) -> Products:
    """What is chosen.

    >>> _faster({"full": 1.0, "bfloat16": 0.9}), _faster({"full": 1.0, "bfloat16": 0.98})
    ('bfloat16', 'full')
    """
    return "bfloat16" if seconds["bfloat16"] <= _ENOUGH * seconds["full"] else "full"


class _Walk:
    """The first steps of a chunk, to be taken again and again from one learner."""

    def __init__(self, learner: Learner, chunk: Chunk, key):
        self.learner, self.key = learner, key
        self.data = jax.device_put(Batch(chunk.x, chunk.y, chunk.weight))
        self.stretch = Stretch(chunk.order, chunk.rest, np.int32(chunk.full), np.int32(chunk.first))

    def seconds(self, task: Task, steps: int) -> float:
        """How long so many steps take."""
        told = self.stretch, np.int32(0), np.int32(steps), self.key
        began = time.perf_counter()
        jax.block_until_ready(advance(task, self.learner, self.data, *told))
        return time.perf_counter() - began
