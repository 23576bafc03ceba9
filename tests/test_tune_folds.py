"""Cross-validation: a trial is worth the mean of what its folds would be worth alone."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("optuna")

from tuned_run import EXPERIMENT

from pullback import config, experiment
from pullback.cli import main
from pullback.errors import ConfigError, DataError
from pullback.tune.search import search
from pullback.tune.space import Space

RATES = {"rule.learning_rate": {"choices": [0.1, 0.5]}}


def folded(tune=None, **sections):
    """A grid of two rates over four folds; 49 circles, so that two folds have 10 and two have 9."""
    table = EXPERIMENT | {
        "data": {"source": "circles", "n": 49, "standardize": True},
        "tune": {"method": "grid", "folds": 4, "space": RATES} | (tune or {}),
    }
    return config.parse(table | sections, "test")


def test_a_trial_is_judged_by_the_mean_over_the_folds_of_each_seed(tmp_path):
    found = search(folded({"seeds": 2}), tmp_path / "study")
    assert (found["folds"], found["seeds"]) == (4, 2)
    best = found["best"]
    plain = config.read(Path(found["file"]))
    assert plain.data.folds == 0
    alone = []
    for i in range(8):
        seed, fold = divmod(i, 4)
        one = config.read(
            Path(found["file"]), [f"seed={seed}", "data.folds=4", f"data.fold={fold}"]
        )
        outcome = experiment.train(one, tmp_path / f"run-{i}")
        alone.append(outcome.result["final"]["validation"]["loss"])
    assert best["values"] == pytest.approx(alone, rel=1e-4)
    assert len(set(alone)) == 8
    assert best["value"] == pytest.approx(sum(alone) / 8, rel=1e-4)
    variance = sum((value - best["value"]) ** 2 for value in alone) / 7
    assert best["deviation"] == pytest.approx(variance**0.5, rel=1e-3)


def test_the_command_the_page_and_the_file_say_folds(tmp_path):
    file, folder = tmp_path / "experiment.toml", tmp_path / "study"
    file.write_text(folded({"seeds": 2}).toml())
    told = CliRunner().invoke(main, ["tune", str(file), "--out", str(folder), "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert [len(row["values"]) for row in found["trials"]] == [8, 8]
    best = tomllib.loads((folder / "best.toml").read_text("utf-8"))
    assert (best["data"]["folds"], best["data"]["fold"], "tune" in best) == (0, 0, False)
    assert "over 4 folds × 2 seeds. Its experiment" in (folder / "report.html").read_text("utf-8")
    again = CliRunner().invoke(main, ["tune", "--resume", str(folder)])
    assert "over 4 folds × 2 seeds, trial" in again.stdout


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"data": {"source": "circles", "folds": 4}}, "tune.folds = 4 takes each fold in turn"),
        ({"selection": {"part": "train"}}, "got selection.part = 'train'"),
        ({"data": {"source": "circles", "n": 8}}, "4 folds want as many examples of class"),
        ({"data": {"join_validation": True}}, "is not joined to the training part"),
    ],
)
def test_folds_that_do_not_suit_the_experiment_are_refused(tmp_path, plan, says):
    with pytest.raises(ConfigError, match=says):
        search(folded(**plan), tmp_path / "study")


def test_streamed_data_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 2)))
    np.save(tmp_path / "y.npy", np.arange(60) % 2)
    data = {"source": "file", "path": str(tmp_path / "x.npy"), "stream_above_mb": 1e-5}
    data |= {"target_path": str(tmp_path / "y.npy")}
    with pytest.raises(ConfigError, match="data that fit into memory"):
        search(folded(data=data), tmp_path / "study")


def test_data_that_one_fold_cannot_have_are_refused_before_any_trial(tmp_path):
    lines = ["hue,y", *(f"{'red' if i else 'blue'},{i % 4}" for i in range(40))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    data = {"source": "file", "path": str(tmp_path / "table.csv"), "target": "y"}
    data |= {"split": (1.0, 0.0, 0.0)}
    with pytest.raises(DataError, match="'blue' is not among the categories of the training rows"):
        search(folded(data=data), tmp_path / "study")


@pytest.mark.parametrize("key", ["data.folds", "data.fold"])
def test_the_fold_is_not_searched(key):
    with pytest.raises(ConfigError, match=f"'{key}' cannot be searched.*set tune.folds"):
        Space(folded({"space": {key: {"choices": [2, 3]}}}))


def test_one_fold_is_none():
    with pytest.raises(ConfigError, match=r"tune.folds: must be 0, for none, or at least 2, got 1"):
        folded({"folds": 1})
