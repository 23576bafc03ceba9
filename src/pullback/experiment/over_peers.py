"""The training of a network of workers: from its checkpoint or its first weights to its result."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import packed
from ..errors import DivergedError, PullbackError
from ..peers import Simulation
from ..peers.ledger import Progress
from ..prepared import Prepared
from ..record import Record
from ..runs import RunFolder
from ..train import Batch, Part, begin
from .keeper import Keeper, understood
from .outcome import Outcome, closing, failed_check
from .rows import write_beginning, write_model, write_peers

# Seconds of rounds between two looks at the keyboard and the progress bar, and rounds at most.
_PIECE, _MOST = 0.5, 16


class RoundTick(NamedTuple):
    """What a listener is told after each stretch of rounds.

    Attributes:
        progress: how far the workers have come.
        rounds: how many there will be.
        loss: the mean over the workers in the last round; nan if none has made a step.
        last: the newest evaluation.
        seconds: how long a round of this stretch took.
    """

    progress: Progress
    rounds: int
    loss: float
    last: dict[str, Any] | None
    seconds: float


class Given(NamedTuple):
    """What an engine trains on, held once for all engines on the same data.

    Attributes:
        examples: all of the training part.
        parts: what is evaluated, by name.
    """

    examples: Batch
    parts: dict[str, Part]

    @classmethod
    def of(cls, prepared: Prepared) -> Given:
        """Return that of an experiment."""
        parts = prepared.measured()
        train = parts["train"].batches
        x = packed(train.x[:]) if train.streams else train.x
        return cls(Batch(x, train.targets, train.weight), parts)


def go_on(
    prepared: Prepared, folder: RunFolder, listen, interrupted, accept_older: bool = False
) -> Outcome:
    """Train from the newest checkpoint, or from the start, and write down how it went."""
    began = time.perf_counter()
    with (
        Record(folder.metrics) as record,
        Record(folder.timing) as timing,
        _engine(prepared, record) as engine,
    ):
        driver = _Driver(prepared, folder, engine, record, timing, listen)
        driver.begin(accept_older)
        error = driver.run(interrupted)
        stopped = error is None and not driver.done
        if stopped:
            driver.save()
        else:
            write_last(prepared, folder, engine, record, error)
        record.flush(sync=True)
        if error is None and not stopped:
            error = failed_check(record)
        result = result_of(folder, engine, record, error, stopped, time.perf_counter() - began)
    if not stopped:
        folder.write_result(result)
    return Outcome(folder.path, result, error)


def _engine(prepared: Prepared, record: Record) -> AbstractContextManager[Any]:
    """What moves and mixes: the simulation, or the cluster."""
    peers = prepared.experiment.peers
    assert peers is not None
    if peers.engine == "cluster":
        return _cluster_of(prepared, record)
    return nullcontext(simulation_of(prepared, Given.of(prepared), record))


def _cluster_of(prepared: Prepared, record: Record) -> AbstractContextManager[Any]:
    """The cluster of an experiment, whose workers load their parts by themselves."""
    from ..peers.cluster import Cluster, Source

    dealt, peers = prepared.dealt, prepared.experiment.peers
    assert dealt is not None
    assert peers is not None
    spec = prepared.experiment.data_spec()
    # A worker may run in another directory.
    places = {
        key: str(Path(place).absolute())
        for key in ("path", "target_path")
        if (place := getattr(spec, key)) is not None
    }
    spec = replace(spec, **places)
    source = Source(
        spec,
        prepared.columns,
        prepared.dtype.name,
        None if prepared.data_dir is None else Path(prepared.data_dir).absolute(),
        prepared.loaded.checksum,
    )
    return Cluster(
        prepared.task,
        dealt.network.algorithm,
        dealt.schedule,
        source,
        dealt.parts,
        **_common(prepared, prepared.measured(), record),
        **peers.cluster.model_dump(),
    )


def simulation_of(prepared: Prepared, given: Given, record: Record) -> Simulation:
    """Return the simulation of an experiment."""
    dealt, peers = prepared.dealt, prepared.experiment.peers
    assert dealt is not None
    assert peers is not None
    return Simulation(
        prepared.task,
        dealt.network.algorithm,
        dealt.schedule,
        given.examples,
        dealt.parts,
        how=peers.workers,
        chunk=peers.chunk,
        devices=peers.devices,
        block=_MOST,
        **_common(prepared, given.parts, record),
    )


def _common(prepared: Prepared, parts: dict[str, Part], record: Record) -> dict[str, Any]:
    """What both engines are given."""
    dealt = prepared.dealt
    assert dealt is not None
    return {
        "local": dealt.local,
        "codec": dealt.network.codec,
        "faults": dealt.network.faults,
        "clock": dealt.network.clock,
        "seed": prepared.experiment.seed,
        "amounts": dealt.amounts,
        "evaluate": parts,
        "record": record,
    }


def write_first(prepared: Prepared, record: Record) -> None:
    """Write the rows that come before the first round."""
    learner = begin(prepared.task, prepared.experiment.seed, prepared.like)
    write_beginning(prepared, record, learner)
    write_peers(prepared, record, learner)


def write_last(
    prepared: Prepared,
    folder: RunFolder,
    engine: Any,
    record: Record,
    error: PullbackError | None,
) -> None:
    """Write the model that all workers stand for, and the last rows."""
    record.add("traffic", links=engine.links())
    reason = "rounds" if error is None else "diverged"
    record.add("end", reason=reason, keep="last", round=engine.progress.step)
    write_model(prepared, folder, record, engine.learner(), error)


def result_of(
    folder: RunFolder,
    engine: Any,
    record: Record,
    error: PullbackError | None,
    stopped: bool,
    seconds: float,
) -> dict[str, Any]:
    """Return what result.json says."""
    progress, last = engine.progress, newest(record)
    return {
        "rounds": progress.step,
        "epochs": last["epoch"],
        "steps": sum(row["steps"] for row in record.rows("round")),
        "messages": progress.messages,
        "bytes": progress.bytes,
        "simulated_seconds": progress.seconds,
        "best": None,
        "final": _together(last),
        "ended": None,
        **closing(folder, record, error, stopped, seconds),
    }


def newest(record: Record) -> dict[str, Any]:
    """Return the newest evaluation; there is one before the first round."""
    return record.newest("evaluation") or list(record.rows("evaluation"))[-1]


class _Driver:
    """The rounds of a run, one stretch after another, and what is written between them."""

    def __init__(self, prepared, folder, engine, record, timing, listen):
        self.prepared, self.folder, self.engine = prepared, folder, engine
        self.record, self.timing, self.listen = record, timing, listen
        self.peers = prepared.experiment.peers
        self.keeper = Keeper(folder, record, timing, prepared.experiment.checkpoint.keep)

    @property
    def done(self) -> bool:
        """Whether all rounds have been made."""
        return self.engine.progress.step >= self.peers.rounds

    def begin(self, accept_older: bool) -> None:
        """Take up the newest checkpoint, or write the rows of a beginning."""
        found = self.keeper.take_up(accept_older)
        if found is not None:
            understood(lambda: self.engine.restore(*found))
            return
        write_first(self.prepared, self.record)
        self.engine.settle()
        self.engine.add_evaluation()
        self.save()

    def run(self, interrupted) -> PullbackError | None:
        """Make the rounds that are left, unless asked to stop; return how they diverged."""
        piece = 1
        while not self.done and not interrupted():
            first, began = self.engine.progress.step, time.perf_counter()
            stop = self._next(first, piece)
            try:
                self.engine.run(stop - first)
            except DivergedError as error:
                found = self.keeper.latest()
                assert found is not None  # there is one before the first round
                self.engine.restore(*found)
                return error
            seconds = time.perf_counter() - began
            self.timing.add("rounds", first=first + 1, last=stop, seconds=seconds)
            if stop - first == piece:
                # The first call compiles; growing by steps spares a slow machine an endless one.
                piece = max(1, min(int(_PIECE * piece / seconds), 4 * piece, _MOST))
            if due(stop, self.peers.evaluate, self.peers.rounds):
                self.engine.add_evaluation()
            if due(stop, self.peers.checkpoint, self.peers.rounds):
                self.save()
            self._tell(seconds / (stop - first))
        return None

    def save(self) -> None:
        """Write a checkpoint."""
        self.keeper.save(*self.engine.save())

    def _next(self, first: int, piece: int) -> int:
        """Where a stretch must stop at the latest."""
        cadences = [each for each in (self.peers.evaluate, self.peers.checkpoint) if each]
        nexts = [(first // each + 1) * each for each in cadences]
        return min([first + piece, self.peers.rounds, *nexts])

    def _tell(self, seconds: float) -> None:
        row = self.record.newest("round")
        assert row is not None
        losses = np.asarray(row["loss"], float)
        loss = float(np.nanmean(losses)) if np.isfinite(losses).any() else float("nan")
        last, rounds = newest(self.record), self.peers.rounds
        self.listen(RoundTick(self.engine.progress, rounds, loss, last, seconds))


def due(step: int, cadence: int, last: int) -> bool:
    """Whether something is done after this round: each so-manieth, and the last."""
    return step == last or (bool(cadence) and step % cadence == 0)


def _together(row: dict[str, Any]) -> dict[str, Any]:
    """An evaluation as one of a single model: what all workers stand for."""
    parts = {name: part["together"] for name, part in row["parts"].items()}
    return {key: row[key] for key in ("round", "epoch")} | {"step": row["round"]} | parts
