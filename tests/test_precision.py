"""Rounded products: what is rounded, by how much, and what becomes of training."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import config, experiment
from pullback.arithmetic import (
    factor,
    product,
    product_over_batch,
    product_over_outputs,
    products,
)
from pullback.data import Batches
from pullback.errors import ConfigError
from pullback.estimators import NetworkClassifier
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Conv, DropConnect, LowRankAffine, Run, Selu, chain
from pullback.optim import LBFGS, SGD
from pullback.sweep import sweep
from pullback.train import Batch, Task, begin, step, try_products
from pullback.train.trial import Trial
from pullback.tune.search import search

TRAINING = Run(jax.random.key(1), True)
MAPS = {
    "affine": (Affine(6), (8, 5)),
    "low-rank": (LowRankAffine(6, rank=2), (8, 5)),
    "drop-connect": (DropConnect(6, rate=0.25), (8, 5)),
    "conv": (Conv(4, size=3), (2, 6, 6, 3)),
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rounded(x):
    return np.asarray(x, np.float32).astype(jnp.bfloat16).astype(np.float32)


def passes(map, params, x, dy):
    y, saved, _ = map.forward(params, {}, x, TRAINING)
    return y, map.reverse(params, saved, dy)


def test_a_product_is_that_of_the_rounded_factors():
    x, w = jnp.asarray(normal(7, 50)), jnp.asarray(normal(50, 3, seed=1))
    with products("bfloat16"):
        found, turned = product(x, w), product_over_batch(x.T, w)
        back = product_over_outputs(x, w.T)
    for each in (found, turned, back):
        assert each.dtype == jnp.float32
        np.testing.assert_allclose(each, rounded(x) @ rounded(w), rtol=1e-5, atol=1e-5)
        assert np.max(np.abs(each - x @ w)) > 1e-3


def test_other_types_and_full_products_are_left_alone():
    x, w = jnp.asarray(normal(7, 50)), jnp.asarray(normal(50, 3))
    assert factor(x) is x
    assert jnp.array_equal(product(x, w), x @ w)
    with jax.enable_x64(True), products("bfloat16"):
        wide = jnp.asarray(np.asarray(x), jnp.float64)
        assert factor(wide) is wide


@pytest.mark.parametrize("name", MAPS)
def test_a_map_rounds_the_factors_of_all_its_products(name):
    map, shape = MAPS[name]
    x = jnp.asarray(normal(*shape))
    params, _ = map.init(jax.random.key(0), x)
    dy = jnp.asarray(normal(*map.forward(params, {}, x, TRAINING)[0].shape, seed=2))
    exact = passes(map, params, x, dy)
    with products("bfloat16"):
        text = jax.jit(lambda *a: passes(map, *a)).lower(params, x, dy).as_text()
        close = passes(map, params, x, dy)
    lines = [line for line in text.splitlines() if "dot_general" in line or "convolution" in line]
    assert len(lines) == (6 if name == "low-rank" else 3)
    for line in lines:
        types = line.split(" : ")[-1]
        assert types.count("bf16>") == 2, line
        assert types.rstrip().endswith("xf32>"), line
    for ours, theirs in zip(jax.tree.leaves(close), jax.tree.leaves(exact), strict=True):
        assert ours.dtype == theirs.dtype == jnp.float32
        scale = np.max(np.abs(theirs))
        np.testing.assert_allclose(ours, theirs, atol=0.02 * scale)
    assert not jnp.array_equal(close[0], exact[0])


def test_the_reverse_reads_the_weight_as_it_lies():
    # What XLA turns it makes float32 of first, and multiplies as such.
    with products("bfloat16"):
        text = jax.jit(product_over_outputs).lower(jnp.ones((8, 6)), jnp.ones((5, 6))).as_text()
    assert "contracting_dims = [1] x [1]" in text
    assert "transpose" not in text


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 54, 10), (2, 784, 1), (7, 3, 2), (100, 50, 17)])
def test_rounded_products_of_any_shape_run(shape):
    # A product that no kernel of a processor takes fails only as the program runs.
    n, d, m = shape
    x, w, dy = (jnp.asarray(normal(*each)) for each in ((n, d), (d, m), (n, m)))

    def passes(x, w, dy):
        return product(x, w), product_over_batch(x, dy), product_over_outputs(dy, w)

    with products("bfloat16"):
        found = jax.jit(passes)(x, w, dy)
    a, b, c = rounded(x), rounded(w), rounded(dy)
    for each, wanted in zip(found, (a @ b, a.T @ c, c @ b.T), strict=True):
        np.testing.assert_allclose(each, wanted, rtol=1e-5, atol=1e-4)


def problem(**more):
    net = chain(Affine(16), Selu(), Affine(3))
    return Task(net, SoftmaxCrossEntropy(), SGD(0.1), **more)


def test_a_step_keeps_all_but_the_factors_in_float32():
    exact, close = problem(), problem(products="bfloat16")
    x, y = jnp.asarray(normal(9, 4)), jnp.eye(3)[jnp.arange(9) % 3]
    batch = Batch(x, y, jnp.ones(9))
    learner = begin(exact, 0, x)
    results = [jax.jit(step, static_argnums=0)(t, learner, batch, TRAINING) for t in (exact, close)]
    (full, _), (rough, seen) = results
    held = jax.tree.leaves((rough.params, rough.state, seen.grads, seen.wires, seen.updates))
    assert {leaf.dtype for leaf in held} == {jnp.dtype("float32")}
    for a, b in zip(jax.tree.leaves(rough.params), jax.tree.leaves(full.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
        assert not jnp.array_equal(a, b)


def test_the_trial_takes_the_faster_and_trains_nothing(monkeypatch):
    task, targets = problem(), np.eye(3, dtype=np.float32)[np.arange(50) % 3]
    batches = Batches(normal(50, 4), targets, None, 20, 0, np.inf)
    found = try_products(task, batches, 0)
    assert set(found.seconds) == {"full", "bfloat16"}
    assert all(took > 0 for took in found.seconds.values())
    for ratio, wanted in ((0.5, "bfloat16"), (2.0, "full")):
        taken = {"full": 1.0, "bfloat16": ratio}
        monkeypatch.setattr(
            "pullback.train.trial._Walk.seconds",
            lambda self, task, steps, taken=taken: taken[task.products] * steps,
        )
        tried = try_products(task, batches, 0)
        assert (tried.products, tried.seconds) == (wanted, pytest.approx(taken))


SMALL = {
    "network": {"hidden": [8]},
    "train": {"epochs": 2},
    "check": {"enabled": False},
}


def test_what_a_trial_chose_is_kept_when_a_run_goes_on(tmp_path, monkeypatch):
    chosen = Trial("bfloat16", {"full": 2e-4, "bfloat16": 1e-4})
    monkeypatch.setattr("pullback.experiment.precision.try_products", lambda *_: chosen)
    whole = experiment.train(
        config.parse(SMALL | {"precision": "bfloat16"}, "test"), tmp_path / "a"
    )
    asked = iter([False, True])
    plan = config.parse(SMALL | {"precision": "auto"}, "test")
    begun = experiment.train(plan, tmp_path / "b", interrupted=lambda: next(asked, True))
    assert begun.result["status"] == "interrupted"
    monkeypatch.setattr("pullback.experiment.precision.try_products", None)
    ended = experiment.resume(tmp_path / "b")
    assert ended.result["final"] == whole.result["final"]
    assert ended.result["precision"] == {
        "asked": "auto",
        "products": "bfloat16",
        "step_seconds": chosen.seconds,
    }
    assert "bfloat16 products: a step took 100 µs with them, 200 µs with full ones" in ended.text()
    meta = json.loads((tmp_path / "b" / "meta.json").read_text())
    assert meta["precision"] == ended.result["precision"]
    assert config.read(tmp_path / "b" / "config.toml").precision == "auto"
    older = {key: value for key, value in ended.result.items() if key != "precision"}
    assert "products" not in replace(ended, result=older).text()


def test_digits_are_learnt_as_well_as_in_float32(tmp_path):
    plan = {"train": {"epochs": 20}, "check": {"enabled": False}}
    scores = [
        experiment.train(config.parse(plan | {"precision": each}, "test"), tmp_path / each)
        for each in ("float32", "bfloat16")
    ]
    full, rough = (outcome.result["final"]["test"] for outcome in scores)
    assert rough["accuracy"] == pytest.approx(full["accuracy"], abs=0.015)
    assert rough["loss"] != full["loss"]


def test_a_network_of_workers_rounds_too(tmp_path):
    plan = SMALL | {"peers": {"topology": {"name": "star", "workers": 3}, "rounds": 2}}
    plan |= {"train": {}}
    full, rough = (
        experiment.train(config.parse(plan | {"precision": each}, "test"), tmp_path / each)
        for each in ("float32", "bfloat16")
    )
    close = [each.result["final"]["test"]["loss"] for each in (full, rough)]
    assert close[0] != close[1]
    assert close[0] == pytest.approx(close[1], rel=0.01)


def test_an_estimator_rounds_if_it_is_asked():
    x, y = normal(200, 5), (normal(200, 1, seed=3)[:, 0] > 0).astype(int)
    models = [
        NetworkClassifier((8,), epochs=3, patience=0, precision=each, random_state=0).fit(x, y)
        for each in ("float32", "bfloat16")
    ]
    full, rough = (model.predict_proba(x) for model in models)
    assert rough.dtype == np.float32
    assert not np.array_equal(full, rough)
    np.testing.assert_allclose(full, rough, atol=0.02)


def test_a_second_order_method_wants_full_products():
    with pytest.raises(ConfigError, match="products of bfloat16"):
        replace(problem(), rule=LBFGS(), products="bfloat16")


@pytest.mark.parametrize(
    ("more", "go"),
    [
        ({"tune": {"space": {"rule.learning_rate": {"low": 0.1, "high": 1.0}}}}, search),
        (
            {
                "peers": {"topology": {"name": "ring", "workers": 3}, "rounds": 2},
                "sweep": {"axes": {"rule.learning_rate": [0.1, 0.2]}},
                "train": {},
            },
            sweep,
        ),
    ],
)
def test_many_trainings_are_not_settled_one_by_one(more, go, tmp_path):
    plan = config.parse(SMALL | {"precision": "auto"} | more, "test")
    with pytest.raises(ConfigError, match="'auto' is settled anew by each training"):
        go(plan, tmp_path / "many")
