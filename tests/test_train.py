"""Training: the step by hand, the compiled run of steps, cuts, streams, divergence, Optax."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pullback import tree
from pullback.data import Batches
from pullback.errors import ConfigError, DivergedError
from pullback.loss import SoftmaxCrossEntropy, SquaredError
from pullback.maps import Affine, Relu, Run, Tanh, chain
from pullback.optim import SGD
from pullback.penalty import L2, Sum
from pullback.record import Record
from pullback.train import (
    Batch,
    Part,
    Plan,
    Progress,
    Selection,
    Task,
    begin,
    fit,
    predictions,
    step,
)
from pullback.train.stretch import Stretch, advance

TASK = Task(chain(Affine(5), Tanh(), Affine(3)), SoftmaxCrossEntropy(), SGD(0.3), L2(0.01))


def examples(n=50, d=4, k=3, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(dtype)
    y = np.eye(k, dtype=dtype)[np.argmax(x @ rng.standard_normal((d, k)).astype(dtype), axis=1)]
    return x, y


def batches(n=50, size=16, limit=float("inf"), **more):
    x, y = examples(n, **more)
    return Batches(x, y, None, size, 0, limit_bytes=limit)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_step_is_a_gradient_step_on_loss_and_penalty():
    x, y = map(jnp.asarray, examples())
    weight = jnp.linspace(0.5, 2, 50)
    learner = begin(TASK, 0, x)
    after, seen = step(TASK, learner, Batch(x, y, weight), Run(jax.random.key(0), True))

    def objective(params):
        z = TASK.net.forward(params, learner.state, x, Run())[0]
        return TASK.loss.forward(z, y, weight)[0] + TASK.penalty.value(params)

    expected = jax.tree.map(
        lambda w, g: w - 0.3 * g, learner.params, jax.grad(objective)(learner.params)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), after.params, expected
    )
    assert float(seen.outputs.sum()) == pytest.approx(
        float(objective(learner.params) - TASK.penalty.value(learner.params))
    )


def test_an_epoch_is_its_steps_one_by_one_with_a_smaller_last_batch():
    source = batches()
    learner, progress = fit(TASK, source, Plan(epochs=2, watch_epochs=2))
    assert (progress.epoch, progress.step) == (2, 8)
    expected = begin(TASK, 0, source.like())
    for epoch in range(2):
        (chunk,) = source.epoch(epoch)
        index = [*chunk.order[: chunk.full], chunk.rest]
        assert [len(i) for i in index] == [16, 16, 16, 2]
        for i in index:
            batch = Batch(*map(jnp.asarray, (chunk.x[i], chunk.y[i], chunk.weight[i])))
            expected, _ = step(TASK, expected, batch, Run(jax.random.key(0), True))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        learner.params,
        expected.params,
    )


@pytest.mark.parametrize("evaluate_steps", [0, 1, 3])
def test_looking_changes_nothing(evaluate_steps):
    plain, _ = fit(TASK, batches(), Plan(epochs=3, evaluate_epochs=0))
    parts = {"train": batches(), "validation": batches(20)}
    looked, _ = fit(
        TASK,
        batches(),
        Plan(epochs=3, evaluate_steps=evaluate_steps, checkpoint_steps=2),
        parts=parts,
    )
    assert_equal(plain, looked)


def test_between_epochs_some_parts_alone_are_evaluated():
    parts = {"train": batches(), "test": batches(20)}
    rows = {}
    for names in ((), ("test",)):
        record = Record()
        plan = Plan(3, evaluate_epochs=2, evaluate_steps=2, step_parts=names)
        fit(TASK, batches(), plan, parts=parts, record=record)
        rows[names] = {row["step"]: row for row in record.rows("evaluation")}
    # Four steps an epoch: all at the beginning, after the second epoch, and at the end.
    whole, some = rows[()], rows["test",]
    assert list(some) == [0, 2, 4, 6, 8, 10, 12]
    assert [step for step, row in some.items() if "train" in row] == [0, 8, 12]
    assert all(row == {k: whole[step][k] for k in row} for step, row in some.items())


def test_the_last_step_is_evaluated_on_every_part():
    parts = {"train": batches(), "test": batches(20)}
    for plan in (
        Plan(3, steps=6, evaluate_epochs=0, evaluate_steps=3, step_parts=("test",)),
        Plan(3, steps=8, evaluate_epochs=0, evaluate_steps=4, step_parts=("test",)),
        Plan(2, evaluate_epochs=0, evaluate_steps=4, step_parts=("test",)),
    ):
        _, end = fit(TASK, batches(), plan, parts=parts)
        assert end.last is not None
        assert {"train", "test"} <= end.last.keys()


def test_parts_that_cannot_be_evaluated_alone_are_refused():
    plan, parts = Plan(1, evaluate_steps=1, step_parts=("test",)), {"validation": batches(20)}
    with pytest.raises(ConfigError, match="no part 'test' to evaluate, there are: validation"):
        fit(TASK, batches(), plan, parts=parts)
    plan = dataclasses.replace(plan, step_parts=("validation",))
    with pytest.raises(ConfigError, match="evaluated on every part, got validation alone"):
        fit(TASK, batches(), plan, parts=parts, selection=Selection(patience=1))


@pytest.mark.parametrize("stop_after", [1, 2, 5, 7])
@pytest.mark.parametrize("rule", [SGD(0.3), optax.adam(0.01)], ids=["ours", "optax"])
@jax.numpy_dtype_promotion("standard")  # Optax promotes implicitly
def test_stopping_anywhere_and_going_on_is_bit_identical(stop_after, rule):
    task = Task(TASK.net, TASK.loss, rule, TASK.penalty)
    plan, parts = Plan(epochs=3, evaluate_steps=3), {"validation": batches(20)}
    whole = Record()
    unbroken, _ = fit(task, batches(), plan, parts=parts, record=whole)

    saved, record = [], Record()

    def save(learner, progress, kept):
        saved[:] = [jax.device_get(learner), Progress(**vars(progress)), record.size]

    def enough():
        return bool(ticks) and ticks[-1] >= stop_after

    ticks = []
    fit(
        task,
        batches(),
        plan,
        parts=parts,
        record=record,
        save=save,
        listen=lambda t: ticks.append(t.progress.step),
        interrupted=enough,
    )
    learner, progress, size = saved
    assert 0 < progress.step < 12
    record.truncate(size)
    resumed, end = fit(
        task,
        batches(),
        plan,
        parts=parts,
        record=record,
        learner=jax.device_put(learner),
        progress=progress,
    )
    assert_equal(unbroken, resumed)
    assert end.epoch == 3
    assert list(record.rows()) == list(whole.rows())


def test_streamed_data_visit_every_row_and_end_like_resident_ones():
    task = Task(
        chain(Affine(1)),
        SquaredError(),
        SGD(0.05),
        classifies=False,
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((203, 4)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0], [0.5], [3.0]], np.float32) + 0.7).astype(np.float32)
    streamed = Batches(x, y, None, 10, 0, limit_bytes=1000)
    assert streamed.streams
    record = Record()
    learner, _ = fit(task, streamed, Plan(epochs=30), parts={"train": streamed}, record=record)
    weights = tree.named(learner.params)
    np.testing.assert_allclose(weights["affine1/weight"][:, 0], [1, -2, 0.5, 3], atol=1e-3)
    np.testing.assert_allclose(weights["affine1/bias"], [0.7], atol=1e-3)
    last = list(record.rows("evaluation"))[-1]
    assert last["train"]["r2"] == pytest.approx(1, abs=1e-4)


def test_a_streamed_run_resumes_bit_identically_in_the_middle_of_an_epoch():
    source = batches(203, 10, limit=2000)
    assert len(list(source.epoch(0))) > 2
    unbroken, _ = fit(TASK, source, Plan(epochs=2))
    saved = []
    fit(TASK, source, Plan(epochs=2), save=lambda *a: saved.append(jax.device_get(a)),
        interrupted=iter([False, False, True]).__next__)  # fmt: skip
    learner, progress, _ = saved[-1]
    assert 0 < progress.step < 21
    resumed, _ = fit(
        TASK, source, Plan(epochs=2), learner=jax.device_put(learner), progress=progress
    )
    assert_equal(unbroken, resumed)


def test_rows_of_the_record():
    record = Record()
    parts = {"train": batches(), "validation": batches(20), "test": batches(21)}
    _, progress = fit(TASK, batches(), Plan(epochs=2, record_steps=2), parts=parts, record=record)
    steps = list(record.rows("step"))
    assert [(row["epoch"], row["step"]) for row in steps] == [(1, 2), (1, 4), (2, 6), (2, 8)]
    assert all(sum(row["outputs"]) == row["loss"] and len(row["outputs"]) == 3 for row in steps)
    evaluations = list(record.rows("evaluation"))
    assert [row["step"] for row in evaluations] == [0, 4, 8]
    assert set(evaluations[0]["test"]) == {"loss", "outputs", "accuracy"}
    assert progress.best is not None
    assert progress.best["value"] == min(row["validation"]["loss"] for row in evaluations)
    layers = list(record.rows("layers"))
    assert [row["step"] for row in layers] == [3, 7]  # the last full batch of each epoch
    assert set(layers[0]["layers"]) == {"affine1", "affine2"}
    norms = layers[0]["layers"]["affine1"]
    assert norms["ratio"] == pytest.approx(norms["update"] / norms["weight"], rel=1e-5)
    assert norms["update"] == pytest.approx(0.3 * norms["gradient"], rel=1e-5)


def test_evaluation_in_blocks_is_the_mean_over_all(monkeypatch):
    monkeypatch.setattr("pullback.train.measure.BLOCK", 7)
    x, y = examples(24, d=6, seed=3)
    weight = np.linspace(0, 2, 24, dtype=np.float32)
    task = Task(chain(Affine(3)), SoftmaxCrossEntropy(), SGD(0.1))
    learner = begin(task, 1, x)
    row = Part(Batches(x, y, weight, 5, 0, limit_bytes=float("inf")), True).evaluate(task, learner)
    z = task.net.forward(learner.params, learner.state, jnp.asarray(x), Run())[0]
    value, _ = task.loss.forward(z, jnp.asarray(y), jnp.asarray(weight))
    assert row["loss"] == pytest.approx(float(value), rel=1e-5)
    right = np.argmax(np.asarray(z), axis=1) == np.argmax(y, axis=1)
    assert row["accuracy"] == pytest.approx(float((weight * right).sum() / weight.sum()), rel=1e-6)
    np.testing.assert_allclose(
        predictions(task, learner.params, learner.state, x), task.loss.link(z), rtol=1e-5
    )


def test_r2_by_hand():
    x = np.zeros((4, 1), np.float32)
    y = np.array([[1.0, 5], [2, 5], [3, 5], [6, 5]], np.float32)
    task = Task(chain(Affine(2)), SquaredError(), SGD(0.1), classifies=False)
    learner = begin(task, 0, x)
    learner.params["affine1"]["bias"] = jnp.array([2.0, 5.0])
    row = Part(Batches(x, y, None, 4, 0, limit_bytes=float("inf")), False).evaluate(task, learner)
    # Σ(y − 2)² = 1 + 0 + 1 + 16 = 18 against Σ(y − 3)² = 4 + 1 + 0 + 9 = 14;
    # the constant target is met.
    assert row["r2"] == pytest.approx(((1 - 18 / 14) + 1) / 2, rel=1e-5)


@pytest.mark.parametrize(("rate", "words"), [(1e38, "infinite|nan"), (1e12, "infinite|nan")])
def test_divergence_stops_at_once_with_the_last_finite_weights(rate, words):
    task = Task(chain(Affine(5), Relu(), Affine(3)), SquaredError(), SGD(rate))
    record = Record()
    with pytest.raises(DivergedError, match=f"became ({words}) at epoch 1, step") as caught:
        fit(task, batches(400, 8), Plan(epochs=5), record=record)
    message = str(caught.value)
    assert "affine" in message or "relu" in message or "the loss" in message
    assert f"learning_rate={rate}" in message
    learner, progress = caught.value.last
    assert bool(tree.all_finite(learner))
    assert progress.step < 50
    assert all(np.isfinite(row["loss"]) for row in record.rows("step"))


def test_divergence_is_blamed_on_the_step_that_did_it():
    x, y = examples(64)
    x[37, 2] = np.inf
    source = Batches(x, y, None, 8, 0, limit_bytes=float("inf"))
    (chunk,) = source.epoch(0)
    bad = int(np.argwhere(chunk.order == 37)[0, 0])
    with pytest.raises(
        DivergedError, match=f"the input became infinite at epoch 1, step {bad + 1} "
    ) as caught:
        fit(TASK, source, Plan(epochs=1))
    assert caught.value.last[1].step == bad


def test_weights_that_break_in_the_last_step_of_an_epoch_are_seen():
    # The update of the only step overflows; its loss was finite.
    task = Task(chain(Affine(3)), SquaredError(), SGD(3e38))
    with pytest.raises(DivergedError, match=r"the (update|parameter)|gradient"):
        fit(task, batches(50, 50), Plan(epochs=1, evaluate_epochs=0))


def test_the_same_seed_gives_the_same_bits_and_another_gives_others():
    a, b, c = (fit(TASK, batches(), Plan(epochs=1, seed=s))[0] for s in (4, 4, 5))
    assert_equal(a, b)
    assert not np.array_equal(a.params["affine1"]["weight"], c.params["affine1"]["weight"])


def test_float64_is_float64_throughout():
    with jax.enable_x64(True):
        learner, _ = fit(TASK, batches(dtype=np.float64), Plan(epochs=1))
        kinds = {leaf.dtype for leaf in jax.tree.leaves(learner)}
        assert kinds - {np.dtype(np.int32)} == {np.dtype(np.float64)}  # steps are counted in int32


def test_a_plan_refuses_negative_numbers():
    with pytest.raises(ConfigError, match="evaluate_steps must be at least 0, got -1"):
        Plan(evaluate_steps=-1)


def test_penalties_add():
    task = Task(TASK.net, TASK.loss, TASK.rule, Sum((L2(0.004), L2(0.006))))
    a, _ = fit(TASK, batches(), Plan(epochs=1))
    b, _ = fit(task, batches(), Plan(epochs=1))
    jax.tree.map(
        lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-7), a.params, b.params
    )


def test_no_step_is_taken_after_one_whose_loss_is_not_finite():
    x, y = examples(48)
    x[20] = np.inf
    source = Batches(x, y, None, 4, 0, limit_bytes=float("inf"))
    (chunk,) = source.epoch(0)
    bad = int(np.argwhere(chunk.order == 20)[0, 0])
    assert bad < 11
    data = Batch(*map(jnp.asarray, (chunk.x, chunk.y, chunk.weight)))
    stretch = Stretch(chunk.order, chunk.rest, np.int32(chunk.full), np.int32(0))
    learner = begin(TASK, 0, source.like())
    key = jax.random.key(0)
    _, losses, finite = advance(TASK, learner, data, stretch, np.int32(0), np.int32(12), key)
    taken = np.asarray(losses).sum(axis=1)
    assert not finite
    assert np.isfinite(taken[:bad]).all()
    assert not np.isfinite(taken[bad])
    assert (taken[bad + 1 :] == 0).all()
