"""Algorithms over networks: paths against NumPy, what must stay as it was, where they settle.

The problem is small and known: six workers with least squares on unequal parts, float64. Each case
is compiled once; data, starts, faults and seeds are told to the same program.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

from pullback.data.streams import generator
from pullback.errors import ConfigError
from pullback.loss import SquaredError
from pullback.maps import Affine, chain
from pullback.optim import SGD, Momentum
from pullback.peers import algorithm as algorithms
from pullback.peers import rounds
from pullback.peers.algorithm import (
    DPSGD,
    Algorithm,
    Choco,
    ExactDiffusion,
    Extra,
    FedAvg,
    GradientTracking,
    GraphADMM,
    PushSum,
    RelaySum,
    StarADMM,
    turns,
)
from pullback.peers.codec import Codec, Dense, Quantise, RandomK, TopK
from pullback.peers.faults import Faults
from pullback.peers.local import Local
from pullback.peers.mixing import EqualShares, MetropolisHastings, Push
from pullback.peers.phase import Schedule, gossip
from pullback.peers.simulate import Simulation
from pullback.peers.topology import (
    EdgeList,
    ExponentialGraph,
    OnePeerExponential,
    Path,
    Ring,
    Star,
    Stars,
)
from pullback.train import Batch, Task


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


# The problem: f_i(v) = |x_i v − y_i|²/(2 n_i), so that g_i(v) = a_i v − b_i

N, D, RATE = 6, 3, 0.1
SIZES = np.array([4, 8, 10, 12, 12, 14])
SHARES = SIZES / SIZES.sum()
PARTS = np.split(np.arange(60), np.cumsum(SIZES)[:-1])


def problem(seed: int = 0, scale: float = 1.0) -> Batch:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(60, D))
    # Every worker's optimum is elsewhere.
    own = np.concatenate([np.full(len(part), i - 2.5) for i, part in enumerate(PARTS)])
    y = x @ np.array([1.0, -2.0, 0.5]) + own * (1 + x[:, 0])
    root = np.sqrt(scale)
    return Batch(root * x, root * y[:, None], np.ones(60))


DATA = problem()
START = np.random.default_rng(5).normal(size=(N, D))
NOTHING = Batch(np.zeros((60, D)), np.zeros((60, 1)), np.ones(60))


def quadratics(data: Batch) -> tuple[np.ndarray, np.ndarray]:
    a = [data.x[part].T @ data.x[part] / len(part) for part in PARTS]
    b = [data.x[part].T @ data.y[part, 0] / len(part) for part in PARTS]
    return np.stack(a), np.stack(b)


def gradients(X, data=DATA):
    a, b = quadratics(data)
    return np.einsum("nij,nj->ni", a, X) - b


def optimum(data=DATA, shares=None):
    a, b = quadratics(data)
    shares = np.full(N, 1 / N) if shares is None else shares
    return np.linalg.solve(np.tensordot(shares, a, 1), shares @ b)


def walked(X, steps=1, toward=None, strength=0.0):
    """Local steps of plain descent, written out."""
    for _ in range(steps):
        pull = 0 if toward is None else strength * (X - toward)
        X = X - RATE * (gradients(X) + pull)
    return X


# The same algorithms, from the equations, in NumPy: each yields what its models are after a round

RING = np.eye(N) / 3 + np.roll(np.eye(N), 1, 0) / 3 + np.roll(np.eye(N), -1, 0) / 3
Path_ = Iterator[np.ndarray]


def ref_combine_last(X) -> Path_:
    while True:
        X = RING @ (X - RATE * gradients(X))
        yield X


def ref_combine_first(X) -> Path_:
    while True:
        X = RING @ X - RATE * gradients(X)
        yield X


def ref_one_peer(X) -> Path_:
    while True:
        for jump in (1, 2, 4):
            W = (np.eye(N) + np.roll(np.eye(N), jump % N, 0)) / 2
            X = W @ (X - RATE * gradients(X))
            yield X


def ref_uneven(X) -> Path_:
    """Rounds of one phase and of two, in turn: the ring; three pairs, and the ring."""
    pairs = np.kron(np.eye(3), np.full((2, 2), 0.5))
    while True:
        for W in (RING, RING @ pairs):
            X = W @ (X - RATE * gradients(X))
            yield X


def ref_mean(X) -> Path_:
    """Everyone takes the weighted mean: federated averaging with all, and W = 1pᵀ."""
    while True:
        X = np.tile(SHARES @ (X - RATE * gradients(X)), (N, 1))
        yield X


def ref_fedavg_of_changes(X) -> Path_:
    """Two stars, half of the leaves, two steps that are held back, a server with momentum."""
    stars, leaves = {2: [0, 1], 3: [4, 5]}, np.array([0, 1, 4, 5])
    v, t = np.zeros((N, D)), 0

    def drawn(t):
        return set(generator(0, "clients", t).permutation(leaves)[:2].tolist()) | {2, 3}

    while True:
        asked = drawn(t)
        works = np.array([i in asked for i in range(N)])[:, None]
        after = np.where(works, walked(X, 2, X, 0.5), X)
        change, of_star = after - X, {}
        for hub, own in stars.items():
            heard = [hub, *(i for i in own if i in asked)]
            weights = SIZES[heard] / SIZES[heard].sum()
            of_star[hub] = weights @ change[heard]
        whole = {hub: SIZES[[hub, *own]].sum() for hub, own in stars.items()}
        m = sum(whole[hub] * of_star[hub] for hub in stars) / sum(whole.values())
        start, X = X, after
        for hub in stars:
            v[hub] = 0.5 * v[hub] + m
            X[hub] = start[hub] + 0.8 * v[hub]
        for hub, own in stars.items():
            for i in own:
                if i in drawn(t + 1):
                    X[i] = X[hub]
        t += 1
        yield X


def ref_tracking_first(X) -> Path_:
    G = gradients(X)
    Y = G
    while True:
        X, Y_mixed = RING @ X - RATE * Y, RING @ Y
        old, G = G, gradients(X)
        Y = Y_mixed + G - old
        yield X


def ref_tracking_last(X) -> Path_:
    G = gradients(X)
    Y = RING @ G
    while True:
        X = RING @ (X - RATE * Y)
        old, G = G, gradients(X)
        Y = RING @ (Y + G - old)
        yield X


def ref_extra(X) -> Path_:
    before, X = X, RING @ X - RATE * gradients(X)
    yield X
    while True:
        change = -RATE * (gradients(X) - gradients(before))
        before, X = X, X + RING @ X - (before + RING @ before) / 2 + change
        yield X


def ref_diffusion(X) -> Path_:
    psi = X
    while True:
        old, psi = psi, X - RATE * gradients(X)
        X = (np.eye(N) + RING) / 2 @ (psi + X - old)
        yield X


def top2(v):
    kept = np.zeros_like(v)
    for i, row in enumerate(v):
        at = np.argsort(-np.abs(row), kind="stable")[:2]
        kept[i, at] = row[at]
    return kept


def ref_choco(X, rate=0.3, codec: Callable = top2) -> Path_:
    told = np.zeros((N, D))
    while True:
        X = X - RATE * gradients(X)
        told = told + codec(X - told)
        X = X + rate * (RING @ told - told)
        yield X


def ref_push(X) -> Path_:
    """On the exponential graph with one link taken away, so that degrees differ."""
    A, w = PUSHED, np.ones(N)
    while True:
        z = X / w[:, None]
        X = A @ (X - RATE * gradients(z))
        w = A @ w
        yield X / w[:, None]


def ref_relay(X) -> Path_:
    """Sums and counts of each directed link of a tree, from what came over it a round before."""
    links = [(0, 1), (1, 2), (1, 3), (3, 4), (3, 5)]
    near = {i: [a + b - i for a, b in links if i in (a, b)] for i in range(N)}
    m = {(i, j): np.zeros(D) for i in near for j in near[i]}
    c = dict.fromkeys(m, 0)
    while True:
        X = X - RATE * gradients(X)
        m, c = (
            {(i, j): X[i] + sum(m[k, i] for k in near[i] if k != j) for i, j in m},
            {(i, j): 1 + sum(c[k, i] for k in near[i] if k != j) for i, j in m},
        )
        heard = [sum(c[j, i] for j in near[i]) for i in range(N)]
        X = np.stack(
            [((N - heard[i]) * X[i] + sum(m[j, i] for j in near[i])) / N for i in range(N)]
        )
        yield X


def ref_star_admm(X) -> Path_:
    u, z = np.zeros((N, D)), X
    while True:
        X = walked(X, 3, z - u, 0.7)
        z = np.tile(SHARES @ (X + u), (N, 1))
        u = u + X - z
        yield X


def ref_graph_admm(X) -> Path_:
    p, between = np.zeros((N, D)), X
    while True:
        new = X
        for _ in range(3):
            new = new - RATE * (gradients(new) + p + 2 * 0.7 * (new - between))
        X = new
        p = p + 0.7 * sum(RING[:, [j]] * (X - X[j]) for j in range(N))
        between = sum(RING[:, [j]] * (X + X[j]) / 2 for j in range(N))
        yield X


def pushing() -> Schedule:
    graph = ExponentialGraph(N).graph()
    graph.remove_edge(0, 2)
    return Schedule(((Push().phase(graph),),))


def lone_matrix() -> np.ndarray:
    """The column-stochastic matrix of that graph, by hand: i sends to i + 1, i + 2 and i + 4."""
    A = np.zeros((N, N))
    for j in range(N):
        to = {j, (j + 1) % N, (j + 2) % N, (j + 4) % N} - ({2} if j == 0 else set())
        A[list(to), j] = 1 / len(to)
    return A


PUSHED = lone_matrix()


@dataclasses.dataclass(frozen=True)
class Case:
    algorithm: Algorithm
    schedule: Schedule
    reference: Callable[[np.ndarray], Path_]
    steps: int = 1
    codec: Codec = Dense()  # noqa: RUF009
    shares: Any = None


RING_OF_SIX = Ring(N).schedule()
IN_PAIRS = RING_OF_SIX.losing("pair")
IN_COUPLES = gossip(np.kron(np.eye(3), np.full((2, 2), 0.5)))
TREE = EdgeList(((0, 1), (1, 2), (1, 3), (3, 4), (3, 5))).schedule()
UNEVEN = Schedule((RING_OF_SIX.round(0), (IN_COUPLES, *RING_OF_SIX.round(0))))
CASES = {
    "uneven": Case(DPSGD(), UNEVEN, ref_uneven),
    "combine-last": Case(DPSGD(), RING_OF_SIX, ref_combine_last),
    "combine-first": Case(DPSGD("combine-first"), RING_OF_SIX, ref_combine_first),
    "one-peer": Case(DPSGD(), OnePeerExponential(N).schedule(), ref_one_peer),
    "fedavg": Case(FedAvg(), Star(N).schedule(weights=SIZES), ref_mean, shares=SHARES),
    "fedavg-changes": Case(
        FedAvg(0.5, 0.8, 0.5, 0.5, "change"),
        Stars().schedule(weights=SIZES),
        ref_fedavg_of_changes,
        steps=2,
        shares=SHARES,
    ),
    "tracking-first": Case(GradientTracking(), IN_PAIRS, ref_tracking_first),
    "tracking-last": Case(GradientTracking("combine-last"), IN_PAIRS, ref_tracking_last),
    "extra": Case(Extra(), RING_OF_SIX, ref_extra),
    "exact-diffusion": Case(ExactDiffusion(), RING_OF_SIX, ref_diffusion),
    "choco": Case(Choco(0.3), RING_OF_SIX, ref_choco, codec=TopK(k=2)),
    "push-sum": Case(PushSum(), pushing(), ref_push),
    "star-admm": Case(
        StarADMM(0.7), Star(N).schedule(weights=SIZES), ref_star_admm, steps=3, shares=SHARES
    ),
    "relay-sum": Case(RelaySum(), TREE, ref_relay),
    "graph-admm": Case(GraphADMM(0.7), IN_PAIRS, ref_graph_admm, steps=3),
}
TASK = Task(chain(Affine(1, bias=False)), SquaredError(), SGD(RATE), classifies=False)


def simulation(case: Case | str, start: Any = START, data: Batch = DATA, **kwargs) -> Simulation:
    case = CASES[case] if isinstance(case, str) else case
    settings = {"local": Local(case.steps, batch_size="all"), "codec": case.codec, "block": 25}
    settings |= kwargs
    return Simulation(TASK, case.algorithm, case.schedule, data, PARTS, start=start, **settings)


def rows(simulated: Simulation, key: str) -> np.ndarray:
    """A health figure of every round."""
    return np.array([row["health"][key] for row in simulated.record.rows("round")])


# All of them


def test_the_table_is_complete():
    public = {
        each
        for each in vars(algorithms).values()
        if isinstance(each, type) and issubclass(each, Algorithm) and each is not Algorithm
    }
    assert {type(case.algorithm) for case in CASES.values()} == public


@pytest.mark.parametrize("name", CASES)
def test_the_path_is_that_of_the_equations(name):
    simulated, reference = simulation(name), CASES[name].reference(START.copy())
    for _ in range(5):
        simulated.run(1)
        np.testing.assert_allclose(simulated.models(), next(reference), rtol=0, atol=1e-12)
    assert_healthy(simulated)


def assert_healthy(simulated: Simulation) -> None:
    """What must stay as it was has, in every round."""
    for row in simulated.record.rows("round"):
        if row["drift"] is not None:
            assert row["drift"] < 1e-13
        health = dict(row["health"])
        assert health.pop("weight_sum", N) == pytest.approx(N, abs=1e-13)
        assert health.pop("least_weight", 1) > 0.1
        health.pop("residual", None)
        health.pop("least_heard", None)
        assert all(value < 1e-13 for value in health.values()), health


@pytest.mark.parametrize("name", CASES)
def test_its_shares_are_those_of_what_it_minimises(name):
    shares = CASES[name].shares
    np.testing.assert_allclose(
        simulation(name).shares, np.full(N, 1 / N) if shares is None else shares, atol=1e-12
    )


# Federated averaging


def test_one_full_step_of_all_is_a_gradient_step_on_the_union():
    point = START[:1].repeat(N, 0)
    simulated = simulation("fedavg", point)
    simulated.run(1)
    gradient = DATA.x.T @ (DATA.x @ point[0] - DATA.y[:, 0]) / 60
    np.testing.assert_allclose(simulated.model(), point[0] - RATE * gradient, atol=1e-14)


def test_the_order_of_the_clients_is_irrelevant():
    first, second = simulation("fedavg"), simulation("fedavg")
    second._parts[3], second._parts[4] = second._parts[4], second._parts[3]
    second.slots["x"] = second.slots["x"][np.array([0, 1, 2, 4, 3, 5])]
    for each in (first, second):
        each.run(5)
    np.testing.assert_allclose(first.model(), second.model(), atol=1e-14)


def test_federated_averaging_is_gossip_with_the_mean():
    everyone = Schedule(((gossip(np.tile(SHARES, (N, 1))),),))
    mixed, star = simulation(Case(DPSGD(), everyone, ref_mean)), simulation("fedavg")
    for each in (mixed, star):
        each.run(5)
    np.testing.assert_allclose(mixed.models(), star.models(), atol=1e-13)


def test_one_client_is_plain_training():
    """Two workers of which one has no data: the other takes the steps that it would take alone."""
    task = dataclasses.replace(TASK, rule=Momentum(0.05))
    alone = Star(2, hub_has_data=False).schedule()
    local = Local(3, batch_size=7)
    parts = [np.arange(0), np.arange(20)]
    simulated = Simulation(task, FedAvg(), alone, DATA, parts, local=local, block=5)
    v, velocity = np.asarray(simulated.model()), np.zeros(D)
    simulated.run(4)
    for t in range(4):
        for batch in local.rows(0, 1, t, 20):
            x, y = DATA.x[batch], DATA.y[batch, 0]
            velocity = 0.9 * velocity + x.T @ (x @ v - y) / len(batch)
            v = v - 0.05 * velocity
    np.testing.assert_allclose(simulated.models(), [v, v], atol=1e-13)


def test_the_clients_of_a_round_are_drawn_by_share_and_seed():
    star = Star(21).schedule()
    sampled, round = FedAvg(share=0.2), turns(FedAvg(0.2), star.round(0))
    asked = [sampled.asked(round, t, seed=3) for t in range(40)]
    for t, (work, (gather, scatter)) in enumerate(asked):
        assert work[0]
        assert work[1:].sum() == 4
        np.testing.assert_array_equal(gather, work[1:])
        if t < 39:
            # What is scattered goes to those that work next.
            np.testing.assert_array_equal(scatter, asked[t + 1].work[1:])
    assert np.sum([each.work for each in asked], 0)[1:].min() >= 2
    assert not np.array_equal(asked[0].work, sampled.asked(round, 0, seed=4).work)
    np.testing.assert_array_equal(asked[7].work, sampled.asked(round, 7, seed=3).work)


TWO_STARS = Case(FedAvg(), Stars().schedule(weights=SIZES), ref_mean)


def test_two_stars_are_as_good_as_one():
    simulated, reference = simulation(TWO_STARS), ref_mean(START)
    for _ in range(5):
        simulated.run(1)
        np.testing.assert_allclose(simulated.models(), next(reference), rtol=0, atol=1e-12)


def test_hubs_that_missed_each_other_agree_again_if_models_are_sent():
    cut = simulation(TWO_STARS, faults=Faults(loss=0.4, seed=1))
    apart = []
    for _ in range(20):
        cut.run(1)
        apart.append(float(np.abs(cut.models()[2] - cut.models()[3]).max()))
    assert max(apart) > 0.01
    assert min(apart[i] for i in range(1, 20) if apart[i - 1] > 0.01) < 1e-14


def test_a_memory_keeps_what_a_codec_dropped():
    """What the hub has and what all still owe move together as descent does, to the last bit."""
    sparse = FedAvg(sends="change", memory=True)
    point = START[:1].repeat(N, 0)
    simulated = simulation(Case(sparse, Star(N).schedule(), ref_mean, codec=TopK(k=1)), point)
    owed = np.zeros(D)
    for _ in range(5):
        before = np.asarray(simulated.model())
        expected = before + owed - RATE * gradients(before[None].repeat(N, 0)).mean(0)
        simulated.run(1)
        owed = np.asarray(simulated.slots["memory"]).mean(0)
        np.testing.assert_allclose(simulated.model() + owed, expected, atol=1e-14)
    assert np.abs(owed).max() > 1e-3
    simulated.run(400)
    assert np.abs(simulated.model() - optimum()).max() < 0.05


# Gossip


@pytest.mark.parametrize("name", ["combine-last", "combine-first"])
def test_the_mean_moves_by_the_mean_change_in_both_orders(name):
    simulated, X = simulation(name), START
    for _ in range(5):
        expected = X.mean(0) - RATE * gradients(X).mean(0)
        simulated.run(1)
        X = np.asarray(simulated.models())
        np.testing.assert_allclose(X.mean(0), expected, atol=1e-14)


@pytest.mark.parametrize("name", ["combine-last", "combine-first"])
def test_without_gradients_disagreement_shrinks_by_rho(name):
    rho = np.linalg.norm(RING - 1 / N, 2)
    assert rho == pytest.approx((1 + 2 * np.cos(2 * np.pi / N)) / 3)
    simulated = simulation(name, data=NOTHING)
    last = np.linalg.norm(START - START.mean(0))
    for _ in range(10):
        simulated.run(1)
        X = np.asarray(simulated.models())
        now = np.linalg.norm(X - X.mean(0))
        assert now <= rho * last * (1 + 1e-12)
        last = now
    # and by no less in the long run
    assert last > 0.1 * rho**10 * np.linalg.norm(START - START.mean(0))


def test_the_distance_of_a_row_is_that_of_the_models():
    simulated = simulation("combine-last")
    simulated.run(3)
    X = np.asarray(simulated.models())
    expected = np.sqrt(np.mean(np.sum((X - X.mean(0)) ** 2, 1)))
    assert list(simulated.record.rows("round"))[-1]["distance"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["combine-last", "combine-first"])
def test_gossip_settles_at_a_wrong_point_that_is_linear_in_the_rate(name):
    """A rate that is halved is data whose quadratics are halved: the program stays the same."""
    errors = []
    for scale in (0.8, 0.4, 0.2):
        simulated = simulation(name, optimum()[None].repeat(N, 0), problem(scale=scale))
        simulated.run(round(100 / scale))
        errors.append(np.linalg.norm(simulated.models() - optimum()[None]))
    assert errors[0] > 0.1
    for larger, smaller in itertools.pairwise(errors):
        assert larger / smaller == pytest.approx(2, rel=0.2)


EXACT = ["tracking-first", "tracking-last", "extra", "exact-diffusion", "graph-admm", "star-admm"]


@pytest.mark.parametrize("name", EXACT)
def test_the_corrected_settle_at_the_optimum(name):
    simulated = simulation(name)
    simulated.run(450)
    best = optimum(shares=CASES[name].shares)
    np.testing.assert_allclose(simulated.models(), best[None].repeat(N, 0), atol=1e-9)
    assert np.abs(gradients(best[None].repeat(N, 0))).max() > 0.1


def test_extra_moves_the_mean_as_descent_does():
    simulated, X = simulation("extra"), START
    for _ in range(6):
        expected = X.mean(0) - RATE * gradients(X).mean(0)
        simulated.run(1)
        X = np.asarray(simulated.models())
        np.testing.assert_allclose(X.mean(0), expected, atol=1e-13)


@pytest.mark.parametrize("name", ["tracking-first", "tracking-last"])
def test_the_tracker_has_the_mean_of_the_changes(name):
    simulated = simulation(name)
    for _ in range(5):
        before = np.asarray(simulated.models())
        simulated.run(1)
        expected = -RATE * gradients(before).mean(0)
        np.testing.assert_allclose(simulated.slots["y"].mean(0), expected, atol=1e-14)


# Lost messages


PAIRS = ["tracking-first", "tracking-last", "graph-admm"]
INVARIANT = {"tracking-first": "tracker_gap", "tracking-last": "tracker_gap"}


@pytest.mark.parametrize("name", PAIRS)
def test_losses_of_pairs_break_nothing(name):
    plan = Faults(loss=0.2, crashes=((4, 3, 40),), rejoin="own")
    simulated = simulation(name, faults=plan)
    simulated.run(450)
    assert rows(simulated, INVARIANT.get(name, "dual_sum")).max() < 1e-12
    np.testing.assert_allclose(simulated.models(), optimum()[None].repeat(N, 0), atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Careless(GradientTracking):
    """One that says that it survives what it does not."""

    survives = ("self",)


def test_losses_in_one_direction_break_a_tracker_for_good():
    """The oracle above can fail: this is what it would see."""
    careless = Case(Careless(), RING_OF_SIX, ref_tracking_first)
    simulated = simulation(careless, faults=Faults(loss=0.2))
    simulated.run(200)
    broken = rows(simulated, "tracker_gap")
    assert broken.max() > 0.01
    assert max(row["drift"] for row in simulated.record.rows("round")) > 1e-3


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("policy", ["self", "renorm", "pair", "mass"])
def test_a_policy_that_it_does_not_survive_is_refused(name, policy):
    algorithm = CASES[name].algorithm
    if (policy == "mass") != (name == "push-sum"):
        return  # refused for its columns or rows, below
    schedule = CASES[name].schedule
    if any(not each.reversible for each in schedule.phases) and policy == "pair":
        return  # no such phase can be made
    schedule = schedule.losing(policy)
    shapes, plan = ((D, 1),), Faults(loss=0.1)
    if policy in algorithm.survives:
        if name == "fedavg-changes":
            return  # between hubs nothing may be lost, whatever the policy: see below
        algorithm.check(schedule, CASES[name].codec, shapes, np.float64, plan)
        return
    with pytest.raises(ConfigError, match=f"{type(algorithm).__name__} .*surviv"):
        algorithm.check(schedule, CASES[name].codec, shapes, np.float64, plan)
    # without faults no policy is asked for
    algorithm.check(schedule, CASES[name].codec, shapes, np.float64, Faults())


def test_what_is_survived_is_what_was_decided():
    found = {type(case.algorithm): case.algorithm.survives for case in CASES.values()}
    assert found == {
        DPSGD: ("self", "renorm", "pair"),
        FedAvg: ("self", "renorm"),
        GradientTracking: ("pair",),
        GraphADMM: ("pair",),
        PushSum: ("mass",),
        RelaySum: ("self",),
        Extra: (),
        ExactDiffusion: (),
        Choco: (),
        StarADMM: (),
    }


# CHOCO


def test_choco_that_drops_nothing_is_gossip():
    same = Case(Choco(1.0), RING_OF_SIX, ref_combine_last)
    choco, plain = simulation(same), simulation("combine-last")
    for each in (choco, plain):
        each.run(5)
    np.testing.assert_allclose(choco.models(), plain.models(), atol=1e-13)


def test_choco_keeps_the_mean_and_knows_what_was_heard():
    simulated = simulation("choco", data=NOTHING)
    for _ in range(8):
        simulated.run(1)
        told, heard = (np.asarray(simulated.slots[name]) for name in ("told", "heard"))
        np.testing.assert_allclose(heard, RING @ told, atol=1e-14)
        np.testing.assert_allclose(simulated.models().mean(0), START.mean(0), atol=1e-14)
        assert np.abs(told - simulated.models()).max() > 1e-3  # the codec does drop
    simulated.run(300)
    assert np.abs(simulated.models() - START.mean(0)[None]).max() < 1e-6


def test_choco_keeps_the_mean_with_a_random_codec():
    random = Case(Choco(0.1), RING_OF_SIX, ref_choco, codec=RandomK(k=1, contract=True))
    simulated = simulation(random, data=NOTHING)
    simulated.run(10)
    np.testing.assert_allclose(simulated.models().mean(0), START.mean(0), atol=1e-14)
    told, heard = (np.asarray(simulated.slots[name]) for name in ("told", "heard"))
    np.testing.assert_allclose(heard, RING @ told, atol=1e-14)


# Push-sum


def weights(simulated: Simulation) -> np.ndarray:
    return np.asarray(simulated.slots["w"])


def test_push_sum_keeps_mass_and_stays_in_the_hull_under_losses():
    simulated = simulation("push-sum", data=NOTHING, faults=Faults(loss=0.3))
    low, high = START.min(0), START.max(0)
    for _ in range(20):
        simulated.run(1)
        assert weights(simulated).sum() == pytest.approx(N, abs=1e-13)
        np.testing.assert_allclose(simulated.slots["x"].sum(0), START.sum(0), atol=1e-13)
        z = np.asarray(simulated.models())
        assert (z >= low - 1e-14).all()
        assert (z <= high + 1e-14).all()
        low, high = z.min(0), z.max(0)
    simulated.run(200)
    np.testing.assert_allclose(simulated.models(), START.mean(0)[None].repeat(N, 0), atol=1e-12)


@dataclasses.dataclass(frozen=True)
class Wasteful(PushSum):
    """The same, so that it gets a program of its own."""


def test_push_sum_whose_mass_is_lost_agrees_on_a_wrong_mean(monkeypatch):
    """The oracle above can fail: messages are lost, and nobody keeps what was in them."""

    def wasteful(phase, x, up, sent):
        there = phase.weight * jax.numpy.where(up, 1.0, 0.0)
        return (phase.keep[:, None] * x).at[phase.dst].add(there[:, None] * sent[phase.src])

    monkeypatch.setattr(rounds, "mix_all", wasteful)
    case = Case(Wasteful(), CASES["push-sum"].schedule, ref_push)
    simulated = simulation(case, data=NOTHING, faults=Faults(loss=0.2))
    simulated.run(15)
    assert weights(simulated).sum() < 0.9 * N
    z = np.asarray(simulated.models())
    assert np.ptp(z, axis=0).max() < 1e-2
    assert np.abs(z - START.mean(0)[None]).max() > 0.01


def test_push_sum_goes_toward_the_mean_over_the_data():
    simulated = simulation("push-sum", data=NOTHING, amounts=SIZES)
    simulated.run(100)
    expected = (SHARES @ START)[None].repeat(N, 0)
    np.testing.assert_allclose(simulated.models(), expected, atol=1e-12)
    assert np.abs(expected[0] - START.mean(0)).max() > 0.05


def test_push_sum_moves_by_the_changes_as_data_weigh_them():
    simulated = simulation("push-sum", amounts=SIZES)
    simulated.run(1)
    expected = SHARES @ (START - RATE * gradients(START))
    np.testing.assert_allclose(simulated.model(), expected, atol=1e-14)


# What is refused


SHAPES = ((D, 1),)


@pytest.mark.parametrize(
    ("algorithm", "schedule", "match"),
    [
        (DPSGD(), pushing(), "rows that sum to 1"),
        (FedAvg(), pushing(), "rows that sum to 1"),
        (FedAvg(), RING_OF_SIX, "gather to hubs and scatter"),
        (GradientTracking(), Path(N).schedule(EqualShares()), "columns that sum to 1"),
        (Extra(), OnePeerExponential(N).schedule(), "the same phases in every round"),
        (ExactDiffusion(), OnePeerExponential(N).schedule(), "the same phases in every round"),
        (Choco(), OnePeerExponential(N).schedule(), "the same phases in every round"),
        (Choco(), Star(N).schedule(), "rounds of one phase"),
        (Extra(), ExponentialGraph(5).schedule(EqualShares()), "symmetric"),
        (ExactDiffusion(), ExponentialGraph(5).schedule(EqualShares()), "symmetric"),
        (GraphADMM(), ExponentialGraph(5).schedule(EqualShares()), "symmetric"),
        (GraphADMM(), Path(3).schedule(MetropolisHastings(), [1, 2, 3]), "symmetric"),
        (StarADMM(), RING_OF_SIX, "the same mean"),
        (PushSum(), RING_OF_SIX, "keep sums"),
        (DPSGD(), Schedule(((gossip(np.eye(2)),),)), "hear of each other"),
        (GradientTracking(), Schedule(((gossip(np.eye(2)),),)), "hear of each other"),
        (Extra(), Schedule(((gossip(np.eye(2)),),)), "hear of each other"),
    ],
)  # fmt: skip
def test_a_schedule_that_does_not_fit_is_refused(algorithm, schedule, match):
    with pytest.raises(ConfigError, match=match):
        algorithm.check(schedule, Dense(), SHAPES, np.float32, Faults())


@pytest.mark.parametrize("name", CASES)
def test_a_codec_that_drops_much_is_refused_but_where_it_is_wanted(name):
    algorithm, schedule = CASES[name].algorithm, CASES[name].schedule
    wanted = {
        "any": (Quantise(2), TopK(k=1), Dense("float16"), Dense("float32")),
        "rounded": (Dense("float16"), Dense("bfloat16"), Dense("float32")),
        "exact": (Dense("float32"),),
    }[algorithm.codecs]
    for codec in (Quantise(2), TopK(k=1), Dense("float16"), Dense("bfloat16"), Dense("float32")):
        match = "may drop more"
        if name == "fedavg" and codec in (Quantise(2), TopK(k=1)):
            match = 'let it send the "change"'
        elif name == "choco" and codec == Quantise(2):
            match = "contracts"
        elif codec in wanted or algorithm.codecs == "any":
            algorithm.check(schedule, codec, SHAPES, np.float32, Faults())
            continue
        with pytest.raises(ConfigError, match=match):
            algorithm.check(schedule, codec, SHAPES, np.float32, Faults())


def test_what_wants_a_contraction_refuses_a_codec_without():
    for algorithm, schedule in (
        (Choco(), RING_OF_SIX),
        (FedAvg(sends="change", memory=True), Star(N).schedule()),
    ):
        with pytest.raises(ConfigError, match="contracts"):
            algorithm.check(schedule, RandomK(k=1), SHAPES, np.float32, Faults())


def test_changes_between_hubs_must_not_be_lost():
    changes, plan = FedAvg(sends="change"), Faults(loss=0.1)
    changes.check(Star(N).schedule(), Dense(), SHAPES, np.float32, plan)
    with pytest.raises(ConfigError, match="stay apart for ever"):
        changes.check(Stars().schedule(), Dense(), SHAPES, np.float32, plan)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DPSGD("last"),  # pyright: ignore[reportArgumentType]
        lambda: GradientTracking("both"),  # pyright: ignore[reportArgumentType]
        lambda: Choco(0.0),
        lambda: Choco(1.5),
        lambda: FedAvg(share=0.0),
        lambda: FedAvg(server_rate=0.0),
        lambda: FedAvg(server_momentum=1.0),
        lambda: FedAvg(proximal=-1.0),
        lambda: FedAvg(sends="gradient"),  # pyright: ignore[reportArgumentType]
        lambda: StarADMM(0.0),
        lambda: GraphADMM(-1.0),
    ],
)
def test_a_setting_out_of_range_is_refused(make):
    with pytest.raises(ConfigError):
        make()
