"""The report of runs over peers: what it draws and says of them, and how it compares them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import peers_sample as sample
import pytest
import report_sample
from test_report import Outline, drawn, texts

from pullback.record import Record
from pullback.report import write_report
from pullback.report.comparison import compare, text
from pullback.report.figures import Absent, Figure, dealt, faults, graph, peers, rounds
from pullback.report.figures.compare import held_out_metric
from pullback.report.figures.many import binned, greatest
from pullback.report.history import History
from pullback.report.peers import cards, verdict
from pullback.report.verdict import notices

DRAWS = [
    peers.common_metric,
    peers.worker_metric,
    peers.worker_loss,
    rounds.consensus_distance,
    rounds.health,
    rounds.round_cost,
    graph.traffic_graph,
    dealt.labels,
    dealt.distances,
    faults.faults,
]
LEARNED = {"common-metric", "worker-metric", "worker-loss", "consensus", "round-cost", "labels"}
DRAWN = {
    "stars": LEARNED | {"graph", "distance"},
    "ring": LEARNED | {"graph", "distance", "health", "faults"},
    "many": LEARNED | {"graph", "health"},
    "stopped": LEARNED | {"distance"},
}
PAGES = ["stars", "ring", "many"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("runs")
    return {
        "stars": sample.stars(base / "stars"),
        "ring": sample.ring(base / "ring"),
        "many": sample.many(base / "many"),
        "stopped": sample.stars(base / "stopped", end="unfinished"),
    }


@pytest.fixture(scope="module")
def histories(folders) -> dict[str, History]:
    return {name: History.read(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def drawings(histories) -> dict[str, dict[str, Figure | Absent]]:
    return {
        name: {figure.id: figure for figure in (draw(history) for draw in DRAWS)}
        for name, history in histories.items()
    }


@pytest.fixture(scope="module")
def pages(folders) -> dict[str, str]:
    return {
        name: write_report([folder], folder / "report.html").read_text("utf-8")
        for name, folder in folders.items()
        if name in PAGES
    }


# What is drawn


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_with_data_is_drawn_and_every_other_gives_its_reason(name, drawings):
    assert {f.id for f in drawings[name].values() if isinstance(f, Figure)} == DRAWN[name]
    for figure in drawings[name].values():
        if isinstance(figure, Absent):
            assert len(figure.reason) > 10
            continue
        root = ElementTree.fromstring(figure.image)
        assert float(root.attrib["width"].removesuffix("pt")) > 200
        assert min(len(figure.alt), len(figure.caption)) > 20
        assert 0 < len(figure.table.rows) <= 200
        assert all(len(row) == len(figure.table.header) for row in figure.table.rows)


def test_success_is_drawn_along_all_that_it_costs(histories, drawings):
    figure = drawn(drawings["ring"]["common-metric"])
    shown = " ".join(texts(figure))
    for axis in ("epochs", "rounds", "bytes sent (kB)", "simulated time (ms)"):
        assert axis in shown
    last = histories["ring"].evaluations[-1]
    row = dict(zip(figure.table.header, figure.table.rows[-1], strict=True))
    assert row["bytes"] == str(last["bytes"])
    assert row["messages"] == str(last["messages"])
    accuracy = [worker["accuracy"] for worker in last["parts"]["validation"]["workers"]]
    assert row["mean of the workers"].startswith(f"{100 * np.mean(accuracy):.1f}")
    assert row["together"].startswith(f"{100 * last['validation']['accuracy']:.1f}")


def test_few_workers_have_a_curve_each_and_many_have_bands(drawings):
    assert "worker 5" in texts(drawings["ring"]["worker-metric"])
    assert "worker 6" not in texts(drawings["ring"]["worker-metric"])
    shown = texts(drawings["many"]["worker-metric"])
    assert "least to greatest" in shown
    assert "worker 1" not in shown
    assert drawn(drawings["many"]["worker-loss"]).table.header[1:] == (
        "least",
        "median",
        "greatest",
    )


def test_a_worker_that_was_down_has_no_loss_there(drawings):
    figure = drawn(drawings["ring"]["worker-loss"])
    by_round = [dict(zip(figure.table.header, row, strict=True)) for row in figure.table.rows]
    assert [row["worker 1"] == "–" for row in by_round] == [False, False, True, True, False, False]
    assert [row["worker 3"] == "–" for row in by_round] == [True, True, False, False, False, False]
    assert "made no step" in figure.caption
    assert "made no step" not in drawn(drawings["stars"]["worker-loss"]).caption


def test_the_distance_of_an_exact_average_is_called_rounding(drawings):
    assert "what is left is rounding" in drawn(drawings["stars"]["consensus"]).caption
    assert "what is left is rounding" not in drawn(drawings["ring"]["consensus"]).caption


def test_health_is_told_in_words_and_a_spike_is_not_lost_among_many_rounds(drawings):
    assert "trackers off the gradients' mean (0)" in texts(drawings["ring"]["health"])
    assert "Drawn are the greatest over 3 rounds each" in drawn(drawings["many"]["health"]).caption
    spike = np.where(np.arange(1, 1101) == 700, 0.5, 1e-7)[None]
    at, found = binned(list(range(1, 1101)), spike, greatest)
    assert len(at) == found.shape[1] <= 500
    assert (at[0], at[-1]) == (2.0, 1099.5)
    assert found.max() == 0.5
    assert at[int(found.argmax())] == pytest.approx(700, abs=1)
    assert "health" not in {f.id for f in drawings["stars"].values() if isinstance(f, Figure)}


def test_what_was_sent_over_each_link_is_what_the_simulation_counted(histories, drawings):
    figure, rows = drawn(drawings["ring"]["graph"]), histories["ring"].all("round")
    assert sum(int(row[2]) for row in figure.table.rows) == sum(row["messages"] for row in rows)
    assert len(figure.table.rows) == 12
    sizes = sum(float(row[3]) for row in figure.table.rows)
    assert sizes == sum(sum(row["bytes"].values()) for row in rows)


def test_hubs_are_marked_and_named(drawings):
    stars, ring = drawn(drawings["stars"]["graph"]), drawn(drawings["ring"]["graph"])
    assert "hub" in texts(stars)
    assert "Hubs: 2, 3." in stars.caption
    assert "hub" not in texts(ring)
    assert "Hubs" not in ring.caption


def test_bytes_are_told_by_kind(drawings):
    figure = drawn(drawings["many"]["round-cost"])
    assert figure.table.header[1:4] == ("payload bytes", "index bytes", "header bytes")
    assert {"payload", "index", "header", "sent (kB)", "time (ms)"} <= set(texts(figure))
    assert "index bytes" not in drawn(drawings["ring"]["round-cost"]).table.header


def test_faults_are_those_planned_and_those_met(drawings):
    figure = drawn(drawings["ring"]["faults"])
    rows = set(figure.table.rows)
    assert ("1", "down, as planned", "3", "4") in rows
    assert ("3", "down, as planned", "1", "2") in rows
    assert ("0", "slow: 2 times", "1", "6") in rows
    assert ("2", "dead in fact", "3", "–") in rows
    assert ("5", "overdue in fact", "4", "–") in rows
    assert "20.0" in figure.caption
    assert "Met in fact: 2 faults." in figure.caption


def test_labels_of_each_worker_are_stacked(histories, drawings):
    figure = drawn(drawings["stars"]["labels"])
    assert {"near", "middle", "far"} <= set(texts(figure))
    row = histories["stars"].all("partition")[-1]["workers"][2]
    told = figure.table.rows[2]
    assert told[:2] == ("2", str(row["examples"]))
    assert told[4:] == tuple(map(str, row["labels"]))


def test_many_workers_and_labels_are_a_heat_map():
    labels = np.tile(np.arange(20), 60)
    row = sample.partition_report(np.split(np.arange(1200), 60), labels)
    figure = dealt.label_counts(row)
    assert "A column for each worker" in figure.caption
    assert "share of the worker's examples" in texts(figure)
    few = dealt.label_counts(sample.partition_report(np.split(np.arange(1200), 6), labels % 14))
    assert "A bar for each worker" in few.caption


# What is said


def plain(sentences: list[str]) -> str:
    return " ".join(sentences).replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_the_verdict_names_the_network_the_result_and_the_cost(histories):
    said = plain(verdict(histories["stars"]))
    assert "for 6 rounds with" in said
    assert "6 workers and 5 links form the topology stars; the algorithm is fedavg" in said
    assert re.search(r"On the 90 examples of the validation part the model that all workers", said)
    assert "They sent 60 messages" in said
    assert "Every derivative that was checked is right" in said


def test_a_run_that_stopped_says_so(histories):
    (notice,) = notices(histories["stopped"])
    assert "its last row is of round 6" in notice.text
    assert "at its last evaluation after round 6" in plain(verdict(histories["stopped"]))


def test_the_cards_tell_the_spread_and_the_cost(histories):
    history = histories["ring"]
    told = {card.label: card for card in cards(history)}
    accuracy = sorted(
        worker["accuracy"] for worker in history.evaluations[-1]["parts"]["validation"]["workers"]
    )
    assert told["Weakest worker"].value.startswith(f"{100 * accuracy[0]:.1f}")
    assert told["Weakest worker"].note.startswith(f"{100 * accuracy[-1]:.1f}")
    total = sum(sum(row["bytes"].values()) for row in history.all("round"))
    assert told["Bytes sent"].value.startswith(f"{total / 1000:.3g}")
    assert told["Status"].note == "6 rounds"
    assert len(told) == 6


def test_a_regression_is_told_by_r_squared(histories, pages):
    assert "R² = " in plain(verdict(histories["many"]))
    assert "R² of each worker" in pages["many"]


# The page


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_whole_and_complains_of_nothing_that_never_is(name, pages, folders):
    page = pages[name]
    outline = Outline(page)
    assert not {"script", "iframe", "object", "base", "form"} & {tag for tag, _ in outline.tags}
    assert "http" not in page.replace("http-equiv", "")
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(link["href"].removeprefix("#") in ids for link in outline.all("a"))
    # A run without a check says so; one that has no boundary or no class says nothing of them.
    missing = {
        "stars": ["What must stay as it was"],
        "ring": [],
        "many": ["Analytic against numeric", "Relative error of each block"],
    }
    assert re.findall(r"<li>(.*?): not drawn", page) == missing[name]
    files = {path.stem for path in (folders[name] / "figures").iterdir()}
    assert files >= DRAWN[name]
    assert len(page.encode()) < 1_500_000


def test_the_same_run_gives_the_same_bytes(folders, pages, tmp_path):
    again = write_report([folders["stars"]], tmp_path / "again.html")
    assert again.read_text("utf-8") == pages["stars"]


def test_the_report_loads_neither_jax_nor_pyplot(folders, tmp_path):
    script = f"""
import sys
from pathlib import Path
from pullback.report import write_report
write_report([Path({str(folders["stars"])!r})], Path({str(tmp_path / "page.html")!r}))
assert not {{"matplotlib.pyplot", "jax", "sklearn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


# Several runs


@pytest.fixture(scope="module")
def compared(folders, tmp_path_factory) -> list[Path]:
    base = tmp_path_factory.mktemp("compared")
    return [folders["stars"], sample.stars(base / "again", seed=1), folders["ring"]]


def test_a_comparison_has_what_runs_cost(compared):
    found = compare(compared)
    ring = found["runs"][2]
    rows = list(Record.read(compared[2] / "metrics.jsonl").rows("round"))
    assert ring["rounds"] == 6
    assert ring["bytes"] == sum(sum(row["bytes"].values()) for row in rows)
    assert ring["steps"] == sum(row["steps"] for row in rows)
    assert ring["simulated_seconds"] == pytest.approx(sum(row["seconds"] for row in rows))
    assert [len(group["seeds"]) for group in found["groups"]] == [2, 1]
    header = text(found).splitlines()[0]
    for column in ("validation accuracy", "rounds", "messages", "bytes", "simulated seconds"):
        assert column in header
    assert json.dumps(found)


@pytest.mark.parametrize("along", ["round", "bytes", "seconds"])
def test_runs_are_overlaid_along_what_they_cost(along, compared):
    histories = [History.read(run) for run in compared]
    figure = drawn(held_out_metric(histories, along))
    assert figure.id == f"validation-metric-{along}"
    ends = [row for row in figure.table.rows if row[0] == "ring"]
    assert float(ends[-1][1]) == pytest.approx(histories[2].evaluations[-1][along], rel=1e-6)
    assert len(ends) == 7


def test_a_page_compares_runs_over_peers_with_one_of_a_single_network(compared, tmp_path):
    alone = report_sample.images(tmp_path / "alone", epochs=3)
    page = write_report([*compared, alone], tmp_path / "page.html").read_text("utf-8")
    assert '<th scope="col">bytes sent' in page
    assert "Validation accuracy by bytes sent" in page
    assert "Validation accuracy of 3 runs by bytes sent" in page
    assert "Validation accuracy of 4 runs by epoch" in page
    outline = Outline(page)
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
