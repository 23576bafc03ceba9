"""The simulation of a network: what it costs, what goes wrong, cut and resumed, and per worker."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import checkpoint, tree
from pullback.data import Batches
from pullback.errors import CheckpointError, ConfigError, DivergedError
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, BatchNorm, Dropout, Tanh, chain
from pullback.optim import SGD, ExponentialAverage, Momentum, Plateau
from pullback.optim.second_order import Newton
from pullback.peers.algorithm import DPSGD, Choco, FedAvg, Seat, hubs, message_key, turns
from pullback.peers.clock import Clock
from pullback.peers.codec import Dense, TopK, error_feedback
from pullback.peers.faults import Faults
from pullback.peers.local import Flat, Local, LocalState, RoundWork, draw_key
from pullback.peers.mix import mix_one
from pullback.peers.simulate import Simulation
from pullback.peers.topology import Ring, Star
from pullback.record import Record
from pullback.train import Batch, Part, Task, begin

N = 5
SIZES = [9, 12, 12, 15, 16]
PARTS = np.split(np.arange(64), np.cumsum(SIZES)[:-1])
RING = Ring(N).schedule()


def examples(seed: int = 0) -> Batch:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(64, 3)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[(x[:, 0] * x[:, 1] > 0).astype(int)]
    return Batch(x, y, np.ones(64, np.float32))


DATA = examples()
NET = chain(Affine(4, bias=False), BatchNorm(), Tanh(), Dropout(0.2), Affine(2))
TASK = Task(NET, SoftmaxCrossEntropy(), Momentum(0.1))
D = 3 * 4 + 4 + 4 + 4 * 2 + 2
LOCAL = Local(3, batch_size=4)


def simulation(**kwargs) -> Simulation:
    settings = {"local": LOCAL, "block": 4, "data": DATA} | kwargs
    data = settings.pop("data")
    return Simulation(TASK, DPSGD(), RING, data, PARTS, **settings)


def state(simulated: Simulation) -> dict[str, np.ndarray]:
    """What the workers have; not what was counted."""
    arrays = simulated.save()[0]
    return {name: each for name, each in arrays.items() if not name.startswith("traffic/")}


def assert_same_bits(first: Simulation, second: Simulation) -> None:
    ours, theirs = state(first), state(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def round_rows(simulated: Simulation) -> list[dict]:
    return list(simulated.record.rows("round"))


def ran(rounds: int, **kwargs) -> Simulation:
    simulated = simulation(**kwargs)
    simulated.run(rounds)
    return simulated


# Cut anywhere, resumed, seeded


def test_rounds_may_be_cut_anywhere():
    whole, cut = ran(9), simulation()
    for rounds in (1, 2, 5, 1):
        cut.run(rounds)
    assert_same_bits(whole, cut)
    assert round_rows(whole) == round_rows(cut)
    assert whole.progress == cut.progress


def test_a_resumed_simulation_has_the_same_bits(tmp_path):
    plan = Faults(loss=0.2, crashes=((1, 2, 6),))
    whole, first = ran(9, faults=plan), ran(5, faults=plan)
    checkpoint.save(tmp_path, *first.save())
    second = simulation(faults=plan)
    found = checkpoint.load_latest(tmp_path)
    assert found is not None
    second.restore(*found)
    second.run(4)
    assert_same_bits(whole, second)
    assert whole.progress == second.progress
    assert round_rows(second) == round_rows(whole)[5:]


def test_what_is_not_of_this_simulation_is_not_restored():
    arrays, progress = ran(1).save()
    arrays.pop("x")
    with pytest.raises(CheckpointError, match="missing"):
        simulation().restore(arrays, progress)


def test_after_the_first_block_nothing_is_compiled(caplog):
    ran(5)
    simulated = simulation(seed=7, faults=Faults(loss=0.3, crashes=((0, 1, 3),)), data=examples(1))
    jax.config.update("jax_log_compiles", True)
    caplog.set_level(logging.WARNING, "jax")
    try:
        simulated.run(9)
        assert not [line for line in caplog.messages if line.startswith("Compiling ")]
        jax.jit(lambda x: 3 * x + 11)(np.float32(1))
        assert [line for line in caplog.messages if line.startswith("Compiling ")]
    finally:
        jax.config.update("jax_log_compiles", False)


def test_a_seed_decides_all_that_is_drawn():
    assert_same_bits(ran(3, seed=4), ran(3, seed=4))
    first, other = ran(3, seed=4), ran(3, seed=5)
    assert not np.allclose(first.models(), other.models())


def test_a_silent_plan_is_no_plan():
    assert_same_bits(ran(4), ran(4, faults=Faults(seed=3)))
    lossy = ran(4, faults=Faults(loss=0.5))
    assert not np.array_equal(ran(4).models(), lossy.models())


# Ways to map workers


def test_workers_one_by_one_are_workers_at_once():
    together, apart = ran(4), ran(4, how="map")
    ours, theirs = state(together), state(apart)
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_auto_is_by_rule_so_that_two_runs_have_the_same_bits():
    assert simulation(how="auto").how == "vmap"
    star = Star(N).schedule()
    some = Simulation(TASK, FedAvg(share=0.5), star, DATA, PARTS, local=LOCAL)
    assert some.how == "map"


def test_a_trial_tries_both_and_says_what_it_took():
    simulated = simulation(how="trial")
    assert not simulated.trial
    simulated.run(1)
    assert set(simulated.trial) == {"vmap", "map", "map 4"}
    fastest = min(simulated.trial, key=simulated.trial.__getitem__)
    assert (simulated.how, simulated.chunk) == (fastest.split()[0], 4 if "4" in fastest else 1)
    assert simulated.progress.how == simulated.how
    # The trial left no trace.
    assert_same_bits(simulated, ran(1, how=simulated.how, chunk=simulated.chunk))
    # and a resumed one goes on in the same way, without a trial of its own
    arrays, progress = simulated.save()
    resumed = simulation(how="trial")
    resumed.restore(arrays, progress | {"how": "map", "chunk": 1})
    resumed.run(1)
    assert (resumed.how, resumed.chunk) == ("map", 1)
    assert not resumed.trial


# Faults


def test_who_is_down_keeps_all_it_has():
    plan = Faults(crashes=((2, 3, 6),), rejoin="own")
    simulated = ran(3, faults=plan)
    before = state(simulated)
    for _ in range(3):
        simulated.run(1)
        after = state(simulated)
        for name in before:
            np.testing.assert_array_equal(before[name][2], after[name][2], err_msg=name)
        assert not np.array_equal(before["x"][1], after["x"][1])
    row = round_rows(simulated)[4]
    assert np.isnan(row["loss"][2])
    assert np.isfinite(row["loss"][1])
    # It would have sent two messages; two are still sent to it.
    assert [each["messages"] for each in round_rows(simulated)] == [10, 10, 10, 8, 8, 8]
    simulated.run(1)
    assert not np.array_equal(before["x"][2], state(simulated)["x"][2])


def test_who_comes_back_takes_a_neighbours_parameters():
    crash = ((2, 3, 6),)
    taken = ran(7, faults=Faults(crashes=crash))
    by_hand = ran(6, faults=Faults(crashes=crash, rejoin="own"))
    x = by_hand.slots["x"]
    by_hand.slots["x"] = x.at[2].set(x[1])
    by_hand.run(1)
    assert_same_bits(taken, by_hand)
    # It cost a message in full, and the time to send it.
    ours, theirs = round_rows(taken)[-1], round_rows(by_hand)[-1]
    assert ours["messages"] == theirs["messages"] + 1
    assert ours["bytes"]["payload"] == theirs["bytes"]["payload"] + 4 * D
    assert ours["seconds"] == pytest.approx(theirs["seconds"] + 4 * D / 12.5e6 + 0.01)


def test_a_value_that_is_not_finite_names_its_worker_and_round():
    x = DATA.x.copy()
    x[PARTS[3]] = 1e38
    broken = simulation(data=DATA._replace(x=x), faults=Faults(late=((3, 2),)))
    with pytest.raises(DivergedError, match=r"worker 3 .*after round 3 .*Momentum"):
        broken.run(6)
    assert len(round_rows(broken)) == 2


# What it costs


def test_bytes_and_seconds_are_those_of_the_formulas():
    plan = Faults(loss=0.3, slow=((1, 10.0),))
    clock = Clock(2e-3, upload=1e4, download=2e4, latency=0.5)
    simulated = ran(6, faults=plan, clock=clock)
    for t, row in enumerate(round_rows(simulated)):
        assert row["messages"] == 10  # those that are lost were sent
        assert row["bytes"] == {"payload": 10 * 4 * D, "index": 0, "header": 0}
        assert row["seconds"] == pytest.approx(3 * 2e-2 + 2 * 4 * D / 1e4 + 0.5)
        assert row["round"] == t + 1
    assert simulated.progress.bytes == 6 * 40 * D
    assert simulated.progress.seconds == pytest.approx(
        sum(row["seconds"] for row in round_rows(simulated))
    )


def test_links_have_what_was_really_sent_on_them(tmp_path):
    plan = Faults(loss=0.3, crashes=((2, 1, 3),))
    simulated = ran(5, faults=plan)
    links = {(src, dst): (messages, size) for src, dst, messages, size in simulated.links()}
    # Each sends two messages a round. Worker 2 sends none while it is down; then it asks 1 for all.
    assert links == {
        (i, j % N): ((3, 12 * D) if i == 2 else (6, 24 * D) if (i, j) == (1, 2) else (5, 20 * D))
        for i in range(N)
        for j in (i - 1 + N, i + 1)
    }
    assert sum(messages for messages, _ in links.values()) == simulated.progress.messages
    assert sum(size for _, size in links.values()) == simulated.progress.bytes
    # They are saved, and are counted on from there.
    resumed = simulation(faults=plan)
    resumed.restore(*ran(2, faults=plan).save())
    resumed.run(3)
    assert resumed.links() == simulated.links()
    arrays, progress = resumed.save()
    with pytest.raises(CheckpointError, match="no traffic of a network of 5"):
        resumed.restore(arrays | {"traffic/bytes": np.zeros((2, 2), int)}, progress)


@pytest.mark.parametrize("local", [LOCAL, Local(2, "epoch", 5), Local(1, batch_size="all")])
def test_steps_and_examples_are_those_of_the_rows(local):
    planner = simulation(local=local, faults=Faults(crashes=((1, 0, 1),)))._planner
    for t in (0, 1):
        steps = planner.masks(range(t, t + 1)).steps[0]
        made = [planner.rows(t, i) for i in range(N) if t or i != 1]
        assert steps.sum() == sum(map(len, made))
        assert planner.examples(steps) == sum(int((rows >= 0).sum()) for rows in made)


# Evaluation


def evaluated() -> dict[str, Part]:
    source = Batches(*examples(3), 8, 0, limit_bytes=float("inf"))
    return {"held-out": Part(source, True)}


def test_every_worker_is_evaluated_and_what_they_are_together():
    part = evaluated()
    simulated = ran(4, evaluate=part, every=2)
    found = list(simulated.record.rows("evaluation"))
    assert [row["round"] for row in found] == [0, 2, 4]
    last, rows = found[-1]["parts"]["held-out"], round_rows(simulated)
    assert found[-1]["epoch"] == 4 * N * 12 / 64 == sum(row["examples"] for row in rows) / 64
    for name in ("messages", "seconds"):
        assert found[-1][name] == pytest.approx(sum(row[name] for row in rows))
    assert found[-1]["bytes"] == simulated.progress.bytes
    assert found[0]["epoch"] == found[0]["bytes"] == 0
    alone = [part["held-out"].evaluate(TASK, simulated.learner(i)) for i in range(N)]
    for ours, theirs in zip(last["workers"], alone, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["accuracy"] == theirs["accuracy"]
    together = part["held-out"].evaluate(TASK, simulated.learner())
    assert last["together"]["loss"] == pytest.approx(together["loss"], rel=1e-5)
    np.testing.assert_allclose(simulated.model(), simulated.models().mean(0), rtol=1e-5, atol=1e-7)


def test_workers_that_are_alike_are_told_alike_and_the_others_by_themselves():
    """The last has the weights of the one before, and statistics of its own."""
    part = evaluated()
    simulated = ran(3, evaluate=part)
    weights, statistics = [0, 0, 1, 0, 0], [0, 0, 1, 0, 2]
    local = simulated.slots["local"]
    state = jax.tree.map(lambda a: a[jnp.array(statistics)], local.state)
    simulated.slots |= {
        "x": simulated.slots["x"][jnp.array(weights)],
        "local": local._replace(state=state),
    }
    workers = simulated.evaluate()["held-out"]["workers"]
    losses = [row["loss"] for row in workers]
    assert losses[0] == losses[1] == losses[3]
    assert len(set(losses)) == 3
    for i, row in enumerate(workers):
        alone = part["held-out"].evaluate(TASK, simulated.learner(i))
        assert row["loss"] == pytest.approx(alone["loss"], rel=1e-5)


def test_statistics_of_maps_stay_local_and_their_mean_is_evaluated():
    simulated = ran(3)
    means = np.asarray(simulated.slots["local"].state["batchnorm1"]["mean"])
    assert np.ptp(means, axis=0).min() > 1e-3
    np.testing.assert_allclose(
        simulated.learner().state["batchnorm1"]["mean"], means.mean(0), rtol=1e-5
    )
    # They do not travel: only the parameters are counted.
    assert simulated.progress.payload == 3 * 10 * 4 * D
    assert simulated.progress.examples == 3 * N * 12


def test_rows_go_to_the_record_that_is_given(tmp_path):
    with Record(tmp_path / "rows.jsonl") as record:
        simulated = simulation(record=record)
        simulated.run(2)
    assert [row["round"] for row in Record.read(tmp_path / "rows.jsonl").rows("round")] == [1, 2]


# One worker at a time, as an engine of many processes runs them


SMALL = Task(chain(Affine(2)), SoftmaxCrossEntropy(), SGD(0.2))


class Apart:
    """An engine that runs each worker by itself: `emit`, messages, `mix_one`, `absorb`."""

    def __init__(self, algorithm, schedule, local, codec, faults):
        self.algorithm, self.schedule, self.local = algorithm, schedule, local
        self.codec, self.faults = codec, faults
        learner = begin(SMALL, 0, DATA.x[:1])
        self.flat = Flat.of_tree(learner.params)
        x, serving = self.flat.vector(learner.params), hubs(schedule)
        self.workers = [
            algorithm.begin(x, x, Seat(1.0, bool(serving[i])))
            | {"local": LocalState.begin(learner)}
            for i in range(schedule.n)
        ]
        if algorithm.feedback:
            self.workers = [each | {"memory": jnp.zeros_like(x)} for each in self.workers]
        self.emit = jax.jit(self._emit, static_argnums=0)
        self.absorb = jax.jit(algorithm.absorb, static_argnums=0)
        self.encode = jax.jit(error_feedback, static_argnames=("codec", "shapes"))

    def _emit(self, stage, slots, rows, count, worker, t):
        def batch(i):
            chosen = rows[i]
            x, y, weight = (jnp.asarray(a)[jnp.maximum(chosen, 0)] for a in DATA)
            return Batch(x, y, jnp.where(chosen < 0, 0.0, weight))

        work = RoundWork(SMALL, self.flat, batch, count, draw_key(0, worker, t))
        return self.algorithm.emit(stage, slots, work, t)

    def round(self, t):
        algorithm, n = self.algorithm, self.schedule.n
        order = turns(algorithm, self.schedule.round(t))
        asked = algorithm.asked(order, t, 0)
        turn = 0
        for stage in algorithm.stages:
            values = []
            for i in range(n):
                mine = self.local.rows(0, i, t, SIZES[i])
                rows = np.where(mine < 0, -1, PARTS[i][np.maximum(mine, 0)])
                full = np.full((8, 4), -1, np.int32)
                full[: len(rows)] = rows
                count = np.int32(len(rows) if asked.work[i] else 0)
                self.workers[i], value = self.emit(
                    stage, self.workers[i], full, count, np.int32(i), np.int32(t)
                )
                values.append(value)
            first: Any = None
            for each in [one.phase for one in order if one.stage == stage]:
                values, said = self.exchange(stage, each, turn, values, asked.send[turn], t)
                first, turn = said if first is None else first, turn + 1
            for i in range(n):
                self.workers[i] = self.absorb(stage, self.workers[i], values[i], first[i], t)

    def exchange(self, stage, each, turn, values, send, t):
        shapes, said = stage.shapes(self.flat.shapes), list(values)
        codec = self.codec if stage.coded else Dense()
        for i in set(each.src.tolist()):
            owed = self.workers[i].get("memory", jnp.zeros_like(values[i]))
            owed = owed if stage.coded else jnp.zeros_like(owed)
            coded = self.encode(codec, values[i], owed, message_key(0, t, turn, i), shapes)
            said[i] = coded.decoded
            if stage.coded and self.algorithm.feedback and send[each.src == i].any():
                self.workers[i] = self.workers[i] | {"memory": coded.memory}
        up = send & self.faults.up(t, turn, each.src, each.dst)
        mixed = []
        for i in range(self.schedule.n):
            inbox = {
                int(j): said[j]
                for j, k, there in zip(each.src, each.dst, up, strict=True)
                if k == i and there
            }
            own = said[i] if self.algorithm.own == "sent" else values[i]
            mixed.append(mix_one(each, i, own, inbox, sent=said[i]))
        return mixed, said


@pytest.mark.parametrize(
    ("algorithm", "schedule", "codec", "faults"),
    [
        (
            FedAvg(0.5, sends="change", memory=True, server_momentum=0.5, proximal=0.1),
            Star(N).schedule(weights=SIZES),
            TopK(k=3),
            Faults(loss=0.3),
        ),
        (Choco(0.4), RING, TopK(k=2), Faults()),
    ],
    ids=["fedavg", "choco"],
)
def test_workers_apart_are_workers_in_one_program(algorithm, schedule, codec, faults):
    local = Local(2, "epoch", 4)
    apart = Apart(algorithm, schedule, local, codec, faults)
    whole = Simulation(
        SMALL, algorithm, schedule, DATA, PARTS, local=local, codec=codec, faults=faults, block=4
    )
    for t in range(4):
        apart.round(t)
        whole.run(1)
        for slots, loss in zip(apart.workers, round_rows(whole)[-1]["loss"], strict=True):
            # A row has the mean loss of each worker's steps.
            if slots["local"].steps:
                assert loss == pytest.approx(
                    float(slots["local"].loss) / int(slots["local"].steps), 1e-4
                )
            else:
                assert np.isnan(loss)
    for i, slots in enumerate(apart.workers):
        for name, leaf in tree.named(slots).items():
            np.testing.assert_allclose(
                leaf, tree.named(whole.slots)[name][i], rtol=1e-4, atol=1e-5, err_msg=name
            )
    steps = [row["loss"] for row in round_rows(whole)]
    assert np.isnan(steps).any() == (algorithm.stages[0].phases == "gather")


def test_only_those_asked_send_and_their_bytes_are_counted():
    """Of four leaves one is asked: it sends a change of three entries, and gets all of a model."""
    sampled = FedAvg(0.25, sends="change", memory=True)
    simulated = Simulation(
        SMALL, sampled, Star(N).schedule(), DATA, PARTS, local=LOCAL, codec=TopK(k=3), block=4
    )
    simulated.run(2)
    d = 3 * 2 + 2
    coded = TopK(k=3).cost(((d,),), np.float32)
    for row in round_rows(simulated):
        assert row["messages"] == 2
        assert row["bytes"]["payload"] == coded.payload + 4 * d == 12 + 32
        assert row["bytes"]["index"] == coded.index == 1
        assert np.isfinite(row["loss"]).sum() == 2


# Local work


def test_batches_of_steps_come_from_passes_over_the_own_part():
    local = Local(2, batch_size=5)
    visited = np.concatenate([local.rows(3, 1, t, 12).ravel() for t in range(12)])
    for number in range(10):
        each = visited[12 * number : 12 * (number + 1)]
        np.testing.assert_array_equal(np.sort(each), np.arange(12))
    assert len({tuple(visited[12 * i : 12 * i + 12]) for i in range(10)}) == 10
    assert not np.array_equal(local.rows(3, 1, 4, 12), local.rows(3, 2, 4, 12))
    assert not np.array_equal(local.rows(3, 1, 4, 12), local.rows(4, 1, 4, 12))
    np.testing.assert_array_equal(local.rows(3, 1, 4, 12), local.rows(3, 1, 4, 12))
    # A part smaller than a batch is gone through several times.
    assert np.bincount(Local(1, batch_size=7).rows(0, 0, 0, 3).ravel()).tolist() in (
        [3, 2, 2],
        [2, 3, 2],
        [2, 2, 3],
    )


def test_epochs_end_with_a_smaller_batch():
    rows = Local(2, "epoch", 5).rows(0, 0, 1, 12)
    assert rows.shape == (6, 5)
    for half in (rows[:3], rows[3:]):
        np.testing.assert_array_equal(np.sort(half[half >= 0]), np.arange(12))
        assert (half[2, 2:] == -1).all()
    assert not np.array_equal(rows[:3], rows[3:])
    # No two rounds share a pass.
    assert not np.array_equal(Local(2, "epoch", 5).rows(0, 0, 0, 12)[3:], rows[:3])
    assert Local(3, "epoch", "all").rows(0, 0, 0, 4).tolist() == [[0, 1, 2, 3]] * 3
    for local in (Local(2, "epoch", 5), Local(2), Local(2, batch_size="all")):
        assert len(local.rows(0, 0, 0, 0)) == local.steps(0) == 0


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        (Newton(), "minimises a whole function"),
        (Plateau(SGD(0.1)), "wants evaluations"),
        (ExponentialAverage(SGD(0.1)), "knows nothing of what is mixed"),
    ],
)
def test_a_rule_that_a_worker_cannot_serve_is_refused(rule, match):
    with pytest.raises(ConfigError, match=match):
        Local().check(dataclasses.replace(SMALL, rule=rule))


# What is refused


def test_what_does_not_fit_is_refused():
    def make(algorithm=None, schedule=RING, parts=PARTS, **kwargs):
        return Simulation(SMALL, algorithm or DPSGD(), schedule, DATA, parts, **kwargs)

    with pytest.raises(ConfigError, match="4 parts of the data for 5 workers"):
        make(parts=PARTS[:4])
    with pytest.raises(ConfigError, match="worker 0 has no examples"):
        make(parts=[np.arange(0), *PARTS[1:]])
    with pytest.raises(ConfigError, match="start must be the parameters"):
        make(start=np.zeros((N, 3), np.float32))
    with pytest.raises(ConfigError, match="survives no lost message"):
        make(Choco(), faults=Faults(loss=0.1))
    with pytest.raises(ConfigError, match="names worker 9"):
        make(faults=Faults(crashes=((9, 0),)))
    with pytest.raises(ConfigError, match="numbers for 5 workers"):
        make(clock=Clock(upload=(1.0, 2.0)))
    with pytest.raises(ConfigError, match="wants evaluations"):
        Simulation(dataclasses.replace(SMALL, rule=Plateau(SGD(0.1))), DPSGD(), RING, DATA, PARTS)
    with pytest.raises(ConfigError, match="one dtype"):
        Flat.of_tree({"a": np.zeros(2, np.float32), "b": np.zeros(2)})


def test_a_hub_without_data_needs_no_part():
    star = Star(N, hub_has_data=False).schedule()
    simulated = Simulation(SMALL, FedAvg(), star, DATA, [np.arange(0), *PARTS[1:]])
    assert simulated.shares.tolist() == pytest.approx([0, 0.25, 0.25, 0.25, 0.25])
