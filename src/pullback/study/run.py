"""A study is run: what is missing of it is trained, and its numbers are held against the published.

`FOLDER/NAME/FORM/ARM-SEED/` (a run like any other, with its report) · `EXHIBIT-SEED.json` (what an
exhibit found) · `study.json` (what came out). What is finished is not run again, and what was
stopped goes on, so that a study that was killed is gone on with by the same command. An arm of
another study is trained in the folder of that one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import experiment, files, jsontext
from ..config import Experiment
from ..errors import OutputError
from ..prepared import PARTS
from ..runs import RunFolder
from ..train import Tick, never, silent
from . import exhibits
from .chart import Chart, Curve, Panel
from .exhibits import Given, Shown
from .measure import measure
from .plan import Across, Arm, Claim, Exhibit, Form, Study

_RESULT = "study.json"


def nobody(name: str, seed: int, run: Path | None) -> None:
    """Listen to nothing."""


def place(root: Path, study: str, form: Form) -> Path:
    """Where a form of a study lies in the folder of all."""
    return root / study / form


def run(
    study: Study,
    form: Form,
    root: Path,
    *,
    seeds: int,
    data_dir: Path | None = None,
    listen: Callable[[Tick], None] = silent,
    done: Callable[[str, int, Path | None], None] = nobody,
    interrupted: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Run a study, or go on with what is missing of it.

    Args:
        study: what is asked.
        form: "quick" on small data, or "full" as the source has it.
        root: where studies lie, or will.
        seeds: how many; the first is 0.
        data_dir: where data sets lie.
        listen: told of the progress of each training.
        done: told of each arm or exhibit and seed when it has ended, and of the folder of a run.
        interrupted: asked whether to stop; a checkpoint is then saved.

    Returns:
        "study", "form", "seeds"; "whole", whether everything has ended; "arms", a row each with the
        runs, the mean and deviation of each measure, and how many diverged; "exhibits", a row each
        with mean and deviation of its numbers; "charts", those across arms and those of the first
        seed's exhibits; "claims", a row each with the numbers of the seeds, mean and deviation, the
        band and the verdict: "beaten" (in the band, and better than published), "reproduced" (in
        the band; of the quick form "held"), "missed", or "shown" where there is no band.

    Raises:
        ConfigError: an experiment of the study is broken.
        DataError: the data are missing or broken.
        OutputError: the folder holds something else under the name of a run.
    """
    # All are made before the first is trained: what is broken in the last is told at once.
    plans = {
        (arm.name, seed): study.experiment(arm, form, seed)
        for arm in study.arm
        for seed in range(seeds)
    }
    here = place(root, study.name, form)
    found = _Found(study, form, root, here)
    for arm in study.arm:
        for seed in range(seeds):
            path = found.folder(arm, seed)
            result = _train(plans[arm.name, seed], path, data_dir, listen, interrupted)
            if result["status"] == "interrupted":
                return found.written(seeds, whole=False)
            done(arm.name, seed, path)
            found.results[arm.name].append(result)
    for exhibit in study.exhibit:
        for seed in range(seeds):
            if interrupted():
                return found.written(seeds, whole=False)
            given = Given(
                seed,
                {name: plans[name, seed] for name in exhibit.arms},
                {name: found.folder(study.arm_named(name), seed) for name in exhibit.arms},
                data_dir,
            )
            found.shown[exhibit.name].append(_show(exhibit, form, given, here))
            done(exhibit.name, seed, None)
    return found.written(seeds, whole=True)


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
            next="give the study another folder with --folder, or remove that one",
        )
    return experiment.resume(path, **told).result


def _show(exhibit: Exhibit, form: Form, given: Given, folder: Path) -> Shown:
    """Compute an exhibit, or find it computed with these settings of these experiments."""
    settings = exhibit.of_form(form)
    asked = {
        "kind": exhibit.kind,
        "settings": settings,
        "experiments": {name: plan.toml() for name, plan in given.experiments.items()},
    }
    path = folder / f"{exhibit.name}-{given.seed}.json"
    # Through JSON, as it will be read again: a tuple is a list there.
    asked = jsontext.decode(jsontext.encode(asked))
    if path.is_file():
        old = files.read_json(path)
        if old["asked"] == asked:
            return Shown.of(old)
        raise OutputError(
            f"{path} holds an exhibit of other settings",
            next="give the study another folder with --folder, or remove that file",
        )
    shown = exhibits.KINDS[exhibit.kind](given, **settings)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"asked": asked, **shown.row()})
    return shown


class _Found:
    """What has come out so far."""

    def __init__(self, study: Study, form: Form, root: Path, here: Path):
        self.study, self.root, self.here = study, root, here
        self.form: Form = form
        self.results: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in study.arm}
        self.shown: dict[str, list[Shown]] = {exhibit.name: [] for exhibit in study.exhibit}

    def folder(self, arm: Arm, seed: int) -> Path:
        """Where an arm of a seed is trained."""
        return place(self.root, arm.study or self.study.name, self.form) / f"{arm.name}-{seed}"

    def values(self, name: str, value: str) -> list[float]:
        """A number of every seed of an arm or an exhibit."""
        if name in self.shown:
            return [each.numbers.get(value, np.nan) for each in self.shown[name]]
        arm = self.study.arm_named(name)
        return [
            measure(result, self.folder(arm, seed), value)
            for seed, result in enumerate(self.results[name])
        ]

    def written(self, seeds: int, whole: bool) -> dict[str, Any]:
        """Sum up, and write it down."""
        across = [self._across(chart) for chart in self.study.chart]
        found = {
            "study": self.study.name,
            "form": self.form,
            "seeds": seeds,
            "whole": whole,
            "arms": [self._arm(arm) for arm in self.study.arm],
            "exhibits": [self._exhibit(name) for name in self.shown],
            "charts": [
                each.model_dump(mode="json")
                for each in (*across, *(c for s in self.shown.values() if s for c in s[0].charts))
            ],
            "claims": [self._claim(claim) for claim in self.study.claim],
        }
        with files.writing(self.here):
            self.here.mkdir(parents=True, exist_ok=True)
        files.write_json(self.here / _RESULT, found)
        return found

    def _arm(self, arm: Arm) -> dict[str, Any]:
        results = self.results[arm.name]
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
        runs = [self.folder(arm, seed) for seed in range(len(results))]
        return {
            "arm": arm.name,
            "runs": [Path(os.path.relpath(run, self.here)).as_posix() for run in runs],
            "diverged": len(results) - len(ended),
            "seconds": float(np.mean([r["seconds"] for r in results])) if results else None,
            # Of those seeds that ended: how many did not is told beside it.
            "final": {
                value: summed([n for n in self.values(arm.name, value) if not np.isnan(n)])
                for value in measures
            },
        }

    def _exhibit(self, name: str) -> dict[str, Any]:
        shown = self.shown[name]
        names = list(shown[0].numbers) if shown else []
        numbers = {key: summed(self.values(name, key)) for key in names}
        return {"exhibit": name, "numbers": numbers}

    def _across(self, across: Across) -> Chart:
        """A chart of what the arms came to: the mean, with a deviation to both sides."""
        words = tuple(each for each in across.at if isinstance(each, str))
        curves = []
        for series in across.series:
            rows = [summed(self.values(name, series.value)) for name in series.arms]
            mean = np.array([np.nan if r["mean"] is None else r["mean"] for r in rows])
            spread = np.array([r["deviation"] or 0.0 for r in rows])
            low, high = (mean - spread, mean + spread) if spread.any() else (None, None)
            x = range(len(words)) if words else across.at
            curves.append(Curve(name=series.name, x=x, y=mean, low=low, high=high))
        more = across.model_dump(exclude={"at", "series"})
        panels = (Panel(curves=tuple(curves)),)
        return Chart(**more, panels=panels, bars=bool(words), ticks=words)

    def _claim(self, claim: Claim) -> dict[str, Any]:
        """Hold a number of the study against its band, and against what was published."""
        values = self.values(claim.arm, claim.value)
        if claim.minus is not None:
            less = self.values(claim.minus, claim.value)
            values = [a - b for a, b in zip(values, less, strict=False)]
        if claim.over is not None:
            over = self.values(claim.over, claim.value)
            values = [a / b if b else np.nan for a, b in zip(values, over, strict=False)]
        summary, band = summed(values), claim.full if self.form == "full" else claim.quick
        mean = np.nan if summary["mean"] is None else summary["mean"]
        verdict = "shown"
        if band is not None:
            inside = "reproduced" if self.form == "full" else "held"
            verdict = inside if band.holds(mean) else "missed"
            if verdict == "reproduced" and claim.published is not None:
                gain = mean - claim.published
                better = gain > 0 if band.least is not None else gain < 0
                verdict = "beaten" if better else verdict
        return {
            "what": claim.what,
            "arm": claim.arm,
            "minus": claim.minus,
            "over": claim.over,
            "value": claim.value,
            # A source published nothing about the small data of the quick form.
            "published": claim.published if self.form == "full" else None,
            "band": None if band is None else str(band),
            "values": [None if np.isnan(each) else each for each in values],
            **summary,
            "verdict": verdict,
        }


def summed(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and deviation; a seed that diverged leaves no mean."""
    whole = len(values) > 0 and bool(np.isfinite(values).all())
    return {
        "mean": float(np.mean(values)) if whole else None,
        "deviation": float(np.std(values, ddof=1)) if whole and len(values) > 1 else None,
    }
