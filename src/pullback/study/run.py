"""A study is run: what is missing of it is trained, and its numbers are held against the published.

`FOLDER/ARM-SEED/` (a run like any other, with its report) · `study.json` (what came out). What is
finished is not trained again, and what was stopped goes on, so that a study that was killed is
gone on with by the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import experiment, files
from ..config import Experiment
from ..errors import OutputError
from ..prepared import PARTS
from ..runs import RunFolder
from ..train import Tick, never, silent
from .plan import Arm, Claim, Form, Study

_RESULT = "study.json"


def nobody(arm: Arm, seed: int, result: dict[str, Any], run: Path) -> None:
    """Listen to nothing."""


def run(
    study: Study,
    form: Form,
    folder: Path,
    *,
    seeds: int,
    data_dir: Path | None = None,
    listen: Callable[[Tick], None] = silent,
    done: Callable[[Arm, int, dict[str, Any], Path], None] = nobody,
    interrupted: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Run a study, or go on with what is missing of it.

    Args:
        study: what is asked.
        form: "quick" on small data, or "full" as the source has it.
        folder: where its runs lie, or will.
        seeds: how many; the first is 0.
        data_dir: where data sets lie.
        listen: told of the progress of each training.
        done: told of each arm and seed when it has ended, with its result and its folder.
        interrupted: asked whether to stop; a checkpoint is then saved.

    Returns:
        "study", "form", "seeds"; "whole", whether every run has ended; "arms", a row each with the
        runs, the mean and deviation of each measure, and how many diverged; "claims", a row each
        with the numbers of the seeds, mean and deviation, the band and the verdict: "beaten" (in
        the band, and better than published), "reproduced" (in the band; of the quick form "held"),
        "missed", or "shown" where there is no band.

    Raises:
        ConfigError: an experiment of the study is broken.
        DataError: the data are missing or broken.
        OutputError: the folder holds something else under the name of a run.
    """
    # All are made before the first is trained: what is broken in the last is told at once.
    wanted = [
        (arm, seed, study.experiment(arm, form, seed)) for arm in study.arm for seed in range(seeds)
    ]
    results: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in study.arm}
    for arm, seed, plan in wanted:
        path = folder / f"{arm.name}-{seed}"
        result = _train(plan, path, data_dir, listen, interrupted)
        if result["status"] == "interrupted":
            break
        done(arm, seed, result, path)
        results[arm.name].append(result | {"run": path.name})
    found = {
        "study": study.name,
        "form": form,
        "seeds": seeds,
        "whole": sum(map(len, results.values())) == len(wanted),
        "arms": [_arm(arm, results[arm.name]) for arm in study.arm],
        "claims": [_claim(claim, form, results) for claim in study.claim],
    }
    files.write_json(folder / _RESULT, found)
    return found


def read(folder: Path) -> dict[str, Any] | None:
    """What came of a study that was run in this folder; None if there is nothing."""
    path = folder / _RESULT
    return files.read_json(path) if path.is_file() else None


def _train(plan: Experiment, path: Path, data_dir, listen, interrupted) -> dict[str, Any]:
    """Train a run, go on with it, or find it finished."""
    told: dict[str, Any] = {"data_dir": data_dir, "listen": listen, "interrupted": interrupted}
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return experiment.train(plan, path, **told).result
    folder = RunFolder.open(path)
    if folder.config.read_text("utf-8") != plan.toml():
        raise OutputError(
            f"{path} holds a run of other settings",
            next="give the study another folder with --out, or remove that one",
        )
    return experiment.resume(path, **told).result


def measure(result: dict[str, Any], value: str) -> float:
    """A number at the end of a run; nan where it diverged or has no such part."""
    part, name = value.split(".")
    row = (result["final"] or {}).get(part, {})
    return float(row.get(name, np.nan)) if result["status"] == "done" else np.nan


def _arm(arm: Arm, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the seeds of an arm came to."""
    ended = [result for result in results if result["status"] == "done"]
    measures = sorted(
        {
            f"{part}.{name}"
            for each in ended
            for part in PARTS
            for name, number in each["final"].get(part, {}).items()
            if isinstance(number, float)
        }
    )
    return {
        "arm": arm.name,
        "runs": [result["run"] for result in results],
        "diverged": len(results) - len(ended),
        "seconds": float(np.mean([result["seconds"] for result in results])) if results else None,
        "final": {
            value: _summed([measure(result, value) for result in ended]) for value in measures
        },
    }


def _claim(claim: Claim, form: Form, results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Hold a number of the study against its band, and against what was published."""
    values = [measure(result, claim.value) for result in results[claim.arm]]
    if claim.minus is not None:
        from_ = [measure(result, claim.value) for result in results[claim.minus]]
        values = [a - b for a, b in zip(values, from_, strict=False)]
    summed, band = _summed(values), claim.full if form == "full" else claim.quick
    mean = np.nan if summed["mean"] is None else summed["mean"]
    verdict = "shown"
    if band is not None:
        inside = "reproduced" if form == "full" else "held"
        verdict = inside if band.holds(mean) else "missed"
        if verdict == "reproduced" and claim.published is not None:
            gain = mean - claim.published
            better = gain > 0 if band.least is not None else gain < 0
            verdict = "beaten" if better else verdict
    return {
        "what": claim.what,
        "arm": claim.arm,
        "minus": claim.minus,
        "value": claim.value,
        # A source published nothing about the small data of the quick form.
        "published": claim.published if form == "full" else None,
        "band": None if band is None else str(band),
        "values": [None if np.isnan(each) else each for each in values],
        **summed,
        "verdict": verdict,
    }


def _summed(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and deviation; a seed that diverged leaves no mean."""
    whole = len(values) > 0 and bool(np.isfinite(values).all())
    return {
        "mean": float(np.mean(values)) if whole else None,
        "deviation": float(np.std(values, ddof=1)) if whole and len(values) > 1 else None,
    }
