"""A process with several virtual devices: simulations spread over them, against one device each.

Prints one JSON object; `test_peers_devices.py` starts it and reads it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import jax
import numpy as np

from pullback import tree
from pullback.data import Batches
from pullback.errors import ConfigError
from pullback.loss import SquaredError
from pullback.maps import Affine, Dropout, Tanh, chain
from pullback.optim import Momentum
from pullback.peers.algorithm import DPSGD, Choco, RelaySum
from pullback.peers.codec import Dense, TopK
from pullback.peers.faults import Faults
from pullback.peers.lanes import Lanes
from pullback.peers.local import Local
from pullback.peers.rounds import run_rounds
from pullback.peers.simulate import Simulation
from pullback.peers.topology import Path, Ring
from pullback.train import Batch, Part, Task

N, ROUNDS = 8, 4
# A vector of 13 parameters is cut unevenly.
NET = chain(Affine(3, bias=False), Dropout(0.2), Tanh(), Affine(1))
TASK = Task(NET, SquaredError(), Momentum(0.1), classifies=False)
PARTS = np.split(np.arange(80), N)
CASES: dict[str, dict[str, Any]] = {
    "dpsgd": {
        "algorithm": DPSGD(),
        "codec": Dense(),
        "how": "vmap",
        "faults": Faults(loss=0.2, crashes=((3, 1, 3),)),
    },
    "relay": {"algorithm": RelaySum(), "topology": Path, "how": "vmap", "faults": Faults(loss=0.2)},
    "choco": {"algorithm": Choco(0.4), "codec": TopK(k=5), "how": "map", "chunk": 2},
}


def simulation(case: str, dtype: str, devices: Any, n: int = N) -> Simulation:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 2)).astype(dtype)
    data = Batch(x, draw.normal(size=(80, 1)).astype(dtype), np.ones(80, dtype))
    given = dict(CASES[case])
    algorithm = given.pop("algorithm")
    schedule = given.pop("topology", Ring)(n).schedule()
    held_out = Part(Batches(*data, 40, 0, limit_bytes=float("inf")), False)
    settings = {"local": Local(2, batch_size=4), "block": ROUNDS, "devices": devices}
    settings["evaluate"] = {"held out": held_out}
    return Simulation(TASK, algorithm, schedule, data, PARTS[:n], **settings | given)


def places(simulated: Simulation) -> dict[str, list[int]]:
    """On how many devices each array is, and how many workers each of them has."""
    return {
        name: [len(leaf.sharding.device_set), leaf.addressable_shards[0].data.shape[0]]
        for name, leaf in tree.named(simulated.slots).items()
    }


def apart(first: Simulation, second: Simulation) -> float:
    """The largest difference between the states of two."""
    ours, theirs = first.save()[0], second.save()[0]
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


def losses(simulated: Simulation) -> list[float]:
    """Those of the common model and of each worker's."""
    rows = simulated.evaluate()["held out"]
    return [row["loss"] for row in (rows["together"], *rows["workers"])]


def compared(case: str, dtype: str) -> dict[str, Any]:
    with jax.enable_x64(dtype == "float64"):
        one, four = simulation(case, dtype, 1), simulation(case, dtype, "all")
        before = places(four)
        for each in (one, four):
            each.run(ROUNDS)
        found = {"apart": apart(one, four), "before": before, "after": places(four)}
        models = np.asarray(four.models())
        found["disagreement"] = float(np.abs(models - models[:1]).max())
        found["rows"] = [list(each.record.rows("round"))[-1]["messages"] for each in (one, four)]
        found["together"] = float(np.abs(one.model() - four.model()).max())
        if case == "dpsgd":
            found["evaluated"] = [losses(each) for each in (one, four)]
        # What one has saved, many take up.
        four.restore(*one.save())
        found["restored"] = places(four)
        return found


def exchanges() -> dict[str, int]:
    """How many exchanges between devices a program has, and how many of them are local work's."""
    simulated = simulation("dpsgd", "float32", 4)
    lane, block = simulated.lane(), simulated.planned(1)[1]
    program = run_rounds.lower(
        lane.net, lane.slots, lane.data, block, lane.shares, np.uint32(0), np.int32(0), np.int32(1)
    )
    lines = (program.compile().as_text() or "").splitlines()
    between = [
        line for line in lines if re.search(r" (all-|collective-|reduce-scatter)\S*\(", line)
    ]
    return {
        "all-to-all": sum(" all-to-all(" in line for line in between),
        "local_work": sum("shard_map" in line for line in lines),
        "in_local_work": sum("shard_map" in line for line in between),
    }


def refused(make) -> str:
    try:
        make()
    except ConfigError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "devices": jax.device_count(),
                "cases": {
                    f"{case} {dtype}": compared(case, dtype)
                    for case, dtype in (
                        ("dpsgd", "float32"),
                        ("choco", "float64"),
                        ("relay", "float64"),
                    )
                },
                "exchanges": exchanges(),
                "uneven": refused(lambda: simulation("dpsgd", "float32", 4, 6)),
                "lanes": refused(lambda: Lanes([simulation("dpsgd", "float32", 4)])),
            }
        )
    )
