"""Phases: their sums under every loss, and one worker's mixing against the whole network's."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.errors import ConfigError
from pullback.peers.faults import POLICIES
from pullback.peers.mix import mix_all, mix_one
from pullback.peers.phase import OnLoss, Phase, Schedule, gossip, phase

LAZY_PATH = np.array([[0.75, 0.25, 0.0], [0.25, 0.5, 0.25], [0.0, 0.25, 0.75]])
# Reversible for the shares (1/6, 1/3, 1/2): p_i w_ij = p_j w_ji.
UNEVEN = np.array([[0.4, 0.6, 0.0], [0.3, 0.4, 0.3], [0.0, 0.2, 0.8]])
SHARES = np.array([1, 2, 3]) / 6


def random_phase(seed, policy, n=4):
    """A ring, with weights that have no pattern beyond what the policy asks for."""
    random = np.random.default_rng(seed)
    ring = np.roll(np.eye(n), 1, axis=1)
    heard = random.random((n, n)) * np.maximum(ring, ring.T)
    if policy == "pair":
        heard = (heard + heard.T) / (2 * n)
        np.fill_diagonal(heard, 0)
        return gossip(heard + np.diag(1 - heard.sum(1)), policy)
    heard += np.diag(random.random(n) + 0.1)
    dense = heard / heard.sum(1, keepdims=True)
    return gossip(dense.T if policy == "mass" else dense, policy)


def masks(edges):
    return [np.array(up, bool) for up in itertools.product([True, False], repeat=edges)]


def inbox(each, x, up, i):
    """What worker i finds, and who did not get what it sent."""
    arrived = {
        int(src): x[src] for src, dst, there in zip(each.src, each.dst, up, strict=True)
        if dst == i and there
    }  # fmt: skip
    gone = [int(dst) for src, dst, there in zip(each.src, each.dst, up, strict=True)
            if src == i and not there]  # fmt: skip
    return arrived, gone


def test_edges_are_sorted_by_receiver_and_what_is_kept_is_the_rest():
    each = phase({(2, 1): 0.25, (0, 2): 0.5, (0, 1): 0.125}, n=3)
    assert list(zip(each.src, each.dst, strict=True)) == [(0, 1), (2, 1), (0, 2)]
    assert each.keep.tolist() == [1.0, 0.625, 0.5]
    assert each.row(1).src.tolist() == [0, 2]
    assert each.row(1).weight.tolist() == [0.125, 0.25]
    assert each.row(1).keep == 0.625
    assert each.matrix().tolist() == [[1.0, 0.0, 0.0], [0.125, 0.625, 0.25], [0.5, 0.0, 0.5]]


def test_columns_sum_to_1_where_mass_is_kept():
    each = phase({(0, 1): 0.5, (0, 2): 0.25, (2, 0): 0.5}, n=3, on_loss="mass")
    assert each.keep.tolist() == [0.25, 1.0, 0.5]
    assert each.matrix().sum(0).tolist() == [1.0, 1.0, 1.0]


def test_a_phase_is_a_value():
    one, other = gossip(LAZY_PATH), gossip(LAZY_PATH.copy())
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != replace(one, on_loss="renorm")
    assert one != replace(one, carries="q")
    assert one != gossip(UNEVEN)
    assert Schedule(((one,),)) == Schedule(((other,),))
    with pytest.raises(ValueError, match="read-only"):
        one.weight[0] = 1.0


def test_the_policies_are_those_of_the_faults():
    assert get_args(OnLoss) == POLICIES


@pytest.mark.parametrize("policy", ["self", "renorm", "pair"])
def test_rows_sum_to_1_under_every_mask(policy):
    each = gossip(LAZY_PATH, policy)
    for up in masks(each.edges):
        np.testing.assert_allclose(each.matrix(up).sum(1), 1, rtol=0, atol=1e-15)
        assert (each.matrix(up) >= 0).all()


@pytest.mark.parametrize("policy", ["pair", "mass"])
def test_columns_sum_to_1_under_every_mask(policy):
    each = gossip(LAZY_PATH, policy)
    for up in masks(each.edges):
        np.testing.assert_allclose(each.matrix(up).sum(0), 1, rtol=0, atol=1e-15)


def test_a_loss_in_one_direction_breaks_the_mean_under_self_and_not_under_pair():
    up = np.array([False, True, True, True])
    assert np.abs(gossip(LAZY_PATH).matrix(up).sum(0) - 1).max() == 0.25
    cut = gossip(LAZY_PATH, "pair").matrix(up)
    assert cut[0, 1] == cut[1, 0] == 0
    assert cut[1, 2] == 0.25


def test_pairs_keep_the_mean_over_unequal_parts_under_every_mask():
    each = gossip(UNEVEN, "pair")
    assert each.reversible
    for up in masks(each.edges):
        np.testing.assert_allclose(SHARES @ each.matrix(up), SHARES, rtol=0, atol=1e-15)


def test_a_round_of_unequal_flows_is_not_reversible():
    turning = np.array([[0.5, 0.4, 0.1], [0.1, 0.5, 0.4], [0.4, 0.1, 0.5]])
    assert not gossip(turning).reversible
    assert not phase({(0, 1): 0.5}, n=2).reversible
    assert gossip(LAZY_PATH).reversible


def test_a_hub_that_hears_some_takes_the_mean_over_these():
    gather = phase({(1, 0): 0.3, (2, 0): 0.5}, n=3, on_loss="renorm")
    heard = gather.matrix(np.array([False, True]))[0]
    np.testing.assert_allclose(heard, [0.2 / 0.7, 0, 0.5 / 0.7], rtol=1e-15)
    idle = phase({(1, 0): 0.3, (2, 0): 0.7}, n=3, on_loss="renorm")
    assert idle.keep[0] == 0
    assert idle.matrix(np.array([False, False])).tolist() == np.eye(3).tolist()
    x = jnp.array([[jnp.inf], [3.0], [5.0]])
    assert mix_all(idle, x, jnp.array([False, True]))[0].tolist() == [5.0]
    assert mix_all(idle, x, jnp.array([False, False]))[0].tolist() == [jnp.inf]


@pytest.mark.parametrize(
    ("policy", "dtype"), [*((policy, np.float32) for policy in POLICIES), ("renorm", np.float64)]
)
def test_one_worker_computes_the_row_of_the_network_to_the_last_bit(policy, dtype):
    # The same program for every mask: a traced mask compiles nothing anew.
    with jax.enable_x64(dtype == np.float64):
        random = np.random.default_rng(1)
        # Who hears one other is a case of its own: the compiler makes no loop of one turn.
        one_way = phase({(0, 1): 0.3, (1, 2): 0.7, (2, 0): 0.6}, n=3, on_loss="renorm")
        single = [one_way] if policy == "renorm" else []
        for each in (random_phase(2, policy), *single):
            n = each.n
            x = random.normal(size=(n, 33)).astype(dtype)
            traces = []

            def whole(x, up, each=each, traces=traces):
                traces.append(None)
                return mix_all(each, x, up)

            compiled = jax.jit(whole)
            for share in (1.0, 0.7, 0.3, 0.0):
                up = random.random(each.edges) < share
                mixed = np.asarray(compiled(x, up))
                assert mixed.dtype == dtype
                within = 2e-6 if dtype == np.float32 else 1e-14
                np.testing.assert_allclose(mixed, each.matrix(up) @ x, rtol=0, atol=within)
                np.testing.assert_array_equal(mixed, mix_all(each, jnp.asarray(x), jnp.asarray(up)))
                for i in range(n):
                    got, gone = inbox(each, x, up, i)
                    alone = mix_one(each, i, jnp.asarray(x[i]), got, undelivered=gone)
                    np.testing.assert_array_equal(np.asarray(alone), mixed[i])
            assert len(traces) == 1


@pytest.mark.parametrize("policy", get_args(OnLoss))
def test_messages_may_say_other_than_what_their_sender_has(policy):
    each = random_phase(7, policy)
    random = np.random.default_rng(3)
    x, sent = (random.normal(size=(4, 33)).astype(np.float32) for _ in range(2))
    up = random.random(each.edges) < 0.6
    mixed = mix_all(each, jnp.asarray(x), jnp.asarray(up), jnp.asarray(sent))
    # By hand, one message at a time.
    wanted, arrived = each.keep[:, None] * x, each.keep.copy()
    for e, (src, dst) in enumerate(zip(each.src, each.dst, strict=True)):
        there = up[e] and (policy != "pair" or up[each.back[e]])
        if there:
            wanted[dst] += each.weight[e] * sent[src]
            arrived[dst] += each.weight[e]
        elif policy == "mass":
            wanted[src] += each.weight[e] * sent[src]
        elif policy != "renorm":
            wanted[dst] += each.weight[e] * x[dst]
    if policy == "renorm":
        wanted /= arrived[:, None]
    np.testing.assert_allclose(mixed, wanted, rtol=0, atol=2e-6)
    for i in range(4):
        got, gone = inbox(each, sent, up, i)
        alone = mix_one(
            each, i, jnp.asarray(x[i]), got, undelivered=gone, sent=jnp.asarray(sent[i])
        )
        np.testing.assert_array_equal(alone, mixed[i])


def test_mixing_is_of_what_was_before_and_not_in_place():
    # A peer's baselines mix node after node, so that one reads what another has already mixed.
    x = np.arange(3.0, dtype=np.float32)[:, None] ** 2
    mixed = mix_all(gossip(LAZY_PATH), jnp.asarray(x))
    np.testing.assert_allclose(mixed, LAZY_PATH @ x, rtol=1e-6)
    assert float(mixed.mean()) == pytest.approx(x.mean())
    in_place = x.copy()
    for i in range(3):
        in_place[i] = LAZY_PATH[i] @ in_place
    assert in_place.mean() != pytest.approx(x.mean())


def test_what_is_lost_may_be_nan_and_so_may_what_weighs_nothing():
    x = jnp.array([[1.0], [jnp.nan], [3.0]])
    only_last = jnp.array([True, False, True, False])  # 1→0, 0→1, 2→1, 1→2
    assert gossip(LAZY_PATH).dst.tolist() == [0, 1, 1, 2]
    mixed = mix_all(gossip(LAZY_PATH, "renorm"), x, only_last.at[0].set(False))
    assert np.isfinite(mixed[jnp.array([0, 2])]).all()
    scatter = phase({(0, 1): 1.0, (0, 2): 1.0}, n=3)
    assert mix_all(scatter, x)[:, 0].tolist() == [1.0, 1.0, 1.0]


def test_workers_that_agree_in_float32_still_do_after_ten_thousand_rounds():
    # A third in float32 is more than a third: three of them would grow by 3e-8 each round.
    each = gossip(np.full((3, 3), 1 / 3))
    x = jnp.ones((3, 1), jnp.float32)
    after = jax.jit(lambda x: jax.lax.fori_loop(0, 10_000, lambda _, x: mix_all(each, x), x))(x)
    np.testing.assert_allclose(after, 1, rtol=0, atol=1e-6)
    weight, keep = each.weights_in(np.float32)
    assert (weight.astype(float).reshape(3, 2).sum(1) + keep.astype(float) == 1).all()


def test_a_schedule_repeats_its_rounds_and_multiplies_them_in_order():
    first, second = gossip(LAZY_PATH), gossip(UNEVEN)
    both = Schedule(((first, second), (second,)))
    assert both.n == 3
    assert both.period == 2
    assert both.round(0) == both.round(4) == (first, second)
    assert both.round(3) == (second,)
    np.testing.assert_allclose(both.matrix(0), UNEVEN @ LAZY_PATH)
    np.testing.assert_allclose(both.product(), UNEVEN @ UNEVEN @ LAZY_PATH)
    assert {each.on_loss for each in both.losing("pair").phases} == {"pair"}
    assert both.losing("self") == both


ROW = np.array([1.0, 1.0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: phase({(0, 2): 1.0}, n=2), "from 0 to 2, of 2 workers; number the workers from 0"),
        (lambda: phase({(-1, 0): 1.0}, n=2), "from -1 to 0, of 2 workers"),
        (lambda: phase({(1, 1): 0.5}, n=2), "from worker 1 to itself"),
        (lambda: phase({(0, 1): 0.5}, n=2, keep=[1.0]), "each of 2 workers, got 1"),
        (lambda: phase({(0, 1): 0.5}, n=2, keep=[1.0, 0.75]), "row 1 sums to 1.25"),
        (lambda: phase({(0, 1): float("nan")}, n=2), "must be finite"),
        (lambda: phase({(0, 1): 0.5}, n=2, on_loss="drop"), "must be one of self, renorm, pair"),  # pyright: ignore[reportArgumentType]
        (lambda: phase({(0, 1): 1.5}, n=2, on_loss="renorm"), "weights of at least 0"),
        (lambda: phase({(0, 1): 0.5}, n=2, on_loss="pair"), "must be reversible"),
        (lambda: gossip(UNEVEN, "mass"), "columns of a phase must sum to 1, and column 0"),
        (lambda: gossip(UNEVEN.T), "rows of a phase must sum to 1, and row 0 sums to 0.7"),
        (lambda: Phase(np.array([0, 1]), np.array([1, 0]), ROW / 2, ROW / 2), "must be sorted"),
        (lambda: Phase(np.array([0, 0]), np.array([1, 1]), ROW / 2, ROW), "sorted .* once"),
        (lambda: Phase(np.array([0]), np.array([1, 1]), ROW, ROW), "of one length"),
        (lambda: Schedule(()), "needs a round"),
        (lambda: Schedule(((),)), "each of its rounds a phase"),
        (
            lambda: Schedule(((gossip(LAZY_PATH), phase({(0, 1): 1.0}, n=2)),)),
            "the same number of workers",
        ),
        (lambda: Schedule(((gossip(LAZY_PATH), gossip(LAZY_PATH, "mass")),)), "cannot have both"),
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()
