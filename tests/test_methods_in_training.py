"""Second-order methods in the place of a rule: the path of `minimise`, and what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import invoke, refused, result_of
from jax.flatten_util import ravel_pytree

from pullback import config
from pullback.augment import Compose, Noise
from pullback.catalogue.rule_cases import METHODS
from pullback.curvature import Objective
from pullback.data import Batches
from pullback.errors import ConfigError
from pullback.loss import SquaredError
from pullback.maps import Affine, Tanh, chain
from pullback.optim import LBFGS, Newton, minimise
from pullback.penalty import L1, L2, MaxNorm, Proximal, Sum
from pullback.record import Record
from pullback.train import Plan, Task, begin, fit

PENALTY = Sum((L2(0.05),))


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((30, 3))
    y = np.sin(x @ rng.standard_normal((3, 1)))
    return Batches(x, y, None, 30, 0, limit_bytes=float("inf"))


def task_of(method, penalty=PENALTY):
    return Task(
        chain(Affine(3), Tanh(), Affine(1)), SquaredError(), method, penalty, classifies=False
    )


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_training_takes_the_steps_of_minimise(method, batches):
    task, steps = task_of(method), 5
    learner = begin(task, 0, batches.like())
    chunk = next(batches.epoch(0))
    x, y, weight = (jnp.asarray(a) for a in (chunk.x, chunk.y, chunk.weight))
    objective = Objective(task.net, task.loss, task.penalty, learner.state, (x, y, weight))
    alone = minimise(method, objective, learner.params, steps, 1e-12)
    record = Record()
    trained, end = fit(task, batches, Plan(epochs=steps), record=record)
    assert (end.step, end.ended) == (steps, None)
    for ours, theirs in zip(*map(jax.tree.leaves, (trained.params, alone.params)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    losses = [row["loss"] for row in record.rows("step")]
    penalties = alone.values[:-1] - losses
    assert np.all(penalties > 0)  # what is recorded is the loss before each step
    first = float(task.penalty.value(begin(task, 0, batches.like()).params))
    np.testing.assert_allclose(penalties[0], first)


def test_training_ends_where_no_step_is_left(batches):
    """At the minimum the line search finds nothing lower but rounding."""
    task = task_of(LBFGS())
    trained, end = fit(task, batches, Plan(epochs=2000))
    assert end.ended == "stuck"
    assert end.step < 1000
    chunk = next(batches.epoch(0))
    batch = tuple(jnp.asarray(a) for a in (chunk.x, chunk.y, chunk.weight))
    objective = Objective(task.net, task.loss, task.penalty, trained.state, batch)
    gradient, _ = ravel_pytree(objective.gradient(trained.params))
    assert np.abs(gradient).max() < 1e-6


def test_a_stuck_method_stays_where_it_is():
    params = {"weight": jnp.array([[2.0]])}
    batch = (jnp.array([[1.0]]), jnp.array([[0.0]]), jnp.ones(1))
    line = Objective(Affine(1, bias=False), SquaredError(), Sum(), {}, batch)
    value, grads = line.value(params), line.gradient(params)
    method = Newton(0.0)
    state = method.init(params)
    updates, _ = method.descend(line, params, value, grads, state)
    assert float(updates["weight"][0, 0]) == -2
    updates, after = method.descend(
        line, params, value, grads, state._replace(stuck=jnp.array(True))
    )
    assert float(updates["weight"][0, 0]) == 0
    assert bool(after.stuck)


def test_a_mini_batch_is_refused(batches):
    x = next(batches.epoch(0)).x
    few = Batches(x, batches.targets, None, 10, 0, limit_bytes=float("inf"))
    with pytest.raises(ConfigError, match=r"sees all 30 examples in each step, got batches of 10"):
        fit(task_of(LBFGS()), few, Plan(epochs=1))


@pytest.mark.parametrize("penalty", [MaxNorm(1.0), Sum((Proximal(L1(0.1)),))], ids=str)
def test_a_penalty_that_acts_after_the_step_is_refused(penalty):
    with pytest.raises(ConfigError, match="acts by changing the weights after each step"):
        task_of(LBFGS(), penalty)


def test_augmentation_is_refused():
    with pytest.raises(ConfigError, match="augmentation changes the data"):
        Task(chain(Affine(1)), SquaredError(), LBFGS(), augment=Compose((Noise(0.1),)))


def test_a_method_is_no_part_of_a_rule():
    with pytest.raises(ConfigError, match=r"unknown name 'lbfgs' for rule.rules\[0\]"):
        config.parse({"rule": {"name": "chain", "rules": ["lbfgs", "sgd"]}}, "the test")


def test_a_method_goes_to_the_file_and_back():
    table = {"rule": {"name": "lbfgs", "history": 3}, "train": {"batch_size": "all"}}
    experiment = config.parse(table, "the test")
    assert experiment.rule.build() == LBFGS(3)
    assert config.plain(LBFGS(3)) == {"name": "lbfgs", "history": 3}
    assert experiment.train.batch(1078) == 1078
    assert 'batch_size = "all"' in experiment.toml()


ALL = ["-s", "rule=lbfgs", "-s", "train.batch_size=all", "-s", "check.enabled=false"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["-s", "network.dropout=0.5"], "LBFGS wants the same function in every step; Dropout"),
        (["-s", "train.batch_size=32"], "LBFGS sees all 1,078 examples in each step"),
        (
            ["-s", "rule.name=newton", "-s", "network.hidden=[3000, 3000]"],
            "Newton for 9,228,010 parameters holds",
        ),
        (["-s", "augment=[{name='noise', scale=0.1}]"], "augmentation changes the data"),
    ],
)
def test_what_a_method_cannot_do_is_one_sentence(tmp_path, settings, said):
    assert said in refused("train", *ALL, *settings, "--out", tmp_path / "run", code=2)
    assert not (tmp_path / "run").exists()


def test_lbfgs_trains_digits(tmp_path):
    """As a user would run it: as many steps of plain descent at a rate of 0.5 leave 0.9."""
    settings = ["-s", "train.epochs=30", "-s", "network.hidden=[16]"]
    invoke("train", *ALL, *settings, "--out", tmp_path / "run")
    assert result_of(tmp_path / "run")["final"]["train"]["loss"] < 0.3
