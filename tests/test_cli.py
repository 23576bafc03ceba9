"""The verbs of the command line: what they print, what they write, and that it is right."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import tomllib
import typing
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from command import environment, invoke, refused, result_of, settings, table
from safetensors.numpy import load_file

from pullback import __version__, config, maps, report
from pullback.cli import data, main
from pullback.config import Section, Table
from pullback.loss import SoftmaxCrossEntropy

HEAVY = {"jax", "matplotlib", "numpy", "pydantic", "rich", "sklearn", "pullback.config"}


@pytest.fixture
def no_report(monkeypatch):
    """Skip the drawing, which takes longer than the rest, where the report is not the subject."""

    def write_report(runs, path):
        path.write_text("a report")
        return path

    monkeypatch.setattr(report, "write_report", write_report)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run, made once by the command itself, with a report."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    shown = invoke("train", *settings(check__enabled=True), "--out", path, "--json")
    assert json.loads(shown.stdout)["run"] == str(path)
    return path


@pytest.fixture(scope="module")
def table_run(tmp_path_factory) -> Path:
    """A run on a table of numbers and categories."""
    folder = tmp_path_factory.mktemp("tables")
    data = {"data": {"source": "file", "path": str(table(folder / "t.csv")), "target": "y"}}
    network = {"network": {"hidden": [5], "activation": "relu"}, "check": {"enabled": False}}
    text = "\n".join(
        f"[{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in section.items())
        for name, section in (data | network).items()
    )
    (folder / "experiment.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda runs, path: path)
        invoke("train", folder / "experiment.toml", "--out", folder / "run")
    return folder / "run"


def test_help_is_light():
    script = (
        "import sys\nfrom pullback.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print('loaded:', *sorted(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    said, _, loaded = shown.stdout.rpartition("loaded:")
    assert set(loaded.split()) & HEAVY == set()
    assert all(verb in said for verb in main.commands)


def test_every_verb_has_help_and_every_option_is_explained():
    for name, verb in [*main.commands.items(), *data.commands.items()]:
        assert invoke(*(["data"] if name not in main.commands else []), name, "--help").stdout
        for option in verb.params:
            assert option.param_type_name == "argument" or option.help, (name, option.name)


def test_version():
    assert __version__ in invoke("--version").stdout


def test_train_writes_all_that_the_design_says_and_prints_one_object(run):
    found = {path.name for path in run.iterdir()}
    assert found == {
        *("config.toml", "meta.json", "metrics.jsonl", "timing.jsonl", "checkpoints", "model"),
        *("figures", "report.html", "result.json", "run.lock"),
    }
    shown = json.loads(invoke("resume", run, "--json").stdout)
    assert shown.pop("schema_version") == 1
    assert shown.pop("run") == str(run)
    assert shown.pop("report") == str(run / "report.html")
    assert shown == result_of(run)
    assert (shown["status"], shown["epochs"], shown["steps"]) == ("done", 3, 24)
    assert shown["check"]["ok"]


def test_json_is_one_line_even_if_numbers_are_not_finite(tmp_path, no_report):
    overflow = settings(
        **{"network__hidden": [], "loss": "squared-error", "rule__learning_rate": 1e25}
    )
    shown = invoke("train", *overflow, "--out", tmp_path / "run", "--json", code=4)
    (line,) = shown.stdout.splitlines()
    json.loads(line, parse_constant=pytest.fail)


def test_progress_styles(tmp_path, no_report):
    def said(style):
        words = ("train", *settings(), "--out", tmp_path / "run", "--force", "--progress", style)
        return invoke(*words).stderr

    assert said("none") == ""
    plain = said("plain").splitlines()
    assert [line.split("  ")[0] for line in plain] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(re.search(r"validation loss \d+\.\d+  accuracy [01]\.\d+", line) for line in plain)
    assert said("auto").count("epoch") == 3
    assert "epoch 3/3" not in said("rich").splitlines()


def test_plain_progress_without_evaluations_tells_the_loss(tmp_path, no_report):
    words = settings(evaluate__epochs=0)
    said = invoke("train", *words, "--out", tmp_path / "run", "--progress", "plain").stderr
    assert re.findall(r"epoch (\d)/3  loss \d", said) == ["1", "2", "3"]


def test_cadences_in_steps_hold_at_the_end_of_an_epoch_too(tmp_path, no_report):
    words = settings(
        evaluate__epochs=0, evaluate__steps=4, checkpoint__epochs=0, checkpoint__steps=8
    )
    invoke("train", *words, "-s", "checkpoint.keep=9", "--out", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if row["kind"] == "evaluation"]
    assert steps == [0, 4, 8, 12, 16, 20, 24]
    saved = sorted(int(path.name[5:]) for path in (tmp_path / "checkpoints").iterdir())
    assert saved == [0, 8, 16, 24]


def test_runs_without_a_folder_get_the_next_free_name(tmp_path, monkeypatch, no_report):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        invoke("train", *settings(name="mine", train__epochs=1))
    assert sorted(path.name for path in Path("runs").iterdir()) == ["mine", "mine-2"]


def test_settings_override_the_file(tmp_path, no_report):
    (tmp_path / "f.toml").write_text("seed = 3\n[train]\nepochs = 7\nbatch_size = 9\n")
    invoke("train", tmp_path / "f.toml", *settings(train__epochs=1), "--out", tmp_path / "run")
    resolved = tomllib.loads((tmp_path / "run/config.toml").read_text())
    assert resolved["seed"] == 3
    assert resolved["train"] == {"epochs": 1, "steps": 0, "batch_size": 8}
    assert resolved["loss"] == {"name": "softmax-cross-entropy", "smoothing": 0.0}


def test_evaluate_finds_what_training_found(run):
    shown = json.loads(invoke("evaluate", run, "--json").stdout)
    assert shown["parts"] == {
        name: result_of(run)["final"][name] for name in ("train", "validation", "test")
    }
    assert invoke("evaluate", run).stdout.splitlines()[0].startswith("train       loss ")


def probabilities(run: Path, x: np.ndarray, activation) -> np.ndarray:
    """What the model of a run gives, by NumPy alone."""
    arrays = load_file(run / "model/model.safetensors")
    for layer in ("affine1", "affine2"):
        z = x @ arrays[f"params/{layer}/weight"] + arrays[f"params/{layer}/bias"]
        x = activation(z)
    odds = np.exp(z - z.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def test_predict_from_arrays(run, tmp_path):
    x = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    shown = json.loads(invoke("predict", run, tmp_path / "x.npy", "--json").stdout)
    wanted = probabilities(run, x, np.tanh)
    np.testing.assert_allclose(shown["probabilities"], wanted, rtol=1e-5)
    assert shown["predictions"] == [str(i) for i in wanted.argmax(axis=1)]
    assert shown["classes"] == ["0", "1"]


def test_predict_from_a_table_to_a_table(table_run, tmp_path):
    source = tmp_path / "new.csv"
    source.write_text("kind,b,a\nw,0.25,-1\nu,2,0.5\n")
    encoded = np.array([[-1, 0.25, 0, 0, 1], [0.5, 2, 1, 0, 0]])
    wanted = probabilities(table_run, encoded, lambda z: np.maximum(z, 0))

    text = invoke("predict", table_run, source).stdout
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["prediction", "probability of no", "probability of yes"]
    assert [row[0] for row in rows] == [["no", "yes"][i] for i in wanted.argmax(axis=1)]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), wanted, rtol=1e-5)

    out = tmp_path / "found.csv"
    assert json.loads(invoke("predict", table_run, source, "--out", out, "--json").stdout) == {
        "schema_version": 1,
        "rows": 2,
        "out": str(out),
    }
    assert out.read_text() == text


def test_predict_takes_the_table_it_was_trained_on(table_run):
    source = table_run.parent / "t.csv"
    assert len(invoke("predict", table_run, source).stdout.splitlines()) == 41


def test_predict_numbers(tmp_path, no_report):
    lines = ["a,b,y", *(f"{i},{i * i % 7},{0.1 * i}" for i in range(30))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    words = [
        "-s",
        "data.source=file",
        "-s",
        f"data.path={tmp_path / 't.csv'}",
        "-s",
        "data.target=y",
    ]
    words += ["-s", "data.standardize=true", "-s", "check.enabled=false", "-s", "train.epochs=2"]
    invoke("train", *words, "--out", tmp_path / "run")
    text = invoke("predict", tmp_path / "run", tmp_path / "t.csv").stdout
    header, *rows = text.split()
    assert (header, len(rows)) == ("prediction", 30)
    assert np.isfinite(np.array(rows, float)).all()
    final = result_of(tmp_path / "run")["final"]
    assert "r2" in final["validation"]
    assert "accuracy" not in final["validation"]


def test_report_of_one_run_and_of_several(run, tmp_path):
    page = tmp_path / "page.html"
    invoke("report", run, "--out", page)
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(invoke("report", run, run, "--out", page, "--json").stdout) == {
        "schema_version": 1,
        "report": str(page),
    }
    assert "page over several runs" in refused("report", run, run, code=2)


def test_data_list_names_every_source():
    rows = json.loads(invoke("data", "list", "--json").stdout)["sources"]
    assert {row["name"] for row in rows} == set(
        config.schema()["$defs"]["Data"]["properties"]["source"]["enum"]
    )
    text = invoke("data", "list").stdout
    assert all(row["name"] in text for row in rows)


def test_data_verify(tmp_path, mnist_directory):
    shown = invoke("data", "verify", "mnist", "--data-dir", mnist_directory, "--json")
    assert set(json.loads(shown.stdout)["files"].values()) == {"ok"}
    wrong = refused("data", "verify", "mnist", "--data-dir", tmp_path, code=3)
    assert "4 of 4 files" in wrong
    assert "did you mean 'mnist'" in refused("data", "verify", "mnst", code=2)


def test_init_writes_a_file_that_trains_and_is_not_overwritten(tmp_path, no_report):
    path = tmp_path / "mine.toml"
    assert str(path) in invoke("init", path).stdout
    assert config.read(path) == config.read(None)
    invoke("train", path, *settings(train__epochs=1), "--out", tmp_path / "run")
    path.write_text("seed = 1")
    assert "exists" in refused("init", path, code=7)
    assert path.read_text() == "seed = 1"
    invoke("init", path, "--force")
    assert config.read(path).seed == 0


def test_the_commented_file_tells_of_every_key_and_every_name():
    text = files("pullback").joinpath("experiment.toml").read_text("utf-8")
    sections = re.split(r"^(?:# )?\[(\w+)\]", text, flags=re.MULTILINE)
    told = {"": sections[0]} | dict(zip(sections[1::2], sections[2::2], strict=True))
    assert set(told) <= {"", *config.Experiment.model_fields}
    for name, field in config.Experiment.model_fields.items():
        kinds = (field.annotation, *typing.get_args(field.annotation))
        models = [kind for kind in kinds if isinstance(kind, type)]
        sections = [m for m in models if issubclass(m, Section) and not issubclass(m, Table)]
        keys = [key for s in sections for key in s.model_fields] if name in told else [name]
        for key in keys:
            section = told[name if name in told else ""]
            shown = rf"^(# )?({key} = |\[{name}\.{key}\])"
            assert re.search(shown, section, re.MULTILINE), (name, key)
    registries = (config.INITIALIZERS, config.LAYERS, config.JOINS, config.LOSSES)
    registries += (config.AUGMENTATIONS, config.SCHEDULES, config.PENALTIES)
    registries += (config.TOPOLOGIES, config.MIXINGS, config.ALGORITHMS, config.CODECS)
    registries += (config.PARTITIONS, config.RULES, config.METHODS)
    for registry in (*registries, {"skip": 0, "towers": 0}):
        for name in registry:
            assert f'"{name}"' in text, name


def test_the_keys_without_a_default_are_shown_with_values_that_fit():
    text = files("pullback").joinpath("experiment.toml").read_text("utf-8")
    for section, line in (
        ("", 'loss = "softmax-cross-entropy"'),
        ("network", 'output = "softmax"'),
        ("data", "n = 500"),
        ("data", "noise = 0.1"),
    ):
        assert f"# {line}" in text
        source = {"data": 'source = "xor"'}.get(section, "")
        header = f"[{section}]" if section else ""
        config.parse(tomllib.loads(f"{header}\n{source}\n{line}"), "the commented file")


def test_the_commented_sections_parse_and_hold_the_defaults():
    text = files("pullback").joinpath("experiment.toml").read_text("utf-8")
    lines = text[text.index("# [peers]\n") : text.index("# Topologies, with")].splitlines()
    shown = [line.removeprefix("# ") for line in lines if not line.startswith("# address")]
    shown = [line for line in shown if not line.startswith("#") and "mixing" not in line]
    given = tomllib.loads("\n".join(shown))
    assert given["peers"].pop("cluster") == {
        "deadline": 60.0,
        "patience": 300.0,
        "watch": 1,
        "hub_death": "recover",
    }
    assert (given["peers"].pop("on_loss"), given["peers"].pop("weigh")) == ("self", "data")
    first = config.parse({"peers": {"topology": "stars"}}, "a test")
    assert config.parse(given, "the commented file") == first


def test_the_schema_describes_every_key_of_the_default_file():
    schema = json.loads(invoke("schema").stdout)
    default = tomllib.loads(files("pullback").joinpath("experiment.toml").read_text("utf-8"))

    def described(node, table):
        if "discriminator" in node:
            node = {"$ref": node["discriminator"]["mapping"][table["name"]]}
        node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        assert node["additionalProperties"] is False
        for key, value in table.items():
            assert key in node["properties"], key
            if isinstance(value, dict):
                described(node["properties"][key], value)

    described(schema, default)
    kinds = {"object", "array", "string", "integer", "number", "boolean", "null"}
    references = re.findall(r'"\$ref": "#/\$defs/(\w+)"', json.dumps(schema))
    assert set(references) <= set(schema["$defs"])
    assert set(re.findall(r'"type": "(\w+)"', json.dumps(schema))) <= kinds


def test_doctor():
    shown = json.loads(invoke("doctor", "--json").stdout)
    assert shown["pullback"] == __version__
    assert shown["gradient check"].startswith("ok")
    assert {
        "compiled programs",
        "device",
        "data",
        "jax",
        "jaxlib",
        "numpy",
        "python",
    } <= shown.keys()
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    extras = pyproject["project"]["optional-dependencies"].keys()
    assert extras - {"dev", "benchmarks", "mutation", "gpu"} <= shown.keys()


def test_check_passes_and_fails_with_a_wrong_derivative(monkeypatch):
    shown = json.loads(invoke("check", *settings(check__enabled=True), "--json").stdout)
    assert shown["ok"]
    assert shown["worst"] < 1e-7

    class Wrong(maps.Tanh):
        def slope(self, kept):
            return 1.001 * super().slope(kept)

    monkeypatch.setattr(config.TABLES["tanh"], "kind", Wrong)
    result = invoke("check", *settings(check__enabled=True), "--json", code=6)
    assert json.loads(result.stdout)["ok"] is False
    assert "the gradient check failed: worst relative error" in result.stderr
    assert "below 1e-07" in refused("check", *settings(check__enabled=True), code=6)


def test_the_check_sees_a_wrong_loss_too(monkeypatch):
    class Wrong(SoftmaxCrossEntropy):
        def slopes(self, z, t):
            return 2 * super().slopes(z, t)

    monkeypatch.setattr(config.TABLES["softmax-cross-entropy"], "kind", Wrong)
    refused("check", *settings(), code=6)
