"""How smooth the loss is along the steps of training, with and without normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ... import config, tree
from ...arithmetic import full_precision
from ...config import Experiment
from ...curvature import Objective
from ...errors import DivergedError
from ...maps import Run
from ...model import precision
from ...optim.core import rate_of
from ...prepared import prepare
from ...train import Learner, Part, Plan, Progress, begin, fit
from ..chart import Chart, Curve, Panel, chart
from .core import Given, Shown


class Along(NamedTuple):
    """The loss along −∇L from where training stands, at several lengths of the step.

    Attributes:
        value: L(θ).
        slope: ‖∇L(θ)‖.
        values: L(θ − s ∇L), for each length s.
        changes: ‖∇L(θ − s ∇L) − ∇L(θ)‖.
    """

    value: Any
    slope: Any
    values: Any
    changes: Any


@jax.jit
@full_precision()
def along(objective: Objective, params: Any, lengths: Any) -> Along:
    """Look along the step: one gradient here, and one at each length.

    Forward:  θ(s) = θ − s ∇L(θ),  L(θ(s)),  ‖∇L(θ(s)) − ∇L(θ)‖
    Source:   Santurkar et al. 2018, arXiv:1805.11604, §3.1
    """
    here = objective.gradient(params)

    def at(length):
        there = tree.add(params, tree.scale(-length, here))
        change = tree.add(objective.gradient(there), tree.scale(-1, here))
        return objective.value(there), tree.norm(change)

    values, changes = jax.lax.map(at, lengths)
    return Along(objective.value(params), tree.norm(here), values, changes)


class Measured(NamedTuple):
    """What one variant showed: a row for each time that training was looked at.

    Attributes:
        steps: when.
        value: L(θ).
        least, most: of L along the step.
        near, far: the least and the greatest ‖∇L(θ − s ∇L) − ∇L(θ)‖.
        beta: the effective smoothness, max_s ‖∇L(θ − s ∇L) − ∇L(θ)‖/(s ‖∇L(θ)‖).
        accuracy: on the test part at the end; nan if training diverged.
    """

    steps: np.ndarray
    value: np.ndarray
    least: np.ndarray
    most: np.ndarray
    near: np.ndarray
    far: np.ndarray
    beta: np.ndarray
    accuracy: float


def smoothness(
    given: Given,
    *,
    variants: dict[str, dict[str, Any]],
    steps: int = 200,
    every: int = 20,
    examples: int = 500,
    lengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
) -> Shown:
    """Train variants of an experiment anew, and look along the gradient's step on the way.

    At step 0, and each so many steps, the loss and its gradient over the first so many examples of
    the training part are taken at θ − s ∇L(θ), where s is each of the lengths times the learning
    rate. β = max_s ‖∇L(θ − s ∇L) − ∇L(θ)‖/(s ‖∇L(θ)‖), the effective smoothness of Santurkar et
    al. 2018, arXiv:1805.11604, §3.1; their figure 4 shows the three measures for VGG.

    Numbers, of each variant: "NAME.range", the mean over training of the range of the loss along
    the step; "NAME.change", of the greatest change of the gradient; "NAME.beta", the geometric mean
    of β; "NAME.beta-ratio", that over the same of the first variant; "NAME.beta-start", β at step
    0; "NAME.loss" at the end, over the same examples; "NAME.accuracy", on the test part.

    Args:
        given: one arm, whose experiment the variants change.
        variants: settings of each, put over the experiment.
        steps: how long each is trained.
        every: how often it is looked at.
        examples: over how many.
        lengths: of the steps, in learning rates.
    """
    (name, experiment) = next(iter(given.experiments.items()))
    found = {
        variant: _measure(
            _changed(experiment, settings, f"the variant {variant} of {name}"),
            given,
            Plan(
                epochs=steps,  # more than there will be: the steps end it
                steps=steps,
                seed=given.seed,
                evaluate_epochs=0,
                watch_epochs=0,
                record_steps=0,
                checkpoint_epochs=0,
                checkpoint_steps=every,
            ),
            examples,
            np.array(lengths),
        )
        for variant, settings in variants.items()
    }
    first = _mean(next(iter(found.values())).beta)
    numbers = {}
    for variant, each in found.items():
        numbers |= {
            f"{variant}.range": float(np.mean(each.most - each.least)),
            f"{variant}.change": float(np.mean(each.far)),
            f"{variant}.beta": _mean(each.beta),
            f"{variant}.beta-ratio": _mean(each.beta) / first,
            f"{variant}.beta-start": float(each.beta[0]),
            f"{variant}.loss": float(each.value[-1]),
            f"{variant}.accuracy": each.accuracy,
        }
    return Shown(numbers, _charts(name, found, lengths))


def _mean(beta: np.ndarray) -> float:
    """The geometric mean: β goes through powers of ten, and its peaks would be all of a sum."""
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log(beta))))


def _changed(experiment: Experiment, settings: Mapping[str, Any], where: str) -> Experiment:
    table = config.decode(experiment.toml(), where)
    for key, value in settings.items():
        config.put(table, key, value, where)
    return config.parse(table, where)


def _measure(
    experiment: Experiment, given: Given, plan: Plan, examples: int, lengths: np.ndarray
) -> Measured:
    """Train one variant, and look along the step as often as the plan would save it."""
    with precision(experiment):
        prepared = prepare(experiment, given.data_dir)
        task, dtype = prepared.task, prepared.dtype
        few = prepared.loaded.train.take(np.arange(min(examples, len(prepared.loaded.train))))
        batch = few.x[:], few.targets(dtype, prepared.columns), np.ones(len(few), dtype)
        run = Run(jax.random.key(plan.seed), True)
        rows: dict[int, Along] = {}
        moves: dict[int, np.ndarray] = {}

        def look(learner: Learner, progress: Progress, kept: Any = None) -> None:
            rate = float(rate_of(task.rule, learner.rule_state))
            objective = Objective(
                task.net, task.loss, task.penalty, learner.state, jax.tree.map(jnp.asarray, batch),
                run,
            )  # fmt: skip
            moves[progress.step] = rate * lengths
            rows[progress.step] = jax.device_get(
                along(objective, learner.params, jnp.asarray(rate * lengths, dtype))
            )

        learner, accuracy = begin(task, plan.seed, prepared.like), np.nan
        look(learner, Progress())
        parts = prepared.examples()
        try:
            learner, _ = fit(
                task, prepared.batches(parts["train"]), plan, learner=learner, save=look
            )
            test = Part(prepared.batches(parts["test"]), task.classifies)
            accuracy = test.evaluate(task, learner)["accuracy"]
        except DivergedError:
            pass  # what was measured until then is told, and that it has no accuracy
    return _summed(rows, moves, accuracy)


def _summed(
    rows: Mapping[int, Along], moves: Mapping[int, np.ndarray], accuracy: float
) -> Measured:
    """What was seen in each look; a training that diverged may leave what is not finite."""
    seen = list(rows.values())
    values = np.array([[row.value, *row.values] for row in seen])
    changes = np.array([row.changes for row in seen])
    slopes = np.array([[row.slope] for row in seen])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        beta = changes / (np.array(list(moves.values())) * slopes)
    return Measured(
        np.array(list(rows)),
        values[:, 0],
        values.min(axis=1),
        values.max(axis=1),
        changes.min(axis=1),
        changes.max(axis=1),
        beta.max(axis=1),
        float(accuracy),
    )


def _charts(
    name: str, found: Mapping[str, Measured], lengths: tuple[float, ...]
) -> tuple[Chart, ...]:
    reach = f"{min(lengths):g} to {max(lengths):g} learning rates"

    def panels(low: str, middle: str | None, high: str, called: str) -> tuple[Panel, ...]:
        return tuple(
            Panel(
                title=variant,
                curves=(
                    Curve(
                        name=called,
                        x=each.steps,
                        y=getattr(each, middle or high),
                        low=getattr(each, low),
                        high=getattr(each, high),
                    ),
                ),
            )
            for variant, each in found.items()
        )

    return (
        Chart(
            id=f"{name}-loss-along",
            title=f"Loss along the step: {name}",
            caption=f"The line is the loss during training, the band its range from here along "
            f"−∇L over {reach}. A narrow band: the loss is what its gradient promises.",
            x="step",
            y="loss",
            panels=panels("least", "value", "most", "loss"),
            log="y",
        ),
        Chart(
            id=f"{name}-gradient-change",
            title=f"Change of the gradient along the step: {name}",
            caption=f"‖∇L(θ − s ∇L) − ∇L(θ)‖, from the least to the greatest (line) over {reach}.",
            x="step",
            y="change of the gradient",
            panels=panels("near", None, "far", "greatest change"),
            log="y",
        ),
        chart(
            f"{name}-smoothness",
            f"Effective smoothness: {name}",
            "β, the greatest change of the gradient over the distance moved: the smaller, the "
            "smoother.",
            "step",
            "effective β",
            [Curve(name=variant, x=each.steps, y=each.beta) for variant, each in found.items()],
            log="y",
        ),
    )
