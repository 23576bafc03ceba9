"""Stopped in the middle, gone on with from the disk: rules, schedules, stopping, augmentation.

Rules that move some parameters only may stand side by side in one network, one rule for each array:
so a few programs try them all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cases
import jax
import numpy as np
import optax
import pytest

from pullback import augment, checkpoint, tree
from pullback.augment import Compose
from pullback.data import Batches
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Dropout, Relu, chain
from pullback.optim import (
    SGD,
    AMSGrad,
    Averaging,
    Chain,
    ClipByNorm,
    Cosine,
    IterateAverage,
    Plateau,
    Split,
    Warmup,
    resolve,
)
from pullback.optim.core import Link, Outermost
from pullback.record import Record
from pullback.train import Kept, Plan, Progress, Selection, Task, begin, fit

# 50 examples in batches of 10: five steps an epoch. A smaller last batch, and layers that are
# measured, would each be a second copy of the step to compile; `test_resume` has both.
EPOCHS, STEPS = 4, 20
PICTURE = (4, 4, 1)
NET = chain(Affine(5), Relu(), Dropout(0.2), Affine(4), Relu(), Affine(2))
ARRAYS = [f"affine{i}/{name}" for i in (1, 2, 3) for name in ("bias", "weight")]


def batches(size: int = 10) -> Batches:
    draw = np.random.default_rng(0)
    x = draw.uniform(size=(50, 16)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[draw.integers(0, 2, 50)]
    return Batches(x, y, None, size, 0, limit_bytes=float("inf"))


def task_of(rule, **changes) -> Task:
    return Task(**{"net": NET, "loss": SoftmaxCrossEntropy(), "rule": rule} | changes)


@dataclass
class Moments:
    """Stop after so many steps; save to the disk what a checkpoint must hold."""

    folder: Path
    record: Record
    steps: int
    reached: int = 0

    def listen(self, tick):
        self.reached = tick.progress.step

    def interrupted(self):
        return self.reached >= self.steps

    def save(self, learner, progress, kept):
        held = tree.named({"learner": learner, "kept": kept})
        arrays = {name: np.asarray(leaf) for name, leaf in held.items()}
        checkpoint.save(self.folder, arrays, asdict(progress) | {"metrics_bytes": self.record.size})


def assert_resumes(folder: Path, task: Task, steps: int, size: int = 10, **how: Any) -> Progress:
    """Train whole, and stopped after so many steps: the same weights, states and rows, bit for bit.

    Returns the progress with which training ended.
    """
    plan = Plan(EPOCHS, evaluate_epochs=0, evaluate_steps=4, watch_epochs=0)
    data, whole, record = batches(size), Record(), Record()
    how["parts"] = {"validation": data}
    unbroken, ended = fit(task, data, plan, record=whole, **how)
    moments = Moments(folder, record, steps)
    fit(
        task,
        data,
        plan,
        record=record,
        save=moments.save,
        listen=moments.listen,
        interrupted=moments.interrupted,
        **how,
    )
    loaded = checkpoint.load_latest(folder)
    assert loaded is not None
    arrays, stored = loaded
    record.truncate(stored.pop("metrics_bytes"))
    progress = Progress(**stored)
    assert steps <= progress.step < ended.step
    like = begin(task, plan.seed, data.like())
    kept = Kept(like.params, like.state) if any(n.startswith("kept") for n in arrays) else None
    held = tree.restore({"learner": like, "kept": kept}, arrays)
    resumed, end = fit(
        task,
        data,
        plan,
        learner=held["learner"],
        progress=progress,
        kept=held["kept"],
        record=record,
        **how,
    )
    assert end == ended
    one, other = tree.named(unbroken), tree.named(resumed)
    assert one.keys() == other.keys()
    assert [n for n in one if np.asarray(one[n]).tobytes() != np.asarray(other[n]).tobytes()] == []
    assert list(record.rows()) == list(whole.rows())
    return end


def beside(rules) -> list:
    """Rules side by side, six in a network: each moves one array, the last what is left."""
    found = []
    for i in range(0, len(rules), len(ARRAYS)):
        some = rules[i : i + len(ARRAYS)]
        whole = some[-1]
        for array, rule in zip(ARRAYS, some[:-1], strict=False):
            whole = Split((array,), rule, whole)
        found.append(whole)
    return found


def stepping(rule: Any) -> Any:
    """The rule, put before one that takes steps if it takes none."""
    both: Any = (rule, SGD(0.1))
    return Chain(both) if isinstance(rule, Link) else rule


def stands_beside(rule) -> bool:
    """Whether a rule may be given one array of no particular name."""
    named = any(field.name == "on" for field in fields(rule))
    return not named and not isinstance(rule, Outermost | Averaging | Plateau)


CASES: list[Any] = cases.RULES

STEPPING = [stepping(rule) for rule in CASES]
TOGETHER = [rule for rule in STEPPING if stands_beside(rule)]
ALONE = [rule for rule in STEPPING if not stands_beside(rule)]


def test_every_rule_is_in_one_of_the_lists():
    assert len(TOGETHER) + len(ALONE) == len(cases.RULES)
    assert len(ALONE) < 10


@pytest.mark.parametrize("rule", beside(TOGETHER), ids=lambda rule: f"until {rule.on}")
def test_every_rule_side_by_side(tmp_path, rule):
    assert_resumes(tmp_path, task_of(rule), 12)


@pytest.mark.parametrize("rule", ALONE, ids=lambda rule: type(rule).__name__)
def test_every_rule_that_stands_alone(tmp_path, rule):
    assert_resumes(tmp_path, task_of(rule), 12)


@pytest.mark.parametrize(
    "rule", beside([SGD(resolve(s, 5, STEPS)) for s in cases.SCHEDULES]), ids=["first", "last"]
)
def test_every_schedule_side_by_side(tmp_path, rule):
    assert_resumes(tmp_path, task_of(rule), 12)


@pytest.mark.parametrize("method", cases.METHODS, ids=lambda method: type(method).__name__)
def test_every_second_order_method(tmp_path, method):
    net = chain(Affine(3), Relu(), Affine(2))
    assert_resumes(tmp_path, task_of(method, net=net), 2, size=50)


AUGMENTATIONS = (
    augment.Warp(shift=1, rotate=10, scale=0.1, shear=5, elastic=2),
    augment.Cutout(2),
    augment.Flip(),
    augment.Noise(0.1),
    augment.Mixup(0.3),
)


def test_every_augmentation_in_turn(tmp_path):
    public = {k for k in vars(augment).values() if isinstance(k, type)}
    kinds = {k for k in public if issubclass(k, augment.Augmentation)}
    assert {*map(type, AUGMENTATIONS)} == kinds - {augment.Augmentation, Compose}
    assert_resumes(tmp_path, task_of(SGD(0.1), augment=Compose(AUGMENTATIONS, PICTURE)), 12)


@pytest.mark.parametrize(
    ("selection", "ended"),
    [
        # So large a step that evaluations are soon no better; the best weights come back.
        (Selection(patience=3, min_delta=0.01), "patience"),
        (Selection(target=0.682, keep="best"), "target"),
    ],
    ids=["patience", "target"],
)
def test_every_stopping(tmp_path, selection, ended):
    rate = 2.0 if ended == "patience" else 0.2
    end = assert_resumes(tmp_path, task_of(SGD(rate)), 3, selection=selection)
    assert end.ended == ended


@pytest.mark.parametrize("steps", [1, 5, 13])
@pytest.mark.parametrize(
    "rule",
    [
        optax.adam(0.01),
        IterateAverage(
            Plateau(Chain((ClipByNorm(1.0), AMSGrad(Warmup(5, Cosine(0.01, length=20))))))
        ),
    ],
    ids=["of Optax", "of many parts"],
)
@jax.numpy_dtype_promotion("standard")  # Optax promotes implicitly
def test_at_other_moments_and_with_rules_of_optax(tmp_path, rule, steps):
    """After the first step, at the end of an epoch, and late."""
    assert_resumes(tmp_path, task_of(rule), steps)
