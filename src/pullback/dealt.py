"""An experiment over peers with its data: who has which examples, and the phases that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from .config import Experiment, PeerNetwork
from .data import Examples
from .errors import ConfigError, PullbackError
from .peers import Local, Schedule
from .peers.local import Flat
from .peers.phase import OnLoss
from .tree import Tree


@dataclass(frozen=True)
class Dealt:
    """The network of workers of an experiment, each with its part of the training examples.

    Args:
        network: the objects of the section [peers].
        parts: the rows of each worker; none for a hub without data.
        labels: the class of each example, for the partition's report; how many there are where
            they have no classes.
        local: what a worker does in a round.
        rounds: how many there are.
        weighed: whether workers count by how many examples they have.
        on_loss: what takes the place of a lost message, where the experiment says so.
    """

    network: PeerNetwork
    parts: tuple[np.ndarray, ...]
    labels: np.ndarray | int
    local: Local
    rounds: int
    weighed: bool
    on_loss: OnLoss | None

    @property
    def amounts(self) -> tuple[float, ...] | None:
        """How much data each worker has; None where all count alike."""
        return tuple(float(len(part)) for part in self.parts) if self.weighed else None

    @cached_property
    def schedule(self) -> Schedule:
        """Who sends to whom, and when."""
        found = self.network.topology.schedule(self.network.mixing, self.amounts)
        return found if self.on_loss is None else found.losing(self.on_loss)

    @property
    def largest(self) -> int:
        """The examples of the worker that has most."""
        return max(map(len, self.parts))

    @property
    def steps_per_epoch(self) -> int:
        """The steps in which that worker sees its part once."""
        return math.ceil(self.largest / self.local.width(self.largest))

    @property
    def steps(self) -> int:
        """The steps that it makes in all, if it takes part in every round."""
        return self.rounds * self.local.steps(self.largest)

    def check(self, params: Tree) -> None:
        """Refuse what the algorithm cannot do with the parameters of a network.

        Raises:
            ConfigError: the schedule, the codec or the faults do not suit the algorithm.
        """
        net, flat = self.network, Flat.of_tree(params)
        dtype = jax.tree.leaves(params)[0].dtype
        try:
            net.algorithm.check(self.schedule, net.codec, flat.shapes, dtype, net.faults)
        except ConfigError as error:
            raise error.at("the section [peers]") from None


def deal(experiment: Experiment, train: Examples) -> Dealt:
    """Deal the training part of an experiment over peers to its workers.

    Raises:
        ConfigError: the parts of the section [peers] do not fit each other, or the data.
    """
    peers = experiment.peers
    assert peers is not None
    if train.streamed:
        raise ConfigError(
            "workers hold their parts in memory, and the training part is streamed",
            where="the section [peers]",
            next="raise data.stream_above_mb, if there is room for it",
        )
    try:
        network = peers.build()
        empty = network.topology.without_data()
        labels = len(train) if train.classes is None else np.asarray(train.y)
        workers = network.topology.n
        having = iter(network.partition.deal(labels, workers - len(empty), experiment.seed))
        none = np.zeros(0, np.int32)
        dealt = Dealt(
            network,
            tuple(none if i in empty else next(having) for i in range(workers)),
            labels,
            peers.work(experiment.train.batch_size),
            peers.rounds,
            peers.weigh == "data" if peers.weigh else bool(network.topology.hubs()),
            peers.on_loss,
        )
        if network.topology.hubs() and network.mixing is not None:
            raise ConfigError(
                f"{type(network.topology).__name__} averages in its hubs, and has nothing to mix",
                next="leave out the key 'mixing'",
            )
        network.faults.check(workers)
        network.clock.check(workers)
        _ = dealt.schedule  # what does not fit is said before anything is trained
    except PullbackError as error:
        raise error.at("the section [peers]") from None
    return dealt
