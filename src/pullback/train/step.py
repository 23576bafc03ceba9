"""One step of training: the whole flow in one function, and what it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from .. import tree
from ..loss import Loss
from ..maps import Net, Run, key_for
from ..optim import Rule
from ..penalty import Penalty, Sum
from ..tree import Tree

NO_PENALTY = Sum()


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
    penalty: Penalty = NO_PENALTY
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
