"""Networks made to have each disease, a healthy one, and the boundaries of each verdict."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import invoke, refused, settings

from pullback import config
from pullback.diagnose import diagnose, judge, learning_curve, rate_range
from pullback.diagnose.flow import FADED, fading_finding, flow_findings, layer_flows
from pullback.diagnose.learning_curve import Point, _Trainer, promised
from pullback.diagnose.rate_range import read_range, with_rate
from pullback.diagnose.units import LayerUnits, layer_units, unit_findings
from pullback.errors import ConfigError, DivergedError
from pullback.experiment import train
from pullback.loss import SquaredError
from pullback.maps import Affine, LeakyRelu, Map, Relu, Sigmoid, Tanh, chain
from pullback.optim import SGD, Cosine, Momentum
from pullback.prepared import prepare
from pullback.train import Batch, Learner, Task, predictions
from pullback.train.stretch import advance

OFF = {"check": {"enabled": False}, "checkpoint": {"epochs": 0}}


def experiment(**sections):
    return config.parse(OFF | sections, "a test")


def diagnosed(folder: Path, **sections):
    train(experiment(**sections), folder)
    return diagnose(folder)


def kinds(diagnosis) -> list[str]:
    return [finding.kind for finding in diagnosis.findings]


# Bias and variance


@pytest.mark.parametrize(
    ("train", "validation", "verdict", "grades"),
    [
        (0.0, 0.0, "neither", ("low", "low")),
        (0.0099, 0.0198, "neither", ("low", "low")),
        (0.01, 0.01, "bias", ("moderate", "low")),
        (0.0999, 0.0999, "bias", ("moderate", "low")),
        (0.1, 0.1, "bias", ("high", "low")),
        (0.0, 0.01, "variance", ("low", "moderate")),
        (0.02, 0.03, "both", ("moderate", "moderate")),  # 0.03 − 0.02 is 0.0099… in floats
        (0.0, 0.1, "variance", ("low", "high")),
        (0.0, 0.2, "variance", ("low", "high")),  # the notes ask E(validation) ≲ 10 ε
        (0.1, 0.25, "both", ("high", "high")),
        (0.05, 0.01, "bias", ("moderate", "low")),
        (0.05, None, "bias", ("moderate", "unknown")),
        (0.0, None, "unknown", ("low", "unknown")),
    ],
)
def test_a_verdict_begins_at_its_boundary(train, validation, verdict, grades):
    found = judge(train, validation)
    assert found.verdict == verdict
    assert (found.bias_grade, found.variance_grade) == grades
    wanted = {"both": ["bias", "variance"], "neither": [], "unknown": []}.get(verdict, [verdict])
    assert [finding.kind for finding in found.findings()] == wanted


def test_errors_are_judged_above_the_best_that_is_assumed():
    assert judge(0.15, 0.16, best=0.15).variance_grade == "moderate"
    assert judge(0.15, 0.15, best=0.15).verdict == "neither"
    learned_by_heart = judge(0.0, 0.15, best=0.15)
    assert learned_by_heart.verdict == "neither"
    assert learned_by_heart.bias == -0.15


def test_a_gap_within_two_standard_errors_is_no_variance():
    # √(0.1 · 0.9/100 + 0.05 · 0.95/400) = 0.0319
    found = judge(0.05, 0.1, counts=(400, 100))
    assert found.noise == pytest.approx(0.0319, abs=1e-4)
    assert found.variance_grade == "low"
    assert judge(0.05, 0.1, counts=(4000, 1000)).variance_grade == "moderate"


@pytest.mark.parametrize("wrong", [{"best": 1.0}, {"best": -0.1}, {"tolerance": 0.0}])
def test_a_best_error_or_a_tolerance_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match="must be in"):
        judge(0.1, 0.2, **wrong)


# Gradients and updates, from records made by hand


def rows(deltas, gradients=((1.0, 1.0, 1.0),), ratios=(1e-3, 1e-3, 1e-3), weight=1.0):
    """A row for each triple of gradients, with the same δ and the same ratios in each."""
    return [
        {
            "epoch": epoch,
            "layers": {
                name: {
                    "delta": delta,
                    "gradient": gradient,
                    "weight": weight,
                    "update": ratio,
                    "ratio": ratio,
                }
                for name, delta, gradient, ratio in zip("abc", deltas, each, ratios, strict=True)
            },
        }
        for epoch, each in enumerate(gradients, start=1)
    ]


def found(*args, **kwargs):
    findings = flow_findings(layer_flows(rows(*args, **kwargs), "abc"))
    return [(finding.kind, finding.layers) for finding in findings]


def test_gradients_fade_or_grow_beyond_a_factor_of_a_thousand():
    assert found((2.0, 2.0, 2.0)) == []
    assert found((2e-3, 2.0, 2.0)) == []
    assert found((1.99e-3, 1e-3, 2.0)) == [("vanishing gradients", ("a", "b"))]
    assert found((2e3, 2.0, 2.0)) == []
    assert found((2.01e3, 2.0, 2.0)) == [("exploding gradients", ("a",))]
    assert found((0.0, 0.0, 2.0)) == [("vanishing gradients", ("a", "b"))]


def test_a_network_that_learns_no_more_has_no_signal_to_compare():
    assert found((0.0, 0.0, 0.0)) == []
    assert flow_findings([]) == []


def test_the_factor_of_one_layer_is_told():
    (finding,) = flow_findings(layer_flows(rows((1e-4, 1e-2, 1.0)), "abc"))
    assert "a factor of 0.01 for each of 2 layers" in finding.says
    assert finding.numbers == {"a": pytest.approx(1e-4)}


def test_a_gradient_that_bursts_in_time_is_exploding():
    steady, burst = ((1.0, 1.0, 1.0), (999.0, 1.0, 1.0)), ((1.0, 1.0, 1.0), (1001.0, 1.0, 1.0))
    assert found((1.0, 1.0, 1.0), steady) == []
    assert found((1.0, 1.0, 1.0), burst) == [("exploding gradients", ("a",))]


def test_a_gradient_that_has_gone_is_told_only_of_the_whole():
    alive = rows((1.0, 1.0, 1.0), ((3.0, 4.0, 0.0), (0.0, 0.0, 5.01 * FADED)))
    gone = rows((1.0, 1.0, 1.0), ((3.0, 4.0, 0.0), (0.0, 0.0, 4.99 * FADED)))
    assert fading_finding(alive) == fading_finding(alive[:1]) == fading_finding([]) == []
    (finding,) = fading_finding(gone)
    assert finding.kind == "vanishing gradients"
    assert finding.numbers == {"first": 5.0, "last": pytest.approx(4.99 * FADED)}


def test_updates_are_small_if_never_larger_and_large_in_the_median():
    one = (1.0, 1.0, 1.0)
    assert found(one, ratios=(1e-5, 0.1, 1e-3)) == []
    assert found(one, ratios=(9.9e-6, 1e-3, 1e-3)) == [("small updates", ("a",))]
    assert found(one, ratios=(1e-3, 0.11, 1e-3)) == [("large updates", ("b",))]
    assert found(one, ratios=(1e-3, 0.0, 1e-3)) == []  # frozen: it has a gradient and never moves
    assert found(one, ratios=(0.5, 0.5, 0.5), weight=0.0) == []  # relative to nothing


# Units, of weights set by hand


def one_unit_each(activation: Map, biases: list[float], x: np.ndarray) -> list[LayerUnits]:
    """Units x + bias behind an activation, of one feature."""
    net = chain(Affine(len(biases)), activation, Affine(1))
    task = Task(net, SquaredError(), SGD(0.1), classifies=False)
    params, state = net.init(jax.random.key(0), x[:, None])
    params["affine1"] = {
        "weight": jnp.ones((1, len(biases)), jnp.float32),
        "bias": jnp.array(biases, jnp.float32),
    }
    weight = np.ones(len(x), np.float32)
    batch = Batch(x[:, None], np.zeros((len(x), 1), np.float32), weight)
    return layer_units(task, params, state, [batch, batch])


def test_open_shares_are_counted_as_by_numpy_over_blocks_that_overlap():
    x = np.random.default_rng(0).normal(size=2500).astype(np.float32)
    (layer,) = one_unit_each(Relu(), [0.5, -1.0, -10.0], x)
    wanted = [float(np.mean(x + bias > 0)) for bias in (0.5, -1.0, -10.0)]
    assert layer.open == pytest.approx(wanted, abs=1e-12)
    assert layer.off == pytest.approx(1 / 3)


def test_relu_with_biases_of_minus_ten_is_dead():
    x = np.linspace(-1, 1, 40, dtype=np.float32)
    layers = one_unit_each(Relu(), [-10.0] * 3 + [0.0] * 7, x)
    (finding,) = unit_findings(layers)
    assert (finding.kind, finding.layers) == ("dead units", ("relu1",))
    assert finding.numbers == {"relu1": pytest.approx(0.3)}
    assert unit_findings(one_unit_each(Relu(), [0.0] * 10, x)) == []


@pytest.mark.parametrize("activation", [Tanh(), Sigmoid()])
def test_a_bounded_activation_far_out_is_saturated(activation):
    x = np.linspace(-1, 1, 40, dtype=np.float32)
    (finding,) = unit_findings(one_unit_each(activation, [-9.0, 9.0, 0.0, 1.0], x))
    assert finding.kind == "saturated units"
    assert finding.numbers == {f"{type(activation).__name__.lower()}1": 0.5}
    assert unit_findings(one_unit_each(activation, [0.0] * 4, x)) == []


def test_a_unit_is_open_where_the_slope_is_a_twentieth_of_the_steepest():
    x = np.random.default_rng(0).normal(size=200).astype(np.float32)
    (layer,) = one_unit_each(Tanh(), [0.5, 2.0], x)
    wanted = [float(np.mean(1 - np.tanh(x + bias) ** 2 >= 0.05)) for bias in (0.5, 2.0)]
    assert layer.open == pytest.approx(wanted, abs=1e-12)


def test_a_rectifier_that_is_rarely_open_is_alive_and_a_bounded_unit_is_not():
    shares = (0.0, 0.03, 0.06, 1.0)
    assert LayerUnits("a", "Relu()", "rectifier", shares).off == 0.25
    assert LayerUnits("a", "Tanh()", "bounded", shares).off == 0.5


def test_an_output_that_is_sure_is_not_saturated():
    x = np.full((4, 1), 50.0, np.float32)
    net = chain(Affine(1), Sigmoid())
    task = Task(net, SquaredError(), SGD(0.1), classifies=False)
    batch = Batch(x, np.zeros((4, 1), np.float32), np.ones(4, np.float32))
    assert layer_units(task, *net.init(jax.random.key(0), x), [batch]) == []


def test_what_leaks_cannot_die():
    assert one_unit_each(LeakyRelu(), [-10.0], np.zeros(4, np.float32)) == []


# Runs

CIRCLES = {"source": "circles", "n": 500, "noise": 0.05}
TRAIN = {"epochs": 5, "batch_size": 16}


def test_a_healthy_run_gets_a_clean_bill(tmp_path):
    diagnosis = diagnosed(
        tmp_path / "run",
        data=CIRCLES,
        network={"hidden": [32]},
        rule={"learning_rate": 0.3},
        train=TRAIN | {"epochs": 30},
    )
    assert diagnosis.findings == ()
    assert diagnosis.judgement.verdict == "neither"
    assert "Nothing was found wrong." in str(diagnosis)
    assert (len(diagnosis.flows), len(diagnosis.units)) == (2, 1)


def test_a_linear_model_of_circles_has_a_bias(tmp_path):
    diagnosis = diagnosed(
        tmp_path / "run", data=CIRCLES, network={"hidden": []}, train=TRAIN, record={"layers": 0}
    )
    assert kinds(diagnosis) == ["bias"]
    assert diagnosis.judgement.bias_grade == "high"
    assert "set record.layers" in str(diagnosis)


def test_a_large_network_on_fifty_examples_has_a_variance(tmp_path):
    diagnosis = diagnosed(
        tmp_path / "run",
        data={"source": "digits", "split": [0.028, 0.472, 0.5]},
        network={"hidden": [200]},
        train={"epochs": 60, "batch_size": 25},
    )
    assert diagnosis.judgement.train == 0
    assert diagnosis.judgement.verdict == "variance"
    assert kinds(diagnosis)[-1] == "variance"
    assert diagnosis.judgement.variance_grade == "high"


def test_gradients_vanish_in_a_deep_sigmoid_network(tmp_path):
    diagnosis = diagnosed(
        tmp_path / "run",
        data=CIRCLES,
        network={"hidden": [8] * 10, "activation": "sigmoid", "initializer": "glorot"},
        train=TRAIN | {"epochs": 2},
    )
    assert kinds(diagnosis)[0] == "vanishing gradients"
    assert kinds(diagnosis)[-1] == "bias"
    assert diagnosis.findings[0].layers[0] == "affine1"
    signals = [flow.signal for flow in diagnosis.flows]
    assert signals == sorted(signals)


def test_weights_that_are_all_negative_kill_relu_on_pictures(tmp_path):
    diagnosis = diagnosed(
        tmp_path / "run",
        network={"hidden": [8], "initializer": {"name": "constant", "value": -1.0}},
        train={"epochs": 1, "batch_size": 100},
    )
    (dead,) = [finding for finding in diagnosis.findings if finding.kind == "dead units"]
    assert dead.numbers == {"relu1": 1.0}


def test_large_weights_saturate_tanh(tmp_path):
    diagnosis = diagnosed(
        tmp_path / "run",
        data={"source": "digits", "standardize": True},
        network={
            "hidden": [8],
            "activation": "tanh",
            "initializer": {"name": "normal", "scale": 40.0},
        },
        train={"epochs": 1, "batch_size": 100},
    )
    (flat,) = [finding for finding in diagnosis.findings if finding.kind == "saturated units"]
    assert flat.numbers["tanh1"] > 0.5


def test_a_run_that_diverged_says_so_first(tmp_path):
    outcome = train(
        experiment(
            data={"source": "circles", "n": 100},
            loss="squared-error",
            rule={"learning_rate": 1e6},
            train=TRAIN,
        ),
        tmp_path / "run",
    )
    assert isinstance(outcome.error, DivergedError)
    assert kinds(diagnose(tmp_path / "run"))[0] == "diverged"


# The range test


def test_a_range_is_read_where_its_curve_is_known():
    rates = 1e-5 * 10 ** (np.arange(201) / 40)  # five decades
    decades = np.log10(rates)
    # Flat, a smooth fall centred at 1e-2, then up and away from 1e-1.
    losses = 2 - 1.5 / (1 + np.exp(-6 * (decades + 2))) + 200 * np.maximum(decades + 0.7, 0) ** 2
    losses[decades > -0.1] = np.nan
    found = read_range("a test", rates, losses)
    assert found.steepest == pytest.approx(1e-2, rel=0.2)
    assert found.lowest is not None
    assert 0.1 < found.lowest <= 0.25
    assert found.diverged is not None
    assert found.lowest < found.diverged < 0.9
    assert found.tenth == found.lowest / 10
    assert len(found.rates) == len(found.losses) == len(found.smooth) < 180


def test_a_fall_beyond_the_lowest_loss_is_no_suggestion():
    steps = np.arange(200)
    losses = np.interp(steps, [0, 50, 100, 150, 155, 199], [2.0, 2.0, 1.0, 2.7, 1.3, 2.5])
    found = read_range("a test", np.logspace(-6, 1, 200), losses)
    assert found.steepest is not None
    assert found.lowest is not None
    assert found.steepest < found.lowest < 1e-2


def test_a_loss_that_never_falls_suggests_nothing():
    rates = np.logspace(-5, 0, 50)
    found = read_range("a test", rates, np.full(50, 2.0))
    assert found.steepest is found.lowest is found.tenth is found.diverged is None
    assert "see whether the derivatives are right" in str(found)


def test_the_lowest_of_noisy_losses_is_no_suggestion():
    losses = 2 + 0.5 * np.random.default_rng(0).normal(size=200)
    assert read_range("a test", np.logspace(-6, 1, 200), losses).lowest is None


def programs() -> int:
    """How many programs there are of the run of steps."""
    return cast(Any, advance)._cache_size()


def test_a_range_test_takes_the_steps_of_a_growing_rate_in_one_program():
    wanted = experiment(
        data={"source": "circles", "n": 100},
        rule={"name": "momentum", "learning_rate": {"name": "cosine", "rate": 0.1}},
        train={"batch_size": 60},
    )
    before = programs()
    found = rate_range(wanted, low=1e-4, high=1e4, steps=60)
    assert programs() == before + 1
    assert found.rates[0] == 1e-4
    assert found.diverged is not None
    assert found.lowest is not None
    # The whole part is one batch: while the rate is tiny, every loss is that of the first weights.
    assert found.losses[:5] == pytest.approx([found.losses[0]] * 5, rel=1e-2)


def test_a_rule_keeps_all_but_its_rate():
    rule = with_rate(Momentum(Cosine(0.1, length=5), momentum=0.7), Cosine(0.3, length=9))
    assert rule == Momentum(Cosine(0.3, length=9), momentum=0.7)
    with pytest.raises(ConfigError, match="has no learning rate"):
        with_rate(object(), Cosine(0.3, length=9))


@pytest.mark.parametrize("wrong", [{"low": 1.0, "high": 0.1}, {"low": 0.0}, {"steps": 5}])
def test_a_range_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="range"):
        rate_range(experiment(), **wrong)


# The learning curve


@pytest.fixture(scope="module")
def moons():
    return experiment(
        data={"source": "moons", "n": 400, "noise": 0.1},
        network={"hidden": [8]},
        rule={"learning_rate": 0.5},
        train={"epochs": 4, "batch_size": 16},
    )


def test_a_learning_curve_trains_every_size_by_one_program(moons):
    before = programs()
    told = []
    curve = learning_curve(moons, seeds=2, listen=lambda *row: told.append(row))
    assert programs() == before + 1
    assert [point.size for point in curve.points] == [15, 30, 60, 120, 240]
    assert curve.steps == 4 * 15
    assert [row[:2] for row in told] == [(s, n) for s in (15, 30, 60, 120, 240) for n in (0, 1)]
    assert all(0 <= e <= 1 for point in curve.points for e in point.train + point.validation)


def test_parts_are_nested_and_every_visit_is_of_their_rows(moons):
    prepared = prepare(moons)
    trainer = _Trainer(prepared, prepared.batches(prepared.loaded.train), 15)
    small, large = trainer._rows(30, 0), trainer._rows(60, 0)
    assert set(small) < set(large)
    assert set(small) != set(trainer._rows(30, 1))
    order = trainer._order(small, 0)
    assert order.shape == (trainer.steps, 15)
    assert set(order[:2].ravel()) == set(order[2:4].ravel()) == set(small)


def test_the_error_of_a_part_is_that_of_its_rows_alone(moons):
    prepared = prepare(moons)
    trainer = _Trainer(prepared, prepared.batches(prepared.loaded.train), 15)
    learner = Learner(*prepared.task.net.init(jax.random.key(1), prepared.like), ())
    rows = trainer._rows(30, 0)
    part = prepared.loaded.train.take(rows)
    found = predictions(prepared.task, learner.params, learner.state, part.x[:])
    guess = found.argmax(axis=1) if found.shape[1] > 1 else found[:, 0] > 0.5
    error = trainer._training_error(learner, rows)
    assert error == pytest.approx(np.mean(guess != part.y))


def test_what_twice_the_data_would_bring_follows_a_power_law():
    points = [Point(100, (0.0,), (0.2,)), Point(400, (0.0,), (0.05,))]
    assert promised(points) == pytest.approx(0.025)  # two doublings took 3/4: each of them halves
    spread = [Point(100, (0, 0), (0.1, 0.3)), Point(200, (0, 0), (0.05, 0.25))]
    assert promised(spread) is None
    assert promised([Point(100, (0,), (0.1,)), Point(200, (0,), (0.0,))]) is None


@pytest.mark.parametrize("sizes", [[10], [0, 10], [10, 241]])
def test_sizes_that_make_no_curve_are_refused(moons, sizes):
    with pytest.raises(ConfigError, match="at least two sizes from 1 to 240"):
        learning_curve(moons, sizes)


# The command line


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "tiny"
    invoke("train", *settings(), "--out", path, "--progress", "none")
    return path


def test_diagnose_writes_a_page_into_the_run_and_says_the_numbers(run):
    shown = invoke("diagnose", run, "--best-error", "0.2", "--json")
    row = json.loads(shown.stdout)
    assert row["judgement"]["best"] == 0.2
    assert row["page"] == str(run / "diagnosis.html")
    assert [layer["name"] for layer in row["layers"]] == ["affine1", "affine2"]
    assert [layer["name"] for layer in row["units"]] == ["tanh1"]
    assert all(finding["numbers"] for finding in row["findings"])
    page = (run / "diagnosis.html").read_text()
    assert page.count('<img src="data:image/svg+xml;base64,') == 3
    assert "<script" not in page
    assert "http:" not in page.replace("http://www.w3.org", "")


def test_the_page_of_a_diagnosis_is_a_file_of_the_run(run):
    invoke("diagnose", run)
    invoke("train", *settings(), "--out", run, "--force", "--progress", "none")
    assert not (run / "diagnosis.html").exists()


def test_a_best_error_of_more_than_all_is_a_sentence(run):
    said = refused("diagnose", run, "--best-error", "1.5", code=2)
    assert said == "the best error must be in [0, 1), got 1.5"
    assert "is no run" in refused("diagnose", run / "absent", code=5)


def test_lr_range_suggests_a_rate(tmp_path):
    out = tmp_path / "page.html"
    words = ["lr-range", *settings(), "--steps", "40", "--out", out]
    row = json.loads(invoke(*words, "--json").stdout)
    assert len(row["rates"]) == len(row["losses"]) <= 40
    assert math.isclose(row["rates"][0], 1e-6)
    assert "steps, rates from" in out.read_text()
    assert "wants 0 < low < high" in refused("lr-range", "--low", "2", "--high", "1", code=2)


def test_learning_curve_tells_every_training(tmp_path):
    out = tmp_path / "page.html"
    words = ["learning-curve", *settings(), "--sizes", "20,60", "--seeds", "2", "--out", out]
    shown = invoke(*words, "--json")
    row = json.loads(shown.stdout)
    assert [point["size"] for point in row["points"]] == [20, 60]
    assert shown.stderr.count("validation error") == 4
    assert "Error against number of examples" in out.read_text()
    assert "whole numbers" in refused("learning-curve", "--sizes", "ten", code=2)


def test_what_is_for_one_network_with_a_rule_refuses_others(run, tmp_path):
    method = ["-s", "rule=lbfgs", "-s", "train.batch_size=all", "-s", "check.enabled=false"]
    assert "LBFGS sees all examples" in refused("learning-curve", *method, code=2)
    file = tmp_path / "peers.toml"
    file.write_text('peers = {topology = "stars"}')
    for verb in ("learning-curve", "lr-range"):
        assert "a network of workers, in the section [peers]" in refused(verb, file, code=2)
