"""`fit`: the host's side of training. Where to cut, what to write down, when to save."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..data import Batches, Chunk
from ..errors import ConfigError, DivergedError
from ..optim import Method, stuck, watches
from ..record import Record
from ..tree import shortest
from .fault import diverged, refuse_infinite
from .measure import Part, Sent
from .selection import Kept, Selection
from .step import Learner, Task, begin, judged, stream
from .stretch import Stretch, advance, watched


@dataclass(frozen=True)
class Plan:
    """How long to train, and when to look. A cadence of 0 means never.

    Attributes:
        epochs: passes over the training part.
        steps: end after so many steps, if that comes before the epochs are over; 0 for no such end.
        seed: of the first weights, the order of the data, and masks, each a stream of its own.
        evaluate_epochs, evaluate_steps: evaluate every part each so many epochs, and each so many
            steps.
        step_parts: which parts are evaluated each so many steps, all if none is named; before the
            first step and after the last, all are.
        watch_epochs: measure the layers in the last full batch of each so-manieth epoch.
        record_steps: record the loss of each so-manieth mini-batch.
        checkpoint_epochs, checkpoint_steps: save each so many epochs, and each so many steps.
    """

    epochs: int = 20
    steps: int = 0
    seed: int = 0
    evaluate_epochs: int = 1
    evaluate_steps: int = 0
    step_parts: tuple[str, ...] = ()
    watch_epochs: int = 1
    record_steps: int = 1
    checkpoint_epochs: int = 1
    checkpoint_steps: int = 0

    def __post_init__(self):
        for name, value in vars(self).items():
            if name != "step_parts" and value < 0:
                raise ConfigError(f"{name} must be at least 0, got {value}")


@dataclass
class Progress:
    """Where training stands. It is saved with the weights, and training goes on from it.

    Attributes:
        epoch: epochs completed.
        step: steps taken since the start of training.
        best: the best evaluation so far, as the selection judges: its row, and its value.
        last: the newest evaluation.
        waited: evaluations since the best.
        ended: why training ended before its epochs were over: "patience", "target", "steps",
            or "stuck" where a second-order method gets no further.
    """

    epoch: int = 0
    step: int = 0
    best: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    waited: int = 0
    ended: str | None = None


class Tick(NamedTuple):
    """What a listener is told after each stretch of steps, and at the end of each epoch.

    Attributes:
        progress: where training stands.
        epochs, steps: where it will end.
        loss: of the last mini-batch.
        examples_per_second: in this epoch so far.
    """

    progress: Progress
    epochs: int
    steps: int
    loss: float
    examples_per_second: float


def silent(tick: Tick) -> None:
    """Listen to nothing."""


def save_nothing(learner: Learner, progress: Progress, kept: Kept | None) -> None:
    """Save no checkpoint."""


def ignore(learner: Learner, progress: Progress) -> None:
    """Do nothing at the end of an epoch."""


def never() -> bool:
    """Do not stop before the end."""
    return False


LAST = Selection()

# Seconds of steps between two looks at the clock, the keyboard and the progress bar.
PIECE = 0.25


def fit(
    task: Task,
    batches: Batches,
    plan: Plan,
    *,
    parts: Mapping[str, Batches] | None = None,
    selection: Selection = LAST,
    learner: Learner | None = None,
    progress: Progress | None = None,
    kept: Kept | None = None,
    record: Record | None = None,
    timing: Record | None = None,
    save: Callable[[Learner, Progress, Kept | None], None] = save_nothing,
    at_epoch: Callable[[Learner, Progress], None] = ignore,
    listen: Callable[[Tick], None] = silent,
    interrupted: Callable[[], bool] = never,
) -> tuple[Learner, Progress]:
    """Train, and return the learner and how far it came.

    If the selection keeps the best weights, the learner that is returned has them, whatever ended
    the training; the progress still tells of all of it.

    Args:
        task: what is trained and how.
        batches: the training part in mini-batches.
        plan: how long, and when to look.
        parts: what is evaluated, by name.
        selection: by what the best evaluation is known, and what depends on it.
        learner: where to go on from; drawn anew if not given.
        progress: how far that learner had come.
        kept: the best weights that it had met.
        record: takes rows of steps, evaluations and layers; they hold no time of day and no
            seconds.
        timing: takes the seconds of each epoch.
        save: called with what a checkpoint must hold.
        at_epoch: called after each epoch, before it is saved.
        listen: called after each stretch of steps, and at the end of each epoch.
        interrupted: asked after each stretch; if true, a checkpoint is saved and training returns.

    Raises:
        DivergedError: a value was not finite; its `last` holds the last finite learner (or, where
            the selection keeps it, the best one) and the progress.
        ConfigError: the selection is by something that is not evaluated, or not each time; a
            second-order method is given less than all examples.
        ShapeError: the network, the loss and the data do not fit together.
    """
    sent = Sent()
    trainer = _Trainer(
        task,
        batches,
        sent,
        plan,
        {
            name: Part(part, task.classifies, sent if part is batches else None)
            for name, part in (parts or {}).items()
        },
        selection,
        kept,
        Record() if record is None else record,
        Record() if timing is None else timing,
        save,
        at_epoch,
        listen,
        interrupted,
    )
    if isinstance(task.rule, Method):
        require_whole(task.rule, batches)
    _refuse_some(plan, selection, list(parts or {}))
    if selection.judges or watches(task.rule):
        selection.refuse(list(parts or {}), ["loss", "accuracy" if task.classifies else "r2"])
    try:
        last, end = trainer.run(learner, progress or Progress())
    except DivergedError as fault:
        last, end = fault.last
        fault.last = trainer.chosen(last), end
        raise
    return trainer.chosen(last), end


def _refuse_some(plan: Plan, selection: Selection, parts: list[str]) -> None:
    """Refuse parts that are not there, and to choose weights by evaluations that leave parts out.

    Raises:
        ConfigError: one of the two.
    """
    for name in plan.step_parts:
        if name not in parts:
            raise ConfigError(
                f"there is no part '{name}' to evaluate, there are: {', '.join(parts) or 'none'}",
                where="evaluate.parts",
            )
    if plan.step_parts and selection.judges:
        raise ConfigError(
            "the weights that training ends with have been evaluated on every part, "
            f"got {', '.join(plan.step_parts)} alone",
            where="evaluate.parts",
            next="leave it out, or the selection",
        )


def require_whole(method: Method, batches: Batches) -> None:
    """Refuse to give a method less than all examples in each step.

    Raises:
        ConfigError: the batches are smaller, or streamed.
    """
    if batches.steps_per_epoch > batches.passes or batches.streams:
        raise ConfigError(
            f"{type(method).__name__} sees all {len(batches.targets):,} examples in each step, "
            f"got {'a stream' if batches.streams else f'batches of {batches.batch_size}'}",
            where="train.batch_size",
            next="set it to 'all', or take a rule such as adam",
        )


class _Trainer:
    """The host's side of `fit`: where to cut, what to write down, when to save."""

    def __init__(
        self,
        task,
        batches,
        sent,
        plan,
        parts,
        selection,
        kept,
        record,
        timing,
        save,
        at_epoch,
        listen,
        interrupted,
    ):
        self.task, self.batches, self.sent = task, batches, sent
        self.plan, self.parts = plan, parts
        self.selection, self.kept = selection, kept
        self.record, self.timing, self.save, self.at_epoch = record, timing, save, at_epoch
        self.listen, self.interrupted = listen, interrupted
        self.key = stream(plan.seed, "masks")
        self.piece, self.rate, self.loss = 1, 0.0, np.nan
        self.began, self.before = time.perf_counter(), 0

    def run(self, learner, progress):
        plan, progress = self.plan, dataclasses.replace(progress)
        if learner is None:
            learner = begin(self.task, plan.seed, self.batches.like())
        if progress.step == 0 and self._evaluates:
            learner = self._evaluate(learner, progress, self._all)
        while progress.epoch < plan.epochs and progress.ended is None:
            self.began, self.before = time.perf_counter(), progress.step
            for chunk in self.batches.epoch(progress.epoch):
                learner, going = self._chunk(learner, progress, chunk)
                if not going:
                    self.save(learner, progress, self.kept)
                    return learner, progress
            learner = self._end_epoch(learner, progress)
            if progress.epoch < plan.epochs and self.interrupted():
                self.save(learner, progress, self.kept)
                break
        return learner, progress

    def chosen(self, learner):
        """The learner that training ends with."""
        if not self.selection.keeps_best or self.kept is None:
            return judged(self.task, learner)
        return learner._replace(params=self.kept.params, state=self.kept.state)

    @property
    def _evaluates(self):
        return bool(self.plan.evaluate_epochs or self.plan.evaluate_steps)

    def _end_epoch(self, learner, progress):
        plan = self.plan
        progress.epoch += 1
        seconds, steps = time.perf_counter() - self.began, progress.step - self.before
        self.timing.add(
            "epoch",
            epoch=progress.epoch,
            seconds=seconds,
            examples_per_second=steps * self.batches.batch_size / seconds,
        )
        if self._due_at_end(progress, plan.evaluate_epochs, plan.evaluate_steps):
            whole = self._due_at_end(progress, plan.evaluate_epochs, 0) or self._at_end(progress)
            learner = self._evaluate(learner, progress, self._all if whole else self._some)
        if progress.step == plan.steps and progress.ended is None:
            progress.ended = "steps"
        self.at_epoch(learner, progress)
        self._announce(progress)
        ended = progress.ended is not None
        if ended or self._due_at_end(progress, plan.checkpoint_epochs, plan.checkpoint_steps):
            self.save(learner, progress, self.kept)
        return learner

    def _at_end(self, progress):
        """Whether an epoch that has ended is the last."""
        return progress.epoch == self.plan.epochs or progress.step == self.plan.steps

    def _due_at_end(self, progress, epochs, steps):
        """Whether a cadence falls on the end of an epoch; one in epochs counts the last, too."""
        last = bool(epochs) and self._at_end(progress)
        return last or self._due(progress.epoch, epochs) or self._due(progress.step, steps)

    def _chunk(self, learner, progress, chunk: Chunk):
        """Take the steps of a chunk that are not done yet; say whether to go on."""
        first = progress.epoch * self.batches.steps_per_epoch + chunk.first
        # Its arrays are left to the compiled call to send: for small data that is the quicker way.
        stretch = Stretch(chunk.order, chunk.rest, np.int32(chunk.full), np.int32(first))
        data = self.sent(chunk)
        limit = self.plan.steps
        end = min(chunk.steps, limit - first) if limit else chunk.steps
        watched_epoch = self._due(progress.epoch + 1, self.plan.watch_epochs)
        watch = chunk.full - 1 if chunk.last and watched_epoch else end
        while (at := progress.step - first) < end:
            began = time.perf_counter()
            backup = learner
            if at == watch:
                stop = at + 1
                learner, outputs, layers, finite = watched(
                    self.task, learner, data, stretch, np.int32(at), self.key
                )
                losses = np.asarray(outputs)[None]
            else:
                stop = self._cut(at, first, watch if at < watch else end, end)
                learner, losses, finite = advance(
                    self.task, learner, data, stretch, np.int32(at), np.int32(stop), self.key
                )
                losses, layers = np.asarray(losses)[at:stop], None
            if not (finite and np.isfinite(losses).all()):
                where = data, stretch, at, stop, self.key
                one_pass = self.batches.steps_per_epoch // self.batches.passes
                raise diverged(self.task, backup, progress, *where, one_pass)
            progress.step += stop - at
            self._write(progress, losses, layers)
            self._tick(progress, losses, stop - at, time.perf_counter() - began)
            if stuck(self.task.rule, learner.rule_state):
                progress.ended = "stuck"
            at_end = progress.step % self.batches.steps_per_epoch == 0
            last = progress.step == limit
            due = self._due(progress.step, self.plan.evaluate_steps) or (last and self._evaluates)
            if not at_end and due:
                learner = self._evaluate(learner, progress, self._all if last else self._some)
            if not at_end and last:
                progress.ended = progress.ended or "steps"
            if not at_end and self._due(progress.step, self.plan.checkpoint_steps):
                self.save(learner, progress, self.kept)
            if progress.ended is not None and not at_end:
                return learner, False
            if self.interrupted() and not at_end:
                return learner, False
        return learner, True

    @staticmethod
    def _due(count, cadence):
        return bool(cadence) and count % cadence == 0

    def _cut(self, at, first, *limits):
        """Where this stretch must stop at the latest: a limit, a cadence, or time to look up."""
        cadences = [c for c in (self.plan.evaluate_steps, self.plan.checkpoint_steps) if c]
        nexts = [((first + at) // c + 1) * c - first for c in cadences]
        return min([*limits, *nexts, at + self.piece])

    def _tick(self, progress, losses, steps, seconds):
        self.loss = float(losses[-1].sum())
        self.rate = (progress.step - self.before) / (time.perf_counter() - self.began)
        if steps == self.piece:
            # The first calls compile; growing by steps spares a slow machine one endless stretch.
            self.piece = max(1, min(int(PIECE * steps / seconds), 4 * self.piece))
        self._announce(progress)

    def _announce(self, progress):
        epochs, rate = self.plan.epochs, self.rate * self.batches.batch_size
        steps = epochs * self.batches.steps_per_epoch
        self.listen(Tick(progress, epochs, steps, self.loss, rate))

    def _write(self, progress, losses, layers):
        total, steps = progress.step, len(losses)
        for i in range(steps):
            count = total - steps + i + 1
            if self._due(count, self.plan.record_steps):
                outputs = shortest(losses[i])
                self.record.add(
                    "step", epoch=progress.epoch + 1, step=count, loss=sum(outputs), outputs=outputs
                )
        if layers is not None:
            rows = {
                name: {k: shortest(v) for k, v in norms.items()} for name, norms in layers.items()
            }
            self.record.add("layers", epoch=progress.epoch + 1, step=total, layers=rows)

    @property
    def _all(self):
        return tuple(self.parts)

    @property
    def _some(self):
        return self.plan.step_parts or self._all

    def _evaluate(self, learner, progress, names):
        """Measure parts; the learner comes back, since its rule may have learnt of it."""
        seen = judged(self.task, learner)
        rows = {name: self.parts[name].evaluate(self.task, seen) for name in names}
        epoch = progress.step / self.batches.steps_per_epoch
        penalty = float(self.task.penalty.value(seen.params))
        progress.last = {"epoch": epoch, "step": progress.step, "penalty": penalty, **rows}
        self.record.add("evaluation", **progress.last)
        refuse_infinite(rows, self.task, learner, progress)
        value = self.selection.value(progress.last)
        if value is None:
            return learner
        self._select(value, seen, progress)
        if not watches(self.task.rule):
            return learner
        state = self.task.rule.observed(learner.rule_state, self.selection.cost(value))
        return learner._replace(rule_state=state)

    def _select(self, value, learner, progress):
        """Judge the newest evaluation: keep its weights, go on waiting, or end the training."""
        if progress.best is None or self.selection.better(value, progress.best["value"]):
            progress.best, progress.waited = progress.last | {"value": value}, 0
            if self.selection.keeps_best:
                self.kept = Kept(learner.params, learner.state)
        else:
            progress.waited += 1
        if self.selection.reached(value):
            progress.ended = "target"
        elif 0 < self.selection.patience <= progress.waited:
            progress.ended = "patience"
