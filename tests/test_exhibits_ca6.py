"""Exhibits of CA6: smoothness along the step, gradient flow, pruning, and what zeros weigh."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import config, experiment, tensors, tree
from pullback.curvature import Objective
from pullback.experiment.over_peers import Given as Held
from pullback.experiment.over_peers import simulation_of
from pullback.loss import SquaredError
from pullback.maps import Affine
from pullback.model import load_model
from pullback.penalty import Sum
from pullback.prepared import prepare
from pullback.record import Record
from pullback.runs import RunFolder
from pullback.study.exhibits import Given
from pullback.study.exhibits.gradient_flow import gradient_flow
from pullback.study.exhibits.serial import serial_workers
from pullback.study.exhibits.smoothness import along, smoothness
from pullback.study.exhibits.sparsity import cut, pruning, sizes, without_dead_units
from pullback.train import begin, predictions

SMALL = {
    "loss": "softmax-cross-entropy",
    "data": {"source": "digits", "split": [0.8, 0.0, 0.2]},
    "network": {"hidden": [12, 8], "initializer": "he"},
    "rule": {"name": "sgd", "learning_rate": 0.2},
    "train": {"epochs": 3, "batch_size": 50},
    "check": {"enabled": False},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small network, trained under a group lasso that kills some of its units."""
    groups = {"name": "group-lasso", "strength": 0.02, "by": "inputs", "proximal": True}
    plan = config.parse({**SMALL, "penalty": [groups]}, "a test")
    run = tmp_path_factory.mktemp("runs") / "groups"
    assert experiment.train(plan, run).error is None
    return {"groups": plan}, {"groups": run}


def test_along_the_step_of_a_quadratic():
    """L = ½ mean ‖Xw − t‖²: its gradient changes by H times the step, and its values are known."""
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((20, 3)), rng.standard_normal((20, 1))
    with jax.enable_x64(True):
        batch = (jnp.asarray(x), jnp.asarray(t), jnp.ones(20))
        line = Objective(Affine(1, bias=False), SquaredError(), Sum(), {}, batch)
        w = rng.standard_normal((3, 1))
        lengths = np.array([0.1, 0.5, 2.0])
        found = along(line, {"weight": jnp.asarray(w)}, jnp.asarray(lengths))
    hessian = x.T @ x / 20
    slope = x.T @ (x @ w - t) / 20
    values = [0.5 * np.mean((x @ (w - s * slope) - t) ** 2) for s in lengths]
    np.testing.assert_allclose(found.slope, np.linalg.norm(slope), rtol=1e-10)
    np.testing.assert_allclose(found.values, values, rtol=1e-10)
    np.testing.assert_allclose(found.changes, lengths * np.linalg.norm(hessian @ slope), rtol=1e-10)


def test_smoothness_is_that_of_automatic_differentiation():
    """At step 0, by `jax.grad` of a network written out, on the same first weights."""
    plan = config.parse({**SMALL, "network": {"hidden": [6], "bias": False}}, "a test")
    shown = smoothness(
        Given(0, {"net": plan}, {}),
        variants={
            "none": {},
            "slow": {"rule.learning_rate": 0.05},
            "wild": {"rule.learning_rate": 1e30, "network.activation": "identity"},
        },
        steps=4,
        every=2,
        examples=40,
        lengths=(0.5, 2.0),
    )
    assert [chart.id for chart in shown.charts] == [
        "net-loss-along", "net-gradient-change", "net-smoothness",
    ]  # fmt: skip
    curve, *_ = shown.charts[2].panels[0].curves
    assert curve.x == (0.0, 2.0, 4.0)
    prepared = prepare(plan)
    few = prepared.loaded.train
    x, t = jnp.asarray(few.x[:40]), jnp.asarray(np.eye(10, dtype=np.float32)[few.y[:40]])
    params = begin(prepared.task, 0, prepared.like).params

    def loss(p):
        z = jax.nn.relu(x @ p["affine1"]["weight"]) @ p["affine2"]["weight"]
        return -jnp.mean(jnp.sum(t * jax.nn.log_softmax(z), axis=1))

    here = jax.grad(loss)(params)
    slope = float(tree.norm(here))
    betas = {}
    for length in (0.025, 0.1, 0.4):
        there = jax.grad(loss)(tree.add(params, tree.scale(-length, here)))
        change = float(tree.norm(tree.add(there, tree.scale(-1, here))))
        betas[length] = change / (length * slope)
    assert shown.numbers["none.beta-start"] == pytest.approx(max(betas[0.1], betas[0.4]), rel=1e-3)
    assert shown.numbers["slow.beta-start"] == pytest.approx(
        max(betas[0.025], betas[0.1]), rel=1e-3
    )
    assert shown.numbers["none.beta-ratio"] == 1
    assert 0 < shown.numbers["none.accuracy"] <= 1
    # It diverged: what was seen until then is told, and it has no accuracy.
    assert np.isnan(shown.numbers["wild.accuracy"])


def test_gradient_flow_is_what_the_runs_recorded(trained):
    _, runs = trained
    shown = gradient_flow(Given(0, {}, runs))
    *_, row = Record.read(RunFolder.open(runs["groups"]).metrics).rows("layers")
    delta = [row["layers"][f"affine{n}"]["delta"] for n in (1, 2, 3)]
    assert shown.numbers["groups.first-over-output"] == pytest.approx(delta[0] / delta[2])
    assert shown.numbers["groups.first-over-last"] == pytest.approx(delta[0] / delta[1])
    assert shown.numbers["groups.per-layer"] == pytest.approx(delta[0] / delta[1])
    assert shown.charts[0].panels[0].curves[0].y == pytest.approx(
        (delta[0] / delta[2], delta[1] / delta[2], 1.0)
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_smallest_weights_are_cut(share):
    rng = np.random.default_rng(1)
    params = {"a": {"weight": rng.standard_normal((4, 5)), "bias": np.full(5, 1e-9)}}
    params["b"] = {"weight": rng.standard_normal((5, 2))}
    found = cut(params, share)
    before = np.concatenate([params[k]["weight"].ravel() for k in "ab"])
    after = np.concatenate([found[k]["weight"].ravel() for k in "ab"])
    assert (after == 0).sum() == round(30 * share)
    gone = np.sort(np.abs(before[after == 0]))
    assert (gone == np.sort(np.abs(before))[: len(gone)]).all()
    np.testing.assert_array_equal(found["a"]["bias"], params["a"]["bias"])


def test_units_that_nobody_hears_are_dropped_and_nothing_changes():
    rng = np.random.default_rng(2)
    w1, w2, w3 = (rng.standard_normal(s) for s in ((6, 5), (5, 4), (4, 3)))
    w3[1] = 0  # nobody hears unit 1 of the second layer
    w2[3] = 0  # nor unit 3 of the first
    w2[2, [0, 2, 3]] = 0  # unit 2 is heard by the dead unit alone
    w1[4, [0, 1, 4]] = 0  # input 4 is heard by dead units alone
    b1, b2, b3 = (rng.standard_normal(n) for n in (5, 4, 3))
    layers = [{"weight": w, "bias": b} for w, b in ((w1, b1), (w2, b2), (w3, b3))]
    found = without_dead_units(layers)
    assert found.units == [3, 3]
    assert found.inputs.tolist() == [0, 1, 2, 3, 5]

    def forward(layers, x):
        for n, layer in enumerate(layers):
            x = (np.maximum(x, 0) if n else x) @ layer["weight"] + layer["bias"]
        return x

    x = rng.standard_normal((7, 6))
    np.testing.assert_allclose(
        forward(found.layers, x[:, found.inputs]), forward(layers, x), rtol=1e-12
    )


def test_a_network_of_zeros_keeps_a_unit_of_each_layer():
    layers = [{"weight": np.zeros((4, 3))}, {"weight": np.zeros((3, 2))}]
    found = without_dead_units(layers)
    assert (found.units, len(found.inputs)) == ([1], 1)
    assert [layer["weight"].shape for layer in found.layers] == [(1, 1), (1, 2)]


def test_networks_are_weighed(trained):
    plans, runs = trained
    shown = sizes(Given(0, plans, runs), repeats=2, examples=50)
    numbers = shown.numbers
    model = load_model(runs["groups"])
    weights = {n: np.asarray(model.params[f"affine{n}"]["weight"]) for n in (1, 2, 3)}
    zeros = sum(int((w == 0).sum()) for w in weights.values())
    assert numbers["groups.zeros"] == zeros / (64 * 12 + 12 * 8 + 8 * 10)
    assert 0 < numbers["groups.units"] < 1
    assert numbers["groups.bytes"] == len(tensors.encode(tree.named(model.params)))
    assert numbers["groups.compact-bytes"] < numbers["groups.bytes"]
    assert numbers["groups.bytes-ratio"] == 1
    assert numbers["groups.difference"] < 1e-5
    assert numbers["groups.milliseconds"] > 0


def test_a_trained_network_is_pruned(trained):
    plans, runs = trained
    given = Given(0, {"groups": plans["groups"]}, {"groups": runs["groups"]})
    shown = pruning(given, shares=(0.0, 0.5, 1.0), again=(0.8, 1.0), passes=20)
    numbers = shown.numbers
    model = load_model(runs["groups"])
    test = prepare(plans["groups"]).examples()["test"]
    params = jax.tree.map(np.asarray, model.params)
    for share in (0.0, 0.5, 1.0):
        guess = predictions(model.task, cut(params, share), model.state, test.x[:]).argmax(axis=1)
        assert numbers[f"accuracy-{share:g}"] == pytest.approx(np.mean(guess == test.y))
    assert numbers["lost-0.5"] == numbers["accuracy-0"] - numbers["accuracy-0.5"]
    assert numbers["share-at-half-a-point"] in (0.0, 0.5)
    assert numbers["bytes-1"] < numbers["bytes-0"]
    cut_alone = pruning(given, shares=(0.0, 0.8), again=()).numbers
    assert numbers["again-0.8"] > cut_alone["accuracy-0.8"] + 0.05
    assert numbers["again-1"] == numbers["accuracy-1"], "what is 0 stays 0"
    assert numbers["again-lost-0.8"] == numbers["accuracy-0"] - numbers["again-0.8"]
    assert [curve.name for curve in shown.charts[0].panels[0].curves] == ["cut", "trained again"]


def test_serial_workers_end_where_the_simulation_does():
    """Two rounds of workers one after another are two of all at once: the same average."""
    table = {
        **SMALL,
        "train": {"batch_size": 16},
        "rule": {"name": "momentum", "learning_rate": 0.1},
        "peers": {
            "topology": {"name": "star", "workers": 4, "hub_has_data": False},
            "algorithm": "fedavg",
            "local": {"length": 6},
            "rounds": 2,
        },
    }
    plan = config.parse(table, "a test")
    shown = serial_workers(Given(0, {"star": plan}, {}), rounds=2, points=2)
    prepared = prepare(plan)
    held = Held.of(prepared)
    together = simulation_of(prepared, held, Record())
    for t in (1, 2):
        together.run(1)
        accuracy = held.parts["test"].evaluate(prepared.task, together.learner())["accuracy"]
        assert shown.numbers[f"round-{t}.together"] == pytest.approx(accuracy, abs=0.003)
    one_by_one, side_by_side = (chart.panels[0].curves for chart in shown.charts)
    assert len(one_by_one) == 3
    # Of each round its beginning, two points and a gap.
    assert one_by_one[1].x == (6.0, 9.0, 12.0, 12.0, 24.0, 27.0, 30.0, 30.0)
    assert side_by_side[1].x == (0.0, 3.0, 6.0, 6.0, 6.0, 9.0, 12.0, 12.0)
    assert [y is None for y in side_by_side[1].y] == [False, False, False, True] * 2
    ends = [curve.y[2] for curve in one_by_one]
    assert shown.numbers["round-1.workers"] == pytest.approx(np.mean(ends))
    assert shown.numbers["round-1.spread"] == pytest.approx(np.ptp(ends))
