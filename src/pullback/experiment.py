"""One experiment from its file to its folder: load, check, train, save, examine.

The command line calls these functions, and so can a program: nothing here prints.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import __version__, checkpoint, config, examine, files, tree
from .check import Report, check_gradients
from .config import Experiment
from .curvature import Objective
from .data import data_directory
from .errors import (
    CheckpointError,
    DivergedError,
    OutputError,
    PullbackError,
    ThresholdError,
)
from .maps import Run
from .model import load_model, precision, save_model
from .prepared import PARTS, Prepared, prepare
from .record import Record
from .runs import RunFolder
from .symmetry import stuck_layers
from .train import (
    Kept,
    Learner,
    Part,
    Plan,
    Progress,
    Tick,
    begin,
    fit,
    never,
    silent,
)


@dataclass(frozen=True)
class Outcome:
    """How training ended: the folder, what result.json says, and the error if there was one."""

    folder: Path
    result: dict[str, Any]
    error: PullbackError | None = None

    def text(self) -> str:
        """A few lines for a reader."""
        final = self.result["final"] or {}
        lines = [
            f"{self.result['status']}: {self.result['epochs']} epochs, "
            f"{self.result['steps']} steps, {self.result['seconds']:.1f} s"
        ]
        lines += [f"{name:<11} {describe(final[name])}" for name in PARTS if name in final]
        check = self.result["check"]
        if check is not None:
            verdict = "every derivative is right" if check["ok"] else "A DERIVATIVE IS WRONG"
            lines.append(f"{'check':<11} {verdict}: worst relative error {check['worst']:.1e}")
        return "\n".join(lines)


def describe(row: dict[str, Any]) -> str:
    """One evaluation in words."""
    score = f"accuracy {row['accuracy']:.4f}" if "accuracy" in row else f"R² {row['r2']:.4f}"
    return f"loss {row['loss']:.4f}  {score}"


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
            files.write_text(folder.config, prepared.experiment.toml())
            folder.write_meta(
                seed=experiment.seed,
                device=device(),
                data=prepared.loaded.checksum,
                argv=_command(),
            )
            return _go_on(prepared, folder, listen, interrupted)


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


def _command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


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
        return _go_on(prepared, folder, listen, interrupted, accept_older)


def prepare_again(folder: RunFolder, experiment: Experiment, data_dir: Path | None) -> Prepared:
    """Prepare the experiment of a run, on the data that it was trained on."""
    prepared = prepare(experiment, data_dir)
    if prepared.loaded.checksum != files.read_json(folder.meta).get("data"):
        raise CheckpointError(
            f"the data are not those that {folder.path} was trained on: their checksum differs",
            next="give the same data, or train anew",
        )
    return prepared


def _ended(folder: RunFolder) -> Outcome:
    """How a finished run ended, its error included."""
    result = files.read_json(folder.result)
    kind = DivergedError if result["status"] == "diverged" else ThresholdError
    error = None if result["message"] is None else kind(result["message"])
    return Outcome(folder.path, result, error)


def _go_on(
    prepared: Prepared, folder: RunFolder, listen, interrupted, accept_older: bool = False
) -> Outcome:
    """Train from the newest checkpoint, or from the start, and write down how it went."""
    began = time.perf_counter()
    task, plan, parts = prepared.task, prepared.plan, prepared.examples()
    batches = {name: prepared.batches(part) for name, part in parts.items()}
    with Record(folder.metrics) as record, Record(folder.timing) as timing:
        keeper = _Keeper(folder, record, timing, prepared.experiment.checkpoint.keep)
        template = jax.eval_shape(lambda: begin(task, plan.seed, prepared.like))
        found = keeper.latest(template, accept_older)
        if found is None:
            found = _first(prepared), Progress(), None
            _write_beginning(prepared, record, found[0])
            keeper.save(*found)
        learner, progress, kept = found
        error = None
        try:
            learner, progress = fit(
                task,
                batches["train"],
                plan,
                parts=batches,
                selection=prepared.selection,
                learner=learner,
                progress=progress,
                kept=kept,
                record=record,
                timing=timing,
                save=keeper.save,
                at_epoch=lambda learner, progress: _write_weights(record, plan, learner, progress),
                listen=listen,
                interrupted=interrupted,
            )
        except DivergedError as fault:
            error, (learner, progress) = fault, fault.last
        stopped = error is None and progress.epoch < plan.epochs and progress.ended is None
        best = prepared.selection.keeps_best and progress.best is not None
        final = progress.best if best else progress.last
        if not stopped:
            if final is not None:
                record.add(
                    "end",
                    reason="diverged" if error else progress.ended or "epochs",
                    keep="best" if best else "last",
                    epoch=final["epoch"],
                    step=final["step"],
                )
            preparation = prepared.loaded.preparation
            save_model(folder, prepared.experiment, prepared.outputs, preparation, learner)
            if error is None:
                _write_end(prepared, record, learner)
        record.flush(sync=True)
        check = next(iter(record.rows("check")), None)
    if error is None and not stopped and check is not None and not check["ok"]:
        error = ThresholdError(
            f"trained, but the gradient check failed: worst relative error {check['worst']:.1e}, "
            f"wanted below {check['threshold']:.0e}",
            next="`pullback check` shows the entries",
        )
    result = {
        "status": _status(stopped, error),
        "epochs": progress.epoch,
        "steps": progress.step,
        "best": progress.best,
        "final": final,
        "ended": progress.ended,
        "check": check and {"ok": check["ok"], "worst": check["worst"]},
        "seconds": time.perf_counter() - began,
        "message": None if error is None else str(error),
    }
    if not stopped:
        folder.write_result(result)
    return Outcome(folder.path, result, error)


def _status(stopped: bool, error: PullbackError | None) -> str:
    if stopped:
        return "interrupted"
    return "diverged" if isinstance(error, DivergedError) else "done"


def _first(prepared: Prepared) -> Learner:
    """The learner before the first step: drawn, or that of another run."""
    learner = begin(prepared.task, prepared.plan.seed, prepared.like)
    start = prepared.experiment.train.start
    if start is None:
        return learner
    arrays, _ = RunFolder.open(Path(start)).load_model()
    held = tree.restore({"params": learner.params, "state": learner.state}, arrays)
    return Learner(held["params"], held["state"], prepared.task.rule.init(held["params"]))


# Under what name a checkpoint holds the best weights, beside those that training goes on with.
_KEPT = "kept"


class _Keeper:
    """Saves checkpoints of a run, and finds the newest.

    Each holds the weights, the rule's state, the progress, and how long the records were.
    """

    def __init__(self, folder: RunFolder, record: Record, timing: Record, keep: int):
        self._folder, self._record, self._timing, self._keep = folder, record, timing, keep

    def save(self, learner: Learner, progress: Progress, kept: Kept | None) -> None:
        """Write a checkpoint; the records are on the disk before it speaks of them."""
        self._record.flush(sync=True)
        self._timing.flush(sync=True)
        sizes = {"metrics_bytes": self._record.size, "timing_bytes": self._timing.size}
        checkpoint.save(
            self._folder.checkpoints,
            _host(tree.named(learner) | tree.named({_KEPT: kept})),
            asdict(progress) | sizes,
            self._keep,
        )

    def latest(
        self, template: Learner, accept_older: bool
    ) -> tuple[Learner, Progress, Kept | None] | None:
        """Load the newest checkpoint, if there is one, and cut the records back to it."""
        found = checkpoint.load_latest(self._folder.checkpoints, accept_older)
        nothing: dict[str, Any] = {"metrics_bytes": 0, "timing_bytes": 0}
        arrays, stored = ({}, nothing) if found is None else found
        self._record.truncate(stored.pop("metrics_bytes"))
        self._timing.truncate(stored.pop("timing_bytes"))
        if found is None:
            return None
        best = {name: arrays.pop(name) for name in list(arrays) if name.startswith(f"{_KEPT}/")}
        like = {_KEPT: Kept(template.params, template.state)}
        kept = tree.restore(like, best)[_KEPT] if best else None
        try:
            return tree.restore(template, arrays), Progress(**stored), kept
        except TypeError as error:
            raise CheckpointError(
                f"the checkpoint's progress is not understood: {error}",
                next="use the version of pullback that wrote it",
            ) from error


def _host(leaves: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in leaves.items()}


def _write_beginning(prepared: Prepared, record: Record, learner: Learner) -> None:
    loaded, task = prepared.loaded, prepared.task
    row = examine.network_row(task, learner.params, learner.state, prepared.like)
    record.add("network", **row)
    record.add(
        "data",
        name=loaded.name,
        classes=loaded.train.classes,
        features=loaded.train.features,
        image=loaded.train.image,
        standardize=prepared.experiment.data.standardize,
        **{name: len(part) for name, part in prepared.examples().items()},
    )
    if prepared.experiment.augment and loaded.train.image is not None:
        columns, seed = prepared.columns, prepared.experiment.seed
        record.add("augmented", **examine.augmented_row(task, loaded.train, columns, seed))
    if prepared.experiment.check.enabled:
        record.add("check", **_check(prepared, learner).row())
    record.add("weights", epoch=0, step=0, **examine.weights_row(learner.params))


def _write_weights(record: Record, plan: Plan, learner: Learner, progress: Progress) -> None:
    """Histograms of the weights in a few epochs, spread evenly in their logarithm."""
    shown = {1, plan.epochs} | {round(plan.epochs**share) for share in (0.25, 0.5, 0.75)}
    if progress.epoch in shown:
        record.add(
            "weights",
            epoch=progress.epoch,
            step=progress.step,
            **examine.weights_row(learner.params),
        )


def _write_end(prepared: Prepared, record: Record, learner: Learner) -> None:
    parts = prepared.examples()
    if prepared.task.classifies:
        judged = next(name for name in reversed(PARTS) if name in parts)
        if not parts[judged].streamed:
            for kind, row in examine.class_rows(prepared.task, learner, judged, parts[judged]):
                record.add(kind, **row)
        if prepared.loaded.train.x.shape[1:] == (2,) and not prepared.loaded.train.streamed:
            record.add(
                "boundary", **examine.boundary_row(prepared.task, learner, prepared.loaded.train)
            )


def _check(prepared: Prepared, learner: Learner) -> Report:
    """Check near the weights, not at them.

    Zero biases under an input of zeros put a ReLU exactly on its kink, where no difference can
    tell. Whether units are stuck is asked of the weights themselves.
    """
    wanted, train = prepared.experiment.check, prepared.loaded.train
    few = train.take(np.unique(np.linspace(0, len(train) - 1, wanted.examples).astype(int)))
    x = few.x[:]
    weight = np.ones(len(few)) if few.weight is None or not few.weight.sum() else few.weight
    y = few.targets(np.float64, prepared.columns)
    task, batch, seed = prepared.task, (x, y, weight), prepared.experiment.seed
    report = check_gradients(
        task.net,
        task.loss,
        task.penalty,
        _nudged(learner.params, seed),
        learner.state,
        batch,
        seed=seed,
        entries=wanted.entries,
        directions=wanted.directions,
        threshold=wanted.threshold,
    )
    run = Run(jax.random.key(seed), True)
    at = Objective(task.net, task.loss, task.penalty, learner.state, batch, run)
    return replace(report, notes=stuck_layers(at, learner.params))


def _nudged(params, seed: int):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda w: np.asarray(w) + 0.01 * rng.standard_normal(w.shape), params)


def check(experiment: Experiment, data_dir: Path | None = None) -> Report:
    """Check the derivatives of an experiment's network, loss and penalty on real examples.

    They are taken near the first weights of its seed.
    """
    with precision(experiment):
        prepared = prepare(experiment, data_dir)
        return _check(prepared, begin(prepared.task, experiment.seed, prepared.like))


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
            name: Part(prepared.batches(part), prepared.task.classifies).evaluate(
                prepared.task, learner
            )
            for name, part in prepared.examples().items()
        }


def diagnose_installation(data_dir: Path | None = None) -> dict[str, str]:
    """Versions, devices, where data lie, and a gradient check of a small network."""
    small = config.parse(
        {
            "data": {"source": "xor", "n": 40, "noise": 0.1},
            "network": {"hidden": [4], "activation": "tanh"},
        },
        "doctor",
    )
    report = check(small)
    found = {
        "pullback": __version__,
        "python": platform.python_version(),
    }
    found |= {
        name: importlib.metadata.version(name)
        for name in ("jax", "jaxlib", "numpy", "scikit-learn")
    }
    found |= {"device": device(), "data": str(data_directory(data_dir))}
    found["parquet"] = (
        "yes" if importlib.util.find_spec("pyarrow") else "no: pip install 'pullback[parquet]'"
    )
    found["gradient check"] = (
        f"{'ok' if report.ok else 'FAILED'}: worst relative error {report.worst:.1e}"
    )
    return found
