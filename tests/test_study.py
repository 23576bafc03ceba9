"""Studies: their files fit together, they are run and gone on with, and judged by their bands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from command import invoke

from pullback import study
from pullback.errors import ConfigError, OutputError
from pullback.report.study import claims, verdict
from pullback.study import exhibits, plan
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
conclusion = "It depends.\\n\\nOn the `width`."
curves = [["narrow", "wide"], ["wide"]]
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
            if form == "quick":
                assert experiment.data.source in ("digits", "circles", "moons", "xor")
    judged = [claim for claim in found.claim if claim.full is not None]
    assert judged
    assert all(claim.quick is not None for claim in judged)


def test_a_study_is_run_and_gone_on_with(one):
    folder, runs = one
    here = study.place(runs, "widths", "quick")
    widths, trained = study.open_study("widths"), []

    def go(seeds):
        trained.clear()

        def done(name, seed, path):
            trained.append((name, seed, path.stat().st_mtime_ns))

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
        json.loads((here / each / "result.json").read_text())["final"]["test"]["accuracy"]
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


def test_one_that_diverged_is_told_so(one):
    folder, runs = one
    text = STUDY.replace('{ "network.hidden" = [8] }', '{ "rule.learning_rate" = 1e30 }')
    (folder / "study.toml").write_text(text)
    found = run(study.open_study("widths"), "full", runs, seeds=1)
    assert [row[3] for row in claims(found)] == ["diverged, 1 of 1"] * 2
    assert [claim["verdict"] for claim in found["claims"]] == ["missed", "shown"]


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
    for title in ("Train loss: narrow and wide", "Train loss: wide"):
        assert page.count(f">{title}<") == 1
    assert "<p>It depends.</p>\n<p>On the <code>width</code>.</p>" in page
    assert (runs / "widths" / "quick" / "narrow-0" / "report.html").is_file()
    index = tmp_path / "index.html"
    told = json.loads(invoke("study", "report", *where, "--out", str(index), "--json").stdout)
    assert told["studies"][0]["forms"]["quick"]["verdict"] == "1 of 2 missed"
    assert (Path(index.parent) / told["studies"][0]["forms"]["quick"]["page"]).is_file()
    assert "not run" in index.read_text()


MORE = """
title = "More of the same"
source = "a test"
asked = "Is it so?"
conclusion = "Yes."
show = ["boundary"]
[[arm]]
name = "wide"
study = "widths"
[[exhibit]]
name = "stopped"
kind = "early-stopping"
arms = ["wide"]
settings = { steps = [1, 10] }
[[chart]]
id = "by-width"
title = "Accuracy by width"
caption = "Of one."
x = "units"
y = "accuracy"
at = [8]
series = [{ name = "test", arms = ["wide"], value = "test.accuracy" }]
[[claim]]
what = "Gap"
arm = "stopped"
value = "largest-gap"
full = { least = 0.2, most = 0.21 }
quick = { least = 0.2, most = 0.21 }
[[claim]]
what = "Weights"
arm = "wide"
value = "model.parameters"
quick = { least = 31, most = 31 }
"""


@pytest.fixture
def two(one):
    """The same, with a study that borrows an arm, and has an exhibit and a chart."""
    folder, runs = one
    more = folder.parent / "more"
    more.mkdir()
    (more / "study.toml").write_text(MORE)
    return more, runs


def test_an_arm_of_another_study_is_trained_once(two):
    _, runs = two
    more, trained = study.open_study("more"), []
    found = run(
        more, "quick", runs, seeds=1, done=lambda name, seed, path: trained.append((name, path))
    )
    borrowed = study.place(runs, "widths", "quick") / "wide-0"
    assert trained == [("wide", borrowed), ("stopped", None)]
    assert found["arms"][0]["runs"] == ["../../widths/quick/wide-0"]
    gap, weights = found["claims"]
    # Two inputs, six units and two classes: 2·6 + 6 + 6·2 + 2 = 32.
    assert (weights["mean"], weights["verdict"]) == (32.0, "missed")
    assert gap["verdict"] == "held"
    before = borrowed.stat().st_mtime_ns
    run(study.open_study("widths"), "quick", runs, seeds=1)
    assert borrowed.stat().st_mtime_ns == before


def test_an_exhibit_is_computed_once_and_told_of_other_settings(two, monkeypatch):
    folder, runs = two
    first = run(study.open_study("more"), "quick", runs, seeds=1)
    assert [chart["id"] for chart in first["charts"]] == ["by-width", "shares", "distance"]
    monkeypatch.setitem(exhibits.KINDS, "early-stopping", lambda given, *, steps: 1 / 0)
    assert run(study.open_study("more"), "quick", runs, seeds=1) == first
    (folder / "study.toml").write_text(MORE.replace("[1, 10]", "[1, 20]"))
    with pytest.raises(OutputError, match="holds an exhibit of other settings"):
        run(study.open_study("more"), "quick", runs, seeds=1)


def test_the_page_shows_exhibits_charts_and_figures_of_runs(two):
    _, runs = two
    invoke("study", "run", "more", "--folder", str(runs), "--progress", "none", code=6)
    page = (study.place(runs, "more", "quick") / "report.html").read_text()
    for said in ("largest gap", "Accuracy by width", "How far along one curvature", "wide-0"):
        assert said in page
    assert "Decision boundary: wide-0" in page
    assert "../../widths/quick/wide-0/report.html" in page


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "early-stopping"', 'kind = "early-stoping"', "did you mean 'early-stopping'"),
        ("steps = [1, 10]", "strides = 3", "strides"),
        ('arms = ["wide"]\nsettings', 'arms = ["thin"]\nsettings', "an exhibit is of 'thin'"),
        ("at = [8]", "at = [8, 9]", "does not fit"),
        ('study = "widths"', 'study = "lengths"', "there is no study 'lengths'"),
        ('study = "widths"', "", "wants either a file or a study"),
        ('study = "widths"', 'study = "widths"\nquick = { seed = 1 }', "as it is there"),
        ('show = ["boundary"]', 'show = ["bound"]', "show"),
    ],
)
def test_a_broken_part_is_told(old, new, message, two):
    folder, runs = two
    assert old in MORE
    (folder / "study.toml").write_text(MORE.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        run(study.open_study("more"), "full", runs, seeds=1)
    assert not runs.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('minus = "narrow"', 'minus = "thin"', "a claim is of 'thin'"),
        ('curves = [["narrow", "wide"]', 'curves = [["thin"]', "a group of curves is of 'thin'"),
        ('name = "wide"', 'name = "narrow"', "two arms or exhibits have one name"),
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
