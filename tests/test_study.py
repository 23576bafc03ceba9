"""Studies: their files fit together, they are run and gone on with, and judged by their bands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from command import invoke

from pullback import study
from pullback.errors import ConfigError, OutputError
from pullback.report.study import verdict
from pullback.study import plan
from pullback.study.plan import Band
from pullback.study.run import run

EXPERIMENT = """
name = "small"
loss = "softmax-cross-entropy"
[data]
source = "circles"
n = 80
[network]
hidden = [4]
[train]
epochs = 2
batch_size = 16
[check]
enabled = false
"""
STUDY = """
title = "Narrow against wide"
source = "a test"
asked = "Which is better?"
conclusion = "It depends."
[[arm]]
name = "narrow"
file = "net.toml"
[[arm]]
name = "wide"
file = "net.toml"
settings = { "network.hidden" = [8] }
quick = { "network.hidden" = [6] }
[[claim]]
what = "Accuracy"
arm = "wide"
value = "test.accuracy"
published = 0.001
quick = { least = 0.0 }
full = { least = 0.0 }
[[claim]]
what = "Accuracy"
arm = "wide"
minus = "narrow"
quick = { least = 2.0 }
[quick]
"train.epochs" = 1
"""


@pytest.fixture
def one(tmp_path, monkeypatch):
    """A folder of studies with one of them, and where its runs may lie."""
    folder = tmp_path / "studies" / "widths"
    folder.mkdir(parents=True)
    (folder / "net.toml").write_text(EXPERIMENT)
    (folder / "study.toml").write_text(STUDY)
    monkeypatch.setattr(plan, "STUDIES", folder.parent)
    return folder, tmp_path / "runs"


@pytest.mark.parametrize("name", study.names())
def test_every_study_fits_together(name):
    found = study.open_study(name)
    for form in ("quick", "full"):
        for arm in found.arm:
            experiment = found.experiment(arm, form, seed=3)
            assert (experiment.seed, experiment.name) == (3, arm.name)
            assert (experiment.data.source == "digits") == (form == "quick")
    judged = [claim for claim in found.claim if claim.full is not None]
    assert judged
    assert all(claim.quick is not None for claim in judged)


def test_a_study_is_run_and_gone_on_with(one):
    folder, runs = one
    widths, trained = study.open_study("widths"), []

    def go(seeds):
        trained.clear()

        def done(arm, seed, result, path):
            trained.append((arm.name, seed, path.stat().st_mtime_ns))

        return run(widths, "quick", runs, seeds=seeds, done=done)

    first = go(1)
    assert first["whole"]
    times = {each[:2]: each[2] for each in trained}
    found = go(2)
    assert [each[:2] for each in trained] == [
        ("narrow", 0), ("narrow", 1), ("wide", 0), ("wide", 1),
    ]  # fmt: skip
    kept = {each[:2]: each[2] for each in trained}
    assert all(kept[key] == value for key, value in times.items())
    narrow, wide = ({row["arm"]: row for row in found["arms"]}[name] for name in ("narrow", "wide"))
    assert narrow["runs"] == ["narrow-0", "narrow-1"]
    accuracy, less = found["claims"]
    assert accuracy["values"] == [
        json.loads((runs / each / "result.json").read_text())["final"]["test"]["accuracy"]
        for each in wide["runs"]
    ]
    assert accuracy["mean"] == pytest.approx(sum(accuracy["values"]) / 2)
    assert accuracy["published"] is None
    gained = wide["final"]["test.accuracy"]["mean"] - narrow["final"]["test.accuracy"]["mean"]
    assert less["mean"] == pytest.approx(gained)
    assert [claim["verdict"] for claim in found["claims"]] == ["held", "missed"]
    assert verdict(found) == "1 of 2 missed"
    (folder / "net.toml").write_text(EXPERIMENT.replace("n = 80", "n = 90"))
    with pytest.raises(OutputError, match="holds a run of other settings"):
        go(1)


def test_the_full_form_is_held_against_what_was_published(one):
    found = run(study.open_study("widths"), "full", one[1], seeds=1)
    accuracy, less = found["claims"]
    assert (accuracy["published"], accuracy["verdict"]) == (0.001, "beaten")
    assert less["verdict"] == "shown"
    assert verdict(found) == "reproduced, 1 of 1 beaten"
    assert {row["arm"]: len(row["runs"]) for row in found["arms"]} == {"narrow": 1, "wide": 1}


def test_one_that_was_stopped_is_unfinished_and_goes_on(one):
    _, runs = one
    asked = iter([False] * 3 + [True] * 99)
    found = run(study.open_study("widths"), "quick", runs, seeds=1, interrupted=lambda: next(asked))
    assert not found["whole"]
    assert verdict(found) == "unfinished"
    assert run(study.open_study("widths"), "quick", runs, seeds=1)["whole"]


def test_by_command(one, tmp_path):
    _, runs = one
    listed = json.loads(invoke("study", "list", "--json").stdout)["studies"]
    assert listed == [{"name": "widths", "title": "Narrow against wide", "source": "a test"}]
    assert "claim  Accuracy, wide less narrow" in invoke("study", "show", "widths").stdout
    where = ("--folder", str(runs))
    result = invoke("study", "run", "all", *where, "--progress", "none", code=6)
    assert "missed: widths: Accuracy" in result.stderr
    page = (runs / "widths" / "quick" / "report.html").read_text()
    assert "pullback study run widths --quick --seeds 1" in page
    assert 'href="narrow-0/report.html"' in page
    assert (runs / "widths" / "quick" / "narrow-0" / "report.html").is_file()
    index = tmp_path / "index.html"
    told = json.loads(invoke("study", "report", *where, "--out", str(index), "--json").stdout)
    assert told["studies"][0]["forms"]["quick"]["verdict"] == "1 of 2 missed"
    assert (Path(index.parent) / told["studies"][0]["forms"]["quick"]["page"]).is_file()
    assert "not run" in index.read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('minus = "narrow"', 'minus = "thin"', "a claim is of the arm 'thin'"),
        ('name = "wide"', 'name = "narrow"', "two arms have one name"),
        ('file = "net.toml"', 'file = "no.toml"', "has no file no.toml"),
        ('"network.hidden" = [8]', '"network.hiden" = [8]', "hiden"),
        ('"network.hidden" = [8]', '"loss.name" = "huber"', "'loss' is no table"),
        ("quick = { least = 0.0 }", "quick = {}", "a band wants least or most"),
        ("title =", "titel =", "title"),
    ],
)
def test_a_broken_study_is_told(old, new, message, one):
    folder, runs = one
    (folder / "study.toml").write_text(STUDY.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        run(study.open_study("widths"), "full", runs, seeds=1)
    assert not runs.exists()


def test_a_study_that_is_not_there():
    with pytest.raises(ConfigError, match="there is no study 'ca6-x'"):
        study.open_study("ca6-x")


def test_a_band_has_ends():
    band = Band(least=-0.1, most=0.1)
    assert [band.holds(x) for x in (-0.1, 0, 0.1, 0.2, -0.2, math.nan)] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert str(band) == "at least -0.1 and at most 0.1"
