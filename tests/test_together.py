"""Several trials in one compiled program: they are what each would be alone."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from pullback.data import Batches
from pullback.errors import ConfigError
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, BatchNorm, Dropout, Tanh, chain
from pullback.optim import (
    SGD,
    Adam,
    Chain,
    ClipByNorm,
    Cosine,
    ExponentialAverage,
    Momentum,
    Plateau,
    RMSProp,
    WeightDecay,
)
from pullback.penalty import L1, L2, Proximal, Sum
from pullback.train import Part, Plan, Task, fit
from pullback.train.step import judged
from pullback.tune import Together, Trial, groups
from pullback.tune.numbers import numbers, with_numbers


def data(n=37, seed=0, order=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[(x[:, 0] * x[:, 1] > 0).astype(int)]
    return Batches(x, y, None, 8, order, limit_bytes=float("inf"))


TRAIN, HELD_OUT = data(), data(n=20, seed=1)


def trial(rule, penalty=Sum(), *, dropout=0.2, seed=0, batches=TRAIN, epochs=2):  # noqa: B008
    # Without the bias: before a batch-norm its gradient is 0, and Adam would scale up the rounding.
    net = chain(Affine(5, bias=False), BatchNorm(), Tanh(), Dropout(dropout), Affine(2))
    task = Task(net, SoftmaxCrossEntropy(), rule, penalty)
    return Trial(task, batches, {"train": batches, "validation": HELD_OUT}, seed, epochs)


def alone(each: Trial):
    plan = Plan(
        each.epochs,
        seed=each.seed,
        evaluate_epochs=0,
        watch_epochs=0,
        record_steps=0,
        checkpoint_epochs=0,
    )
    learner, _ = fit(each.task, each.batches, plan)
    rows = {
        name: Part(part, True).evaluate(each.task, learner) for name, part in each.parts.items()
    }
    return learner, rows


def assert_as_alone(trials):
    together = Together(trials)
    together.advance(3)  # a cut anywhere changes nothing
    rows = together.advance(1000)
    assert together.step == trials[0].epochs * together.steps_per_epoch
    assert together.done
    for i, each in enumerate(trials):
        learner, row = alone(each)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6),
            jax.tree.map(np.asarray, together.learner(i).params),
            jax.tree.map(np.asarray, learner.params),
        )
        for part in row:
            assert rows[i][part]["loss"] == pytest.approx(row[part]["loss"], rel=2e-5)
            assert rows[i][part]["accuracy"] == pytest.approx(row[part]["accuracy"])


def test_trials_that_differ_in_rates_strengths_dropout_and_seed_train_as_they_would_alone():
    trials = [
        trial(Momentum(0.1, 0.9), Sum((L2(0.0), Proximal(L1(0.01))))),
        trial(Momentum(0.3, 0.5), Sum((L2(0.01), Proximal(L1(0.0)))), dropout=0.5),
        trial(Momentum(0.03, 0.0), Sum((L2(0.1), Proximal(L1(0.001)))), seed=3),
    ]
    assert groups(trials) == [[0, 1, 2]]
    assert_as_alone(trials)


@pytest.mark.parametrize(
    "rules",
    [
        (Adam(0.01, eps=1e-8), Adam(0.1, eps=1e-3)),
        (Chain((ClipByNorm(0.1), SGD(0.5))), Chain((ClipByNorm(1.0), SGD(0.1)))),
        (WeightDecay(SGD(Cosine(0.5, 0.0, 10)), 0.1), WeightDecay(SGD(Cosine(0.2, 0.1, 10)), 0.01)),
    ],
    ids=["adam", "chain", "decay-and-schedule"],
)
def test_numbers_anywhere_in_a_rule_may_differ(rules):
    trials = [trial(rule, dropout=0.0, epochs=1) for rule in rules]
    assert groups(trials) == [[0, 1]]
    assert_as_alone(trials)


def test_trials_with_data_of_their_own_train_as_they_would_alone():
    other = data(seed=4, order=2)
    assert_as_alone(
        [trial(SGD(0.1), seed=1, epochs=1), trial(SGD(0.1), seed=2, batches=other, epochs=1)]
    )


def test_what_differs_in_shape_is_of_another_group():
    small, large = data(), data(n=40)
    trials = [
        trial(SGD(0.1)),
        trial(Momentum(0.1)),
        trial(SGD(0.2)),
        trial(SGD(0.1), batches=large),
        trial(SGD(0.3), batches=small),
    ]
    assert groups(trials) == [[0, 2, 4], [1], [3]]


def test_a_number_that_the_flow_depends_on_parts_the_trials_by_its_value():
    trials = [trial(RMSProp(rate, momentum=m)) for rate in (0.1, 0.2) for m in (0.0, 0.9)]
    assert groups(trials) == [[0, 2], [1, 3]]


def test_a_trial_that_diverges_hurts_no_other():
    trials = [trial(SGD(0.1), dropout=0.0), trial(SGD(1e38), dropout=0.0)]
    rows = Together(trials).advance(10)
    assert not np.isfinite(rows[1]["train"]["loss"])
    assert rows[0]["train"]["loss"] == pytest.approx(alone(trials[0])[1]["train"]["loss"], rel=2e-5)


def test_those_that_are_kept_go_on_as_before():
    trials = [trial(SGD(rate), seed=seed) for rate, seed in ((0.1, 0), (0.2, 1), (0.3, 2))]
    together = Together(trials)
    together.advance(5)
    together.keep([2, 0])
    rows = together.advance(10)
    for i, row in zip((2, 0), rows, strict=True):
        assert row["train"]["loss"] == pytest.approx(alone(trials[i])[1]["train"]["loss"], rel=2e-5)


def test_streamed_data_are_refused():
    streamed = Batches(TRAIN.x, TRAIN.targets, None, 8, 0, limit_bytes=100)
    with pytest.raises(ConfigError, match="fit into memory"):
        Together([trial(SGD(0.1), batches=streamed)])


def test_a_rule_that_watches_evaluations_is_refused():
    with pytest.raises(ConfigError, match="plateau"):
        Together([trial(Plateau(SGD(0.1)))])


def test_an_average_of_the_weights_is_what_is_evaluated():
    trials = [trial(ExponentialAverage(SGD(rate), 0.5), dropout=0.0) for rate in (0.1, 0.3)]
    rows = Together(trials).advance(10)
    learner, _ = alone(trials[0])
    wanted = Part(HELD_OUT, True).evaluate(trials[0].task, judged(trials[0].task, learner))
    assert rows[0]["validation"]["loss"] == pytest.approx(wanted["loss"], rel=2e-5)


def test_numbers_come_out_and_go_back():
    task = trial(Momentum(0.25, 0.75), Sum((L2(0.5),))).task
    held = numbers(task)
    assert held["rule/momentum"] == 0.75
    assert held["penalty/terms/0/strength"] == 0.5
    assert with_numbers(task, held) == task
    assert with_numbers(task, {"rule/momentum": 0.5}).rule == Momentum(0.25, 0.5)
