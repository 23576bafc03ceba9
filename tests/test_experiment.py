"""Whole experiments: the default one, the user's own file, and genuine MNIST."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pullback import config, experiment, model
from pullback.errors import CheckpointError, ShapeError
from pullback.maps import Affine
from pullback.record import Record
from pullback.runs import RunFolder

QUICK = ["train.epochs=3", "check.entries=4", "check.directions=1", "check.examples=4"]


def run(tmp_path, *settings, name="run", **options):
    plan = config.read(None, [*QUICK, *settings])
    return experiment.train(plan, tmp_path / name, **options)


def test_the_default_experiment_learns_and_leaves_a_whole_run(tmp_path):
    outcome = run(tmp_path, "train.epochs=10")
    assert outcome.result["status"] == "done"
    assert outcome.result["final"]["test"]["accuracy"] > 0.9
    assert outcome.result["check"]["ok"]
    folder = RunFolder.open(tmp_path / "run")
    assert folder.finished
    kinds = {row["kind"] for row in Record.read(folder.metrics).rows()}
    during = {"network", "data", "check", "weights", "step", "layers", "evaluation"}
    assert kinds == during | {"confusion", "wrong", "end"}
    loss = config.read(folder.config).loss
    assert loss is not None
    assert loss.name == "softmax-cross-entropy"
    again = experiment.evaluate(tmp_path / "run")
    assert again["test"] == outcome.result["final"]["test"]


def test_two_runs_of_one_seed_have_equal_metrics_and_models(tmp_path):
    run(tmp_path, name="a")
    run(tmp_path, name="b")
    run(tmp_path, "seed=1", name="c")
    a, b, c = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in "abc")
    assert a == b != c
    models = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in "ab"]
    assert models[0] == models[1]


def test_two_features_leave_a_boundary(tmp_path):
    run(tmp_path, "data.source=circles", "data.n=200", "train.epochs=30", "network.activation=tanh")
    (row,) = Record.read(tmp_path / "run" / "metrics.jsonl").rows("boundary")
    assert len(row["field"]) == len(row["y"])
    assert row["classes"] == 2
    assert all(0 <= value <= 1 for line in row["field"] for value in line)


def test_a_single_sigmoid_output_for_two_classes(tmp_path):
    loss = "loss=sigmoid-cross-entropy"
    outcome = run(tmp_path, "data.source=moons", "data.n=300", loss, "train.epochs=40")
    last = model.load_model(outcome.folder).task.net.nodes[-1].map
    assert isinstance(last, Affine)
    assert last.width == 1
    assert outcome.result["final"]["test"]["accuracy"] > 0.85
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.float32))
    predicted = model.predict(outcome.folder, tmp_path / "x.npy")
    assert predicted.values.shape == (3, 2)
    np.testing.assert_allclose(predicted.values.sum(axis=1), 1, rtol=1e-6)


def table(path, rows=120, seed=0):
    rng = np.random.default_rng(seed)
    lines = ["size,colour,price"]
    for _ in range(rows):
        size, colour = rng.uniform(1, 9), rng.choice(["red", "green"])
        lines.append(f"{size:.4f},{colour},{3 * size + 5 * (colour == 'red'):.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_regression_on_the_users_own_table(tmp_path):
    csv = table(tmp_path / "table.csv")
    data = ["data.source=file", f'data.path="{csv}"', "data.target=price", "data.standardize=true"]
    linear = ["network.hidden=[]", "train.epochs=60", "rule.learning_rate=0.05"]
    outcome = run(tmp_path, *data, *linear)
    assert outcome.result["final"]["test"]["r2"] > 0.99
    (tmp_path / "new.csv").write_text("colour,size\nred,2\ngreen,4\n")
    predicted = model.predict(outcome.folder, tmp_path / "new.csv")
    np.testing.assert_allclose(predicted.values[:, 0], [11, 12], atol=0.5)
    assert predicted.csv().splitlines()[0] == "prediction"


def test_float64_runs_in_float64(tmp_path):
    outcome = run(tmp_path, 'precision="float64"', "train.epochs=1")
    assert model.load_model(outcome.folder).params["affine1"]["weight"].dtype == np.float64


def test_a_finished_run_is_left_as_it_is(tmp_path):
    outcome = run(tmp_path)
    before = {p: p.read_bytes() for p in sorted(outcome.folder.rglob("*")) if p.is_file()}
    assert experiment.resume(outcome.folder).result == outcome.result
    assert {p: p.read_bytes() for p in sorted(outcome.folder.rglob("*")) if p.is_file()} == before


def test_a_network_that_does_not_fit_the_data_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ShapeError, match=r"gives \(3,\) for each example, .* want \(10,\)"):
        run(tmp_path, 'network.layers=[{name="affine", width=3}]')
    assert not (tmp_path / "run").exists()


def test_resume_refuses_other_data(tmp_path):
    csv = table(tmp_path / "table.csv")
    stop = iter([False, True, True]).__next__
    run(tmp_path, "data.source=file", f'data.path="{csv}"', "data.target=price", interrupted=stop)
    table(csv, seed=1)
    with pytest.raises(CheckpointError, match="checksum differs"):
        experiment.resume(tmp_path / "run")


NETWORKS = {
    "784-500x4-10": [
        "network.hidden=[500,500,500,500]",
        "network.activation=selu",
        "network.bias=false",
        "network.initializer=lecun",
    ],
    "logistic regression": ["network.hidden=[]"],
    "one sigmoid output": [
        "network.hidden=[]",
        "loss=sigmoid-cross-entropy",
        'data.classes=["3","8"]',
    ],
}


@pytest.mark.mnist
@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_gradient_checks_on_mnist(mnist_directory, settings):
    fewer = ["check.entries=6", "check.directions=1", "check.examples=8"]
    penalty = 'penalty=[{name="l2",strength=0.001}]'
    plan = config.read(None, ["data.source=mnist", penalty, *settings, *fewer])
    report = experiment.check(plan, mnist_directory)
    assert report.ok
    assert report.worst < 1e-8


@pytest.mark.mnist
def test_logistic_regression_on_mnist(tmp_path, mnist_directory):
    network = ["network.hidden=[]", "check.enabled=false"]
    once = ["train.epochs=1", "train.batch_size=100"]
    outcome = run(tmp_path, "data.source=mnist", *network, *once, data_dir=mnist_directory)
    assert outcome.result["final"]["test"]["accuracy"] > 0.9
    row = next(Record.read(tmp_path / "run" / "metrics.jsonl").rows("data"))
    assert (row["train"], row["validation"], row["test"]) == (55000, 5000, 10000)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 550
