"""`search`: ask a study for trials, train those of one shape together, and tell what came of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Experiment, Tune
from ..data import Batches, Examples, Loaded, load
from ..errors import ConfigError, PullbackError
from ..model import precision
from ..prepared import Prepared, prepare
from ..train import Selection, never
from .study import Study
from .together import Together, Trial, groups


def nobody(rows: list[dict[str, Any]], wanted: int) -> None:
    """Tell nobody."""


@dataclass
class _Lane:
    """One training, of one seed and fold, judged as `fit` would judge it."""

    entry: _Entry
    trial: Trial
    selection: Selection
    best: float | None = None
    last: float = math.nan
    waited: int = 0
    open: bool = True

    def see(self, value: float) -> None:
        """Take note of an evaluation; training ends where the selection says so."""
        self.last = value
        if self.best is None or self.selection.better(value, self.best):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        patient = self.selection.patience == 0 or self.waited < self.selection.patience
        self.open = patient and not self.selection.reached(value)

    @property
    def value(self) -> float:
        """What is measured of the weights that training ends with."""
        return self.last if self.best is None or not self.selection.keeps_best else self.best


@dataclass
class _Entry:
    """One trial of the study: a lane for each seed and fold, and what they told of each epoch."""

    study: Study
    asked: Any
    lanes: list[_Lane] = field(default_factory=list)
    told: dict[int, list[float]] = field(default_factory=dict)

    def see(self, epoch: int, value: float) -> None:
        """Take note of one lane's evaluation; the study hears the mean once all have told."""
        values = self.told.setdefault(epoch, [])
        values.append(value)
        if len(values) == len(self.lanes):
            self.asked.report(statistics.fmean(values), epoch)

    def end(self) -> None:
        """Tell the study the mean, once no lane is open."""
        if not any(lane.open for lane in self.lanes):
            self.study.tell(self.asked, [lane.value for lane in self.lanes])

    def give_up(self, why: str) -> None:
        """Tell the study that there is no value, and train it no further."""
        self.study.tell(self.asked, [], why)
        for lane in self.lanes:
            lane.open = False


def search(
    experiment: Experiment,
    folder: Path,
    *,
    data_dir: Path | None = None,
    listen: Callable[[list[dict[str, Any]], int], None] = nobody,
    interrupted: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Search for the best settings, from where the study in the folder stands.

    Args:
        experiment: with its [tune] and [selection].
        folder: of the study.
        data_dir: where data sets lie.
        listen: told of all trials after those of each round, and how many there are to be.
        interrupted: asked between evaluations; what is then under way will be asked for again.

    Returns:
        "trials", one row each, its "values" by seed and, within it, by fold; "wanted", how many
        there are to be; "best", the row of the best; "file", where it lies as an experiment;
        "measure", what the values are, means over so many "folds" (0: the one validation part) and
        "seeds", and whether the "lowest" is best; "keys", what was searched, with the "scales" of
        ranges and the "importance" of each.

    Raises:
        ConfigError: the space or the selection does not suit the experiment.
        OutputError: the folder cannot be used.
        DataError: the data are missing or broken.
    """
    _refuse(experiment)
    with precision(experiment), Study(folder, experiment) as study:
        once = _Once(data_dir)
        first, *others = _runs(experiment, experiment.tune)
        _refuse_unmeasured(once.prepared(first))
        for run in others:  # what one fold lacks is told at once, and not by every trial
            once.loaded(run)
        while not interrupted() and (asked := study.ask()):
            entries = [_entered(study, each, once) for each in asked]
            lanes = [lane for entry in entries for lane in entry.lanes]
            for members in groups([lane.trial for lane in lanes]):
                _train(study, [lanes[i] for i in members], interrupted)
            listen(study.rows(), study.wanted)
        best, chosen = study.write_best(), experiment.selection
        return {
            "trials": study.rows(),
            "wanted": study.wanted,
            "best": study.best(),
            "file": None if best is None else str(best),
            "measure": f"{chosen.part} {chosen.metric}",
            "folds": study.plan.folds,
            "seeds": study.plan.seeds,
            "lowest": chosen.metric == "loss",
            "keys": list(experiment.tune.space),
            "scales": study.space.scales(),
            "importance": study.importance(),
        }


def _entered(study: Study, asked: Any, once: _Once) -> _Entry:
    """A trial with its lanes; none where its settings are refused."""
    entry = _Entry(study, asked)
    try:
        for run in _runs(study.space.experiment(asked.params), study.plan):
            prepared = once.prepared(run)
            entry.lanes.append(_Lane(entry, _trial(prepared, once), prepared.selection))
    except PullbackError as error:
        entry.lanes.clear()
        entry.give_up(str(error))
    return entry


def _runs(trial: Experiment, plan: Tune) -> list[Experiment]:
    """The experiments whose mean judges a trial: one for each seed and, within it, each fold."""
    seeds = range(trial.seed, trial.seed + plan.seeds)
    runs = [trial.model_copy(update={"seed": seed}) for seed in seeds]
    if not plan.folds:
        return runs
    if trial.data.folds:
        raise ConfigError(
            f"tune.folds = {plan.folds} takes each fold in turn, and data.folds = "
            f"{trial.data.folds} takes one",
            where="the section [tune]",
            next="set one of the two to 0",
        )
    return [
        run.model_copy(update={"data": run.data.model_copy(update=which)})
        for run in runs
        for which in ({"folds": plan.folds, "fold": fold} for fold in range(plan.folds))
    ]


def _refuse(experiment: Experiment) -> None:
    """Refuse what trials that train together cannot do."""
    experiment.refuse_trial("a search")
    if experiment.train.start is not None:
        raise ConfigError(
            "trials begin with weights of their own, not with those of another run",
            where="train.start",
            next="remove it",
        )
    if experiment.evaluate.steps:
        raise ConfigError(
            f"trials are evaluated at the end of epochs, got evaluate.steps = "
            f"{experiment.evaluate.steps}",
            next="set it to 0, and evaluate.epochs instead",
        )
    if experiment.tune.folds and experiment.chosen().part != "validation":
        raise ConfigError(
            f"of each fold the validation part judges, got selection.part = "
            f"'{experiment.chosen().part}'",
            where="the section [tune]",
            next="set selection.part = 'validation', or tune.folds = 0",
        )


def _refuse_unmeasured(prepared: Prepared) -> None:
    """Refuse to judge by what will not be measured."""
    chosen, parts = prepared.selection, list(prepared.examples())
    metrics = ["loss", "accuracy" if prepared.task.classifies else "r2"]
    if chosen.part not in parts or chosen.metric not in metrics:
        raise ConfigError(
            f"trials are judged by the {chosen.metric} of the {chosen.part} part; there are "
            f"{', '.join(metrics)} of {', '.join(parts)}",
            where="the section [selection]",
            next="name a part and a metric that there are",
        )


class _Once:
    """What is read and made once for all trials on the same data: parts, mini-batches."""

    def __init__(self, data_dir: Path | None):
        self._data_dir = data_dir
        self._loaded: dict[Any, Loaded] = {}
        self._made: dict[Any, Batches] = {}

    def loaded(self, experiment: Experiment) -> Loaded:
        """The data of an experiment."""
        spec, dtype = experiment.data_spec(), experiment.dtype
        if (spec, dtype) not in self._loaded:
            self._loaded[spec, dtype] = load(spec, self._data_dir, dtype)
        return self._loaded[spec, dtype]

    def prepared(self, experiment: Experiment) -> Prepared:
        """An experiment with its data."""
        return prepare(experiment, loaded=self.loaded(experiment))

    def of(self, prepared: Prepared, name: str, part: Examples) -> Batches:
        """Those of a part."""
        e = prepared.experiment
        key = (name, e.data, e.seed, e.train.batch_size, prepared.columns)
        if key not in self._made:
            self._made[key] = prepared.batches(part)
        return self._made[key]


def _trial(prepared: Prepared, once: _Once) -> Trial:
    parts = {name: once.of(prepared, name, part) for name, part in prepared.examples().items()}
    plan = prepared.plan
    return Trial(prepared.task, parts["train"], parts, plan.seed, plan.epochs, plan.steps)


def _train(study: Study, lanes: list[_Lane], interrupted: Callable[[], bool]) -> None:
    """Train lanes of one shape; the study hears of each trial as soon as it is over."""
    lanes = [lane for lane in lanes if lane.open]
    if not lanes:
        return
    together = Together([lane.trial for lane in lanes])
    every = study.experiment.evaluate.epochs or lanes[0].trial.epochs
    epoch = 0
    while not together.done:
        if interrupted():
            return
        epoch += every
        rows = together.advance(epoch * together.steps_per_epoch)
        for lane, row in zip(lanes, rows, strict=True):
            if lane.open:
                _judge(lane, row, epoch, together.done)
        if study.plan.pruning != "none":
            for entry in {id(lane.entry): lane.entry for lane in lanes if lane.open}.values():
                if entry.asked.should_prune():
                    entry.give_up("pruned")
        left = [i for i, lane in enumerate(lanes) if lane.open]
        if not left:
            return
        if 2 * len(left) <= len(lanes):  # a new number of lanes is compiled anew
            together.keep(left)
            lanes = [lanes[i] for i in left]


def _judge(lane: _Lane, row: dict[str, Any], epoch: int, done: bool) -> None:
    if not all(math.isfinite(part["loss"]) for part in row.values()):
        lane.entry.give_up(f"diverged by epoch {epoch}")
        return
    value = row[lane.selection.part][lane.selection.metric]
    lane.see(value)
    lane.entry.see(epoch, value)
    lane.open = lane.open and not done
    lane.entry.end()
