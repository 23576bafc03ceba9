"""The training of an estimator: `pullback.train.fit`, what it wrote down, and why it ended."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import tree
from ..errors import ConfigError
from ..optim import Method, watches
from ..record import Record
from ..train import Learner, Plan, Progress, Selection, Task, drawn, fit
from ..train.step import NO_AUGMENTATION, stream
from ..train.stretch import traced
from .packed import Packed, mixes


class Examples(NamedTuple):
    """Rows as training sees them.

    Shapes: x (n, d), targets (n, k), weight (n,)
    """

    x: np.ndarray
    targets: np.ndarray
    weight: np.ndarray


class Rows(Record):
    """A record that keeps what an estimator asks for, and nothing else."""

    def __init__(self):
        super().__init__()
        self.losses: list[float] = []
        self.evaluation: dict[str, Any] = {}

    def add(self, kind: str, **fields: Any) -> None:
        """Keep the loss of a step, or the newest evaluation."""
        if kind == "step":
            self.losses.append(fields["loss"])
        elif kind == "evaluation":
            self.evaluation = fields


@dataclass
class Outcome:
    """What a training led to.

    Attributes:
        learner: parameters, state and the rule's state, as NumPy arrays.
        epochs: how many were trained.
        history: by name, a value for each epoch: "loss" of the training part as its batches met
            it; with validation, "validation_loss" and the score.
        ended: why, where it was not the number of epochs: "patience", "stuck" or "plateau".
        best: the epoch whose weights these are, where validation chose them.
    """

    learner: Learner
    epochs: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    ended: str | None = None
    best: int | None = None


@dataclass(frozen=True)
class Course:
    """How long an estimator trains, and what ends it.

    Attributes:
        epochs: at most so many.
        batch_size: examples per step.
        patience: end after so many epochs without a better one; 0 for never.
        tol: how much better an epoch must be, to count as better.
        metric: what judges the validation part.
        seed: of everything random.
        tell: called with each epoch's number and its row of the history.
        judge: gives the metric of a learner, greater being better, where it is none of those that
            the compiled evaluation measures.
        begin_epoch: called before each epoch.
        end_epoch: called with the learner after each epoch; if it says so, training ends.
    """

    epochs: int
    batch_size: int
    patience: int
    tol: float
    metric: str
    seed: int
    tell: Callable[[int, dict[str, float]], None] | None = None
    judge: Callable[[Learner], float] | None = None
    begin_epoch: Callable[[], None] | None = None
    end_epoch: Callable[[Learner], bool] | None = None


@contextmanager
def arithmetic(dtype: Any, device: str | None = None) -> Iterator[None]:
    """The context in which JAX computes in this type, on a device of this kind.

    Raises:
        ConfigError: there is no such device.
    """
    if device is None:
        where = nullcontext()
    else:
        try:
            where = jax.default_device(jax.devices(device)[0])
        except RuntimeError:
            raise ConfigError(
                f"device={device!r} is not here, there is: {jax.default_backend()}",
                next="leave device None for the best there is",
            ) from None
    wide = jax.enable_x64(True) if np.dtype(dtype) == np.float64 else nullcontext()
    with where, wide:
        yield


def batch_of(rule: Any, batch_size: int | str, n: int) -> int:
    """How many of n examples make a step.

    Raises:
        ConfigError: the size is not one, or a second-order method is not given all.
    """
    if isinstance(rule, Method):
        if batch_size != "auto" and not (isinstance(batch_size, int) and batch_size >= n):
            raise ConfigError(
                f"{type(rule).__name__} sees all examples in each step, "
                f"got batch_size={batch_size!r}",
                next="leave it 'auto', or take a rule such as 'adam'",
            )
        return n
    if batch_size == "auto":
        return min(200, n)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise ConfigError(f"batch_size must be a whole number or 'auto', got {batch_size!r}")
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    return min(int(batch_size), n)


def train(
    task: Task,
    examples: Examples,
    course: Course,
    validation: Examples | None = None,
    learner: Learner | None = None,
    device: str | None = None,
) -> Outcome:
    """Train, from the first weights or from those of a learner.

    With a validation part its metric judges each epoch: the best weights are kept whatever ends
    the training, and `patience` counts epochs. Without one `patience` counts epochs in which the
    loss of training did not fall by `tol`, and the last weights are kept.

    Raises:
        DivergedError: a value was not finite.
        ConfigError: a rule that watches an evaluation has none.
    """
    # An augmentation may mix examples, too, and rows that fill up a batch are none.
    whole = mixes(task.net) or task.augment != NO_AUGMENTATION
    if mixes(task.net) and course.batch_size == 1:
        raise ConfigError(
            "a batch-norm wants steps of at least 2 examples, got n_samples = 1 or batch_size = 1",
            next="raise batch_size, or use normalization='layer-norm'",
        )
    if watches(task.rule) and validation is None:
        raise ConfigError(
            f"{task.rule} watches the validation part, and there is none",
            next="set validation_fraction, or give validation_data to fit",
        )
    looked_at = validation is not None or course.end_epoch is not None
    packed = Packed(*examples, course.batch_size, course.seed, whole, course.epochs, looked_at)
    parts, selection = {}, Selection()
    if validation is not None:
        size = len(validation.x)
        parts = {"validation": Packed(*validation, size, course.seed, whole_batches=False)}
        if course.judge is None:
            metric: Any = course.metric
            selection = Selection(
                metric=metric, patience=course.patience, min_delta=course.tol, keep="best"
            )
    plan = Plan(
        epochs=-(-course.epochs // packed.passes),
        seed=course.seed,
        evaluate_epochs=1 if parts else 0,
        watch_epochs=0,
        checkpoint_epochs=0,
    )
    watch = _Watch(course, packed, bool(parts))
    with arithmetic(examples.x.dtype, device):
        begun = (
            _ours(task, learner) if learner else _begun(task, course.seed, examples.x[:1], packed)
        )
        last, progress = fit(
            task,
            packed,
            plan,
            parts=parts,
            selection=selection,
            learner=begun,
            record=watch.rows,
            at_epoch=watch.at_epoch,
            interrupted=watch.over,
        )
    watch.at_epoch(last, progress)
    ended = progress.ended or ("plateau" if watch.over() else None)
    if ended == "stuck":
        watch.drop_standstill()
    best = None if progress.best is None else round(progress.best["epoch"])
    if watch.kept is not None:
        last, best = watch.kept, watch.kept_epoch
    return Outcome(_numpy(last), len(watch.history["loss"]), watch.history, ended, best)


class _Watch:
    """Writes the history, and says when training is to end where `fit` does not know it.

    That is: when the loss of training has stopped falling, when the host's own metric of the
    validation part has stopped rising, and when a callback says so.

    Attributes:
        kept, kept_epoch: the learner that the host's metric liked best, and after which epoch.
    """

    def __init__(self, course: Course, packed: Packed, validates: bool):
        self.course, self.validates = course, validates
        self.rows, self.history = Rows(), {}
        self.best, self.waited = math.inf, 0
        self.kept: Learner | None = None
        self.kept_epoch = 0
        self.stopped = False
        n, size, steps = len(packed.targets), packed.batch_size, packed.steps_per_pass
        self.shares = np.array([size] * (steps - 1) + [n - size * (steps - 1)]) / n
        if course.begin_epoch is not None:
            course.begin_epoch()

    def at_epoch(self, learner: Learner, progress: Progress) -> None:
        """Add a row for each pass since the last call, and judge it."""
        steps, losses = len(self.shares), self.rows.losses
        for begin in range(0, len(losses), steps):
            row = {"loss": float(self.shares @ np.array(losses[begin : begin + steps]))}
            if self.validates:
                seen = self.rows.evaluation["validation"]
                row |= {f"validation_{name}": seen[name] for name in seen if name != "outputs"}
            if self.course.judge is not None:
                row[f"validation_{self.course.metric}"] = self.course.judge(learner)
            self._add(row, learner)
            if self.course.end_epoch is not None:
                self.stopped |= self.course.end_epoch(learner)
                if not self.stopped and len(self.history["loss"]) < self.course.epochs:
                    assert self.course.begin_epoch is not None
                    self.course.begin_epoch()
        losses.clear()

    def _add(self, row: dict[str, float], learner: Learner) -> None:
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)
        cost = row["loss"]
        if self.course.judge is not None:
            cost = -row[f"validation_{self.course.metric}"]
        better = cost < self.best - self.course.tol
        self.waited = 0 if better else self.waited + 1
        if self.course.judge is None:
            self.best = min(self.best, cost)
        elif better:
            # The next step takes the arrays of the learner for itself.
            self.kept, self.kept_epoch = _numpy(learner), len(self.history["loss"])
            self.best = cost
        if self.course.tell is not None:
            self.course.tell(len(self.history["loss"]), row)

    def drop_standstill(self) -> None:
        """Forget the epochs in which a method that is stuck stayed where it was."""
        losses = self.history["loss"]
        while len(losses) > 1 and losses[-1] == losses[-2]:
            losses.pop()

    def over(self) -> bool:
        """Whether to end, where `fit` does not decide it."""
        decides = not self.validates or self.course.judge is not None
        return self.stopped or (decides and 0 < self.course.patience <= self.waited)


def warn_unless_done(outcome: Outcome, course: Course) -> None:
    """Warn of a training that its epochs ended, while it was still getting better."""
    if outcome.ended is not None or not course.patience:
        return
    by = "loss"
    if outcome.best is not None:
        by = f"validation_{course.metric}"
        if outcome.epochs - outcome.best >= course.patience:
            return
    values = outcome.history[by][-(course.patience + 1) :]
    slope = (values[-1] - values[0]) / max(1, len(values) - 1)
    warnings.warn(
        f"training ended after all {outcome.epochs} epochs, and was not done: the {by} is "
        f"{values[-1]:.4g}, lately {slope:+.2g} an epoch; raise epochs or learning_rate, or set "
        "patience=0 if this many epochs are meant",
        ConvergenceWarning,
        stacklevel=3,
    )


def _begun(task: Task, seed: int, x: np.ndarray, packed: Packed) -> Learner:
    """A learner with its first weights.

    The first fit of a shape is mostly compiling. So the program that trains is traced while the one
    that draws is compiled, and compiled while that one runs and the data are packed.

    Shapes: x (1, d)
    """
    key, like = jax.random.key(seed), jax.ShapeDtypeStruct(x.shape, x.dtype)
    draws = drawn.lower(task, key, like)
    with ThreadPoolExecutor(2) as pool:
        drawing = pool.submit(draws.compile)
        training = traced(task, draws.out_info, packed.outline(), key)
        compiling = pool.submit(training.compile)
        _ = packed.arrays
        drawing.result()
        learner = drawn(task, key, like)
        # What `fit` asks for before its first step: a small program, which is compiled here too.
        stream(seed, "masks")
        compiling.result()
    return learner


def _ours(task: Task, learner: Learner) -> Learner:
    """A learner to go on from.

    What a second-order method remembers is of the function that it had: on other data it is begun
    anew, and so is the state of another rule.
    """
    params, state, rule_state = jax.tree.map(jnp.asarray, learner)
    fresh = jax.eval_shape(task.rule.init, params)
    if isinstance(task.rule, Method) or tree.form(fresh) != tree.form(rule_state):
        rule_state = task.rule.init(params)
    return Learner(params, state, rule_state)


def _numpy(learner: Learner) -> Learner:
    return jax.tree.map(np.array, learner)
