"""Training: one step, the compiled run of many steps, and `fit`, which drives them.

The first steps of an epoch, up to wherever the host wants to look, are one call of one compiled
program with a dynamic first and last step. So an epoch may be cut anywhere, to evaluate, to save,
or to stop, without a second compilation and without a change in a single bit of the result.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import tree
from .data import Batches, Chunk
from .errors import ConfigError, DivergedError
from .loss import Loss
from .maps import Net, Run, key_for
from .optim import Rule
from .penalty import Penalty, Sum
from .record import Record
from .tree import Tree


@dataclass(frozen=True)
class Task:
    """What is trained and how: all that is static in a compiled step.

    Attributes:
        net: the network; its output is what the loss takes.
        loss: how wrong the output is.
        rule: how gradients become updates; one of `pullback.optim`, or of Optax.
        penalty: what the weights cost by themselves.
        classifies: whether the targets are classes, so that accuracy is measured; otherwise it is
            R².
    """

    net: Net
    loss: Loss
    rule: Rule
    penalty: Penalty = Sum()
    classifies: bool = True


class Batch(NamedTuple):
    """Examples: x (n, ...), targets y (n, k), weights (n,)."""

    x: Any
    y: Any
    weight: Any


class Learner(NamedTuple):
    """All that training changes."""

    params: Tree
    state: Tree
    rule_state: Any


class Pass(NamedTuple):
    """What one step saw. Whatever nobody reads of it, the compiler leaves out."""

    outputs: Any
    y: Any
    wires: dict[str, Any]
    grads: Tree
    updates: Tree


def begin(task: Task, seed: int, x) -> Learner:
    """Draw the first weights, from the stream named "init" of the seed."""
    params, state = task.net.init(stream(seed, "init"), x)
    return Learner(params, state, task.rule.init(params))


def stream(seed: int, name: str):
    """The key of a named stream of random numbers."""
    return key_for(jax.random.key(seed), name)


def step(task: Task, learner: Learner, batch: Batch, run: Run) -> tuple[Learner, Pass]:
    """One step of training: the whole flow."""
    params, state, rule_state = learner
    y, saved, state = task.net.forward(params, state, batch.x, run)
    _, at_loss = task.loss.forward(y, batch.y, batch.weight)
    grads, wires = task.net.sweep(params, saved, task.loss.reverse(at_loss))
    grads = tree.add(grads, task.penalty.reverse(params))
    updates, rule_state = task.rule.update(grads, rule_state, params)
    seen = Pass(task.loss.outputs(y, batch.y, batch.weight), y, wires, grads, updates)
    return Learner(tree.add(params, updates), state, rule_state), seen


class Stretch(NamedTuple):
    """What a compiled run of steps needs of a chunk, beside its arrays; see `pullback.data.Chunk`."""

    order: Any
    rest: Any
    full: Any
    first: Any


@partial(jax.jit, static_argnames="task", donate_argnames="learner")
def advance(task: Task, learner: Learner, data: Batch, stretch: Stretch, start, stop, key):
    """Take the steps from `start` up to `stop` of a chunk, or up to the first whose loss is not finite.

    Returns the learner, the loss of each step parted by output (steps, k), and whether all of the
    learner is finite. The smaller last batch is a branch of the same program, so it costs no
    compilation of its own.
    """
    steps = stretch.order.shape[0]

    def take(i, learner, losses, index):
        batch = Batch(*(a[index] for a in data))
        learner, seen = step(
            task, learner, batch, Run(jax.random.fold_in(key, stretch.first + i), True)
        )
        return i + 1, learner, losses.at[i].set(seen.outputs)

    def go(carry):
        i, learner, losses = carry
        return take(i, learner, losses, stretch.order[i])

    def goes_on(carry):
        i, _, losses = carry
        return (i < jnp.minimum(stop, stretch.full)) & ((i == start) | _finite(losses[i - 1]))

    losses = jnp.zeros((steps + 1, data.y.shape[1]), data.x.dtype)
    carry = jax.lax.while_loop(goes_on, go, (jnp.asarray(start, jnp.int32), learner, losses))
    if stretch.rest.shape[0]:
        due = (carry[0] == stretch.full) & (carry[0] < stop)
        carry = jax.lax.cond(due, lambda c: take(*c, stretch.rest), lambda c: c, carry)
    _, learner, losses = carry
    return learner, losses, tree.all_finite(learner)


def _finite(outputs):
    return jnp.isfinite(jnp.sum(outputs))


@partial(jax.jit, static_argnames="task", donate_argnames="learner")
def watched(task: Task, learner: Learner, data: Batch, stretch: Stretch, i, key):
    """Take one step that also measures every layer: the norms of δ, gradient, weights and update, from the same pass."""
    batch = Batch(*(a[stretch.order[i]] for a in data))
    after, seen = step(task, learner, batch, Run(jax.random.fold_in(key, stretch.first + i), True))
    return after, seen.outputs, layer_norms(task, learner.params, seen), tree.all_finite(after)


def layer_norms(task: Task, params: Tree, seen: Pass) -> dict[str, dict[str, Any]]:
    """The norms of each layer that has parameters, by owner.

    delta is the norm of the cotangent of the layer's output (over all nodes that share it), ratio
    is update/weight.
    """
    norms = {}
    for owner, weights in params.items():
        if not jax.tree.leaves(weights):
            continue
        deltas = [seen.wires[node.name] for node in task.net.nodes if node.owner == owner]
        weight, update = tree.norm(weights), tree.norm(seen.updates[owner])
        norms[owner] = {
            "delta": tree.norm(deltas),
            "gradient": tree.norm(seen.grads[owner]),
            "weight": weight,
            "update": update,
            "ratio": jnp.where(weight > 0, update / jnp.where(weight > 0, weight, 1), 0),
        }
    return norms


def _variance(targets: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The variance of each target, by weight: what a constant prediction would leave."""
    targets, share = targets.astype(np.float64), weight / weight.sum()
    return share @ (targets - share @ targets) ** 2


def _r2(error: np.ndarray, variance: np.ndarray) -> float:
    """The mean over targets of 1 − error/variance; a target that never varies counts 1 if it is met, else 0."""
    varies = variance > 0
    return float(np.mean(np.where(varies, 1 - error / np.where(varies, variance, 1), error == 0)))


# Rows evaluated at once: enough to fill the machine, little enough that hidden layers stay small.
BLOCK = 2000


@partial(jax.jit, static_argnames="task")
def measure(task: Task, params: Tree, state: Tree, data: Batch):
    """Sum over examples, by weight: the loss of each output, the squared error of each, right classes, and the weight.

    Blocks of equal size slide over the rows; the last one overlaps the one before it, where its
    weights are 0.
    """
    n = data.x.shape[0]
    size = min(n, BLOCK)

    def block(total, i):
        begin = jnp.minimum(i * size, n - size)
        x, y, weight = (jax.lax.dynamic_slice_in_dim(a, begin, size) for a in data)
        weight = jnp.where(jnp.arange(size) < i * size - begin, 0, weight)
        z, _, _ = task.net.forward(params, state, x, Run())
        found = task.loss.link(z)
        right = _classes(found) == _classes(y)
        sums = (
            weight @ task.loss.terms(z, y),
            weight @ (found - y) ** 2,
            weight @ right.astype(weight.dtype),
            weight.sum(),
        )
        return tree.add(total, sums), None

    k, zero = data.y.shape[1], jnp.zeros((), data.x.dtype)
    start = (jnp.zeros(k, data.x.dtype), jnp.zeros(k, data.x.dtype), zero, zero)
    return jax.lax.scan(block, start, jnp.arange(-(-n // size)))[0]


def predictions(task: Task, params: Tree, state: Tree, x: np.ndarray) -> np.ndarray:
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
def _predicted(task, params, state, x):
    return task.loss.link(task.net.forward(params, state, x, Run())[0])


def _classes(y):
    return y[:, 0] > 0.5 if y.shape[1] == 1 else jnp.argmax(y, axis=1)


class Part:
    """One part of the data, to be evaluated: its chunks on the device, or read from the disk one after another."""

    def __init__(self, batches: Batches, classifies: bool):
        self._batches, self._classifies, self._resident = batches, classifies, None
        self._variance = _variance(batches.targets, batches.weight)

    def chunks(self) -> Iterator[Batch]:
        """The arrays, a chunk at a time; resident ones are put on the device once."""
        if self._resident is not None:
            yield self._resident
            return
        for chunk in self._batches.epoch(0):
            data = jax.device_put(Batch(chunk.x, chunk.y, chunk.weight))
            if chunk.resident:
                self._resident = data
            yield data

    def evaluate(self, task: Task, learner: Learner) -> dict[str, Any]:
        """The loss, its parts by output, and accuracy or R², averaged over the examples by weight."""
        total = None
        for data in self.chunks():
            sums = jax.tree.map(
                lambda a: np.asarray(a, np.float64),
                measure(task, learner.params, learner.state, data),
            )
            total = sums if total is None else tree.add(total, sums)
        assert total is not None
        losses, squares, right, weight = total
        row = {"loss": float(losses.sum() / weight), "outputs": (losses / weight).tolist()}
        if self._classifies:
            return row | {"accuracy": float(right / weight)}
        return row | {"r2": _r2(squares / weight, self._variance)}


@dataclass(frozen=True)
class Plan:
    """How long to train, and when to look. A cadence of 0 means never.

    Attributes:
        epochs: passes over the training part.
        seed: of the first weights, the order of the data, and masks, each a stream of its own.
        evaluate_epochs, evaluate_steps: evaluate every part each so many epochs, and each so many
            steps.
        watch_epochs: measure the layers in the last full batch of each so-manieth epoch.
        record_steps: record the loss of each so-manieth mini-batch.
        checkpoint_epochs, checkpoint_steps: save each so many epochs, and each so many steps.
    """

    epochs: int = 20
    seed: int = 0
    evaluate_epochs: int = 1
    evaluate_steps: int = 0
    watch_epochs: int = 1
    record_steps: int = 1
    checkpoint_epochs: int = 1
    checkpoint_steps: int = 0

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 0:
                raise ConfigError(f"{name} must be at least 0, got {value}")


@dataclass
class Progress:
    """Where training stands. It is saved with the weights, and training goes on from it.

    Attributes:
        epoch: epochs completed.
        step: steps taken since the start of training.
        best: the evaluation with the lowest validation loss so far: its epoch, step and loss.
        last: the newest evaluation.
    """

    epoch: int = 0
    step: int = 0
    best: dict[str, Any] | None = None
    last: dict[str, Any] | None = None


class Tick(NamedTuple):
    """What a listener is told after each stretch of steps, and at the end of each epoch.

    Attributes:
        progress: where training stands.
        epochs, steps: where it will end.
        loss: of the last mini-batch.
        examples_per_second: in the last stretch.
    """

    progress: Progress
    epochs: int
    steps: int
    loss: float
    examples_per_second: float


def silent(tick: Tick) -> None:
    """Listen to nothing."""


def keep_nothing(learner: Learner, progress: Progress) -> None:
    """Save no checkpoint."""


def never() -> bool:
    """Do not stop before the end."""
    return False


_REMEDY = "lower the learning rate, scale the inputs, or clip the gradients; the last finite weights are kept"

# Seconds of steps between two looks at the clock, the keyboard and the progress bar.
PIECE = 0.25


def fit(
    task: Task,
    batches: Batches,
    plan: Plan,
    *,
    parts: Mapping[str, Batches] | None = None,
    learner: Learner | None = None,
    progress: Progress | None = None,
    record: Record | None = None,
    timing: Record | None = None,
    save: Callable[[Learner, Progress], None] = keep_nothing,
    at_epoch: Callable[[Learner, Progress], None] = keep_nothing,
    listen: Callable[[Tick], None] = silent,
    interrupted: Callable[[], bool] = never,
) -> tuple[Learner, Progress]:
    """Train, and return the learner and how far it came.

    Args:
        task: what is trained and how.
        batches: the training part in mini-batches.
        plan: how long, and when to look.
        parts: what is evaluated, by name; of these "validation" decides which epoch was best.
        learner: where to go on from; drawn anew if not given.
        progress: how far that learner had come.
        record: takes rows of steps, evaluations and layers; they hold no time of day and no
            seconds.
        timing: takes the seconds of each epoch.
        save: called with what a checkpoint must hold; the arrays are only lent for the call.
        at_epoch: called after each epoch, before it is saved.
        listen: called after each stretch of steps, and at the end of each epoch.
        interrupted: asked after each stretch; if true, a checkpoint is saved and training returns.

    Raises:
        DivergedError: a value was not finite. Its `last` holds the last finite learner and the
        progress. ShapeError: the network, the loss and the data do not fit together.
    """
    trainer = _Trainer(
        task,
        batches,
        plan,
        {name: Part(part, task.classifies) for name, part in (parts or {}).items()},
        Record() if record is None else record,
        Record() if timing is None else timing,
        save,
        at_epoch,
        listen,
        interrupted,
    )
    return trainer.run(learner, progress or Progress())


@jax.jit
def _copy(learner):
    return jax.tree.map(jnp.copy, learner)


class _Trainer:
    """The host's side of `fit`: where to cut, what to write down, when to save."""

    def __init__(
        self, task, batches, plan, parts, record, timing, save, at_epoch, listen, interrupted
    ):
        self.task, self.batches, self.plan, self.parts = task, batches, plan, parts
        self.record, self.timing, self.save, self.at_epoch = record, timing, save, at_epoch
        self.listen, self.interrupted = listen, interrupted
        self.key = stream(plan.seed, "masks")
        self.piece, self.rate, self.loss, self.data = 1, 0.0, np.nan, None

    def run(self, learner, progress):
        plan, progress = self.plan, dataclasses.replace(progress)
        if learner is None:
            learner = begin(self.task, plan.seed, self.batches.like())
        if progress.step == 0 and (plan.evaluate_epochs or plan.evaluate_steps):
            self._evaluate(learner, progress)
        while progress.epoch < plan.epochs:
            began, before = time.perf_counter(), progress.step
            for chunk in self.batches.epoch(progress.epoch):
                learner, going = self._chunk(learner, progress, chunk)
                if not going:
                    self.save(learner, progress)
                    return learner, progress
            self._end_epoch(learner, progress, time.perf_counter() - began, progress.step - before)
        return learner, progress

    def _end_epoch(self, learner, progress, seconds, steps):
        plan = self.plan
        progress.epoch += 1
        self.timing.add(
            "epoch",
            epoch=progress.epoch,
            seconds=seconds,
            examples_per_second=steps * self.batches.batch_size / seconds,
        )
        if self._due_at_end(progress, plan.evaluate_epochs, plan.evaluate_steps):
            self._evaluate(learner, progress)
        self.at_epoch(learner, progress)
        self._announce(progress)
        if self._due_at_end(progress, plan.checkpoint_epochs, plan.checkpoint_steps):
            self.save(learner, progress)

    def _due_at_end(self, progress, epochs, steps):
        """Whether a cadence in epochs or in steps falls on the end of an epoch; the first counts the last epoch too."""
        last = bool(epochs) and progress.epoch == self.plan.epochs
        return last or self._due(progress.epoch, epochs) or self._due(progress.step, steps)

    def _chunk(self, learner, progress, chunk: Chunk):
        """Take the steps of a chunk that are not done yet; say whether to go on."""
        data, stretch = self._on_device(chunk)
        first = progress.epoch * self.batches.steps_per_epoch + chunk.first
        stretch = stretch._replace(first=np.int32(first))
        end = chunk.full + chunk.has_rest
        watch = (
            chunk.full - 1
            if chunk.first + chunk.steps == self.batches.steps_per_epoch
            and self._due(progress.epoch + 1, self.plan.watch_epochs)
            else end
        )
        while (at := progress.step - first) < end:
            began = time.perf_counter()
            backup = _copy(learner)
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
                raise self._diverged(backup, progress, data, stretch, at, stop)
            progress.step += stop - at
            self._write(progress, losses, layers)
            self._tick(progress, losses, stop - at, time.perf_counter() - began)
            at_end = progress.step % self.batches.steps_per_epoch == 0
            if not at_end and self._due(progress.step, self.plan.evaluate_steps):
                self._evaluate(learner, progress)
            if not at_end and self._due(progress.step, self.plan.checkpoint_steps):
                self.save(learner, progress)
            if self.interrupted() and not at_end:
                return learner, False
        return learner, True

    def _on_device(self, chunk):
        if self.data is None or not chunk.resident:
            self.data = jax.device_put(Batch(chunk.x, chunk.y, chunk.weight))
        order, rest = jax.device_put((chunk.order, chunk.rest))
        return self.data, Stretch(order, rest, np.int32(chunk.full), None)

    @staticmethod
    def _due(count, cadence):
        return bool(cadence) and count % cadence == 0

    def _cut(self, at, first, *limits):
        """Where this stretch of steps must stop at the latest: a limit, a cadence, or time to look up."""
        cadences = [c for c in (self.plan.evaluate_steps, self.plan.checkpoint_steps) if c]
        nexts = [((first + at) // c + 1) * c - first for c in cadences]
        return min([*limits, *nexts, at + self.piece])

    def _tick(self, progress, losses, steps, seconds):
        self.rate, self.loss = steps / seconds, float(losses[-1].sum())
        # The first calls compile; doubling keeps a slow machine from one endless stretch.
        self.piece = (
            max(1, min(int(self.rate * PIECE), 4 * self.piece))
            if steps == self.piece
            else self.piece
        )
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

    def _evaluate(self, learner, progress):
        rows = {name: part.evaluate(self.task, learner) for name, part in self.parts.items()}
        epoch = progress.step / self.batches.steps_per_epoch
        penalty = float(self.task.penalty.value(learner.params))
        progress.last = {"epoch": epoch, "step": progress.step, "penalty": penalty, **rows}
        self.record.add("evaluation", **progress.last)
        self._refuse_infinite(rows, learner, progress)
        if "validation" in rows:
            loss = rows["validation"]["loss"]
            if progress.best is None or loss < progress.best["validation_loss"]:
                progress.best = {"epoch": epoch, "step": progress.step, "validation_loss": loss}

    def _refuse_infinite(self, rows, learner, progress):
        """Stop where a finite learner has a loss that is not: no step may be left that would meet it."""
        for name, row in rows.items():
            if not np.isfinite(row["loss"]):
                error = DivergedError(
                    f"the loss over the {name} part is {row['loss']} after step {progress.step} (with {self.task.rule})",
                    next=_REMEDY,
                )
                error.last = (learner, progress)
                raise error

    def _diverged(self, backup, progress, data, stretch, at, stop):
        """Find the step that went wrong between `at` and `stop`, and the layer, by taking the steps again."""

        def to(t):
            learner, losses, finite = advance(
                self.task, _copy(backup), data, stretch, np.int32(at), np.int32(t), self.key
            )
            return learner, bool(finite) and bool(np.isfinite(np.asarray(losses)[at:t]).all())

        good, bad = at, stop
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if to(middle)[1] else (good, middle)
        learner, _ = to(good)
        index = stretch.order[good] if good < stretch.full else stretch.rest
        blame, loss = find_fault(
            self.task,
            learner,
            Batch(*(a[index] for a in data)),
            self.key,
            int(stretch.first) + good,
        )
        progress.step += good - at
        error = DivergedError(
            f"{blame} at epoch {progress.epoch + 1}, step {progress.step + 1} (loss {loss:.4g} with {self.task.rule})",
            next=_REMEDY,
        )
        error.last = (learner, progress)
        return error


def shortest(x):
    """Numbers whose text is the shortest that gives the same float32 (or float64) again.

    >>> shortest(np.float32(0.1))
    0.1
    """
    return np.asarray(x).astype(str).astype(np.float64).tolist()


def find_fault(task: Task, learner: Learner, batch: Batch, key, count: int) -> tuple[str, float]:
    """Take one step from a finite learner and say which value is the first that is not finite, and the loss."""

    @jax.jit
    def look(learner, batch):
        run = Run(jax.random.fold_in(key, count), True)
        wires, _, _ = task.net.trace(learner.params, learner.state, batch.x, run)
        after, seen = step(task, learner, batch, run)
        return wires, seen, after

    wires, seen, after = jax.device_get(look(learner, batch))
    loss = float(seen.outputs.sum())
    names = [node.name for node in task.net.nodes]
    suspects = {"the input": batch.x} | {f"the output of '{name}'": wires[name] for name in names}
    suspects |= {"the loss": seen.outputs}
    suspects |= {f"the cotangent of '{name}'": seen.wires[name] for name in reversed(names)}
    suspects |= {
        f"the gradient of '{name}'": value for name, value in tree.named(seen.grads).items()
    }
    suspects |= {
        f"the update of '{name}'": value for name, value in tree.named(seen.updates).items()
    }
    suspects |= {
        f"the parameter '{name}'": value for name, value in tree.named(after.params).items()
    }
    for name, value in suspects.items():
        value = np.asarray(value)
        if not np.isfinite(value).all():
            return f"{name} became {'nan' if np.isnan(value).any() else 'infinite'}", loss
    return "the weights ceased to be finite", loss
