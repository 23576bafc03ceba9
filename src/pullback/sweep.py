"""A sweep: one experiment over peers with every combination of some settings, from several seeds.

`sweep.toml` (the experiment with its [sweep]) · `cells/NNN-SEED/` (a run like any other) ·
`sweep.json` (the table). What is finished is not trained again, so that a sweep that was killed
goes on by the same command.
"""

from __future__ import annotations

import itertools
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import config, files
from .config import Experiment, Sweep
from .data import Loaded
from .errors import ConfigError, OutputError, PullbackError
from .experiment import over_peers
from .experiment.over_peers import Given
from .experiment.run import write_settings
from .model import precision
from .peers.lanes import Lanes, alike
from .peers.simulate import Simulation
from .prepared import Prepared, prepare
from .record import Record
from .runs import RunFolder
from .train import never

_FILE, _TABLE, _CELLS = "sweep.toml", "sweep.json", "cells"


@dataclass(frozen=True)
class Cell:
    """One combination of settings.

    Args:
        number: its place, from 0.
        settings: the value of each axis, by key.
        experiments: one for each seed; none where the settings do not go together.
        refused: why they do not.
    """

    number: int
    settings: dict[str, Any]
    experiments: tuple[Experiment, ...] = ()
    refused: str | None = None


@dataclass
class _Run:
    """One seed of a cell, under way."""

    prepared: Prepared
    folder: RunFolder
    record: Record
    simulation: Simulation
    error: PullbackError | None = None
    began: float = field(default_factory=time.perf_counter)


def nobody(row: dict[str, Any], done: int, cells: int) -> None:
    """Listen to nothing."""


def sweep(
    experiment: Experiment,
    folder: Path,
    *,
    data_dir: Path | None = None,
    listen: Callable[[dict[str, Any], int, int], None] = nobody,
    interrupted: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Train every combination of the axes of [sweep], or go on with those that are missing.

    The seeds of a cell are one compiled program, unless their parts make for other phases.

    Args:
        experiment: with its [peers] and [sweep].
        folder: of the sweep.
        data_dir: where data sets lie.
        listen: told of each cell: its row, how many are done, and how many there are.
        interrupted: asked after each cell.

    Returns:
        "cells", a row each: its settings, the runs of its seeds, and over them the score at the end
        (mean and deviation), what was spent until the goal was reached (median), how many
        diverged, or why it was refused; "wanted", how many there are to be; "axes"; "part",
        "metric" and "goal", what they are judged by.

    Raises:
        ConfigError: there are no axes or no workers; every combination is refused; the engine is
            no simulation.
        OutputError: the folder holds another sweep, or something else.
        DataError: the data are missing or broken.
    """
    cells = list(_cells(experiment))
    with precision(experiment):
        held, rows = _Held(data_dir), []
        metric = _judged(experiment.sweep, _first(cells, held))
        _claim(folder, experiment.toml())
        for cell in cells:
            if interrupted():
                break
            row = _row(cell, folder, experiment.sweep, metric, held)
            rows.append(row)
            listen(row, len(rows), len(cells))
    found = {
        "cells": rows,
        "wanted": len(cells),
        "axes": {key: list(values) for key, values in experiment.sweep.axes.items()},
        "part": experiment.sweep.part,
        "metric": metric,
        "goal": experiment.sweep.goal,
    }
    files.write_json(folder / _TABLE, found)
    return found


def _cells(experiment: Experiment) -> Iterator[Cell]:
    """All combinations, in the order of the axes; the last one changes first."""
    if experiment.peers is None:
        raise ConfigError(
            "a sweep is over networks of workers, and there is no section [peers]",
            next="add it, or search the settings of one network with `pullback tune`",
        )
    if experiment.peers.engine != "simulate":
        raise ConfigError("a sweep wants engine = 'simulate'", where="peers.engine")
    experiment.refuse_trial("a sweep")
    axes = experiment.sweep.axes
    if not axes:
        raise ConfigError(
            "there is nothing to sweep over",
            where="the section [sweep]",
            next='give axes = { "peers.algorithm" = ["fedavg", "dpsgd"] }, for one',
        )
    for number, values in enumerate(itertools.product(*axes.values())):
        settings = dict(zip(axes, values, strict=True))
        try:
            seeds = range(experiment.sweep.seeds)
            made = tuple(_made(experiment, number, k, settings) for k in seeds)
            yield Cell(number, settings, made)
        except ConfigError as error:
            yield Cell(number, settings, refused=str(error))


def _made(experiment: Experiment, number: int, k: int, settings: dict[str, Any]) -> Experiment:
    """The experiment of one cell and seed."""
    table = tomllib.loads(experiment.toml())
    del table["sweep"]
    # The derivatives are the same in all cells; `pullback check` looks at them.
    table |= {"check": {"enabled": False}, "name": f"{experiment.name}-{number:03d}"}
    table["seed"] = experiment.seed + k
    for key, value in settings.items():
        config.put(table, key, value, "sweep.axes")
    return config.parse(table, "sweep.axes")


def _first(cells: Sequence[Cell], held: _Held) -> Prepared:
    """The first cell that can be trained."""
    refused = []
    for cell in cells:
        try:
            if cell.experiments:
                return held.prepared(cell.experiments[0])
            refused.append(cell.refused)
        except ConfigError as error:
            refused.append(str(error))
    raise ConfigError(f"every combination is refused; the first: {refused[0]}")


def _judged(asked: Sweep, prepared: Prepared) -> str:
    """The metric, if there is the part that judges."""
    parts = list(prepared.examples())
    if asked.part not in parts:
        raise ConfigError(
            f"cells are judged by the {asked.part} part, there are {', '.join(parts)}",
            where="sweep.part",
        )
    return "accuracy" if prepared.task.classifies else "r2"


def _claim(folder: Path, text: str) -> None:
    """Make the folder, or find this very sweep in it."""
    path = folder / _FILE
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            if any(folder.iterdir()):
                raise OutputError(
                    f"{folder} holds something that is no sweep", next="give another name"
                )
            files.write_text(path, text)
    if path.read_text("utf-8") != text:
        raise OutputError(
            f"{folder} holds a sweep of other settings", next="give another name with --out"
        )


class _Held:
    """The data of each seed, split as it splits them, read once for all cells."""

    def __init__(self, data_dir: Path | None):
        self._data_dir = data_dir
        self._loaded: dict[int, Loaded] = {}
        self._given: dict[tuple[int, int], Given] = {}

    def prepared(self, experiment: Experiment) -> Prepared:
        """An experiment with its data."""
        found = prepare(experiment, self._data_dir, self._loaded.get(experiment.seed))
        self._loaded[experiment.seed] = found.loaded
        return found

    def given(self, prepared: Prepared) -> Given:
        """What its engine trains on."""
        key = prepared.experiment.seed, prepared.columns
        if key not in self._given:
            self._given[key] = Given.of(prepared)
        return self._given[key]


def _row(cell: Cell, folder: Path, asked: Sweep, metric: str, held: _Held) -> dict[str, Any]:
    """Train what is missing of a cell, and say what came of it."""
    row: dict[str, Any] = {"cell": cell.number, "settings": cell.settings, "refused": cell.refused}
    paths = [folder / _CELLS / f"{cell.number:03d}-{each.seed}" for each in cell.experiments]
    try:
        missing = [i for i, path in enumerate(paths) if not RunFolder(path).finished]
        _train([(paths[i], cell.experiments[i]) for i in missing], held)
    except ConfigError as error:
        return row | {"refused": str(error)}
    runs = [_seed(path, asked, metric) for path in paths]
    return row | {"runs": runs} | _summary(runs)


def _train(wanted: Sequence[tuple[Path, Experiment]], held: _Held) -> None:
    """Train the seeds of a cell, those of one program side by side."""
    prepared = [held.prepared(experiment) for _, experiment in wanted]
    runs = []
    try:
        for (path, _), each in zip(wanted, prepared, strict=True):
            runs.append(_begin(path, each, held.given(each)))
        for members in _grouped(runs):
            _go(members)
        for run in runs:
            _end(run)
    finally:
        for run in runs:
            run.record.close()
            run.folder.unlock()


def _begin(path: Path, prepared: Prepared, given: Given) -> _Run:
    folder = RunFolder.create(path, force=True)
    prepared = write_settings(prepared, folder)
    record = Record(folder.metrics)
    over_peers.write_first(prepared, record)
    return _Run(prepared, folder, record, over_peers.simulation_of(prepared, given, record))


def _grouped(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Runs of one program together."""
    groups: dict[Any, list[_Run]] = {}
    for run in runs:
        groups.setdefault(alike(run.simulation), []).append(run)
    return list(groups.values())


def _go(runs: Sequence[_Run]) -> None:
    """All rounds of some runs of one program."""
    peers = runs[0].prepared.experiment.peers
    assert peers is not None
    lanes = Lanes([run.simulation for run in runs])
    for run in runs:
        run.simulation.add_evaluation()
    done = 0
    while done < peers.rounds:
        stop = min(peers.rounds, done + (peers.evaluate or peers.rounds))
        lanes.run(stop - done)
        done = stop
        for i, run in enumerate(runs):
            if i not in lanes.failed:
                run.simulation.add_evaluation()
    for i, error in lanes.failed.items():
        runs[i].error = error


def _end(run: _Run) -> None:
    """Write what came of a run; its folder is then finished."""
    seconds = time.perf_counter() - run.began
    over_peers.write_last(run.prepared, run.folder, run.simulation, run.record, run.error)
    run.record.flush(sync=True)
    result = over_peers.result_of(run.folder, run.simulation, run.record, run.error, False, seconds)
    run.folder.write_result(result)


def _seed(path: Path, asked: Sweep, metric: str) -> dict[str, Any]:
    """What came of one seed of a cell: its score, and what the goal has cost."""
    folder = RunFolder.open(path)
    result, record = files.read_json(folder.result), Record.read(folder.metrics)
    reached = None
    for row in record.rows("evaluation") if asked.goal is not None else ():
        if row["parts"][asked.part]["together"][metric] >= asked.goal:
            reached = {key: row[key] for key in ("round", "epoch", "bytes", "seconds")}
            break
    rounds = list(record.rows("round"))
    return {
        "run": str(Path(_CELLS) / path.name),
        "status": result["status"],
        "score": result["final"][asked.part][metric] if result["status"] == "done" else None,
        "distance": rounds[-1]["distance"] if rounds else None,
        "bytes": result["bytes"],
        "seconds": result["simulated_seconds"],
        "reached": reached,
    }


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds of a cell; the goal counts as reached where most have reached it."""
    scores = [run["score"] for run in runs if run["score"] is not None]
    reached = [run["reached"] for run in runs if run["reached"] is not None]
    most = len(reached) * 2 > len(runs)
    return {
        "score": float(np.mean(scores)) if scores else None,
        "deviation": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "diverged": sum(run["status"] == "diverged" for run in runs),
        "bytes": float(np.median([run["bytes"] for run in runs])),
        "seconds": float(np.median([run["seconds"] for run in runs])),
        "reached": {key: float(np.median([each[key] for each in reached])) for key in reached[0]}
        if most
        else None,
    }
