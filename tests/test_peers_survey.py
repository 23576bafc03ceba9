"""The survey of a topology: counts, bytes, seconds, effective neighbours, and what breaks."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import networkx as nx
import numpy as np
import pytest

from pullback.errors import ConfigError
from pullback.peers.algorithm import DPSGD, FedAvg, GradientTracking, PushSum, RelaySum
from pullback.peers.clock import Clock
from pullback.peers.codec import Codec, Dense, TopK
from pullback.peers.describe import describe, disagreement, links
from pullback.peers.mixing import EqualShares, MetropolisHastings, Push
from pullback.peers.phase import Schedule, gossip
from pullback.peers.spectrum import effective_neighbours, gap, implied_weights
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


# As sentences and as a row


def test_a_survey_is_told_in_sentences():
    told = str(survey(Stars(), message_bytes=1000, clock=Clock(latency=0.5)))
    assert "A round has 3 phases and 10 messages, 10 kB." in told
    assert "1 round to 1 %" in told
    assert "What is minimised is the mean over all data." in told
    assert "Without worker 2 the rest falls into 3 parts, and 0, 1 are cut off" in told
    assert "Any one link or worker can fail" in str(survey(Ring(5)))
    turning = str(survey(OnePeerExponential(6)))
    assert "which repeat after 3 rounds" in turning
    assert "kB" not in turning


def test_a_bias_is_warned_of():
    told = str(survey(Path(5), EqualShares()))
    # The ends have 1/5 of the data, and by degrees 2 of 2 + 3 + 3 + 3 + 2.
    assert "has 0.2 of the data and counts for 0.1538" in told
    assert "Warning" not in str(survey(Path(5)))


def test_the_worst_that_can_break_is_told_first():
    lines = [line for line in str(survey(Star(30))).splitlines() if line.startswith("Without")]
    assert lines[0].startswith("Without worker 0 ")
    assert "and 16 more are cut off" in lines[0]
    assert len(lines) == 12
    assert "18 more links or workers cannot fail" in str(survey(Star(30)))


def test_a_row_does_not_grow_with_the_square_of_the_network():
    seen = survey(Path(60))
    row = seen.row()
    assert len(row["cuts"]) == 59 + 58
    assert len(json.dumps(row)) < 30_000
    middle = next(cut for cut in row["cuts"] if cut["lost"] == [29, 30])
    assert (middle["parts"], middle["cut_off"]) == (2, 30)
    assert row["bias"] == pytest.approx(0, abs=1e-12)
    assert row["rounds_to_one_percent"] == seen.rounds_to(0.01)


# What an algorithm makes of it

SHAPES, DENSE = ((3, 2), (2,)), Dense()


def described(topology, algorithm, codec: Codec = DENSE, mixing=None, weights=None):
    return describe(topology, mixing, weights, algorithm, codec, SHAPES, np.float32, Clock())


def test_what_is_sent_is_what_the_algorithm_sends():
    one, two = (described(Ring(4), each()) for each in (DPSGD, GradientTracking))
    assert (one["message_bytes"], one["survey"]["bytes"]) == (32, 8 * 32)
    # Parameters and trackers travel together, in one message of twice the length.
    assert (two["message_bytes"], two["survey"]["bytes"]) == (64, 8 * 64)
    assert sum(each[2] for each in two["sends"]) == two["survey"]["messages"] == 8
    assert sum(each[3] for each in two["sends"]) == two["survey"]["bytes"]
    assert one["links"] == [each[:2] for each in one["sends"]]
    pushed = described(Ring(4), PushSum(), mixing=Push(), weights=[1, 2, 3, 4])
    assert pushed["message_bytes"] == 36
    assert pushed["survey"]["bias"] == 0
    # The hub answers in full what it gathers in few bytes.
    codec = TopK(share=0.25)
    few = described(Star(3), FedAvg(), codec)
    assert few["survey"]["bytes"] == 2 * codec.cost(SHAPES, np.float32).total + 2 * 32


def test_sums_that_are_handed_on_reach_all_along_the_longest_way():
    row = described(Path(5), RelaySum())
    assert row["relays"] == 4
    # A model of eight numbers, and the share that is in the sum.
    assert row["message_bytes"] == 9 * 4
    assert described(Path(5), DPSGD())["relays"] is None


def test_a_draw_of_clients_sends_less():
    row = described(Star(11), FedAvg(share=0.2))
    assert row["drawn"]
    assert not described(Star(11), FedAvg())["drawn"]
    # Two of ten leaves answer in a round, and two of the next are told.
    assert row["survey"]["messages"] == pytest.approx(4)
    assert row["survey"]["most_in"] == 2
    assert sum(each[3] for each in row["sends"]) == pytest.approx(4 * 32)
    # Over many rounds every leaf is drawn, each about as often.
    answers = [each[2] for each in row["sends"] if each[1] == 0]
    assert len(answers) == 10
    assert max(answers) < 0.4


def test_a_description_is_plain_and_leaves_large_matrices_out():
    row = described(Stars(), FedAvg())
    assert json.loads(json.dumps(row)) == row
    np.testing.assert_allclose(row["matrix"], 1 / 6, rtol=1e-8)
    assert row["hubs"] == [False, False, True, True, False, False]
    large = described(Ring(130), DPSGD())
    assert large["matrix"] is large["disagreement"] is None
    assert large["eigenvalues"][1] == pytest.approx((1 + 2 * math.cos(2 * math.pi / 130)) / 3)


def test_links_of_all_rounds_of_a_period():
    assert links(OnePeerExponential(4).schedule()) == links(ExponentialGraph(4).schedule())
    assert len(links(OnePeerExponential(4).schedule())) == 8


@pytest.mark.parametrize(
    ("topology", "mixing"), [(Ring(6), None), (ExponentialGraph(6), None), (Path(5), EqualShares())]
)
def test_disagreement_shrinks_as_vectors_do(topology, mixing):
    schedule = topology.schedule(mixing)
    found, weights = disagreement(schedule), implied_weights(schedule)
    draw = np.random.default_rng(0).normal(size=(schedule.n, 4000))
    root = np.sqrt(weights)[:, None]

    def apart(x):
        return np.linalg.norm(root * (x - weights @ x), axis=0)

    # Starts that are alike in all directions of the weighted coordinates.
    x = draw / root
    start, before = np.sqrt(np.mean(apart(x) ** 2)), apart(x)
    for t in range(6):
        assert np.sqrt(np.mean(apart(x) ** 2)) / start == pytest.approx(
            found["typical"][t], rel=0.05
        )
        assert (apart(x) <= found["worst"][t] * before * (1 + 1e-9)).all()
        x = schedule.matrix(t) @ x
    for t in range(5, 12):
        rate = found["worst"][t + 1] / found["worst"][t]
        assert rate <= 1 - gap(schedule) + 1e-6


def test_disagreement_of_push_sum_is_that_of_its_ratios():
    schedule = Path(4).schedule(Push())
    found, x, mass = disagreement(schedule), np.eye(4)[0], np.ones(4)
    for t in range(len(found["worst"])):
        z = x / mass
        left = np.linalg.norm(z - 1 / 4) / np.linalg.norm(np.eye(4)[0] - 1 / 4)
        assert left <= found["worst"][t] + 1e-9
        x, mass = schedule.matrix(t) @ x, schedule.matrix(t) @ mass
    assert found["worst"][-1] < 1e-4
