"""The learning curve: the errors against the number of examples that are trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..config import Experiment
from ..data import Batches
from ..errors import ConfigError, DivergedError
from ..model import precision
from ..optim import Method
from ..prepared import Prepared, prepare
from ..train import Batch, Learner, Part, begin
from ..train.measure import measure
from ..train.step import stream
from ..train.stretch import Stretch, advance
from .finding import percent
from .judgement import CERTAIN, TOLERANCE, judge

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


@dataclass(frozen=True)
class Point:
    """The errors after training on so many examples: one of each seed."""

    size: int
    train: tuple[float, ...]
    validation: tuple[float, ...]


@dataclass(frozen=True)
class LearningCurve:
    """The errors against the number of examples.

    An error is the share of wrong classes, or 1 − R² for numbers.

    Attributes:
        name: the experiment.
        steps: how many each training took.
        points: by size, the smallest first.
        next_error: the validation error to be expected of twice as many examples, if each doubling
            goes on to take the same share of it; None, if the errors do not tell.
    """

    name: str
    steps: int
    points: tuple[Point, ...]
    next_error: float | None

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{'examples':>9}  {'training error':>22}  {'validation error':>22}"]
        lines += [
            f"{point.size:>9}  {_spread(point.train):>22}  {_spread(point.validation):>22}"
            for point in self.points
        ]
        return "\n".join([*lines, self.promise])

    @property
    def promise(self) -> str:
        """What more data would bring."""
        small, whole = self.points[-2:]
        fell = float(np.mean(small.validation) - np.mean(whole.validation))
        told = (
            f"From {small.size} to {whole.size} examples the validation error went from "
            f"{_spread(small.validation)} to {_spread(whole.validation)}"
        )
        final = judge(float(np.mean(whole.train)), float(np.mean(whole.validation)))
        if self.next_error is None:
            return (
                f"{told}: the change, {percent(-fell)}, is within {CERTAIN:g} standard errors. "
                "More data of this kind promise little that this many seeds could show."
            )
        if final.variance_grade == "low":
            return (
                f"{told}, and is within {percent(TOLERANCE)} of the training error: more data "
                "would bring little; a bigger network or a longer training may."
            )
        return (
            f"{told}. If every doubling goes on to take the same share, {2 * whole.size} examples "
            f"would give about {percent(self.next_error)}: more data would help."
        )


def learning_curve(
    experiment: Experiment,
    sizes: Sequence[int] = (),
    *,
    seeds: int = 3,
    data_dir: Path | None = None,
    listen: Callable[[int, int, float], None] = lambda size, seed, error: None,
) -> LearningCurve:
    """Train the experiment on nested parts of its training data.

    Every training takes as many steps as the experiment on all data, so that the sizes differ in
    the data and not in how long they learn; it ends with its last weights, whatever the selection
    says. A seed draws the first weights, the masks, which examples a part has, and their order; of
    one seed, a smaller part is the beginning of a larger one. One compiled program serves them all.

    Args:
        experiment: what to train.
        sizes: how many examples; 1/16, 1/8, 1/4, 1/2 and all if none are given.
        seeds: how many trainings of each size: the experiment's seed, and those that follow it.
        data_dir: where data sets lie.
        listen: told of each training: its size, its seed, its validation error.

    Raises:
        ConfigError: there is no validation part, the training part does not fit into memory, or the
            sizes make no curve.
        DataError: the data are missing or broken.
        DivergedError: a training met a loss that is not finite.
    """
    if seeds < 1:
        raise ConfigError(f"a learning curve wants at least 1 seed, got {seeds}")
    experiment.refuse_peers("a learning curve")
    with precision(experiment):
        prepared = prepare(experiment, data_dir)
        if isinstance(prepared.task.rule, Method):
            raise ConfigError(
                f"a learning curve trains on batches, and {type(prepared.task.rule).__name__} "
                "sees all examples in each step",
                where="the section [rule]",
                next="take a rule such as adam",
            )
        if prepared.loaded.validation is None:
            raise ConfigError(
                "a learning curve wants a validation part", next="leave it a share in data.split"
            )
        batches = prepared.batches(prepared.loaded.train)
        if batches.streams:
            raise ConfigError(
                "a learning curve wants training data that fit into memory",
                next="raise data.stream_above_mb, or give a part of the file",
            )
        sizes = _sizes(sizes, len(prepared.loaded.train))
        trainer = _Trainer(prepared, batches, min(batches.batch_size, sizes[0]))
        points = []
        for size in sizes:
            errors = []
            for seed in range(experiment.seed, experiment.seed + seeds):
                errors.append(trainer.errors(size, seed))
                listen(size, seed, errors[-1][1])
            train, validation = zip(*errors, strict=True)
            points.append(Point(size, train, validation))
    return LearningCurve(experiment.name, trainer.steps, tuple(points), promised(points))


def _sizes(given: Sequence[int], n: int) -> list[int]:
    sizes = sorted({*given} or {max(1, round(share * n)) for share in SHARES})
    if len(sizes) < 2 or not 1 <= sizes[0] < sizes[-1] <= n:
        raise ConfigError(
            f"a learning curve wants at least two sizes from 1 to {n}, got {sizes}",
            next="the training part has no more examples than that",
        )
    return sizes


class _Trainer:
    """Trains on parts of data that stay on the device whole: a part is an order of its rows."""

    def __init__(self, prepared: Prepared, batches: Batches, batch_size: int):
        chunk = next(batches.epoch(0))
        self.prepared, self.batch_size = prepared, batch_size
        self.data = jax.device_put(Batch(chunk.x, chunk.y, chunk.weight))
        steps = prepared.plan.epochs * batches.steps_per_epoch
        self.steps = min(steps, prepared.plan.steps or steps)
        validation = prepared.loaded.validation
        assert validation is not None
        self.held_out = Part(prepared.batches(validation), prepared.task.classifies)

    def errors(self, size: int, seed: int) -> tuple[float, float]:
        """The errors on the part trained on and on the validation part."""
        task, rows = self.prepared.task, self._rows(size, seed)
        order = self._order(rows, seed)
        stretch = Stretch(order, order[0, :0], np.int32(self.steps), np.int32(0))
        learner, outputs, finite = advance(
            task,
            begin(task, seed, self.prepared.like),
            self.data,
            stretch,
            np.int32(0),
            np.int32(self.steps),
            stream(seed, "masks"),
        )
        if not (finite and np.isfinite(np.asarray(outputs)).all()):
            raise DivergedError(
                f"the training on {size} examples with seed {seed} diverged",
                next="lower the learning rate; `pullback lr-range` suggests one",
            )
        row = self.held_out.evaluate(task, learner)
        held_out = 1 - row["accuracy" if task.classifies else "r2"]
        return self._training_error(learner, rows), held_out

    def _rows(self, size: int, seed: int) -> np.ndarray:
        n = len(self.data.x)
        return np.random.default_rng([seed, 0]).permutation(n)[:size]

    def _order(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Full batches of these rows, shuffled anew whenever all were visited."""
        random, size = np.random.default_rng([seed, 1]), self.batch_size
        passes = -(-self.steps // (len(rows) // size))
        visits = [random.permutation(rows)[: len(rows) // size * size] for _ in range(passes)]
        return np.concatenate(visits).reshape(-1, size)[: self.steps].astype(np.int32)

    def _training_error(self, learner: Learner, rows: np.ndarray) -> float:
        """The error on some rows: the others lose their weight."""
        chosen = np.zeros(len(self.data.x), bool)
        chosen[rows] = True
        weight = np.where(chosen, np.asarray(self.data.weight), 0)
        sums = measure(
            self.prepared.task, learner.params, learner.state, self.data._replace(weight=weight)
        )
        _, squares, right, total, _ = jax.tree.map(lambda a: np.asarray(a, np.float64), sums)
        if self.prepared.task.classifies:
            return float(1 - right / total)
        y = np.asarray(self.data.y, np.float64)
        mean = weight @ y / total
        return float(np.mean(squares / (weight @ (y - mean) ** 2)))


def promised(points: Sequence[Point]) -> float | None:
    """The validation error of twice the examples, by a power law through the last two points.

    None, where they do not differ by two standard errors, or nothing is left to fall.
    """
    small, whole = (np.array(point.validation) for point in points[-2:])
    fell = small.mean() - whole.mean()
    if fell <= CERTAIN * _standard_error(small, whole) or whole.mean() <= 0:
        return None
    doublings = math.log2(points[-1].size / points[-2].size)
    return float(whole.mean() * (whole.mean() / small.mean()) ** (1 / doublings))


def _standard_error(a: np.ndarray, b: np.ndarray) -> float:
    """Of the difference of two means; seeds that agree, or a single one, say nothing of it."""
    if len(a) < 2:
        return 0.0
    return math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))


def _spread(errors: Sequence[float]) -> str:
    said = percent(float(np.mean(errors)))
    return said if len(errors) < 2 else f"{said} ± {100 * np.std(errors, ddof=1):.2g} %"
