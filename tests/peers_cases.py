"""Small networks of workers that several tests run, each in its own way."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, BatchNorm, Dropout, chain
from pullback.optim import Momentum
from pullback.peers.algorithm import DPSGD, Algorithm, Choco, FedAvg, RelaySum
from pullback.peers.codec import Codec, Dense, TopK
from pullback.peers.faults import Faults
from pullback.peers.local import Local
from pullback.peers.mixing import MetropolisHastings
from pullback.peers.phase import Schedule
from pullback.peers.simulate import Simulation
from pullback.peers.topology import EdgeList, Ring, Star, Stars, Topology
from pullback.train import Batch, Task

N, ROUNDS = 6, 5
PARTS = np.split(np.arange(60), N)
LOCAL = Local(2, batch_size=4)
TASK = Task(chain(Affine(2)), SoftmaxCrossEntropy(), Momentum(0.1))
DEEPER = dataclasses.replace(TASK, net=chain(Affine(3), BatchNorm(), Dropout(0.2), Affine(2)))
LOSSY = Faults(loss=0.25, crashes=((1, 1, 3),), late=((4, 2),), seed=1)


def examples(dtype: Any) -> Batch:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 3)).astype(dtype)
    y = np.eye(2, dtype=dtype)[(x[:, 0] * x[:, 1] > 0).astype(int)]
    return Batch(x, y, np.ones(60, dtype))


def gossip(topology: Topology) -> Schedule:
    """One phase on its links, even where it is a star."""
    return Schedule(((MetropolisHastings().phase(topology.graph()),),))


@dataclasses.dataclass(frozen=True)
class Case:
    algorithm: Algorithm
    schedule: Schedule
    codec: Codec = Dense()  # noqa: RUF009
    # Choco survives no lost message: for it, plans are of who is slow.
    faults: Faults = LOSSY
    task: Task = TASK


STAR, TWO_STAR, RING = Star(N), Stars(), Ring(N)
TREE = EdgeList(((0, 1), (1, 2), (1, 3), (3, 4), (3, 5)))
SLOW = Faults(slow=((2, 4.0),))
CASES = {
    "star-fedavg": Case(FedAvg(), STAR.schedule()),
    "star-dpsgd": Case(DPSGD(), gossip(STAR)),
    "star-choco": Case(Choco(0.4), gossip(STAR), TopK(k=5), SLOW),
    "two-star-fedavg": Case(FedAvg(), TWO_STAR.schedule()),
    "two-star-dpsgd": Case(DPSGD(), gossip(TWO_STAR)),
    "two-star-choco": Case(Choco(0.4), gossip(TWO_STAR), TopK(k=5), SLOW),
    "tree-relay": Case(RelaySum(), TREE.schedule()),
    "ring-dpsgd": Case(DPSGD(), RING.schedule()),
    "ring-choco": Case(Choco(0.4), RING.schedule(), TopK(k=5), SLOW),
}


def simulation(case: Case, faults: Faults, dtype: Any, parts: Any = PARTS) -> Simulation:
    """One worker after another in one program, which is nearest to each by itself."""
    return Simulation(
        case.task,
        case.algorithm,
        case.schedule,
        examples(dtype),
        parts,
        local=LOCAL,
        codec=case.codec,
        faults=faults,
        how="map",
        block=ROUNDS,
    )
