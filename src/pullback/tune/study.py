"""A study on disk: what was tried and what came of it, for any number of processes.

`study.toml` (the experiment with its [tune]) · `journal.log` (Optuna's journal, append-only) ·
`workers/` (one locked file for each living process) · `best.toml` (an experiment file).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ..config import Experiment
from ..errors import OutputError
from ..files import write_text, writing
from .locks import JournalLock, Worker, alive, held
from .space import Space

_NAME, _FILE, _LOCK = "study", "study.toml", "ask.lock"
# What is written beside a trial.
WORKER, VALUES, WHY = "worker", "values", "why"


class Study:
    """The trials of one experiment's [tune]; the end of a `with` block ends this process's part.

    Every trial is asked for under one lock, so two processes never ask for the same. A trial of a
    process that is no more is stale: it is closed as failed, does not count, and is asked for
    again.

    Args:
        folder: of the study; made if it is not there.
        experiment: with its [tune].

    Raises:
        OutputError: the folder holds another study, or something else.
        ConfigError: the space cannot be searched.
    """

    def __init__(self, folder: Path, experiment: Experiment):
        """Make the study, or join it."""
        self.folder, self.experiment, self.plan = folder, experiment, experiment.tune
        self.space = Space(experiment)
        self._grid = self.space.grid() if self.plan.method == "grid" else []
        self._claim(folder, experiment.toml())
        self._workers = folder / "workers"
        self._worker = Worker(self._workers)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal = folder / "journal.log"
        with held(folder / _LOCK):
            journal.touch()
            lock: Any = JournalLock(journal)
            self.optuna = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(journal), lock)),
                study_name=_NAME,
                direction="minimize" if experiment.selection.metric == "loss" else "maximize",
                load_if_exists=True,
                pruner=_pruner(self.plan.pruning),
            )

    @staticmethod
    def _claim(folder: Path, text: str) -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            names = {path.name for path in folder.iterdir()}
        # Of two processes that begin at once, the second finds the lock of the first, if not more.
        if names and not names & {_LOCK, _FILE}:
            raise OutputError(f"{folder} is not the folder of a study", next="give another")
        file = folder / _FILE
        with held(folder / _LOCK):
            there = file.read_text("utf-8") if file.is_file() else None
            if there is None:
                write_text(file, text)
            elif there != text:
                raise OutputError(
                    f"{folder} holds a study of other settings",
                    next=f"go on with `pullback tune --resume {folder}`, or give another --out",
                )

    def __enter__(self) -> Study:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End this process's part: what it has not finished may be asked for again."""
        self._worker.close()

    @property
    def wanted(self) -> int:
        """How many trials there are to be."""
        return min(self.plan.trials, len(self._grid)) if self._grid else self.plan.trials

    def ask(self) -> list[optuna.Trial]:
        """The next trials to train together; none if all are done or under way."""
        with held(self.folder / _LOCK):
            self._close_stale()
            under_way = [t for t in self.trials() if t.state != TrialState.WAITING]
            count = min(self.plan.together, self.wanted - len(under_way))
            return [self._ask() for _ in range(count)]

    def _ask(self) -> optuna.Trial:
        trials = self.trials()
        if self._grid and not any(t.state == TrialState.WAITING for t in trials):
            taken = [_drawn(t) for t in trials]
            self.optuna.enqueue_trial(next(p for p in self._grid if p not in taken))
        # Of the seed and the trial's number alone: no two processes draw the same.
        number = len(self.optuna.get_trials(deepcopy=False))
        seed = int(np.random.SeedSequence([self.plan.seed, number]).generate_state(1)[0])
        self.optuna.sampler = _sampler(self.plan.method, seed)
        trial = self.optuna.ask(self.space.distributions())
        trial.set_user_attr(WORKER, self._worker.name)
        return trial

    def trials(self) -> list[FrozenTrial]:
        """All trials but the stale ones, the only ones that are closed as failed."""
        found = self.optuna.get_trials(deepcopy=False)
        return [trial for trial in found if trial.state != TrialState.FAIL]

    def _close_stale(self) -> None:
        """Close what a process that is no more has left, and queue it to be asked for again."""
        for trial in self.trials():
            if trial.state != TrialState.RUNNING:
                continue
            worker = trial.user_attrs.get(WORKER)
            if worker is None or not alive(self._workers, worker):
                self.optuna.tell(trial.number, state=TrialState.FAIL)
                if trial.params.keys() == self.space.distributions().keys():
                    self.optuna.enqueue_trial(trial.params)

    def tell(self, trial: optuna.Trial, values: Sequence[float], why: str | None = None) -> None:
        """Say what came of a trial: the value of each training, or none and why."""
        trial.set_user_attr(VALUES, list(values))
        if why is not None:
            trial.set_user_attr(WHY, why)
        if values:
            self.optuna.tell(trial, statistics.fmean(values))
        else:
            self.optuna.tell(trial, state=TrialState.PRUNED)

    def rows(self) -> list[dict[str, Any]]:
        """The trials as plain rows, the stale ones left out."""
        return [
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "value": trial.value if trial.state == TrialState.COMPLETE else None,
                "deviation": _deviation(trial.user_attrs[VALUES]),
                "values": trial.user_attrs[VALUES],
                "why": trial.user_attrs.get(WHY),
                "settings": self.space.values(trial.params),
            }
            for trial in self.trials()
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        ]

    def best(self) -> dict[str, Any] | None:
        """The row of the best trial, the first of equals; None before any is complete."""
        complete = [row for row in self.rows() if row["state"] == "complete"]
        sign = 1 if self.experiment.selection.metric == "loss" else -1
        return min(complete, key=lambda row: sign * row["value"], default=None)

    def importance(self) -> dict[str, float]:
        """How much of what parts the trials each key explains; {} where nobody can tell."""
        values = {row["value"] for row in self.rows() if row["state"] == "complete"}
        if len(values) < 2:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=0)
        found = get_param_importances(self.optuna, evaluator=evaluator)
        return {self.space.key(name): float(share) for name, share in found.items()}

    def write_best(self) -> Path | None:
        """Write the best configuration as an experiment file."""
        with held(self.folder / _LOCK):
            row = self.best()
            if row is None:
                return None
            trial = self.optuna.get_trials(deepcopy=False)[row["trial"]]
            best = self.space.experiment(trial.params)
            path = self.folder / "best.toml"
            write_text(path, best.toml())
            return path


def _deviation(values: Sequence[float]) -> float | None:
    """The standard deviation over the seeds and folds; none of a single training."""
    return statistics.stdev(values) if len(values) > 1 else None


def _drawn(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial has, or what it will have once it is asked for."""
    return trial.params or trial.system_attrs.get("fixed_params", {})


def _sampler(method: str, seed: int) -> Any:
    if method == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


def _pruner(pruning: str) -> Any:
    kinds = {"none": NopPruner, "median": MedianPruner, "halving": SuccessiveHalvingPruner}
    return kinds[pruning]()
