"""Several trials of one shape, trained as one compiled program.

Their numbers (learning rates, strengths, momenta, …) are traced, and the steps of all are mapped
over them, the seeds and the folds. Data are held once, whatever the number of trials on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import full_precision
from ..data import Batches
from ..errors import ConfigError
from ..maps import Run, key_for
from ..optim import watches
from ..train import Batch, Learner, Part, Task, begin_from, step
from ..train.measure import sums
from ..train.step import judged
from .numbers import numbers, with_numbers


@dataclass(frozen=True, eq=False)
class Trial:
    """What is trained, on what, and from which seed.

    Attributes:
        task: what is trained and how.
        batches: the training part.
        parts: what is evaluated, by name.
        seed: of the first weights and of masks; the order of the data has that of `batches`.
        epochs: passes over the training part.
        steps: end after so many steps, if that comes before the epochs are over; 0 for no such end.
    """

    task: Task
    batches: Batches
    parts: Mapping[str, Batches]
    seed: int = 0
    epochs: int = 1
    steps: int = 0


class Order(NamedTuple):
    """The rows of every batch of a training.

    Shapes: full (epochs, steps, batch); rest (epochs, rows of the smaller last batch)
    """

    full: Any
    rest: Any


def groups(trials: Sequence[Trial]) -> list[list[int]]:
    """Sort trials into groups that one program can train, by their places in the list.

    Trials are in one group if they are as long, their data have equal shapes, and their tasks
    differ in nothing but numbers on which the flow of the program does not depend. (A rule may ask
    whether a momentum is 0: its value then decides what is computed, and trials that differ in it
    are of two shapes.)
    """
    alike: dict[Any, list[int]] = {}
    for i, trial in enumerate(trials):
        blank = with_numbers(trial.task, dict.fromkeys(numbers(trial.task)))
        alike.setdefault((blank, _shapes(trial)), []).append(i)
    found: dict[Any, list[int]] = {}
    for kind, members in enumerate(alike.values()):
        differing = _differing([trials[i].task for i in members])
        first = trials[members[0]]
        fixed = [path for path in differing if not _can_be_traced(first, path)]
        for i in members:
            held = numbers(trials[i].task)
            found.setdefault((kind, *(held[path] for path in fixed)), []).append(i)
    return list(found.values())


def _shapes(trial: Trial) -> Any:
    parts = {"": trial.batches, **trial.parts}
    shapes = [(name, b.like().shape, b.targets.shape, b.batch_size) for name, b in parts.items()]
    return trial.epochs, trial.steps, tuple(shapes)


def _differing(tasks: Sequence[Task]) -> list[str]:
    held = [numbers(task) for task in tasks]
    return [path for path in held[0] if len({each[path] for each in held}) > 1]


def _can_be_traced(trial: Trial, path: str) -> bool:
    """Whether a program can be made without knowing this number."""
    batches = trial.batches
    x, y = batches.like(), batches.targets[:1]
    batch = Batch(x, y, batches.weight[:1])

    def once(number, batch, key):
        task = with_numbers(trial.task, {path: number})
        return step(task, begin_from(task, key, batch.x), batch, Run(key, True))

    try:
        jax.eval_shape(once, np.zeros((), y.dtype), batch, jax.random.key(0))
    except jax.errors.ConcretizationTypeError:
        return False
    return True


class Together:
    """Trials of one group in training, all at the same step.

    A trial that diverges hurts no other: its evaluations are not finite from then on.

    Attributes:
        step: how many steps all have taken.
        steps_per_epoch: of each.
        steps: how many there are to be.
        learners: one `Learner` whose arrays have a leading axis, the trials.

    Args:
        trials: of one of the `groups`.

    Raises:
        ConfigError: the data are streamed from disk, so that they cannot be held at once; the rule
            wants to be told of evaluations.
    """

    def __init__(self, trials: Sequence[Trial]):
        """Draw the first weights of all."""
        for trial in trials:
            if any(b.streams for b in (trial.batches, *trial.parts.values())):
                raise ConfigError(
                    "trials that train together want data that fit into memory",
                    next="raise data.stream_above_mb",
                )
        tasks = [trial.task for trial in trials]
        if watches(tasks[0].rule):
            raise ConfigError(
                "trials that train together cannot cut their learning rates on a plateau",
                next="take a schedule in its place",
            )
        differing = _differing(tasks)
        self._frame = with_numbers(tasks[0], dict.fromkeys(differing))
        batches = [trial.batches for trial in trials]
        dtype = batches[0].targets.dtype
        held = [numbers(task) for task in tasks]
        each = {path: np.array([have[path] for have in held], dtype) for path in differing}
        keys = jax.vmap(jax.random.key)(np.array([trial.seed for trial in trials], np.uint32))
        order, order_axis = _orders(batches, trials[0].epochs)
        hold = _Holder()
        parts = {name: [trial.parts[name] for trial in trials] for name in trials[0].parts}
        self._layout = _Layout(
            order_axis, tuple((name, len(part[0].targets)) for name, part in parts.items())
        )
        self._each, self._keys, self._order = each, keys, order
        self._train = hold(batches)
        self._measured = {name: hold(part) for name, part in parts.items()}
        self._parts = [
            {name: Part(part, trial.task.classifies) for name, part in trial.parts.items()}
            for trial in trials
        ]
        self.step, self.steps_per_epoch = 0, batches[0].steps_per_epoch
        self.steps = trials[0].epochs * self.steps_per_epoch
        if trials[0].steps:
            self.steps = min(self.steps, trials[0].steps)
        x = batches[0].like()
        like = jax.ShapeDtypeStruct(x.shape, x.dtype)
        self.learners = _first(self._frame, each, keys, like)

    @property
    def done(self) -> bool:
        """Whether all steps are taken."""
        return self.step == self.steps

    def advance(self, stop: int) -> list[dict[str, dict[str, Any]]]:
        """Take the steps up to `stop`, or to the end, and evaluate all parts for every trial."""
        stop = min(stop, self.steps)
        self.learners, found = _advance(
            self._frame,
            self._layout,
            self._each,
            self.learners,
            self._keys,
            self._train,
            self._order,
            self._measured,
            np.int32(self.step),
            np.int32(stop),
        )
        self.step = stop
        found = jax.tree.map(lambda a: np.asarray(a, np.float64), found)
        return [
            {name: part.row([a[i] for a in found[name]]) for name, part in parts.items()}
            for i, parts in enumerate(self._parts)
        ]

    def learner(self, i: int) -> Learner:
        """What training has made of one trial."""
        return jax.tree.map(lambda a: a[i], self.learners)

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with some of the trials alone, in this order."""
        index = np.array(kept)

        def some(held: Any) -> Any:
            return jax.tree.map(lambda a: a[index], held)

        self.learners, self._each, self._keys = map(some, (self.learners, self._each, self._keys))
        self._order = self._order if self._layout.order is None else some(self._order)
        self._train = self._train.of(some)
        self._measured = {name: held.of(some) for name, held in self._measured.items()}
        self._parts = [self._parts[i] for i in kept]


class _Layout(NamedTuple):
    """The axis of trials of the order, None if it is the same for all; the rows of each part."""

    order: int | None
    rows: tuple[tuple[str, int], ...]


class _Held(NamedTuple):
    """Data of all trials, one after another, and where those of each begin; None: at the start."""

    data: Any
    begins: Any

    def of(self, some: Callable[[Any], Any]) -> _Held:
        """The data of some trials alone."""
        return _Held(self.data, some(self.begins))


class _Holder:
    """Brings data to the device: what several trials or parts share, once."""

    def __init__(self):
        self._made: dict[tuple[int, ...], Batch] = {}

    def __call__(self, batches: Sequence[Batches]) -> _Held:
        different = {id(each): each for each in batches}
        ids = tuple(different)
        if ids not in self._made:
            arrays = zip(*map(_arrays, different.values()), strict=True)
            self._made[ids] = jax.device_put(Batch(*map(np.concatenate, arrays)))
        if len(ids) == 1:
            return _Held(self._made[ids], None)
        rows = len(batches[0].targets)
        return _Held(
            self._made[ids],
            jnp.asarray([ids.index(id(each)) * rows for each in batches], np.int32),
        )


def _orders(batches: Sequence[Batches], epochs: int) -> tuple[Order, int | None]:
    """The order of each, and its axis of trials; one copy where all are the same object."""
    if all(each is batches[0] for each in batches):
        return jax.device_put(_order(batches[0], epochs)), None
    made = {id(each): _order(each, epochs) for each in batches}
    lines = zip(*(made[id(each)] for each in batches), strict=True)
    return jax.device_put(Order(*map(np.stack, lines))), 0


def _arrays(batches: Batches) -> Batch:
    chunk = next(batches.epoch(0))
    return Batch(chunk.x[:], chunk.y, chunk.weight)


def _order(batches: Batches, epochs: int) -> Order:
    chunks = [next(batches.epoch(epoch)) for epoch in range(epochs)]
    return Order(np.stack([c.order for c in chunks]), np.stack([c.rest for c in chunks]))


@partial(jax.jit, static_argnames=("frame", "like"))
@full_precision()
def _first(frame: Task, each: dict[str, Any], keys, like) -> Learner:
    def one(values, key):
        return begin_from(with_numbers(frame, values), key, like)

    return jax.vmap(one)(each, keys)


@partial(jax.jit, static_argnames=("frame", "layout"), donate_argnames="learners")
@full_precision()
def _advance(
    frame: Task, layout: _Layout, each, learners, keys, train, order, measured, start, stop
):
    def one(values, learner, key, train, order, measured):
        task = with_numbers(frame, values)
        masks: Any = key_for(key, "masks")

        def take(i, index, learner):
            index = index if train.begins is None else train.begins + index
            batch = Batch(*(a[index] for a in train.data))
            return step(task, learner, batch, Run(jax.random.fold_in(masks, i), True))[0]

        def go(i, learner):
            steps = order.full.shape[1]
            if not order.rest.shape[1]:
                return take(i, order.full[i // steps, i % steps], learner)
            epoch, within = i // (steps + 1), i % (steps + 1)
            return jax.lax.cond(
                within < steps,
                lambda: take(i, order.full[epoch, within], learner),
                lambda: take(i, order.rest[epoch], learner),
            )

        learner = jax.lax.fori_loop(start, stop, go, learner)
        seen = judged(task, learner)
        found = {}
        for name, rows in layout.rows:
            data, begins = measured[name]
            first = 0 if begins is None else begins
            found[name] = sums(task, seen.params, seen.state, data, first, rows)
        return learner, found

    held = _Held(None, 0)
    in_axes = (0, 0, 0, held, layout.order, dict.fromkeys(measured, held))
    return jax.vmap(one, in_axes)(each, learners, keys, train, order, measured)
