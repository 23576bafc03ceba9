"""The page of a network before training: where workers are drawn, what is told, what is warned."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path as FilePath

import networkx as nx
import numpy as np
import pytest
from test_report import Outline, drawn, texts

from pullback.peers import (
    DPSGD,
    Clock,
    Dense,
    Dirichlet,
    EdgeList,
    EqualShares,
    ErdosRenyi,
    FedAvg,
    Grid,
    Hypercube,
    Mixing,
    Path,
    Push,
    PushSum,
    RelaySum,
    Ring,
    Star,
    Stars,
    StarTree,
    Topology,
    Torus,
    TwoCliques,
    describe,
    links,
    partition_report,
)
from pullback.report.figures import Absent, Figure, graph, mixing
from pullback.report.figures.layout import positions
from pullback.report.topology import _workers, sentences, text, write_topology

SHAPES = ((20, 10), (10,))
HOSTILE = "<script>alert('x')</script>"


def row(topology: Topology, algorithm=None, mixing: Mixing | None = None) -> dict:
    algorithm = algorithm or DPSGD()
    found = describe(
        topology, mixing, None, algorithm, Dense(), SHAPES, np.dtype("float32"), Clock()
    )
    named = {"topology": {"name": type(topology).__name__.lower(), **asdict(topology)}}
    return named | {"algorithm": {"name": "some"}, "codec": {"name": "dense"}, **found}


def placed(topology: Topology) -> np.ndarray:
    seen = row(topology)
    return positions(seen["workers"], seen["links"], seen["hubs"], seen["topology"])


# Where workers are drawn


@pytest.mark.parametrize(
    "topology",
    [
        Star(9),
        Stars(),
        Stars(((0, 1, 2), (3, 4), (5, 6, 7, 8))),
        StarTree((3, 2)),
        Ring(7),
        Path(6),
        Path(20),
        Grid(3, 4),
        Torus(3, 3),
        Hypercube(8),
        TwoCliques(9),
        ErdosRenyi(20, 0.3),
        ErdosRenyi(120, 0.1),
    ],
    ids=lambda each: f"{type(each).__name__}-{each.n}",
)
def test_workers_lie_apart_inside_the_square_and_always_there(topology):
    found = placed(topology)
    assert found.shape == (topology.n, 2)
    assert np.abs(found).max() == pytest.approx(1)
    gaps = np.linalg.norm(found[:, None] - found[None], axis=-1) + 9 * np.eye(topology.n)
    assert gaps.min() > 0.4 / topology.n
    np.testing.assert_array_equal(found, placed(topology))


def test_a_hub_is_in_the_middle_of_its_star():
    found = placed(Star(6))
    np.testing.assert_allclose(found[1:].mean(0), found[0], atol=0.1)
    away = np.linalg.norm(found[1:] - found[0], axis=1)
    np.testing.assert_allclose(away, away[0])


def test_two_stars_lie_side_by_side_with_their_leaves_outside():
    found = placed(Stars())
    assert found[2, 0] < 0 < found[3, 0]
    assert found[2, 1] == pytest.approx(found[3, 1], abs=1e-9)
    assert (found[[0, 1], 0] < found[2, 0]).all()
    assert (found[[4, 5], 0] > found[3, 0]).all()


def test_a_ring_is_a_circle_in_the_order_of_numbers_and_a_chain_a_line():
    ring = placed(Ring(8))
    steps = np.linalg.norm(ring - np.roll(ring, -1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0])
    chain = placed(Path(5))
    np.testing.assert_allclose(chain[:, 1], 0)
    np.testing.assert_allclose(np.diff(chain[:, 0]), 0.5)


def test_a_grid_lies_in_rows_and_columns():
    found = placed(Grid(2, 3))
    np.testing.assert_allclose(found[:3, 1], found[0, 1])
    np.testing.assert_allclose(found[[0, 3], 0], found[0, 0])
    assert found[0, 1] > found[3, 1]


# What is drawn


def test_links_are_as_wide_as_their_bytes():
    figure = graph.planned_graph(row(Star(4), FedAvg()))
    ends = {(src, dst): (int(n), int(size)) for src, dst, n, size in figure.table.rows}
    assert ends["1", "0"] == ends["0", "3"] == (1, 4 * 210)
    assert len(ends) == 6
    assert {"0", "1", "2", "3", "hub", "worker"} <= set(texts(figure))


def test_a_matrix_of_few_workers_has_its_numbers_and_one_of_many_is_left_out():
    shown = texts(mixing.matrix(row(Ring(5))))
    assert shown.count("0.33") == 15
    assert isinstance(mixing.matrix(row(Ring(70))), Absent)


def test_the_spectrum_and_the_decay_tell_the_gap():
    seen = row(Path(6))
    spectrum, decay = mixing.spectrum(seen), drawn(mixing.disagreement(seen))
    gap = seen["survey"]["long_run_gap"]
    assert f"gap {gap:.3g}" in texts(spectrum)
    assert float(spectrum.table.rows[1][1]) == pytest.approx(1 - gap, rel=1e-3)
    assert {"from the worst start", "from a typical start", "1 %"} <= set(texts(decay))
    one, two = (float(decay.table.rows[t][1]) for t in (20, 21))
    assert two / one == pytest.approx(1 - gap, abs=2e-3)
    assert "none is left" in drawn(mixing.disagreement(row(Stars(), FedAvg()))).caption


def test_weights_are_drawn_only_where_they_are_not_what_was_asked_for():
    assert mixing.counted(row(Path(4))) is None
    figure = mixing.counted(row(Path(4), mixing=EqualShares()))
    assert isinstance(figure, Figure)
    # By degrees: 2, 3, 3, 2 of 10.
    assert [each[1:] for each in figure.table.rows[:2]] == [("0.25", "0.2"), ("0.25", "0.3")]


# The page


def page_of(seen: dict, out: FilePath, **options) -> str:
    return write_topology(seen, out, **options).read_text("utf-8")


@pytest.fixture(scope="module")
def dealt() -> dict:
    labels = np.arange(90) % 3
    parts = Dirichlet(0.5).deal(labels, 6, 0)
    return {"classes": [HOSTILE, "b", "c"], **partition_report(parts, labels)}


@pytest.fixture(scope="module")
def page(tmp_path_factory, dealt) -> str:
    out = tmp_path_factory.mktemp("page") / "page.html"
    return page_of(row(Stars(), FedAvg()), out, name=HOSTILE, partition=dealt)


def test_the_page_is_whole_safe_and_needs_nothing_else(page):
    outline = Outline(page)
    assert not {"script", "iframe", "object", "base", "form"} & {tag for tag, _ in outline.tags}
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"graph", "matrix", "spectrum", "disagreement", "labels", "distance"} <= set(ids)
    assert all(link["href"].removeprefix("#") in ids for link in outline.all("a"))
    assert all(len(image["alt"]) > 20 for image in outline.all("img"))
    assert "not drawn" not in page


def test_the_page_tells_costs_and_what_breaks(page):
    plain = page.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "<td>bytes of one message<td>840 B" in plain
    assert "<td>messages of a round<td>10" in plain
    assert re.search(r"<td>worker 2<td>2<td>the rest falls into 3 parts, and 0, 1 are", plain)
    assert "5 of 5 links and 2 of 6 workers cannot fail without harm" in plain
    assert "<td>2<td>hub<td>16.7 %<td>16.7 %<td>3<td>2.52 kB<td>3<td>2.52 kB" in plain
    assert "topology.groups" in plain


def test_what_a_worker_takes_in_is_not_what_it_sends():
    ends = EdgeList(((0, 1), (1, 2), (2, 0), (0, 2)), directed=True)
    found = _workers(row(ends, PushSum(), mixing=Push()))
    told = [dict(zip(found.header, each, strict=True)) for each in found.rows]
    assert [(each["in"], each["out"]) for each in told] == [("1", "2"), ("1", "1"), ("2", "1")]
    assert told[0]["bytes out"] == told[2]["bytes in"] != told[0]["bytes in"]


def test_a_bias_stands_above_all_else(tmp_path):
    page = page_of(row(Path(4), mixing=EqualShares()), tmp_path / "page.html", name="path")
    assert page.index("<strong>Biased.") < page.index('class="verdict"')
    assert 'id="weights"' in page


def test_a_draw_of_clients_is_told(tmp_path):
    seen = row(Star(11, hub_has_data=False), FedAvg(share=0.2))
    told = text(seen)
    assert "some of them drawn anew each time" in told
    assert "Drawn: Only some workers take part" in told
    assert "hub without data" in texts(graph.planned_graph(seen))


def test_what_is_handed_on_is_not_told_as_mixing():
    told = text(row(Path(6), RelaySum()))
    assert "A sum reaches all workers in 5 rounds." in told
    assert "Relayed: This algorithm hands sums on" in told
    assert "Relayed" not in text(row(Path(6)))


def test_the_same_is_told_in_a_terminal():
    told = text(row(Stars(), FedAvg())).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert told.startswith("6 workers and 5 links form the topology stars.")
    assert re.search(r"bytes of a round +8.4 kB", told)
    assert "without worker 2 the rest falls into 3 parts" in told
    many = text(row(Star(40), FedAvg()))
    assert "and 28 more" in many
    assert many.index("without worker 0 ") < many.index("without link")


def test_what_a_round_brings_is_told_by_the_gap():
    assert "One round brings all workers to agree." in " ".join(sentences(row(Star(4), FedAvg())))
    assert "to 1 % in 12 rounds" in " ".join(sentences(row(Ring(6))))


def test_links_of_a_graph_are_those_of_the_page():
    topology = TwoCliques(7)
    figure = graph.planned_graph(row(topology))
    told = {(int(each[0]), int(each[1])) for each in figure.table.rows}
    assert told == {tuple(each) for each in links(topology.schedule())}
    assert told == set(nx.DiGraph(topology.graph()).edges)
