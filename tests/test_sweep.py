"""Sweeps over networks of workers, and the command that surveys one."""

from __future__ import annotations

import json
import tomllib

import pytest
from command import invoke, refused

from pullback import config, experiment, files
from pullback.errors import ConfigError, OutputError
from pullback.record import Record
from pullback.report.sweep import text, write_sweep
from pullback.sweep import sweep

FILE = """
name = "swept"
[network]
hidden = []
[rule]
learning_rate = 0.5
[peers]
topology = {name = "star", workers = 3}
rounds = 4
evaluate = 2
local = {length = 3}
[sweep]
seeds = 2
goal = 0.5
[sweep.axes]
"peers.codec" = ["dense", "sign"]
"peers.algorithm" = ["fedavg", {name = "fedavg", sends = "change", memory = true}]
"""


def parse(text: str = FILE, **changes):
    table = tomllib.loads(text)
    for name, values in changes.items():
        table[name] = table.get(name, {}) | values
    return config.parse(table, "a test")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep that was stopped after its first cell, and went on."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    done = []
    first = sweep(
        parse(),
        folder,
        listen=lambda row, *_: done.append(row["cell"]),
        interrupted=lambda: len(done) == 1,
    )
    assert [row["cell"] for row in first["cells"]] == [0]
    assert first["wanted"] == 4
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("cells/000-*/result.json")}
    assert len(stamps) == 2
    found = sweep(parse(), folder)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    return folder, found


def test_every_combination_is_trained_or_refused_with_a_reason(swept):
    folder, found = swept
    assert found == files.read_json(folder / "sweep.json")
    cells = found["cells"]
    assert [cell["settings"]["peers.codec"] for cell in cells] == ["dense", "dense", "sign", "sign"]
    assert [bool(cell["refused"]) for cell in cells] == [False, False, True, False]
    assert "model" in cells[2]["refused"]  # a model is not sent by its signs
    for cell in (cells[0], cells[1], cells[3]):
        assert [run["status"] for run in cell["runs"]] == ["done", "done"]
    assert cells[3]["bytes"] < cells[1]["bytes"]


def test_a_cell_is_a_run_like_any_other(swept):
    folder, found = swept
    row = found["cells"][1]
    path = folder / row["runs"][1]["run"]
    evaluations = list(Record.read(path / "metrics.jsonl").rows("evaluation"))
    assert [each["round"] for each in evaluations] == [0, 2, 4]
    scores = [each["parts"]["validation"]["together"]["accuracy"] for each in evaluations]
    assert row["runs"][1]["score"] == scores[-1]
    assert experiment.evaluate(path)["validation"]["accuracy"] == pytest.approx(scores[-1])
    reached = next(each for each in evaluations if scores[evaluations.index(each)] >= 0.5)
    assert row["runs"][1]["reached"]["round"] == reached["round"]
    mean = sum(run["score"] for run in row["runs"]) / 2
    assert row["score"] == pytest.approx(mean)


def test_the_page_and_the_table_show_all_cells_the_best_first(swept, tmp_path):
    folder, found = swept
    page = write_sweep("swept", found, folder, tmp_path / "page.html").read_text("utf-8")
    assert page.count("<img") == 3
    assert "refused" in page.lower()
    lines = text(found).splitlines()
    assert len(lines) == 1 + 3 + 1
    assert "rounds to 0.5" in lines[0]
    best = max((c for c in found["cells"] if not c["refused"]), key=lambda c: c["score"])
    assert lines[1].startswith(str(best["cell"]))


def test_a_folder_of_another_sweep_or_of_something_else_is_refused(swept, tmp_path):
    folder, _ = swept
    with pytest.raises(OutputError, match="a sweep of other settings"):
        sweep(parse(train={"batch_size": 16}), folder)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="something that is no sweep"):
        sweep(parse(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweep": {"axes": {}}}, "nothing to sweep over"),
        ({"sweep": {"axes": {"peers.algorithm": []}}}, "'peers.algorithm' has no values"),
        ({"sweep": {"axes": {"seed": [1, 2]}}}, "'seed' is the same in every cell"),
        ({"sweep": {"axes": {"penalty[0].strength": [1, 2]}}}, "there is no 'penalty"),
        (
            {
                "sweep": {"part": "test", "axes": {"peers.rounds": [1]}},
                "data": {"split": [0.9, 0.1, 0.0]},
            },
            "judged by the test part",
        ),
        ({"sweep": {"axes": {"peers.algorithm": ["choco"]}}}, "every combination is refused"),
    ],
)
def test_a_sweep_that_cannot_be_made_says_why(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        sweep(parse(**changes), tmp_path / "sweep")
    assert not (tmp_path / "sweep" / "cells").exists()


def test_a_sweep_wants_workers(tmp_path):
    plan = config.parse({"sweep": {"axes": {"rule.learning_rate": (0.1,)}}}, "a test")
    with pytest.raises(ConfigError, match=r"no section \[peers\]; add it, or .*pullback tune"):
        sweep(plan, tmp_path / "sweep")


def test_topology_says_what_a_network_costs_before_it_trains(tmp_path):
    file, page = tmp_path / "file.toml", tmp_path / "page.html"
    file.write_text(FILE)
    shown = json.loads(invoke("topology", file, "--out", page, "--json").stdout)
    assert shown["network"]["survey"]["messages"] == 4
    assert shown["network"]["survey"]["bytes"] == 4 * 650 * 4
    assert [row["examples"] for row in shown["partition"]["workers"]] == [360, 359, 359]
    assert "<svg" in page.read_text("utf-8") or "<img" in page.read_text("utf-8")
    told = invoke("topology", file, "--out", page).stdout
    assert "4 messages in 2 phases" in told
    assert "lose their hub" in told
    assert "no section [peers]" in refused("topology", code=2)
