"""Workers one by one, with real messages between them, are the simulation of them all."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from peers_cases import (
    CASES,
    DEEPER,
    LOCAL,
    PARTS,
    RING,
    ROUNDS,
    SLOW,
    STAR,
    TWO_STAR,
    Case,
    N,
    examples,
    simulation,
)

from pullback import tree
from pullback.errors import CheckpointError, DataError, PeerError
from pullback.peers.algorithm import (
    DPSGD,
    Choco,
    ExactDiffusion,
    Extra,
    FedAvg,
    GradientTracking,
    GraphADMM,
    PushSum,
    Seat,
    StarADMM,
)
from pullback.peers.clock import Clock
from pullback.peers.codec import Dense, Quantise, TopK
from pullback.peers.codec.wire import overhead, pack
from pullback.peers.faults import Faults
from pullback.peers.mixing import Push
from pullback.peers.phase import Schedule
from pullback.peers.plan import Masks, Planner, Post
from pullback.peers.simulate import Simulation
from pullback.peers.topology import ExponentialGraph, Star
from pullback.peers.worker import Job, Worker
from pullback.train import Batch

PAIRS = RING.schedule().losing("pair")
# A star in one round, two stars in the next: these have a phase more, before the scatter.
UNEVEN = Schedule((STAR.schedule().round(0), TWO_STAR.schedule().round(0)))
OTHERS = {
    "uneven": Case(FedAvg(), UNEVEN),
    "sampled": Case(
        FedAvg(0.5, 0.8, 0.5, 0.1, "change", True),
        Star(N, hub_has_data=False).schedule(),
        TopK(k=5),
    ),
    "quantised": Case(DPSGD("combine-first"), RING.schedule(), Dense("float16")),
    "choco-random": Case(Choco(0.2), RING.schedule(), Quantise(4, contract=True), SLOW),
    "drawing": Case(DPSGD(), RING.schedule(), task=DEEPER),
    "tracking": Case(GradientTracking(), PAIRS),
    "tracking-last": Case(GradientTracking("combine-last"), PAIRS),
    "extra": Case(Extra(), RING.schedule(), faults=SLOW),
    "diffusion": Case(ExactDiffusion(), RING.schedule(), faults=SLOW),
    "push-sum": Case(PushSum(), Schedule(((Push().phase(ExponentialGraph(N).graph()),),))),
    "star-admm": Case(StarADMM(0.5), STAR.schedule(), faults=SLOW),
    "graph-admm": Case(GraphADMM(0.5), PAIRS),
}


class Apart:
    """A network of workers in this process, and what it takes to run them."""

    def __init__(self, case: Case, data: Batch, parts: Any = PARTS, **settings: Any):
        probe = Worker(
            Job(case.task, case.algorithm, case.schedule, LOCAL, case.codec, 0, (1, 1)),
            0,
            Seat(),
            data,
            1,
        )
        plan = {"local": LOCAL, "codec": case.codec, "faults": Faults(), "clock": Clock()}
        self.planner = Planner(
            case.task,
            case.algorithm,
            case.schedule,
            parts,
            **plan | settings,
            seed=0,
            amounts=None,
            shapes=probe.flat.shapes,
            dtype=data.x.dtype,
        )
        job = Job(
            case.task, case.algorithm, case.schedule, LOCAL, case.codec, 0, self.planner.most, False
        )
        seats = self.planner.seats
        self.workers = [
            Worker(
                job,
                i,
                Seat(seats.share[i], seats.serves[i]),
                Batch(*(a[parts[i] if len(parts[i]) else parts[-1]] for a in data)),
                len(parts[i]),
            )
            for i in range(N)
        ]
        self.bytes = 0

    def round(self, t: int) -> None:
        here = self.planner.masks(range(t, t + 1)).round(0)
        order = self.planner.turns(t)
        there = np.flatnonzero(here.alive)
        models = {i: self.workers[here.donor[i]].model() for i in np.flatnonzero(here.returned)}
        self.bytes += sum(map(payload, models.values()))
        messages = {}
        for i in there:
            sends = [
                bool(here.send[p, : each.phase.edges][each.phase.src == i].any())
                for p, each in enumerate(order)
            ]
            reply, messages[i] = self.workers[i].start(t, bool(here.steps[i]), sends, models.get(i))
            assert reply.finite
            assert reply.steps == here.steps[i]
        for p, (_, phase) in enumerate(order):
            messages = self.turn(t, p, phase, here, messages)

    def turn(self, t: int, p: int, phase: Any, here: Masks, messages: dict) -> dict:
        sent = here.send[p, : phase.edges]
        for i, j in zip(phase.src[sent], phase.dst[sent], strict=True):
            self.bytes += payload(self.message(messages, i, j)) if here.alive[i] else 0
        following = {}
        for i in np.flatnonzero(here.alive):
            heard, undelivered = Post.of(phase, sent & here.up[p, : phase.edges], int(i))
            inbox = {j: self.message(messages, j, i) for j in heard}
            reply, following[i] = self.workers[i].hear(t, p, inbox, undelivered)
            assert reply.finite
        return following

    def message(self, messages: dict, src: Any, dst: Any) -> np.ndarray:
        """What one has sent another: to all the same, or to each neighbour its own."""
        sent = messages[src]
        return sent[self.planner.which(src, dst)] if isinstance(sent, tuple) else sent


def payload(message: np.ndarray) -> int:
    """The bytes of a message without its frame: what the header says is in it."""
    frame = 6
    for _ in range(int(message[5])):
        frame += 1 + int(message[frame]) + 5
    return len(message) - frame


def both(case: Case, faults: Faults, dtype: Any, parts: Any = PARTS) -> tuple[Apart, Simulation]:
    apart = Apart(case, examples(dtype), parts, faults=faults)
    return apart, simulation(case, faults, dtype, parts)


def assert_equal(apart: Apart, whole: Simulation, tolerance: float) -> None:
    for t in range(ROUNDS):
        apart.round(t)
    whole.run(ROUNDS)
    named = tree.named(whole.slots)
    for i, worker in enumerate(apart.workers):
        for name, leaf in worker.save().items():
            np.testing.assert_allclose(
                leaf, named[name][i], rtol=0, atol=tolerance, err_msg=f"worker {i}, {name}"
            )
    assert apart.bytes == whole.progress.bytes > 0


TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


SINGLE = ["two-star-fedavg", "ring-dpsgd", "ring-choco"]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float64") for name in CASES] + [(name, "float32") for name in SINGLE],
)
def test_workers_apart_are_the_simulation(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        for faults in (Faults(), CASES[name].faults):
            assert_equal(*both(CASES[name], faults, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("name", OTHERS)
def test_other_algorithms_apart_are_the_simulation(name):
    case = OTHERS[name]
    parts = [PARTS[0][:0], *PARTS[1:]] if name == "sampled" else PARTS
    with jax.enable_x64(True):
        assert_equal(*both(case, case.faults, "float64", parts), 1e-12)


# One round, turn by turn


def ring() -> Apart:
    return Apart(CASES["ring-dpsgd"], examples("float32"))


def test_a_round_that_is_broken_off_leaves_no_trace():
    broken, whole = ring(), ring()
    for each in (broken, whole):
        each.round(0)
    before = broken.workers[2].save()
    broken.workers[2].start(1, True, [True])
    for name, leaf in broken.workers[2].save().items():
        np.testing.assert_array_equal(leaf, before[name], err_msg=name)
    for each in (broken, whole):
        each.round(1)
    for name, leaf in broken.workers[2].save().items():
        np.testing.assert_array_equal(leaf, whole.workers[2].save()[name], err_msg=name)


def test_a_worker_goes_on_from_what_it_saved():
    first, second = ring(), ring()
    first.round(0)
    for old, new in zip(first.workers, second.workers, strict=True):
        new.restore(old.save())
    for each in (first, second):
        each.round(1)
    for old, new in zip(first.workers, second.workers, strict=True):
        for name, leaf in old.save().items():
            np.testing.assert_array_equal(leaf, new.save()[name], err_msg=name)
    arrays = first.workers[0].save()
    arrays.pop("x")
    with pytest.raises(CheckpointError, match="missing"):
        first.workers[0].restore(arrays)


def test_a_worker_that_comes_back_has_its_donors_parameters():
    apart = ring()
    apart.round(0)
    told = apart.workers[1].model()
    assert np.abs(apart.workers[3].slots["x"] - apart.workers[1].slots["x"]).max() > 1e-3
    apart.workers[3].start(1, False, [True], told)
    # It hears nobody, so that it has what it took over, but for the rounding of thirds.
    apart.workers[3].hear(1, 0, {})
    np.testing.assert_allclose(
        apart.workers[3].slots["x"], apart.workers[1].slots["x"], rtol=1e-6, atol=0
    )


def test_what_is_not_of_this_turn_is_refused():
    worker = ring().workers[0]
    with pytest.raises(PeerError, match="worker 0 is told of turn 0 of round 3"):
        worker.hear(3, 0, {})
    message: Any = worker.start(0, True, [True])[1]
    with pytest.raises(PeerError, match="told of turn 1 of round 0"):
        worker.hear(0, 1, {})
    with pytest.raises(DataError, match="message of worker 1 in round 0, turn 0, at worker 0"):
        worker.hear(0, 0, {1: message[:-1]})
    other = np.frombuffer(pack({"values": np.ones(3, np.float32)}), np.uint8)
    with pytest.raises(DataError, match="wanted"):
        worker.hear(0, 0, {1: other})
    assert payload(other) == 12 == len(other) - overhead({"values": np.ones(3, np.float32)})


def test_values_that_are_not_finite_are_replied_and_not_sent():
    worker = ring().workers[0]
    worker.slots["x"] = worker.slots["x"].at[0].set(np.nan)
    reply, message = worker.start(0, False, [True])
    assert not reply.finite
    assert not len(message)


class Lying(TopK):
    """A codec that counts less than it sends."""

    def cost(self, shapes, dtype):
        return dataclasses.replace(super().cost(shapes, dtype), index=0)


def test_bytes_that_are_counted_are_those_of_the_message():
    lying = dataclasses.replace(CASES["ring-choco"], codec=Lying(k=5))
    with pytest.raises(DataError, match="are counted"):
        Apart(lying, examples("float32")).workers[0].start(0, True, [True])
