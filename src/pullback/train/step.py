"""One step of training: the whole flow in one function, and what it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax

from .. import tree
from ..arithmetic import Products, products
from ..augment import Augmentation, Compose
from ..curvature import Objective
from ..data import Pixels
from ..errors import ConfigError
from ..loss import Loss
from ..maps import Net, Run, key_for
from ..optim import Averaging, Method, Rule, has_rate, rate_of, require_step
from ..penalty import Penalty, Sum
from ..tree import Tree

# A program takes the bytes.
jax.tree_util.register_dataclass(Pixels, ["values"], ["dtype"])

NO_PENALTY = Sum()
NO_AUGMENTATION = Compose()


@dataclass(frozen=True)
class Task:
    """What is trained and how: all that is static in a compiled step.

    Attributes:
        net: the network; its output is what the loss takes.
        loss: how wrong the output is.
        rule: how gradients become updates; one of `pullback.optim`, or of Optax. Or a second-order
            method, which wants the whole training part as one batch, and nothing drawn at random.
        penalty: what the weights cost by themselves.
        augment: how a batch is changed before a step sees it; evaluation sees the data as they are.
        classifies: whether the targets are classes, so that accuracy is measured; otherwise it is
            R².
        products: how exact the products of a step are (`pullback.arithmetic.products`): "full", or
            "bfloat16". Evaluations and checks are always full.

    Raises:
        ConfigError: the rule takes no steps; a proximal step needs the learning rate, and the rule
            does not tell it; a second-order method meets a function that is not the same in every
            step, not the one whose derivative it is told, or rounded products.
    """

    net: Net
    loss: Loss
    rule: Rule | Method
    penalty: Penalty = NO_PENALTY
    augment: Augmentation = NO_AUGMENTATION
    classifies: bool = True
    products: Products = "full"

    def __post_init__(self):
        if isinstance(self.rule, Method):
            self._refuse_a_moving_function(type(self.rule).__name__)
            return
        require_step(self, self.rule)
        if self.penalty.wants_rate and not has_rate(self.rule):
            raise ConfigError(
                f"a proximal step is as long as the learning rate, which {self.rule} does not tell",
                next="take a rule that does, or let the penalty act through its derivative",
            )

    def _refuse_a_moving_function(self, method: str) -> None:
        if self.products != "full":
            raise ConfigError(
                f"{method} compares values of one function closely, and products of bfloat16 err "
                "by a 256th",
                next="set precision = 'float32', or take a rule such as adam",
            )
        if self.augment != NO_AUGMENTATION and getattr(self.augment, "steps", True):
            raise ConfigError(
                f"{method} wants one function for all steps, and augmentation changes the data",
                next="leave the augmentation out, or take a rule such as adam",
            )
        if self.penalty.acts_after:
            raise ConfigError(
                f"{method} minimises what it has the derivative of, and {self.penalty} acts by "
                "changing the weights after each step",
                next="leave it out, let it act through its derivative, or take a rule such as sgd",
            )

    def rate(self, rule_state) -> Any:
        """The learning rate of the next update where a proximal step asks for it, else None."""
        return rate_of(self.rule, rule_state) if self.penalty.wants_rate else None


class Batch(NamedTuple):
    """Examples: x (n, ...), targets y (n, k), weights (n,). All data may have `Pixels` for x."""

    x: Any
    y: Any
    weight: Any


class Learner(NamedTuple):
    """All that training changes."""

    params: Tree
    state: Tree
    rule_state: Any


class Pass(NamedTuple):
    """What one step saw. Whatever nobody reads of it, the compiler leaves out.

    The updates are the rule's, before what a penalty does to the parameters after them.
    """

    outputs: Any
    y: Any
    wires: dict[str, Any]
    grads: Tree
    updates: Tree


def begin(task: Task, seed: int, x) -> Learner:
    """Draw the first weights for inputs like `x`, from the stream named "init" of the seed."""
    return drawn(task, jax.random.key(seed), jax.ShapeDtypeStruct(x.shape, x.dtype))


# Threefry takes longer to optimise than to run, and this runs once. One program for all weights
# takes a part of the time and the memory that one for each shape of them would.
@partial(
    jax.jit,
    static_argnames=("task", "like"),
    compiler_options={"xla_backend_optimization_level": 1},
)
def drawn(task: Task, key, like: jax.ShapeDtypeStruct) -> Learner:
    """`begin_from`, compiled."""
    return begin_from(task, key, like)


def begin_from(task: Task, key, x) -> Learner:
    """Draw the first weights, from the stream named "init" of the key of a seed."""
    params, state = task.net.init(key_for(key, "init"), x)
    return Learner(params, state, task.rule.init(params))


def stream(seed: int, name: str):
    """The key of a named stream of random numbers."""
    return key_for(jax.random.key(seed), name)


def judged(task: Task, learner: Learner) -> Learner:
    """The learner as it is evaluated and saved: with the rule's average of the weights, if any."""
    if not isinstance(task.rule, Averaging):
        return learner
    return learner._replace(params=task.rule.averaged(learner.rule_state, learner.params))


def augmented(task: Task, batch: Batch, run: Run) -> Batch:
    """A batch as a step sees it, in the stream named "augment" of the step's key."""
    return Batch(*task.augment(key_for(run.key, "augment"), *batch))


def step(task: Task, learner: Learner, batch: Batch, run: Run) -> tuple[Learner, Pass]:
    """One step of training: the whole flow."""
    params, before, rule_state = learner
    batch = augmented(task, batch, run)
    with products(task.products):
        y, saved, state = task.net.forward(params, before, batch.x, run)
    value, at_loss = task.loss.forward(y, batch.y, batch.weight)
    with products(task.products):
        grads, wires = task.net.sweep(params, saved, task.loss.reverse(at_loss))
    grads = tree.add(grads, task.penalty.reverse(params))
    rate = task.rate(rule_state)
    if isinstance(task.rule, Method):
        objective = Objective(task.net, task.loss, task.penalty, before, batch, run)
        value += task.penalty.value(params)
        updates, rule_state = task.rule.descend(objective, params, value, grads, rule_state)
    else:
        updates, rule_state = task.rule.update(grads, rule_state, params)
    seen = Pass(task.loss.outputs(y, batch.y, batch.weight), y, wires, grads, updates)
    params = task.penalty.after_step(tree.add(params, updates), rate)
    return Learner(params, state, rule_state), seen
