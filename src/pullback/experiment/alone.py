"""The training of one network: from its checkpoint or its first weights to its result."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import examine, tree
from ..errors import DivergedError
from ..prepared import Prepared
from ..record import Record
from ..runs import RunFolder
from ..train import Kept, Learner, Plan, Progress, begin, begin_from, fit
from .keeper import Keeper, understood
from .outcome import Outcome, closing, failed_check
from .rows import write_beginning, write_model


def go_on(
    prepared: Prepared, folder: RunFolder, listen, interrupted, accept_older: bool = False
) -> Outcome:
    """Train from the newest checkpoint, or from the start, and write down how it went."""
    began = time.perf_counter()
    task, plan, parts = prepared.task, prepared.plan, prepared.examples()
    batches = {name: prepared.batches(part) for name, part in parts.items()}
    with Record(folder.metrics) as record, Record(folder.timing) as timing:
        keeper = Keeper(folder, record, timing, prepared.experiment.checkpoint.keep)
        key = jax.random.key(plan.seed)
        template = jax.eval_shape(lambda: begin_from(task, key, prepared.like))
        found = _latest(keeper, template, accept_older)
        if found is None:
            found = _first(prepared), Progress(), None
            write_beginning(prepared, record, found[0])
            _save(keeper, *found)
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
                save=partial(_save, keeper),
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
            write_model(prepared, folder, record, learner, error)
        record.flush(sync=True)
        if error is None and not stopped:
            error = failed_check(record)
        end = closing(folder, record, error, stopped, time.perf_counter() - began)
    result = {
        "epochs": progress.epoch,
        "steps": progress.step,
        "best": progress.best,
        "final": final,
        "ended": progress.ended,
        **end,
    }
    if not stopped:
        folder.write_result(result)
    return Outcome(folder.path, result, error)


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


def _save(keeper: Keeper, learner: Learner, progress: Progress, kept: Kept | None) -> None:
    """Write a checkpoint: the weights, the rule's state, the best weights, the progress."""
    keeper.save(_host(tree.named(learner) | tree.named({_KEPT: kept})), asdict(progress))


def _latest(
    keeper: Keeper, template: Learner, accept_older: bool
) -> tuple[Learner, Progress, Kept | None] | None:
    """Load the newest checkpoint, if there is one, and cut the records back to it."""
    found = keeper.take_up(accept_older)
    if found is None:
        return None
    arrays, stored = found
    best = {name: arrays.pop(name) for name in list(arrays) if name.startswith(f"{_KEPT}/")}
    like = {_KEPT: Kept(template.params, template.state)}
    kept = tree.restore(like, best)[_KEPT] if best else None
    return understood(lambda: (tree.restore(template, arrays), Progress(**stored), kept))


def _host(leaves: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in leaves.items()}


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
