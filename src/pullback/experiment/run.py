"""From an experiment to the folder of its run: train it, or go on with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from .. import config, files
from ..config import Experiment
from ..errors import CheckpointError, DivergedError, OutputError, ThresholdError
from ..model import load_model, precision
from ..prepared import Prepared, prepare
from ..runs import RunFolder
from ..train import Learner, Tick, never, silent
from . import alone, over_peers
from .outcome import Outcome
from .precision import settled, settled_again


def train(
    experiment: Experiment,
    out: Path | None = None,
    *,
    data_dir: Path | None = None,
    force: bool = False,
    listen: Callable[[Tick], None] = silent,
    interrupted: Callable[[], bool] = never,
) -> Outcome:
    """Train an experiment in a new folder.

    Args:
        experiment: what to train.
        out: the run's folder; ``runs/NAME``, or the first free of ``runs/NAME-2``, …, if not given.
        data_dir: where data sets lie.
        force: replace a run in `out`.
        listen: told of the progress.
        interrupted: asked whether to stop; a checkpoint is then saved.

    Raises:
        DataError, ShapeError, ConfigError: before anything is written.
        OutputError: the folder exists or cannot be written.
    """
    with precision(experiment):
        prepared = prepare(experiment, data_dir)
        with _create(experiment, out, force) as folder:
            prepared = write_settings(prepared, folder)
            return _trainer(experiment)(prepared, folder, listen, interrupted)


def _trainer(experiment: Experiment):
    return alone.go_on if experiment.peers is None else over_peers.go_on


def _create(experiment: Experiment, out: Path | None, force: bool) -> RunFolder:
    if out is not None:
        return RunFolder.create(out, force)
    for number in range(1, 10_000):
        path = Path("runs") / (experiment.name if number == 1 else f"{experiment.name}-{number}")
        if not path.exists():
            return RunFolder.create(path)
    raise OutputError(
        "runs/ holds 9,999 runs of this name", next="give the run a folder with --out"
    )


def write_settings(prepared: Prepared, folder: RunFolder) -> Prepared:
    """Write a new run's resolved experiment and what it depends on; return what will train."""
    prepared, row = settled(prepared)
    files.write_text(folder.config, prepared.experiment.toml())
    folder.write_meta(
        seed=prepared.experiment.seed,
        device=device(),
        data=prepared.loaded.checksum,
        argv=[Path(sys.argv[0]).name, *sys.argv[1:]],
        precision=row,
    )
    return prepared


def device() -> str:
    """What JAX computes on, in words."""
    first = jax.devices()[0]
    return f"{first.platform}: {first.device_kind}"


def resume(
    path: Path,
    *,
    data_dir: Path | None = None,
    accept_older: bool = False,
    listen: Callable[[Tick], None] = silent,
    interrupted: Callable[[], bool] = never,
) -> Outcome:
    """Go on with an unfinished run in its own folder, to the same bits as if it had never stopped.

    A finished run is left as it is. If the newest checkpoint is broken, an older whole one is taken
    only where `accept_older` says so.

    Raises:
        CheckpointError: it is no run, its checkpoint is broken, or its data have changed.
    """
    folder = RunFolder.open(path)
    experiment = config.read(folder.config)
    with precision(experiment), folder.lock():
        if folder.finished:
            return _ended(folder)
        prepared = prepare_again(folder, experiment, data_dir)
        return _trainer(experiment)(prepared, folder, listen, interrupted, accept_older)


def prepare_again(folder: RunFolder, experiment: Experiment, data_dir: Path | None) -> Prepared:
    """Prepare the experiment of a run, on the data that it was trained on."""
    prepared = prepare(experiment, data_dir)
    meta = files.read_json(folder.meta)
    if prepared.loaded.checksum != meta.get("data"):
        raise CheckpointError(
            f"the data are not those that {folder.path} was trained on: their checksum differs",
            next="give the same data, or train anew",
        )
    return settled_again(prepared, meta)


def _ended(folder: RunFolder) -> Outcome:
    """How a finished run ended, its error included."""
    result = files.read_json(folder.result)
    kind = DivergedError if result["status"] == "diverged" else ThresholdError
    error = None if result["message"] is None else kind(result["message"])
    return Outcome(folder.path, result, error)


def evaluate(path: Path, data_dir: Path | None = None) -> dict[str, dict[str, Any]]:
    """Measure the model of a run on every part of its data again.

    Raises:
        CheckpointError: it has no whole model, or its data have changed.
        DataError: the data are missing or broken.
    """
    model = load_model(path)
    with precision(model.experiment):
        prepared = prepare_again(RunFolder.open(path), model.experiment, data_dir)
        learner = Learner(model.params, model.state, ())
        return {
            name: part.evaluate(prepared.task, learner)
            for name, part in prepared.measured().items()
        }
