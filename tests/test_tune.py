"""Tuning: the space, the search, the study that survives a kill and is shared by processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

optuna = pytest.importorskip("optuna")

from optuna.trial import TrialState  # noqa: E402
from tuned_run import EXPERIMENT  # noqa: E402

from pullback import config, experiment  # noqa: E402
from pullback.cli import main  # noqa: E402
from pullback.errors import ConfigError, OutputError  # noqa: E402
from pullback.report.tuning import write_tuning  # noqa: E402
from pullback.tune.locks import JournalLock  # noqa: E402
from pullback.tune.search import search  # noqa: E402
from pullback.tune.space import Space  # noqa: E402
from pullback.tune.study import Study  # noqa: E402

WORKER = [sys.executable, str(Path(__file__).with_name("tuned_run.py"))]


def changed(**more):
    """The small experiment with another [tune]."""
    return config.parse(EXPERIMENT | {"tune": EXPERIMENT["tune"] | more}, "test")


def one_key(key, value, **more):
    return config.parse(EXPERIMENT | {"tune": {"space": {key: value}, **more}}, "test")


def states(folder):
    """The states of all trials in a study's journal, the stale ones among them."""
    study = Study(folder, config.read(folder / "study.toml"))
    with study:
        return [trial.state for trial in study.optuna.get_trials()]


# The space


def test_one_minus_a_value_is_searched_on_a_log_scale():
    space = Space(config.parse(EXPERIMENT, "test"))
    drawn: Any = space.distributions()["1 - rule.momentum"]
    assert (drawn.low, drawn.high, drawn.log) == (pytest.approx(0.01), 0.5, True)
    built = space.experiment({"rule.learning_rate": 0.25, "1 - rule.momentum": 0.125})
    assert built.rule.build().momentum == 0.875
    assert built.rule.build().learning_rate == 0.25
    assert not built.tune.space


def test_a_grid_has_every_combination():
    space = {
        "rule.learning_rate": {"low": 0.1, "high": 0.3, "step": 0.1},
        "network.hidden": {"choices": [[4], [8, 4]]},
    }
    found = Space(changed(space=space))
    points = [found.experiment(point) for point in found.grid()]
    assert [(p.rule.build().learning_rate, p.network.hidden) for p in points] == [
        (rate, hidden) for rate in (0.1, 0.2, 0.3) for hidden in ((4,), (8, 4))
    ]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rule.speed", {"low": 0.1, "high": 1.0}, "speed', in the section .tune"),
        ("penalty[0].strength", {"low": 0.1, "high": 1.0}, "there is no .penalty"),
        ("name", {"choices": ["a"]}, "'name' cannot be searched"),
        ("rule.learning_rate", {"low": -1.0, "high": 1.0}, "learning_rate must be a positive"),
    ],
)
def test_a_key_that_cannot_be_searched_is_refused(key, value, said):
    with pytest.raises(ConfigError, match=said):
        Space(one_key(key, value))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"low": 1.0, "high": 0.5}, "low must be below high"),
        ({"low": 0.0, "high": 0.5, "scale": "log"}, "wants low above 0"),
        ({"low": 0.5, "high": 1.0, "scale": "log-one-minus"}, "wants high below 1"),
        ({"low": 0.5, "high": 1.0, "scale": "log", "step": 0.1}, "a step is"),
    ],
)
def test_a_range_that_is_none_is_refused(value, said):
    with pytest.raises(ConfigError, match=said):
        one_key("rule.learning_rate", value)


def test_a_grid_wants_steps():
    with pytest.raises(ConfigError, match="has no step"):
        Space(changed(method="grid")).grid()


# The search


def test_the_best_trial_is_a_file_that_trains_to_the_value_that_was_found(tmp_path):
    plan = changed(trials=4, together=4)
    found = search(plan, tmp_path / "study")
    assert [row["state"] for row in found["trials"]] == ["complete"] * 4
    assert found["best"]["value"] == min(row["value"] for row in found["trials"])
    best = config.read(Path(found["file"]))
    assert best.rule.build().learning_rate == found["best"]["settings"]["rule.learning_rate"]
    outcome = experiment.train(best, tmp_path / "run")
    loss = outcome.result["final"]["validation"]["loss"]
    assert loss == pytest.approx(found["best"]["value"], rel=1e-4)


def test_a_grid_is_tried_once_and_the_best_accuracy_is_the_highest(tmp_path):
    space = {"rule.learning_rate": {"choices": [0.01, 0.3, 1e38]}}
    table = EXPERIMENT | {
        "selection": {"metric": "accuracy"},
        "tune": {"method": "grid", "together": 2, "space": space},
    }
    found = search(config.parse(table, "test"), tmp_path / "study")
    rates = [row["settings"]["rule.learning_rate"] for row in found["trials"]]
    assert sorted(rates) == [0.01, 0.3, 1e38]
    values = [row["value"] for row in found["trials"] if row["state"] == "complete"]
    assert found["best"]["value"] == max(values)
    diverged = next(row for row in found["trials"] if row["settings"]["rule.learning_rate"] == 1e38)
    assert diverged["state"] == "pruned"
    assert "diverged" in diverged["why"]


def test_a_trial_of_several_seeds_is_judged_by_their_mean(tmp_path):
    plan = changed(trials=2, together=2, seeds=3)
    found = search(plan, tmp_path / "study")
    best = found["best"]
    assert best["value"] == pytest.approx(sum(best["values"]) / 3)
    assert best["deviation"] > 0
    again = config.read(Path(found["file"]), ["seed=2"])
    loss = experiment.train(again, tmp_path / "run").result["final"]["validation"]["loss"]
    assert best["values"][2] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("pruning", ["median", "halving"])
def test_pruned_trials_are_given_up_and_the_others_are_not_touched(tmp_path, pruning):
    table = EXPERIMENT | {"train": {"epochs": 4}}
    whole = config.parse(table | {"tune": EXPERIMENT["tune"] | {"trials": 16}}, "test")
    pruned = config.parse(
        table | {"tune": EXPERIMENT["tune"] | {"trials": 16, "pruning": pruning}}, "test"
    )
    without, found = search(whole, tmp_path / "a"), search(pruned, tmp_path / "b")
    given_up = [row for row in found["trials"] if row["state"] == "pruned"]
    assert 0 < len(given_up) < 16
    assert {row["why"] for row in given_up} == {"pruned"}
    for row, same in zip(found["trials"], without["trials"], strict=True):
        assert row["settings"] == same["settings"]
        if row["state"] == "complete":
            assert row["value"] == pytest.approx(same["value"], rel=1e-5)


def test_patience_ends_a_trial_at_its_best_value_as_in_training(tmp_path):
    table = EXPERIMENT | {
        "train": {"epochs": 12},
        "rule": {"name": "sgd", "learning_rate": 0.1},
        "selection": {"patience": 2},
        "tune": {"method": "grid", "space": {"rule.learning_rate": {"choices": [3.0, 0.1]}}},
    }
    found = search(config.parse(table, "test"), tmp_path / "study")
    for row in found["trials"]:
        each = EXPERIMENT | {key: table[key] for key in ("train", "rule", "selection")}
        rule = {"name": "sgd", **{"learning_rate": row["settings"]["rule.learning_rate"]}}
        plan = config.parse(each | {"rule": rule}, "test")
        outcome = experiment.train(plan, tmp_path / f"run-{row['trial']}")
        assert row["value"] == pytest.approx(outcome.result["best"]["value"], rel=1e-4)


def test_what_cannot_be_judged_is_refused(tmp_path):
    table = EXPERIMENT | {"selection": {"metric": "r2"}}
    with pytest.raises(ConfigError, match="trials are judged by the r2"):
        search(config.parse(table, "test"), tmp_path / "study")


def test_a_study_of_other_settings_is_left_alone(tmp_path):
    with Study(tmp_path / "study", changed(trials=4)):
        pass
    with pytest.raises(OutputError, match="other settings"):
        Study(tmp_path / "study", changed(trials=5))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not the folder of a study"):
        Study(tmp_path / "other", changed())


# On disk


def test_a_killed_search_goes_on_with_no_trial_lost_or_doubled(tmp_path):
    folder = tmp_path / "study"
    with subprocess.Popen(
        [*WORKER, str(folder), "60"], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        for _ in range(2):  # the second time it is asked, two trials are under way
            assert killed.stdout.readline() == "training\n"
        killed.kill()
    with Study(folder, config.parse(EXPERIMENT, "test")) as study:
        left = study.optuna.get_trials()
    assert [trial.state for trial in left] == [TrialState.RUNNING] * 2

    found = search(config.parse(EXPERIMENT, "test"), folder)
    assert len(found["trials"]) == found["wanted"] == 8
    ended = states(folder)
    assert ended.count(TrialState.COMPLETE) == 8
    assert ended.count(TrialState.FAIL) == 2
    assert len(ended) == 10
    rates = [row["settings"]["rule.learning_rate"] for row in found["trials"]]
    assert len(set(rates)) == 8
    assert {trial.params["rule.learning_rate"] for trial in left} <= set(rates)


def test_two_processes_on_one_study_share_its_trials(tmp_path):
    folder = tmp_path / "study"
    both = [subprocess.Popen([*WORKER, str(folder)], stdout=subprocess.PIPE) for _ in range(2)]
    for process in both:
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert states(folder) == [TrialState.COMPLETE] * 8
    with Study(folder, config.parse(EXPERIMENT, "test")) as study:
        rows, workers = study.rows(), {t.user_attrs["worker"] for t in study.trials()}
    assert len({row["settings"]["rule.learning_rate"] for row in rows}) == 8
    assert len(workers) == 2


def test_trials_of_a_living_process_are_not_taken_from_it(tmp_path):
    plan = changed(trials=2, together=2)
    with Study(tmp_path, plan) as mine, Study(tmp_path, plan) as other:
        assert len(mine.ask()) == 2
        assert other.ask() == []
    with Study(tmp_path, plan) as later:
        assert len(later.ask()) == 2


def test_a_line_that_a_crash_left_unfinished_is_cut_off(tmp_path):
    journal = tmp_path / "journal.log"
    journal.write_bytes(b'{"a":1}\n{"b":')
    lock = JournalLock(journal)
    lock.acquire()
    lock.release()
    assert journal.read_bytes() == b'{"a":1}\n'


# The command


def test_the_command_tells_the_best_and_resumes(tmp_path):
    file, folder = tmp_path / "experiment.toml", tmp_path / "study"
    file.write_text(changed(trials=2, together=2).toml())
    told = CliRunner().invoke(main, ["tune", str(file), "--out", str(folder), "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["best"]["trial"] in (0, 1)
    assert "tune" not in tomllib.loads((folder / "best.toml").read_text("utf-8"))
    again = CliRunner().invoke(main, ["tune", "--resume", str(folder)])
    assert again.exit_code == 0
    assert "2 of 2 trials" in again.stdout


def test_the_page_shows_trials_importance_and_contours(tmp_path):
    file, folder = tmp_path / "experiment.toml", tmp_path / "study"
    file.write_text(changed(trials=6, together=6).toml())
    told = CliRunner().invoke(main, ["tune", str(file), "--out", str(folder)])
    assert told.exit_code == 0, told.output
    page = (folder / "report.html").read_text("utf-8")
    assert [figure in page for figure in ('id="trials"', 'id="importance"', 'id="contour"')] == [
        True
    ] * 3
    assert "not drawn" not in page
    assert "rule.momentum" in page


def test_the_page_says_what_could_not_be_drawn(tmp_path):
    row = {"trial": 0, "state": "pruned", "value": None, "deviation": None, "settings": {"a": 1}}
    row["why"] = "diverged"
    found = {
        "trials": [row],
        "best": None,
        "measure": "validation loss",
        "folds": 0,
        "seeds": 1,
        "lowest": True,
        "keys": ["a"],
        "scales": {"a": "log"},
        "importance": {},
    }
    page = write_tuning("small", found, tmp_path / "page.html").read_text("utf-8")
    assert page.count("not drawn") == 3
    assert "diverged" in page
