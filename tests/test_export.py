"""`pullback export` on trained runs: what other programs predict, and what is refused."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
import pytest
from command import invoke, refused, settings, table
from exported import under_onnxruntime
from safetensors.numpy import load_file

from pullback import report
from pullback.cli import main
from pullback.export import ENDINGS, FORMATS
from pullback.model import load_model

CONVOLUTIONS = [
    {"name": "reshape", "shape": [8, 8, 1]},
    {"name": "conv", "width": 3},
    {"name": "batch-norm"},
    {"name": "relu"},
    {"name": "max-pool"},
    {"name": "flatten"},
    {"name": "affine", "width": 10},
]


def experiment(path: Path, **sections) -> Path:
    """An experiment file of these sections, written as inline tables."""

    def text(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {text(each)}" for key, each in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(text, value)) + "]"
        return json.dumps(value)

    sections |= {"check": {"enabled": False}}
    path.write_text("\n".join(f"{name} = {text(value)}" for name, value in sections.items()))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Trained runs, each with inputs that it has not seen."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)

    def npy(name, x):
        np.save(folder / name, x)
        return folder / name

    rows = table(folder / "rows.csv")
    (folder / "new.csv").write_text("kind,b,a\n v,0.25,-1.5\nw,1e-3,2\n")
    numbers = folder / "numbers.csv"
    numbers.write_text(
        "year,height,y\n" + "\n".join(f"{2000 + i}.5,{(7 * i) % 5},{i * i % 11}" for i in range(40))
    )
    (folder / "later.csv").write_text("year,height\n2012.25,3\n2041.125,1\n")
    convolutional = experiment(
        folder / "convolutional.toml",
        name="convolutional",
        network={"layers": CONVOLUTIONS},
        train={"epochs": 1},
    )
    one_output = experiment(
        folder / "categories.toml",
        name="categories",
        data={"source": "file", "path": str(rows), "target": "y", "standardize": True},
        network={"hidden": [5], "activation": "tanh"},
        loss="sigmoid-cross-entropy",
        precision="float64",
    )
    regression = experiment(
        folder / "regression.toml",
        name="regression",
        data={
            "source": "file",
            "path": str(numbers),
            "target": "y",
            "task": "regression",
            "standardize": True,
        },
        network={"hidden": [6, 6], "activation": "silu", "normalization": "layer-norm"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda runs, path: path)
        invoke("train", *settings(), "--out", folder / "xor")
        for file in (convolutional, one_output, regression):
            invoke("train", file, "--out", folder / file.stem)
    return {
        "xor": (folder / "xor", npy("xor.npy", rng.standard_normal((7, 2)))),
        "convolutional": (
            folder / "convolutional",
            npy("digits.npy", rng.uniform(0, 16, (5, 64))),
        ),
        "categories": (folder / "categories", folder / "new.csv"),
        "regression": (folder / "regression", folder / "later.csv"),
    }


NAMES = ["xor", "convolutional", "categories", "regression"]


def values(text):
    """The labels, if there are, and the numbers of a table of predictions."""
    header, *rows = csv.reader(io.StringIO(text))
    first = 1 if len(header) > 1 else 0
    return header, [row[:first] for row in rows], np.array([row[first:] for row in rows], float)


def predicted(run, source):
    return values(invoke("predict", run, source).stdout)


@pytest.mark.parametrize("name", NAMES)
def test_an_onnx_model_predicts_what_the_run_does(runs, name, tmp_path):
    (run, source), path = runs[name], tmp_path / "model.onnx"
    shown = json.loads(invoke("export", run, "--to", "onnx", "--out", path, "--json").stdout)
    assert shown["files"] == [{"path": str(path), "bytes": path.stat().st_size}]
    onnx.checker.check_model(onnx.load_model(str(path)), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    header, labels, wanted = predicted(run, source)
    if source.suffix == ".npy":
        x = np.load(source)
    else:
        # The model wants the encoded rows, in the order that it tells.
        features = json.loads(told["features"])
        rows = list(csv.DictReader(source.read_text().splitlines()))
        x = np.array(
            [
                [
                    float(row[f]) if f in row else row[f.split("=")[0]].strip() == f.split("=")[1]
                    for f in features
                ]
                for row in rows
            ],
            float,
        )
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    x = x.astype(np.float64 if given.type == "tensor(double)" else np.float32)
    got = under_onnxruntime(session, {"x": x})
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert output.shape == ["n", wanted.shape[1]]
    if name == "regression":
        assert "classes" not in told
        assert output.name == "predictions"
    else:
        classes = json.loads(told["classes"])
        assert header[1:] == [f"probability of {each}" for each in classes]
        assert [[classes[i]] for i in got.argmax(axis=1)] == labels
    # One row at a time: the batch axis is free.
    one = under_onnxruntime(session, {"x": x[:1]})
    np.testing.assert_allclose(one, got[:1], rtol=1e-5, atol=1e-6)


# It runs the file where there is neither Pullback nor JAX, and where a warning is an error.
ALONE = """
import runpy, sys, warnings
sys.modules["pullback"] = sys.modules["jax"] = None
warnings.simplefilter("error")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("name", NAMES)
def test_the_written_predictor_predicts_what_the_run_does(runs, name, tmp_path):
    (run, source), folder = runs[name], tmp_path / "written"
    invoke("export", run, "--to", "numpy", "--out", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["predict.py", "weights.npz"]
    shown = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, folder / "predict.py", rows_for(source, tmp_path)],
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    (header, labels, got), (header2, labels2, wanted) = values(shown.stdout), predicted(run, source)
    assert (header, labels) == (header2, labels2)
    tolerance = 1e-12 if name == "categories" else 1e-5
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def rows_for(source, folder):
    """Half of the arrays go in as CSV: a file without a header, a row for each example."""
    if source.name != "xor.npy":
        return source
    np.savetxt(folder / "x.csv", np.load(source), delimiter=",", fmt="%.17g")
    return folder / "x.csv"


def test_the_written_predictor_reads_like_a_text(runs, tmp_path):
    invoke("export", runs["convolutional"][0], "--to", "numpy", "--out", tmp_path / "written")
    code = (tmp_path / "written" / "predict.py").read_text("utf-8")
    assert "    # relu1: y = max(x, 0)\n    relu1 = np.maximum(batchnorm1, 0)\n" in code
    assert "def max_pool(" in code
    assert "def soft_exponential(" not in code
    assert max(map(len, code.splitlines())) <= 100


def test_a_category_that_training_never_saw_is_refused(runs, tmp_path):
    invoke("export", runs["categories"][0], "--to", "numpy", "--out", tmp_path / "written")
    (tmp_path / "odd.csv").write_text("a,b,kind\n1,2,nine\n")
    shown = subprocess.run(
        [sys.executable, tmp_path / "written" / "predict.py", tmp_path / "odd.csv"],
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 1
    assert "column 'kind' holds ['nine'], wanted ['u', 'v', 'w']" in shown.stderr


def test_safetensors_are_the_bare_arrays(runs, tmp_path):
    run, path = runs["convolutional"][0], tmp_path / "arrays.safetensors"
    invoke("export", run, "--to", "safetensors", "--out", path)
    arrays, model = load_file(path), load_model(run)
    weight = model.params["conv1"]["weight"]
    np.testing.assert_array_equal(arrays["params/conv1/weight"], weight)
    np.testing.assert_array_equal(
        arrays["state/batchnorm1/mean"], model.state["batchnorm1"]["mean"]
    )


def test_the_same_run_gives_the_same_bytes(runs, tmp_path):
    for to in ("onnx", "numpy", "safetensors"):
        for out in ("a", "b"):
            invoke("export", runs["xor"][0], "--to", to, "--out", tmp_path / to / out)
    for file in sorted(tmp_path.rglob("a")):
        pairs = [(file, file.with_name("b"))]
        if file.is_dir():
            pairs = [(inner, file.with_name("b") / inner.name) for inner in file.iterdir()]
        assert all(one.read_bytes() == other.read_bytes() for one, other in pairs)


def test_the_file_is_called_after_the_run(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = invoke("export", runs["xor"][0], "--to", "onnx").stdout
    assert shown.startswith("xor.onnx: ")
    invoke("export", runs["xor"][0], "--to", "numpy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["xor-numpy", "xor.onnx"]


@pytest.mark.parametrize("to", ["onnx", "numpy", "safetensors"])
def test_what_is_there_is_replaced_only_by_force(runs, to, tmp_path):
    out, run = tmp_path / "there", runs["xor"][0]
    file = out / "weights.npz" if to == "numpy" else out
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    said = refused("export", run, "--to", to, "--out", out, code=7)
    assert said == f"{file} is there already; give another name, or replace it with --force"
    assert file.read_text() == "mine"
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [file]
    invoke("export", run, "--to", to, "--out", out, "--force")
    assert file.read_bytes() != b"mine"


def test_the_verb_offers_what_there_is():
    (to,) = [option.type for option in main.commands["export"].params if option.name == "to"]
    assert isinstance(to, click.Choice)
    assert set(to.choices) == set(FORMATS) == set(ENDINGS)


def test_a_folder_is_no_place_for_a_file(runs, tmp_path):
    said = refused("export", runs["xor"][0], "--to", "onnx", "--out", tmp_path, "--force", code=7)
    assert said == f"{tmp_path} is a folder; give another name"


def test_without_the_package_onnx_a_sentence_says_how_to_get_it(runs, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnx" else found(name, *a)
    )
    said = refused("export", runs["xor"][0], "--to", "onnx", "--out", tmp_path / "m", code=2)
    assert said == "an ONNX model wants the package onnx; pip install 'pullback[onnx]'"


def test_what_is_no_run_is_refused(tmp_path):
    assert "is no run" in refused("export", tmp_path, "--to", "numpy", code=5)
