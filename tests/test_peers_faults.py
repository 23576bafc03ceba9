"""Faults that are planned: the same for whoever asks, in whatever order, and counted."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from pullback.errors import ConfigError, PeerError
from pullback.peers.faults import (
    POLICIES,
    Edges,
    Faults,
    Tally,
    gone,
    overdue,
    philox,
    require_survival,
)

N = 6
# every pair of workers, both ways
SRC, DST = np.argwhere(~np.eye(N, dtype=bool)).T
ALL = Edges(SRC, DST)
GATHER = Edges(np.arange(1, N), np.zeros(N - 1, int))
SCATTER = Edges(np.zeros(N - 1, int), np.arange(1, N))


def backwards(edges: Edges) -> list[int]:
    """For each edge, the place of the one the other way."""
    place = {ends: e for e, ends in enumerate(zip(edges.src, edges.dst, strict=True))}
    return [place[dst, src] for src, dst in zip(edges.src, edges.dst, strict=True)]


# Random words


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter, key, words):
    first, second = (int(word, 16) for word in key.split())
    found = philox((first, second), [np.array([int(word, 16)]) for word in counter.split()])
    assert [f"{int(word[0]):08x}" for word in found] == words.split()


# Losses


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("pairwise", [False, True])
def test_so_many_messages_are_lost(loss, pairwise):
    plan = Faults(seed=1, loss=loss)
    rounds = range(400)
    up = plan.schedule(rounds, [[Edges(SRC, DST, pairwise)]], N).up[:, 0]
    draws = up.size / 2 if pairwise else up.size
    assert abs((~up).mean() - loss) <= 5 * math.sqrt(loss * (1 - loss) / draws)


def test_all_and_none_are_exact():
    assert Faults(loss=0.0).up(3, 0, SRC, DST).all()
    assert not Faults(loss=1.0).up(3, 0, SRC, DST).any()


def test_losses_are_independent():
    """No correlation between edges, rounds, phases, directions, or seeds, within 5/√draws."""
    plan, rounds = Faults(seed=2, loss=0.5), range(500)
    schedule = plan.schedule(rounds, [[ALL, ALL]], N).up.astype(float)
    other = Faults(seed=3, loss=0.5).schedule(rounds, [[ALL]], N).up[:, 0].astype(float)
    first, second = schedule[:, 0], schedule[:, 1]
    back = first[:, backwards(ALL)]
    for a, b in [
        (first[:, 1:], first[:, :-1]),
        (first[1:], first[:-1]),
        (first, second),
        (first, back),
        (first, other),
    ]:
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        # each pair of directions is counted twice
        assert abs(correlation) < 5 / math.sqrt(a.size / 2)


def test_a_message_has_one_fate_whoever_asks():
    plan = Faults(seed=5, loss=0.4, crashes=((1, 3, 5),))
    whole = plan.schedule(range(2, 9), [[GATHER, ALL]], N).up
    order = np.random.default_rng(0).permutation(len(SRC))
    for round in reversed(range(2, 9)):  # asked for backwards, one by one, in another order
        up = plan.up(round, 1, SRC[order], DST[order])
        np.testing.assert_array_equal(up, whole[round - 2, 1, order])
        for e in (0, 7, 20):
            alone = plan.up(round, 1, SRC[e : e + 1], DST[e : e + 1])
            assert alone[0] == whole[round - 2, 1, e]
    assert (whole[:, 0, : N - 1] != plan.schedule(range(7), [[GATHER]], N).up[:, 0]).any()


def test_the_seed_decides():
    a, same, b = (Faults(seed=s, loss=0.5).up(0, 0, SRC, DST) for s in (0, 0, 1))
    assert a.tolist() == same.tolist()
    assert a.tolist() != b.tolist()


def test_the_numbers_are_the_same_on_every_machine():
    """A change of the stream would silently change every run with faults."""
    up = Faults(seed=0, loss=0.5).up(7, 1, SRC, DST)
    assert "".join("01"[int(arrives)] for arrives in up) == "110100110101010111010010110100"


def test_pairs_are_lost_together():
    plan = Faults(seed=4, loss=0.5, crashes=((2, 0, 4),))
    for round in range(10):
        up = plan.up(round, 0, SRC, DST, pairwise=True)
        np.testing.assert_array_equal(up, up[backwards(ALL)])
        assert 0 < up.sum() < len(up)
    apart = plan.up(0, 0, SRC, DST)
    assert (apart != apart[backwards(ALL)]).any()


# Crashes, latecomers, the slow


def test_windows_of_the_plan():
    plan = Faults(crashes=((1, 2, 4), (3, 5), (4, 6, None), (1, 6, 7)), late=((2, 3),))
    down = [sorted(np.flatnonzero(~plan.alive(round, N)).tolist()) for round in range(9)]
    assert down == [[2], [2], [1, 2], [1], [], [3], [1, 3, 4], [3, 4], [3, 4]]
    back = [np.flatnonzero(plan.returned(round, N)).tolist() for round in range(9)]
    assert back == [[], [], [], [2], [1], [], [], [1], []]


def test_windows_that_meet_are_one():
    plan = Faults(crashes=((0, 1, 3), (0, 3, 5)))
    assert [bool(plan.returned(round, 2)[0]) for round in range(7)] == [False] * 5 + [True, False]


def test_a_worker_that_is_down_neither_sends_nor_receives():
    plan = Faults(crashes=((1, 2, 4),))
    touched = (SRC == 1) | (DST == 1)
    for round in range(6):
        up = plan.up(round, 0, SRC, DST)
        np.testing.assert_array_equal(up, ~touched if round in (2, 3) else np.ones(len(SRC), bool))


def test_a_phase_that_knows_few_workers_minds_no_others():
    plan = Faults(crashes=((5, 0),))
    assert plan.up(0, 0, np.array([0]), np.array([1])).tolist() == [True]
    assert plan.alive(0, 2).tolist() == [True, True]


def test_an_edge_to_itself_is_padding():
    plan = Faults(loss=1.0, crashes=((0, 0),))
    assert plan.up(0, 0, np.array([0, 1]), np.array([0, 1])).all()
    tally = plan.schedule(range(3), [[Edges(np.array([1]), np.array([1]))]], 2).tally()
    assert tally.planned.sum() == tally.missed.sum() == 0


def test_a_phase_may_be_empty():
    none = np.array([], int)
    plan = Faults(loss=0.5)
    assert plan.up(0, 0, none, none).shape == (0,)
    assert plan.schedule(range(2), [[Edges(none, none)], []], 3).up.shape == (2, 1, 0)


def test_factors_of_the_slow():
    assert Faults(slow=((1, 3.0),)).factors(3).tolist() == [1, 3, 1]


def test_whether_a_plan_does_anything():
    assert Faults(seed=7, rejoin="own").silent
    assert not Faults(slow=((0, 2.0),)).silent
    assert not Faults(slow=((0, 2.0),)).hinders
    for plan in (Faults(loss=0.1), Faults(crashes=((0, 1),)), Faults(late=((0, 1),))):
        assert plan.hinders
        assert not plan.silent


# Blocks of rounds


def test_a_schedule_is_the_masks_of_its_rounds():
    plan = Faults(seed=1, loss=0.3, crashes=((2, 4, 6),), late=((5, 2),))
    period = [[GATHER, SCATTER], [ALL._replace(pairwise=True)], [SCATTER]]
    schedule = plan.schedule(range(3, 11), period, N)
    assert schedule.up.shape == (8, 2, len(SRC))
    for r, round in enumerate(range(3, 11)):
        np.testing.assert_array_equal(schedule.alive[r], plan.alive(round, N))
        np.testing.assert_array_equal(schedule.returned[r], plan.returned(round, N))
        padded = np.ones((2, len(SRC)), bool)
        for p, (src, dst, pairwise) in enumerate(period[round % 3]):
            padded[p, : len(src)] = plan.up(round, p, src, dst, pairwise=pairwise)
        np.testing.assert_array_equal(schedule.up[r], padded)


def test_blocks_join_without_a_seam():
    plan = Faults(seed=1, loss=0.3, crashes=((2, 4, 6),))
    whole = plan.schedule(range(10), [[ALL], [GATHER, SCATTER]], N)
    blocks = [
        plan.schedule(part, [[ALL], [GATHER, SCATTER]], N) for part in (range(5), range(5, 10))
    ]
    for name in ("up", "alive", "returned"):
        joined = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    both = blocks[0].tally() + blocks[1].tally()
    assert both.rows() == whole.tally().rows()


# The account


def test_the_tally_counts_the_masks():
    plan = Faults(seed=9, loss=0.25, crashes=((1, 3, 8), (4, 6)), late=((2, 2),))
    period = [[GATHER, SCATTER], [ALL]]
    expected = {name: np.zeros(N, int) for name in Tally.__dataclass_fields__}
    for round in range(12):
        alive = plan.alive(round, N)
        expected["down"] += ~alive
        expected["returned"] += plan.returned(round, N)
        for p, (src, dst, _) in enumerate(period[round % 2]):
            for s, d, up in zip(src, dst, plan.up(round, p, src, dst), strict=True):
                expected["planned"][s] += 1
                expected["lost"][s] += not up and alive[s] and alive[d]
                expected["cut"][s] += not (alive[s] and alive[d])
                expected["missed"][d] += not up
    tally = plan.schedule(range(12), period, N).tally()
    for name, counts in expected.items():
        np.testing.assert_array_equal(getattr(tally, name), counts, err_msg=name)
    # the injected faults did happen
    assert tally.lost.sum() > 0
    assert tally.down.tolist() == [0, 5, 2, 0, 6, 0]
    assert tally.returned.tolist() == [0, 1, 1, 0, 0, 0]
    assert tally.rows()[1] == {
        "worker": 1, **{name: int(counts[1]) for name, counts in expected.items()}
    }  # fmt: skip


def test_a_silent_plan_has_a_clean_account():
    tally = Faults().schedule(range(4), [[ALL]], N).tally()
    assert str(tally) == "120 of 120 messages arrived, 0 lost, 0 cut"
    assert not any(tally.missed)
    assert not any(tally.down)


def test_the_tally_counts_the_masks_that_were_met_in_place_of_the_planned():
    schedule = Faults().schedule(range(2), [[GATHER]], N)
    up = schedule.up.copy()
    up[1, 0, 2] = False  # the message of worker 3 missed a deadline
    tally = dataclasses.replace(schedule, up=up).tally()
    assert tally.lost.tolist() == [0, 0, 0, 1, 0, 0]
    assert tally.missed.tolist() == [1, 0, 0, 0, 0, 0]


# What an algorithm survives


def test_algorithms_are_held_to_what_they_survive():
    lossy = Faults(loss=0.1)
    for policy in POLICIES:
        require_survival("gossip", POLICIES, lossy, policy)
        for harmless in (Faults(), Faults(slow=((0, 2.0),))):
            require_survival("relay", (), harmless, policy)
    for plan in (lossy, Faults(crashes=((0, 1),)), Faults(late=((0, 1),))):
        with pytest.raises(ConfigError, match="gradient tracking does not survive"):
            require_survival("gradient tracking", ("pair",), plan, "self")


def test_errors_of_peers_name_the_worker_the_round_and_the_phase():
    late, dead = overdue(3, 12, 1, 2.5), gone(0, 4, 0, "out of memory")
    assert isinstance(late, PeerError)
    assert isinstance(dead, PeerError)
    assert str(late) == (
        "worker 3 sent nothing within 2.5 s, in round 12, phase 1; "
        "see whether it runs, or wait longer"
    )
    assert str(dead) == (
        "worker 0 ended: out of memory, in round 4, phase 0; "
        "use a loss policy that the algorithm survives"
    )


# Refusals


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Faults(loss=1.5), "Faults' loss must be in [0, 1], got 1.5"),
        (lambda: Faults(loss=np.nan), "Faults' loss must be in [0, 1], got nan"),
        (
            lambda: Faults(rejoin="hub"),  # pyright: ignore[reportArgumentType]
            "Faults' rejoin must be 'neighbour' or 'own', got 'hub'",
        ),
        (
            lambda: Faults(crashes=((1, 5, 5),)),
            "Faults' crashes are (worker, from_round, to_round) with to_round after from_round and "
            "nothing negative, got (1, 5, 5)",
        ),
        (
            lambda: Faults(crashes=((-1, 5),)),
            "Faults' crashes are (worker, from_round, to_round) with to_round after from_round and "
            "nothing negative, got (-1, 5)",
        ),
        (
            lambda: Faults(slow=((0, 0.5),)),
            "Faults' slow are (worker, factor) with a factor of at least 1, got (0, 0.5)",
        ),
        (
            lambda: Faults(late=((0, 0),)),
            "Faults' late are (worker, round) with a round of at least 1, got (0, 0)",
        ),
        (
            lambda: Faults(slow=((0, 2.0), (0, 3.0))),
            "Faults' slow names worker 0 twice",
        ),
        (lambda: Faults(late=((4, 2), (4, 3))), "Faults' late names worker 4 twice"),
        (
            lambda: Faults(crashes=((6, 1),)).check(6),
            "Faults' crashes names worker 6, there are 6, from 0 on",
        ),
        (
            lambda: Faults(slow=((9, 2.0),)).check(6),
            "Faults' slow names worker 9, there are 6, from 0 on",
        ),
        (
            lambda: Faults(crashes=((0, 3, 5), (1, 4))).check(2),
            "Faults leaves no worker in round 4; let one of them crash or join at another time",
        ),
        (
            lambda: Faults(late=((0, 1), (1, 1))).check(2),
            "Faults leaves no worker in round 0; let one of them crash or join at another time",
        ),
        (
            lambda: require_survival("gossip", POLICIES, Faults(), "pairs"),
            "unknown loss policy 'pairs'; did you mean 'pair'?",
        ),
        (
            lambda: require_survival("admm", ("pair", "mass"), Faults(loss=0.1), "self"),
            "admm does not survive lost messages under the policy 'self'; use the policy 'pair' "
            "or 'mass', or train without loss, crashes and late workers",
        ),
        (
            lambda: require_survival("relay", (), Faults(loss=0.1), "self"),
            "relay survives no lost message under any policy; "
            "train it without loss, crashes and late workers",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_one_sentence(make, sentence):
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value) == sentence


def test_a_plan_that_leaves_somebody_fits():
    Faults(crashes=((0, 3, 5), (1, 5)), slow=((1, 2.0),), late=((1, 2),)).check(2)
