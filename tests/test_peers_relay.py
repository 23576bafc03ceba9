"""RelaySum: everyone hears everyone once, along a tree. Its path is in `test_peers_algorithms`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from pullback.errors import ConfigError
from pullback.loss import SquaredError
from pullback.maps import Affine, chain
from pullback.optim import SGD
from pullback.peers.algorithm import DPSGD, Algorithm, Heard, RelaySum, Seat
from pullback.peers.codec import Dense
from pullback.peers.ends import Ends
from pullback.peers.faults import Faults
from pullback.peers.local import Local
from pullback.peers.mixing import EqualShares
from pullback.peers.phase import Schedule, gossip
from pullback.peers.simulate import Simulation
from pullback.peers.topology import (
    EdgeList,
    ExponentialGraph,
    OnePeerExponential,
    Path,
    Ring,
    Star,
    StarTree,
)
from pullback.train import Batch, Task


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


# One worker at a time, with changes that are given: the sum form

BRANCHED = EdgeList(((0, 1), (1, 2), (1, 3), (3, 4), (3, 5)))
DISTANCE = dict(nx.all_pairs_shortest_path_length(BRANCHED.graph()))
N, DIAMETER = 6, 3


class Given:
    """Local work that leads to a given point."""

    def __init__(self, point):
        self.point = point

    def steps(self, slots, x, toward: Any = None, strength: float = 0.0):
        return slots, jnp.asarray(self.point)


def handed(points: np.ndarray, shares: np.ndarray | None = None):
    """What workers have after each round, if their steps lead to points, (rounds, n, d)."""
    relay, graph = RelaySum(), BRANCHED.graph()
    near = [sorted(graph[i]) for i in range(N)]
    most = max(map(len, near))
    p = np.full(N, 1 / N) if shares is None else shares
    workers = []
    for i in range(N):
        links = np.arange(most) < len(near[i])
        x = jnp.zeros(points.shape[-1])
        workers.append(relay.begin(x, x, Seat(N * p[i], False, links, N)))
    (stage,) = relay.stages
    for t, each in enumerate(points):
        sent = []
        for i in range(N):
            workers[i], messages = relay.emit(stage, workers[i], Given(each[i]), t)
            sent.append(np.asarray(messages))
        for i in range(N):
            heard = np.zeros_like(sent[i])
            for k, j in enumerate(near[i]):
                heard[k] = sent[j][near[j].index(i)]
            arrived = np.arange(most) < len(near[i])
            workers[i] = relay.absorb(stage, workers[i], Heard(heard, arrived), sent[i], t)
        yield workers


def test_a_change_weighs_the_same_everywhere_and_comes_once():
    """Each worker's steps lead to another unit vector in each round: whose, and when, is seen."""
    rounds = 9
    points = np.eye(N * rounds).reshape(rounds, N, N * rounds)
    for t, workers in enumerate(handed(points)):
        if t < DIAMETER:
            continue
        for i, slots in enumerate(workers):
            expected = sum(points[t - max(DISTANCE[i][j] - 1, 0), j] for j in range(N)) / N
            np.testing.assert_allclose(slots["x"], expected, rtol=0, atol=1e-15)


def test_the_shares_of_the_data_are_the_weights():
    shares = np.array([4, 8, 10, 12, 12, 14]) / 60
    points = np.tile(np.eye(N), (DIAMETER + 1, 1, 1))
    *_, workers = handed(points, shares)
    for slots in workers:
        np.testing.assert_allclose(slots["x"], shares, rtol=0, atol=1e-15)
    weighted = BRANCHED.schedule(weights=60 * shares)
    np.testing.assert_allclose(made(RelaySum(), weighted, N).slots["share"], shares, atol=1e-12)


def test_the_mean_is_there_within_the_diameter():
    """Points that stay: after as many rounds as the diameter all have the mean, not before."""
    points = np.tile(np.random.default_rng(0).normal(size=(N, 4)), (DIAMETER, 1, 1))
    apart, counts = [], []
    for workers in handed(points):
        found = np.stack([slots["x"] for slots in workers])
        apart.append(float(np.abs(found - points[0].mean(0)).max()))
        # Each also knows of how many it has heard.
        counts = [float(N * slots["counts"].sum()) for slots in workers]
        near = [sum(0 < DISTANCE[i][j] <= len(apart) for j in range(N)) for i in range(N)]
        np.testing.assert_allclose(counts, near, atol=1e-13)
    assert min(counts) == pytest.approx(N - 1)
    assert apart[-1] < 1e-15 < 0.01 < apart[-2]


def test_ends_are_those_of_the_graph():
    (phase,) = BRANCHED.schedule().phases
    ends, graph = Ends.of(phase), BRANCHED.graph()
    for i in range(N):
        near = sorted(graph[i])
        assert ends.neighbour[i][ends.there[i]].tolist() == near
        for k, j in enumerate(near):
            assert sorted(graph[j])[ends.far[i, k]] == i
            assert (phase.src[ends.edge[i, k]], phase.dst[ends.edge[i, k]]) == (j, i)


# On a path of eight, with unlike parts: one program, told other data, starts and faults

LONG, D, RATE = 8, 2, 0.1
FAR = LONG - 1
PARTS = np.split(np.arange(5 * LONG), LONG)
TASK = Task(chain(Affine(1, bias=False)), SquaredError(), SGD(RATE), classifies=False)


def problem() -> Batch:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(5 * LONG, D))
    own = np.repeat(np.arange(LONG) - 3.5, 5)
    return Batch(x, (x @ np.array([1.0, -2.0]) + own * (1 + x[:, 0]))[:, None], np.ones(5 * LONG))


DATA = problem()
NOTHING = Batch(np.zeros((5 * LONG, D)), np.zeros((5 * LONG, 1)), np.ones(5 * LONG))
# All parts are of one size: the mean over workers is that over all examples.
BEST = np.linalg.lstsq(DATA.x, DATA.y[:, 0], rcond=None)[0]
START = np.random.default_rng(2).normal(size=(LONG, D))


def made(algorithm: Algorithm, schedule: Schedule | None = None, n: int = LONG, **kwargs):
    settings = {"local": Local(1, batch_size="all"), "block": 20, "data": DATA} | kwargs
    schedule = Path(LONG).schedule() if schedule is None else schedule
    data = settings.pop("data")
    return Simulation(TASK, algorithm, schedule, data, PARTS[:n], **settings)


def least_heard(simulated: Simulation) -> np.ndarray:
    return np.array([row["health"]["least_heard"] for row in simulated.record.rows("round")])


def error(simulated: Simulation) -> float:
    return float(np.linalg.norm(np.asarray(simulated.models()) - BEST[None], axis=1).max())


def test_all_are_heard_from_the_diameter_on():
    simulated = made(RelaySum())
    simulated.run(FAR + 2)
    # An end of the path hears one worker more in each round.
    expected = np.minimum(np.arange(2, FAR + 4), LONG) / LONG
    np.testing.assert_allclose(least_heard(simulated), expected, rtol=0, atol=1e-14)
    assert simulated.progress.payload == (FAR + 2) * 2 * FAR * 8 * (D + 1)
    np.testing.assert_allclose(LONG * simulated.slots["counts"].sum(1), FAR, atol=1e-13)


def test_it_settles_at_the_optimum_where_gossip_does_not():
    relay, gossip = made(RelaySum()), made(DPSGD())
    for each in (relay, gossip):
        each.run(1500)
    assert error(relay) < 1e-9
    assert error(gossip) > 0.5


def test_losses_only_delay_where_the_last_message_is_kept():
    """One that is dropped at once leaves a hole, which one's own value fills: it never settles."""
    kept, dropped = (
        made(RelaySum(keep), faults=Faults(loss=0.1, seed=3)) for keep in (RelaySum().keep, 0)
    )
    for each in (kept, dropped):
        each.run(1200)
    assert error(kept) < 1e-6
    assert error(dropped) > 0.01
    assert least_heard(kept)[FAR + 10 :].min() > 0.99
    assert least_heard(dropped).min() < 0.5


def test_what_is_kept_is_what_all_have_and_what_is_under_way():
    simulated = made(RelaySum(), start=START, data=NOTHING)
    path: list[np.ndarray] = []
    kept, means = [], []
    for _ in range(60):
        # Without gradients x' is x, as it was before the round.
        path.append(np.asarray(simulated.models()))
        if len(path) > FAR:
            kept.append(under_way(path))
            means.append(path[-1].mean(0))
        simulated.run(1)
    np.testing.assert_allclose(kept, kept[:1] * np.ones((len(kept), 1)), rtol=0, atol=1e-13)
    assert np.ptp(means, axis=0).max() > 1e-3  # the mean is not
    simulated.run(300)
    total = under_way([np.ones((LONG, 1))] * LONG)
    agreed = np.tile(kept[0] / total, (LONG, 1))
    np.testing.assert_allclose(simulated.models(), agreed, rtol=0, atol=1e-12)


def under_way(path: list[np.ndarray]) -> np.ndarray:
    """Φ: the mean of all, and for each two workers what has not come from one to the other."""
    found = path[-1].mean(0)
    for i in range(LONG):
        for j in range(LONG):
            for s in range(1, abs(i - j)):
                found = found + path[-1 - s][j] / LONG**2
    return found


def test_who_is_gone_is_forgotten_after_a_while_and_heard_again_when_back():
    relay, down, back = RelaySum(), 10, 22
    simulated = made(relay, faults=Faults(crashes=((FAR, down, back),)))
    simulated.run(back + FAR + 1)
    counts = least_heard(simulated)
    # What it has said last stays for some rounds; then its end of the path is missing to all.
    near = np.asarray(simulated.slots["share"])[0]
    assert counts[FAR - 1 : down + relay.keep] == pytest.approx(1)
    gone = counts[down + relay.keep + FAR : back]
    assert gone == pytest.approx(np.full(len(gone), 1 - near))
    assert counts[-1] == pytest.approx(1)
    # Those that are left go on by themselves, and not toward where it stood.
    left = made(relay, faults=Faults(crashes=((FAR, down, None),)))
    left.run(800)
    rows = np.concatenate(PARTS[:FAR])
    best = np.linalg.lstsq(DATA.x[rows], DATA.y[rows, 0], rcond=None)[0]
    models = np.asarray(left.models())[:FAR]
    assert np.linalg.norm(models - best[None], axis=1).max() < 0.05
    assert np.linalg.norm(best - BEST) > 0.3


def test_who_comes_back_has_heard_nothing():
    """What it had heard is of before: it would hand that on, as if it were new."""
    relay, x = RelaySum(), jnp.ones(D)
    slots = relay.begin(x, x, Seat(1.0, False, np.array([True, True]), 4))
    full = slots | {"heard": jnp.ones((2, D)), "counts": jnp.full(2, 0.25)}
    back = relay.rejoin(full, 3 * x)
    _, messages = relay.emit(relay.stages[0], back, Given(3 * x), 0)
    np.testing.assert_allclose(messages, np.tile([0.75] * D + [0.25], (2, 1)))


# What is refused


@pytest.mark.parametrize(
    ("schedule", "match"),
    [
        (Ring(5).schedule(), r"wants a tree, .* by 4 links .* here are 5"),
        (Schedule(((gossip(np.kron(np.eye(2), np.full((2, 2), 0.5))),),)), "here are 2"),
        (ExponentialGraph(5).schedule(EqualShares()), "these links go one way"),
        (OnePeerExponential(4).schedule(), "the same phases in every round"),
        (Star(4).schedule(), "rounds of one phase, these have 2; give the links"),
        (StarTree((2, 2)).schedule(), "rounds of one phase, these have 4"),
    ],
)
def test_what_is_no_tree_is_refused(schedule, match):
    with pytest.raises(ConfigError, match=f"RelaySum .*{match}"):
        RelaySum().check(schedule, Dense(), ((D, 1),), np.float64, Faults())


def test_a_star_of_links_is_a_tree():
    star = EdgeList.from_networkx(Star(4).graph())
    RelaySum().check(star.schedule(), Dense(), ((D, 1),), np.float64, Faults(loss=0.1))


def test_keep_is_a_whole_number():
    with pytest.raises(ConfigError, match="RelaySum's keep must be a whole number of at least 0"):
        RelaySum(-1)
