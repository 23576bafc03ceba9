"""`pullback compare`: what differs, how runs ended, and means over the seeds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pullback.cli import main
from pullback.files import write_json, write_text
from pullback.record import Record
from pullback.report.comparison import compare
from pullback.report.history import History
from pullback.report.seeds import Mean, grouped

LOSSES = {0: 0.2, 1: 0.3, 2: 0.4}


def a_run(folder: Path, seed: int, rate: float, epochs: int = 3) -> Path:
    """A finished run whose validation loss ends at what LOSSES say, plus its rate."""
    folder.mkdir(parents=True)
    text = f'name = "{folder.name}"\nseed = {seed}\n\n[rule]\nlearning_rate = {rate}\n'
    write_text(folder / "config.toml", text)
    write_json(folder / "meta.json", {"seed": seed})
    with Record(folder / "metrics.jsonl") as record:
        for epoch in range(epochs + 1):
            loss = LOSSES[seed] + rate + (epochs - epoch)
            row = {"loss": loss, "accuracy": 1 - loss / 10}
            record.add("evaluation", epoch=epoch, step=10 * epoch, train=row, validation=row)
    with Record(folder / "timing.jsonl") as timing:
        timing.add("epoch", epoch=1, seconds=2.0, examples_per_second=1.0)
    write_json(folder / "result.json", {"status": "done"})
    return folder


@pytest.fixture
def runs(tmp_path):
    three = [a_run(tmp_path / f"slow-{seed}", seed, 0.1) for seed in LOSSES]
    return [*three, a_run(tmp_path / "fast", 0, 0.5)]


def test_runs_that_differ_only_in_the_seed_are_taken_together(runs):
    found = compare(runs)
    assert [group["seeds"] for group in found["groups"]] == [[0, 1, 2], [0]]
    loss = found["groups"][0]["final"]["validation"]["loss"]
    # Worked by hand: 0.3, 0.4, 0.5; s = 0.1; t(2, 97.5 %) = 4.302653; half = t s / √3.
    assert loss["mean"] == pytest.approx(0.4)
    assert loss["deviation"] == pytest.approx(0.1)
    assert loss["high"] - loss["mean"] == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-4)
    assert found["differences"]["rule.learning_rate"] == ["0.1", "0.1", "0.1", "0.5"]
    assert found["runs"][3]["final"]["validation"]["loss"] == pytest.approx(0.7)
    assert [row["steps"] for row in found["runs"]] == [30] * 4
    assert [row["seconds"] for row in found["runs"]] == [2.0] * 4


def test_the_same_seed_twice_is_not_counted_twice(tmp_path):
    runs = [a_run(tmp_path / name, seed, 0.1) for name, seed in (("a", 0), ("b", 1), ("c", 0))]
    groups = grouped([History.read(run) for run in runs])
    assert [[run.name for run in group.runs] for group in groups] == [["a", "b"], ["c"]]


def test_a_group_is_called_by_its_experiment_where_no_other_run_has_that_name(tmp_path):
    """The two rates are two groups of one experiment's name; the other name is one group's own."""
    runs = [
        a_run(tmp_path / f"{rate}-{seed}", seed, rate) for rate in (0.1, 0.2) for seed in (0, 1)
    ]
    histories = [History.read(run) for run in runs]
    assert [group.name for group in grouped(histories)] == ["0.1-0 and 1 more", "0.2-0 and 1 more"]
    for history in histories[2:]:
        history.config["name"] = "faster"
    assert [group.name for group in grouped(histories)][1] == "faster (2 runs)"


def test_curves_are_averaged_over_the_epochs_that_all_have(tmp_path):
    runs = [a_run(tmp_path / "a", 0, 0.1, epochs=2), a_run(tmp_path / "b", 1, 0.1, epochs=3)]
    (group,) = grouped([History.read(run) for run in runs])
    points = group.points("validation", "loss")
    assert [epoch for epoch, _ in points] == [0, 1, 2]
    assert points[2][1].mean == pytest.approx(((0.2 + 0.1) + (0.3 + 0.1 + 1)) / 2)


def test_a_curve_has_no_points_where_its_part_was_left_out(tmp_path):
    run = a_run(tmp_path / "a", 0, 0.1)
    with Record(run / "metrics.jsonl") as record:
        record.add("evaluation", epoch=3.5, step=35, train={"loss": 1.0, "accuracy": 0.5})
    (group,) = grouped([History.read(run)])
    assert [epoch for epoch, _ in group.points("validation", "loss")] == [0, 1, 2, 3]
    assert [epoch for epoch, _ in group.points("train", "loss")] == [0, 1, 2, 3, 3.5]


def test_one_measurement_has_no_interval():
    alone = Mean.of([2.0])
    assert alone.mean == 2.0
    assert np.isnan([alone.deviation, alone.low, alone.high]).all()


def test_the_command_prints_a_table_and_json_and_writes_a_page(runs, tmp_path):
    page = tmp_path / "page.html"
    paths = [str(run) for run in runs]
    told = CliRunner().invoke(main, ["compare", *paths, "--out", str(page)])
    assert told.exit_code == 0, told.output
    assert re.search(r"slow-0 and 2 more +3 +.*0\.4 ± 0\.1", told.stdout)
    html = page.read_text("utf-8")
    assert "Over the seeds" in html
    assert "the band is where the mean lies" in html
    found = json.loads(CliRunner().invoke(main, ["compare", *paths, "--json"]).stdout)
    assert found["groups"][0]["final"]["validation"]["loss"]["count"] == 3


def test_what_is_no_run_is_refused(tmp_path):
    told = CliRunner().invoke(main, ["compare", str(tmp_path)])
    assert told.exit_code == 5
    assert "is no run" in told.stderr
