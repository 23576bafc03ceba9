"""Simulations beside one another: each as if it ran alone."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.errors import ConfigError
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Relu, chain
from pullback.optim import SGD
from pullback.peers import DPSGD, Dirichlet, Local, Ring, Simulation
from pullback.peers.faults import Faults
from pullback.peers.lanes import Lanes
from pullback.train import Batch, Task

rng = np.random.default_rng(0)
LABELS = rng.integers(0, 3, 60)
DATA = Batch(
    rng.standard_normal((60, 4)).astype(np.float32),
    np.eye(3, dtype=np.float32)[LABELS],
    np.ones(60, np.float32),
)
TASK = Task(chain(Affine(4), Relu(), Affine(3)), SoftmaxCrossEntropy(), SGD(0.1))


def simulation(seed: int, **kwargs) -> Simulation:
    settings = {"local": Local(1, "epoch", 8), "block": 4, "data": DATA, "task": TASK} | kwargs
    data, task = settings.pop("data"), settings.pop("task")
    parts = Dirichlet(1.0, least=2).deal(LABELS, 3, seed)
    faults = Faults(seed=seed, loss=0.2)
    return Simulation(
        task, DPSGD(), Ring(3).schedule(), data, parts, seed=seed, faults=faults, **settings
    )


@pytest.mark.parametrize("common", [True, False])
def test_each_lane_is_as_if_it_ran_alone(common):
    data = [DATA if common else DATA._replace(x=DATA.x + np.float32(s)) for s in range(3)]
    lanes = Lanes([simulation(seed, data=data[seed]) for seed in range(3)])
    lanes.run(5)
    for seed, lane in enumerate(lanes.simulations):
        alone = simulation(seed, data=data[seed])
        alone.run(5)
        rows, expected = (list(each.record.rows("round")) for each in (lane, alone))
        assert [row["bytes"] for row in rows] == [row["bytes"] for row in expected]
        assert [row["steps"] for row in rows] == [row["steps"] for row in expected]
        np.testing.assert_allclose(lane.models(), alone.models(), rtol=1e-4, atol=1e-5)
    different = [lane.models() for lane in lanes.simulations]
    assert np.abs(different[0] - different[1]).max() > 0.01


def test_a_lane_that_diverges_is_left_behind():
    lanes = Lanes([simulation(seed) for seed in range(2)])
    slots = lanes.simulations[1].slots
    lanes.simulations[1].slots = slots | {"x": slots["x"] * np.float32(np.nan)}
    lanes.run(6)
    assert list(lanes.failed) == [1]
    assert lanes.simulations[0].progress.step == 6
    assert np.isfinite(lanes.simulations[0].models()).all()


def test_lanes_of_two_programs_are_refused():
    other = Task(TASK.net, TASK.loss, SGD(0.2))
    fewer = Batch(*(each[:59] for each in DATA))
    for wrong in ({"task": other}, {"data": fewer}, {"block": 2}):
        with pytest.raises(ConfigError, match="of one program"):
            Lanes([simulation(0), simulation(1, **wrong)])
