"""The survey of a topology: counts, bytes, seconds, effective neighbours, and what breaks."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import networkx as nx
import numpy as np
import pytest

from pullback.errors import ConfigError
from pullback.peers.clock import Clock
from pullback.peers.mixing import EqualShares, MetropolisHastings, Push
from pullback.peers.phase import Schedule, gossip
from pullback.peers.spectrum import effective_neighbours, gap
from pullback.peers.survey import cuts, survey
from pullback.peers.topology import (
    Complete,
    EdgeList,
    ExponentialGraph,
    Hypercube,
    OnePeerExponential,
    Path,
    Ring,
    Star,
    Stars,
    StarTree,
    TwoCliques,
)


def one_phase(matrix):
    return Schedule(((gossip(matrix),),))


def test_two_stars_against_one():
    two, one = survey(Stars()), survey(Star(6))
    assert (two.messages, two.phases, two.edges, two.period) == (10, 3, 5, 1)
    assert (two.most_in, two.most_out) == (3, 3)
    assert (one.messages, one.phases, one.most_in, one.most_out) == (10, 2, 5, 5)
    assert one.busiest == 0
    assert two.busiest == 2
    assert two.gap == one.gap == 1
    # Of a hundred: the hub of two stars takes in 49 leaves and the other hub.
    halves = Stars((tuple(range(50)), tuple(range(50, 100))))
    large = survey(halves)
    assert (large.messages, large.most_in, large.most_out) == (98 + 2 + 98, 50, 50)
    gather = halves.schedule().round(0)[0]
    assert np.bincount(gather.dst).max() == 49
    assert survey(Star(100)).most_in == survey(Star(100)).most_out == 99
    # One step of gossip on the same tree has as many messages, and far from averages.
    tree = survey(EdgeList.from_networkx(Stars().graph()))
    assert tree.messages == two.messages
    assert tree.gap == pytest.approx(0.1096, abs=5e-5)


def test_all_of_a_survey_is_plain_numbers():
    seen = survey(Stars(), message_bytes=100, clock=Clock())
    assert json.loads(json.dumps(asdict(seen)))["messages"] == 10


def test_bytes_and_seconds():
    clock = Clock(upload=100.0, download=(100.0, 100.0, 400.0, 100.0, 100.0, 100.0), latency=0.5)
    seen = survey(Stars(), message_bytes=200, clock=clock)
    assert seen.bytes == 2000
    assert (seen.most_bytes_in, seen.most_bytes_out, seen.most_bytes_link) == (600, 600, 200)
    # Gather: hub 3 takes in 400 at 100 a second. Exchange: 200 out. Scatter: 400 out.
    assert seen.seconds == pytest.approx((4 + 0.5) + (2 + 0.5) + (4 + 0.5))
    bare = survey(Stars(), clock=clock)
    assert bare.bytes is bare.most_bytes_in is bare.seconds is None
    turns = survey(OnePeerExponential(5), message_bytes=200, clock=Clock(upload=100.0, latency=1.0))
    assert (turns.period, turns.phases, turns.messages, turns.bytes) == (3, 1, 5, 1000)
    assert turns.seconds == pytest.approx(3)
    assert turns.most_bytes_link == 200


def test_effective_neighbours_of_nobody_and_of_all():
    assert effective_neighbours(one_phase(np.eye(5))) == pytest.approx(1)
    assert effective_neighbours(Complete(7).schedule()) == pytest.approx(7)
    shares = np.array([0.5, 0.25, 0.25])
    assert effective_neighbours(one_phase(np.tile(shares, (3, 1)))) == pytest.approx(1 / 0.375)


def test_effective_neighbours_of_64_workers():
    # The figures of the published formula, to the digits that were published.
    assert effective_neighbours(Hypercube(64).schedule()) == pytest.approx(56.8, abs=0.05)
    assert effective_neighbours(Ring(64).schedule()) == pytest.approx(17.8, abs=0.05)
    star = one_phase(MetropolisHastings().matrix(nx.star_graph(63)))
    assert effective_neighbours(star) == pytest.approx(4.06, abs=0.005)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.99])
def test_effective_neighbours_by_eigenvalues_and_by_walking(memory):
    symmetric = TwoCliques(7).schedule()
    squares = np.linalg.eigvalsh(symmetric.product()) ** 2
    closed = 1 / (1 - memory) / np.mean(squares / (1 - memory * squares))
    assert effective_neighbours(symmetric, memory) == pytest.approx(closed)
    turning, total = OnePeerExponential(5).schedule(), 0.0
    variance, rounds = np.zeros((5, 5)), 3 * 1200
    for t in range(rounds):
        w = turning.matrix(t)
        variance = w @ (memory * variance + np.eye(5)) @ w.T
        total += np.trace(variance) / 5 if t >= rounds - 3 else 0
    walked = 1 / (1 - memory) / (total / 3)
    assert effective_neighbours(turning, memory) == pytest.approx(walked)


def test_effective_neighbours_ask_for_agreement_and_a_share():
    with pytest.raises(ConfigError, match="keep agreement, not sums"):
        effective_neighbours(Ring(4).schedule(Push()))
    with pytest.raises(ConfigError, match=r"memory must be in \[0, 1\), got 1.0"):
        effective_neighbours(Ring(4).schedule(), 1.0)


def test_push_is_surveyed_too():
    seen = survey(Path(4), Push())
    assert seen.effective_neighbours is None
    np.testing.assert_allclose(seen.implied_weights, 1 / 4)
    # Columns here are rows of the mean of neighbours there.
    assert seen.gap == pytest.approx(gap(Path(4).schedule(EqualShares())))


def test_the_bias_is_how_far_the_objective_is_off():
    assert survey(Path(4), weights=[1, 2, 3, 4]).bias < 1e-12
    assert survey(Path(4), EqualShares()).bias == pytest.approx(0.3 - 0.25)
    assert survey(Star(3, hub_has_data=False)).data_weights == (0, 0.5, 0.5)


def test_the_gap_bounds_what_a_round_leaves_for_unequal_shares_too():
    amounts = np.arange(1.0, 8)
    shares = amounts / amounts.sum()
    schedule = TwoCliques(7).schedule(weights=amounts)
    random, left = np.random.default_rng(0), 1 - gap(schedule)
    worst = 0.0
    for _ in range(200):
        x = random.normal(size=7)
        for _ in range(6):
            before = x - shares @ x
            x = schedule.product() @ x
            after = x - shares @ x
            worst = max(worst, math.sqrt(shares @ after**2 / (shares @ before**2)))
    assert worst <= left + 1e-12
    assert worst > 0.98 * left


def test_rounds_to_agree():
    ring = survey(Ring(8))
    x = np.linalg.matrix_power(Ring(8).schedule().product(), 40) @ np.eye(8)[0]
    rounds = ring.rounds_to(float(np.linalg.norm(x - 1 / 8) / np.linalg.norm(np.eye(8)[0] - 1 / 8)))
    assert rounds == pytest.approx(40, abs=5)
    assert survey(Complete(4)).rounds_to(1e-3) == 1


def test_what_breaks():
    told = [str(each) for each in cuts(Stars())]
    assert told[2] == "without link 2–3 the rest falls into 2 parts, and 3, 4, 5 are cut off"
    assert told[-2] == (
        "without worker 2 the rest falls into 3 parts, and 0, 1 are cut off; 0, 1 lose their hub"
    )
    assert len(told) == 5 + 2
    assert cuts(Ring(5)) == []
    assert cuts(Complete(4)) == []
    assert cuts(ExponentialGraph(8)) == []
    (last,) = cuts(Star(2))[1:]
    assert str(last) == "without worker 0 the rest is connected; 1 loses its hub"
    three = Stars(((0, 3), (1, 4), (2, 5)))
    assert [each.lost for each in cuts(three)] == [(0, 3), (1, 4), (2, 5), (0,), (1,), (2,)]
    assert cuts(three)[3].cut_off == (3,)
    tree = cuts(StarTree((2, 2)))
    assert tree[-1].lost == (2,)
    assert tree[-1].orphans == tree[-1].cut_off == (5, 6)


def test_what_breaks_against_trying_each():
    random = np.random.default_rng(4)
    tried = found = 0
    while tried < 25:
        n = int(random.integers(3, 8))
        joined = random.random((n, n)) < 0.38
        edges = tuple((a, b) for a, b in np.argwhere(joined).tolist() if a != b)
        graph = nx.DiGraph(edges)
        if len(graph) < n or not nx.is_strongly_connected(graph):
            continue
        tried += 1
        wanted = set()
        for edge in graph.edges:
            rest = graph.copy()
            rest.remove_edge(*edge)
            if not nx.is_strongly_connected(rest):
                wanted.add(edge)
        for node in graph:
            rest = graph.copy()
            rest.remove_node(node)
            if not nx.is_strongly_connected(rest):
                wanted.add((node,))
        assert {each.lost for each in cuts(EdgeList(edges, directed=True))} == wanted
        found += len(wanted)
    assert found > 50
