"""Workers over several devices, and in chunks: the same numbers as one by one on one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from pullback import tree
from pullback.errors import ConfigError
from pullback.loss import SquaredError
from pullback.maps import Affine, chain
from pullback.optim import SGD
from pullback.peers.algorithm import DPSGD
from pullback.peers.devices import spread
from pullback.peers.local import Local
from pullback.peers.simulate import Simulation
from pullback.peers.topology import Ring
from pullback.train import Batch, Task

SCRIPT = Path(__file__).with_name("spread_run.py")
# Four devices of one processor; what XLA would do for speed is left out.
FLAGS = (
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true"
)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What a process with four devices says."""
    environment = os.environ | {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=900
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("case", "bound"),
    [("dpsgd float32", 1e-6), ("choco float64", 1e-12), ("relay float64", 1e-12)],
)
def test_several_devices_make_what_one_makes(found, case, bound):
    assert found["devices"] == 4
    told = found["cases"][case]
    assert told["apart"] <= bound
    assert told["together"] <= bound
    assert told["disagreement"] > 0.1  # workers are not all alike, so that an order would show
    assert told["rows"][0] == told["rows"][1]


def test_all_are_evaluated_wherever_they_are(found):
    one, four = found["cases"]["dpsgd float32"]["evaluated"]
    assert len(set(one)) == 9  # eight workers, and what they are together
    assert four == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("when", ["before", "after", "restored"])
def test_every_array_is_spread_over_all_devices(found, when):
    """Eight workers, four devices: two on each, at the start, after rounds, and taken up again."""
    for told in found["cases"].values():
        assert {"x", "local/loss", "local/rule/steps"} <= told[when].keys()
        assert all(each == [4, 2] for each in told[when].values()), told[when]


def test_messages_between_devices_are_one_exchange(found):
    """Before mixing and after it; none for local work, none for each message."""
    told = found["exchanges"]
    assert told["all-to-all"] > 0
    assert told["in_local_work"] == 0 < told["local_work"]


def test_what_cannot_be_spread_is_refused(found):
    assert found["uneven"].startswith("6 workers cannot be dealt evenly to 4 devices")
    assert found["lanes"].startswith("lanes want simulations on one device")
    with pytest.raises(ConfigError, match=f"{jax.device_count() + 1} devices are asked for"):
        spread(jax.device_count() + 1, 12)
    for wrong in (0, "both"):
        with pytest.raises(ConfigError, match='whole number of at least 1, or "all"'):
            spread(wrong, 4)  # pyright: ignore[reportArgumentType]


# Chunks

N = 5
TASK = Task(chain(Affine(1)), SquaredError(), SGD(0.1), classifies=False)


def simulation(**kwargs) -> Simulation:
    draw = np.random.default_rng(0)
    data = Batch(draw.normal(size=(50, 2)), draw.normal(size=(50, 1)), np.ones(50))
    parts = np.split(np.arange(50), N)
    settings = {"local": Local(2, batch_size=4), "block": 2} | kwargs
    return Simulation(TASK, DPSGD(), Ring(N).schedule(), data, parts, **settings)


def test_workers_in_chunks_are_workers_one_by_one():
    with jax.enable_x64(True):
        alone, chunked = (simulation(how="map", chunk=chunk) for chunk in (1, 2))
        for each in (alone, chunked):
            each.run(4)
        for name, leaf in tree.named(alone.slots).items():
            np.testing.assert_allclose(
                leaf, tree.named(chunked.slots)[name], rtol=0, atol=1e-13, err_msg=name
            )
        assert np.ptp(np.asarray(alone.models()), axis=0).min() > 1e-3
        # A chunk of two leaves one of five over; what is saved says how they were mapped.
        arrays, progress = chunked.save()
        assert (progress["how"], progress["chunk"]) == ("map", 2)
        alone.restore(arrays, progress)
        assert (alone.how, alone.chunk) == ("map", 2)


def test_a_chunk_takes_so_many_workers_at_once():
    """Of 5 workers in chunks of 2 there are 2 chunks, and 1 is left over."""
    with jax.enable_x64(True):
        shapes = batched(simulation(how="map", chunk=2))
        assert (2, 2, 2, 4) in shapes
        assert (1, 2, 4) in shapes
        assert (2, 2, 2, 4) not in batched(simulation(how="map"))


def batched(simulated: Simulation) -> set[tuple[int, ...]]:
    """The shapes of what a map over workers goes through: rows of (steps, batch)."""
    from pullback.peers.rounds import _emitted

    lane = simulated.lane()
    block = simulated.planned(1)[1]
    stage = lane.net.algorithm.stages[0]
    traced = jax.make_jaxpr(
        lambda slots, rows, steps: _emitted(
            lane.net,
            stage,
            (lane.data, np.uint32(0), np.int32(0)),
            (slots, rows, steps),
        )
    )(lane.slots, block.rows[0], block.steps[0])
    shapes = set()
    for equation in traced.jaxpr.eqns:
        shapes |= {tuple(each.aval.shape) for each in equation.invars if hasattr(each, "aval")}
        shapes |= {tuple(each.aval.shape) for each in equation.outvars}
    return shapes


def test_a_chunk_that_does_nothing_is_refused():
    with jax.enable_x64(True):
        with pytest.raises(ConfigError, match='how is "vmap"'):
            simulation(how="vmap", chunk=2)
        with pytest.raises(ConfigError, match='how is "auto"'):
            simulation(chunk=2)
        with pytest.raises(ConfigError, match="chunk must be a whole number"):
            simulation(how="map", chunk=0)
