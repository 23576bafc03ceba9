"""The local work of one worker: so many steps of training on its own part of the data."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import tree
from ..data.streams import generator
from ..errors import ConfigError
from ..maps import Run
from ..optim import Averaging, Method, Rule, has_rate, ranges, rate_of, watches
from ..train import Batch, Learner, Task, step
from ..train.step import stream
from ..tree import Tree
from .algorithm import Slots
from .codec import Shapes


@dataclass(frozen=True)
class Local:
    """How much a worker trains between two exchanges, and on batches of what size.

    In steps, a worker goes through an endless stream of its part, shuffled anew in each pass, and
    every batch is full. In epochs, each pass is cut into batches, of which the last is smaller, so
    that workers with more examples make more steps: federated averaging's E and B.

    What a worker draws in a round depends on the seed, its number and the round alone: two engines
    agree, and a resumed run needs no generator's state. A worker that was down has missed its rows.

    Args:
        length: how many steps, or passes over the worker's own part, in a round.
        unit: "step" or "epoch".
        batch_size: examples in a step; "all" takes the whole part in each.

    Raises:
        ConfigError: length or batch_size is not a whole number of at least 1; another unit.

    >>> Local(2, batch_size=3).rows(seed=0, worker=1, t=0, size=4).shape
    (2, 3)
    >>> np.sort(Local(1, "epoch", 3).rows(0, 1, 0, 4), axis=None).tolist()
    [-1, -1, 0, 1, 2, 3]
    """

    length: int = 1
    unit: Literal["step", "epoch"] = "step"
    batch_size: int | Literal["all"] = 32

    def __post_init__(self):
        ranges.whole(self, "length")
        ranges.one_of(self, "unit", ("step", "epoch"))
        ranges.whole(self, "batch_size", word="all")

    def steps(self, size: int) -> int:
        """Return how many steps a worker with so many examples makes in a round."""
        if size == 0 or self.unit == "step" or isinstance(self.batch_size, str):
            return self.length if size else 0
        return self.length * math.ceil(size / self.batch_size)

    def examples(self, size: int) -> int:
        """Return on how many of its so many examples a worker trains in a round."""
        if self.unit == "epoch":
            return self.length * size
        return self.steps(size) * self.width(size)

    def width(self, size: int) -> int:
        """Return how many examples its batches have at most."""
        return size if isinstance(self.batch_size, str) else self.batch_size

    def rows(self, seed: int, worker: int, t: int, size: int) -> Int[np.ndarray, "steps batch"]:
        """Return the rows of its part that a worker's steps in round t are made on; −1 for none."""
        steps, width = self.steps(size), self.width(size)
        if isinstance(self.batch_size, str):
            return np.tile(np.arange(size, dtype=np.int32), (steps, 1))
        if size == 0:
            return np.zeros((0, width), np.int32)
        if self.unit == "step":
            first = t * steps * width
            visited = _visited(seed, worker, first, first + steps * width, size)
            return visited.reshape(steps, width)
        passes = [_order(seed, worker, t * self.length + k, size) for k in range(self.length)]
        short = steps // self.length * width - size
        return np.concatenate(
            [np.append(each, np.full(short, -1, np.int32)) for each in passes]
        ).reshape(steps, width)

    def check(self, task: Task) -> None:
        """Refuse a task whose rule wants something that a worker cannot give it.

        Raises:
            ConfigError: the rule is a second-order method, wants to be told of evaluations, or
                keeps an average of weights that were not mixed.
        """
        name = type(task.rule).__name__
        if isinstance(task.rule, Method):
            raise ConfigError(
                f"{name} minimises a whole function, and workers take steps",
                next="take a rule such as sgd",
            )
        if watches(task.rule):
            raise ConfigError(
                f"{name} wants evaluations, and a worker makes none",
                next="take a schedule in its place",
            )
        if isinstance(task.rule, Averaging):
            raise ConfigError(
                f"{name} averages the weights of one worker, and knows nothing of what is mixed",
                next="leave the average out: mixing is one",
            )


@dataclass(frozen=True)
class Flat:
    """Parameters as one vector and back: all leaves in the tree's order, one after another.

    Raises:
        ConfigError: in `of_tree`, leaves have several dtypes, or there is none.

    >>> flat = Flat.of_tree({"w": jnp.ones((2, 2)), "b": jnp.zeros(2)})
    >>> flat.shapes, flat.tree(flat.vector({"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}))["w"].shape
    (((2,), (2, 2)), (2, 2))
    """

    structure: Any
    shapes: Shapes

    @classmethod
    def of_tree(cls, params: Tree) -> Flat:
        """Return that of a tree of arrays."""
        leaves, structure = jax.tree.flatten(params)
        dtypes = {np.dtype(leaf.dtype).name for leaf in leaves}
        if len(dtypes) != 1:
            raise ConfigError(
                f"workers send parameters of one dtype, got {', '.join(sorted(dtypes)) or 'none'}",
                next="train in one precision",
            )
        return cls(structure, tuple(tuple(leaf.shape) for leaf in leaves))

    def vector(self, params: Tree) -> Float[Array, " d"]:
        """Return the tree as a vector."""
        return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(params)])

    def tree(self, x: Float[Array, " d"]) -> Tree:
        """Return the vector as a tree."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        pieces = jnp.split(x, ends[:-1])
        leaves = [each.reshape(s) for each, s in zip(pieces, self.shapes, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


class LocalState(NamedTuple):
    """What local work remembers between rounds; it never travels.

    Statistics of maps, such as those of batch normalisation, stay local: they are of the worker's
    own data. Where all workers are evaluated as one model, their mean is taken.

    Attributes:
        state: of the maps.
        rule: of the rule.
        loss: the sum of the losses of the last round's steps.
        steps: how many these were.
    """

    state: Tree
    rule: Any
    loss: Float[Array, ""]
    steps: Int[Array, ""]

    @classmethod
    def begin(cls, learner: Learner) -> LocalState:
        """Return that of a worker before its first round."""
        dtype = jax.tree.leaves(learner.params)[0].dtype
        return cls(learner.state, learner.rule_state, jnp.zeros((), dtype), jnp.zeros((), np.int32))


@dataclass(frozen=True, eq=False)
class RoundWork:
    """One worker's work in one round: what `pullback.peers.algorithm.Work` wants.

    It works in "local" of the slots, a `LocalState`.

    Args:
        task: what is trained and how.
        flat: how its parameters lie in a vector.
        batch: the batch of each step.
        count: how many steps it takes: 0 where it does not work in this round.
        key: of what its steps draw.
    """

    task: Task
    flat: Flat
    batch: Callable[[Any], Batch]
    count: Any
    key: Any

    def steps(
        self, slots: Slots, x: Float[Array, " d"], toward: Any = None, strength: float = 0.0
    ) -> tuple[Slots, Float[Array, " d"]]:
        """Take the steps from x, and return where they lead."""
        task, before = self.task, slots["local"]
        rule_state = before.rule
        if toward is not None:
            rule: Any = task.rule
            task = replace(task, rule=Pulled(rule, strength))
            rule_state = PulledState(rule_state, self.flat.tree(toward))

        def take(i, carry):
            learner, loss = carry
            run = Run(jax.random.fold_in(self.key, i), True)
            learner, seen = step(task, learner, self.batch(i), run)
            return learner, loss + jnp.sum(seen.outputs)

        learner = Learner(self.flat.tree(x), before.state, rule_state)
        start = (learner, jnp.zeros_like(before.loss))
        count = jnp.asarray(self.count, np.int32)
        learner, loss = jax.lax.fori_loop(0, count, take, start)
        rule_state = learner.rule_state if toward is None else learner.rule_state.rule
        local = LocalState(learner.state, rule_state, loss, count)
        return slots | {"local": local}, self.flat.vector(learner.params)


class PulledState(NamedTuple):
    """rule: its state. centre: where parameters are pulled to."""

    rule: Any
    centre: Tree


@dataclass(frozen=True)
class Pulled:
    """A rule for an objective with strength/2 · ‖params − centre‖² added.

    Update:  that of the rule, told grads + strength · (params − centre)
    State:   that of the rule; centre

    >>> from pullback.optim import SGD
    >>> rule, params = Pulled(SGD(0.5), 2.0), {"w": jnp.array(1.0)}
    >>> state = PulledState(rule.rule.init(params), {"w": jnp.array(0.0)})
    >>> float(rule.update({"w": jnp.array(4.0)}, state, params)[0]["w"])
    -3.0
    """

    rule: Rule
    strength: float

    @property
    def rated(self) -> bool:
        """Whether the rule tells its learning rate."""
        return has_rate(self.rule)

    def rate(self, state: PulledState) -> Any:
        """The learning rate of the next update."""
        return rate_of(self.rule, state.rule)

    def init(self, params: Tree) -> PulledState:
        """The state before the first step, with the centre at the parameters."""
        return PulledState(self.rule.init(params), params)

    def update(self, grads: Tree, state: PulledState, params: Tree) -> tuple[Tree, PulledState]:
        """The rule's update with the pull in the gradients."""
        pull = tree.scale(self.strength, jax.tree.map(lambda p, c: p - c, params, state.centre))
        updates, rule_state = self.rule.update(tree.add(grads, pull), state.rule, params)
        return updates, PulledState(rule_state, state.centre)


def draw_key(seed: Any, worker: Any, t: Any):
    """Return the key of what a worker's steps draw in a round, from the stream "masks"."""
    key: Any = stream(seed, "masks")
    return jax.random.fold_in(jax.random.fold_in(key, worker), t)


def _visited(seed: int, worker: int, first: int, last: int, size: int) -> np.ndarray:
    """The rows that stand at these places of a worker's endless stream."""
    passes = range(first // size, (last - 1) // size + 1)
    whole = np.concatenate([_order(seed, worker, number, size) for number in passes])
    begin = first - passes.start * size
    return whole[begin : begin + last - first]


@functools.lru_cache(maxsize=256)
def _order(seed: int, worker: int, number: int, size: int) -> np.ndarray:
    """The order of one pass over a worker's part."""
    return generator(seed, "local", worker, number).permutation(size).astype(np.int32)
