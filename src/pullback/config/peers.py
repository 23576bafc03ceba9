"""The section [peers]: training over a network of workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from .. import peers
from .tables import Algorithm, Codec, Mixing, Partition, Section, Topology, section, usual

# A worker's batches are those of train.batch_size.
Local = section("Local", peers.Local, without="batch_size")
Faults = section("Faults", peers.Faults)
Clock = section("Clock", peers.Clock)


class Cluster(Section):
    """What only the engine "cluster" asks.

    address: of a Ray cluster that runs, such as "10.0.0.1:6379"; without one, Ray is started here.
    deadline: seconds after which a worker that has not answered counts as lost.
    patience: seconds that processes may take to start, and the only hub to come back.
    hub_death: what the death of a worker that a star cannot do without ends in: an "error", or to
        "recover" from the last checkpoint.
    watch: measure distance, drift and health each so many rounds, for which all models go to the
        driver; 0: never.
    """

    address: str | None = None
    deadline: float = Field(default=60.0, gt=0)
    patience: float = Field(default=300.0, gt=0)
    hub_death: Literal["recover", "error"] = "recover"
    watch: int = Field(default=1, ge=0)


@dataclass(frozen=True)
class PeerNetwork:
    """What the section stands for: the objects of `pullback.peers`."""

    topology: peers.Topology
    mixing: peers.Mixing | None
    algorithm: peers.Algorithm
    codec: peers.Codec
    partition: peers.Partition
    faults: peers.Faults
    clock: peers.Clock


# The keys that only the engine "simulate" asks.
SIMULATED = ("workers", "chunk", "devices")


class Peers(Section):
    """Training over a network of workers that share no data.

    topology: who speaks to whom. mixing: how they weigh what they hear; without it, the usual of
        the topology. on_loss: what takes the place of a message that does not arrive.
    algorithm: what they do with each other. codec: what they send their vectors with.
    partition: how the training part is dealt out. weigh: whether a worker counts by its "data" or
        all are "equal"; without it, by its data where hubs average, and all equal where workers
        gossip, as many algorithms want it.
    local: what a worker does between two exchanges. rounds: how many there are.
    evaluate, checkpoint: every so many rounds; 0: at the end only.
    faults: what goes wrong. clock: what steps and bytes cost, in seconds of the simulation.
    engine: "simulate", all workers in one program, or "cluster", each in a process of its own.
    workers: of a simulation, all at once ("vmap"), one after another ("map"), by a rule ("auto"),
        or the faster of the two, which is tried ("trial"). chunk: with "map", so many at once.
        devices: over how many devices they are spread, or "all".
    """

    topology: Topology
    mixing: Mixing | None = None
    on_loss: Literal["self", "renorm", "pair", "mass"] | None = None
    algorithm: Algorithm = usual("fedavg")
    codec: Codec = usual("dense")
    partition: Partition = usual("equal")
    weigh: Literal["data", "equal"] | None = None
    local: Local = Field(default_factory=Local)  # pyright: ignore[reportInvalidTypeForm]
    rounds: Annotated[int, Field(ge=1)] = 20
    evaluate: Annotated[int, Field(ge=0)] = 1
    checkpoint: Annotated[int, Field(ge=0)] = 1
    faults: Faults = Field(default_factory=Faults)  # pyright: ignore[reportInvalidTypeForm]
    clock: Clock = Field(default_factory=Clock)  # pyright: ignore[reportInvalidTypeForm]
    engine: Literal["simulate", "cluster"] = "simulate"
    workers: Literal["auto", "trial", "vmap", "map"] = "auto"
    chunk: Annotated[int, Field(ge=1)] = 1
    devices: Annotated[int, Field(ge=1)] | Literal["all"] = 1
    cluster: Cluster = Field(default_factory=Cluster)

    @pydantic.model_validator(mode="after")
    def _one_engine(self):
        if self.engine == "simulate" and self.cluster.model_fields_set:
            raise ValueError("the section [peers.cluster] wants engine = 'cluster'")
        idle = sorted({*SIMULATED} & self.model_fields_set)
        if self.engine == "cluster" and idle:
            raise ValueError(f"the key '{idle[0]}' is of a simulation, and engine = 'cluster'")
        return self

    def build(self) -> PeerNetwork:
        """Make the objects."""
        return PeerNetwork(
            topology=self.topology.build(),
            mixing=None if self.mixing is None else self.mixing.build(),
            algorithm=self.algorithm.build(),
            codec=self.codec.build(),
            partition=self.partition.build(),
            faults=peers.Faults(**self.faults.model_dump()),
            clock=peers.Clock(**self.clock.model_dump()),
        )

    def work(self, batch_size: int | Literal["all"]) -> peers.Local:
        """Return a worker's work in a round, on batches of this size."""
        return peers.Local(**self.local.model_dump(), batch_size=batch_size)
