"""When a value is not finite: which step did it, in which layer, and where to go back to."""

from __future__ import annotations

import jax
import numpy as np

from .. import tree
from ..arithmetic import full_precision
from ..errors import DivergedError
from ..maps import Run
from .step import Batch, Learner, Task, augmented, step
from .stretch import Stretch, advance


def _error(what: str, learner: Learner, progress) -> DivergedError:
    error = DivergedError(
        what,
        next="lower the learning rate, scale the inputs, or clip the gradients; "
        "the last finite weights are kept",
    )
    error.last = (learner, progress)
    return error


def refuse_infinite(rows, task: Task, learner: Learner, progress) -> None:
    """Stop where a finite learner has a loss that is not: no step may be left to meet it.

    Raises:
        DivergedError: the loss over a part is not finite.
    """
    for name, row in rows.items():
        if not np.isfinite(row["loss"]):
            raise _error(
                f"the loss over the {name} part is {row['loss']} after step {progress.step} "
                f"(with {task.rule})",
                learner,
                progress,
            )


def diverged(
    task: Task,
    backup: Learner,
    progress,
    data: Batch,
    stretch: Stretch,
    at: int,
    stop: int,
    key,
    steps_per_epoch: int,
) -> DivergedError:
    """Find the step between `at` and `stop` that went wrong, by taking the steps again.

    Args:
        task: what is trained.
        backup: the finite learner before step `at` of the chunk.
        progress: where training stood then; it is moved to the last finite step.
        data: the chunk's arrays.
        stretch: the chunk's order.
        at: the first step that may be to blame.
        stop: the step before which something was not finite.
        key: of the masks.
        steps_per_epoch: to say in which epoch it was.
    """

    def to(t):
        learner, losses, finite = advance(
            task, backup, data, stretch, np.int32(at), np.int32(t), key
        )
        return learner, bool(finite) and bool(np.isfinite(np.asarray(losses)[at:t]).all())

    good, bad = at, stop
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if to(middle)[1] else (good, middle)
    learner, _ = to(good)
    index = stretch.order[good] if good < stretch.full else stretch.rest
    batch = Batch(*(a[index] for a in data))
    blame, loss = find_fault(task, learner, batch, key, int(stretch.first) + good)
    progress.step += good - at
    return _error(
        f"{blame} at epoch {progress.step // steps_per_epoch + 1}, step {progress.step + 1} "
        f"(loss {loss:.4g} with {task.rule})",
        learner,
        progress,
    )


def find_fault(task: Task, learner: Learner, batch: Batch, key, count: int) -> tuple[str, float]:
    """Take one step and say which value is the first that is not finite, and the loss."""

    @jax.jit
    @full_precision()
    def look(learner, batch):
        run = Run(jax.random.fold_in(key, count), True)
        x = augmented(task, batch, run).x
        wires, _, _ = task.net.trace(learner.params, learner.state, x, run)
        after, seen = step(task, learner, batch, run)
        return x, wires, seen, after

    x, wires, seen, after = jax.device_get(look(learner, batch))
    loss = float(seen.outputs.sum())
    names = [node.name for node in task.net.nodes]
    suspects = {"the input": x} | {f"the output of '{name}'": wires[name] for name in names}
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
