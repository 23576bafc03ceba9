"""Runs that differ in nothing but the seed, taken together: means, deviations, intervals."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .history import History, distinct_names, value

# What a run may be called and where its chance begins make it no other experiment.
_CHANCE = ("name", "seed")


@dataclass(frozen=True)
class Mean:
    """The mean of a few measurements, and how sure it is.

    Attributes:
        mean: of the measurements.
        deviation: the sample's standard deviation; nan of a single measurement.
        low, high: where the true mean lies with 95 %, if they are normal (Student 1908); nan of a
            single measurement.
        count: how many measurements there are.

    >>> Mean.of([1.0, 2.0, 3.0]).row()
    {'mean': 2.0, 'deviation': 1.0, 'low': -0.484138, 'high': 4.48414, 'count': 3}
    """

    mean: float
    deviation: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, measured: Sequence[float]) -> Mean:
        """Sum up measurements."""
        from scipy.special import stdtrit

        n, mean = len(measured), float(np.mean(measured))
        if n < 2:
            return cls(mean, math.nan, math.nan, math.nan, n)
        deviation = float(np.std(measured, ddof=1))
        half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
        return cls(mean, deviation, mean - half, mean + half, n)

    def row(self) -> dict[str, float]:
        """As JSON, in six significant digits."""
        numbers = {key: getattr(self, key) for key in ("mean", "deviation", "low", "high")}
        return {key: float(f"{each:.6g}") for key, each in numbers.items()} | {"count": self.count}


@dataclass(frozen=True)
class Group:
    """Runs with the same settings, but for the seed.

    Attributes:
        name: what they are called together: the name of their experiment, where no other run has
            it, or that of the first run; and how many there are.
        runs: the runs, in the order given.
    """

    name: str
    runs: tuple[History, ...]

    def points(self, part: str, key: str, along: str = "epoch") -> list[tuple[float, Mean]]:
        """A measure by epoch, or along what else an evaluation says: the mean over the runs.

        It is taken where every run has it: at the same epochs, or at the same rounds over peers,
        which may differ in their bytes and seconds; these are means too.
        """
        at = "epoch" if self.runs[0].peers is None else "round"
        curves = [{row[at]: row for row in run.evaluations if row.get(part)} for run in self.runs]
        shared = sorted(set.intersection(*(set(curve) for curve in curves)))
        return [
            (
                float(np.mean([curve[each][along] for curve in curves])),
                Mean.of([value(curve[each], part, key) for curve in curves]),
            )
            for each in shared
        ]

    def final(self, part: str, key: str) -> Mean:
        """A measure of the weights that training ended with."""
        return Mean.of([value(run.final, part, key) for run in self.runs])


def grouped(histories: Sequence[History]) -> list[Group]:
    """Sort runs into groups that differ only in the seed, in the order of their first runs.

    A second run of the same seed tells nothing new, so it is not counted among the others.
    """
    named = dict(zip(map(id, histories), distinct_names(histories), strict=True))
    found: dict[tuple[str, int], list[History]] = {}
    seen: Counter[str] = Counter()
    for history in histories:
        settings = json.dumps(
            {key: value for key, value in history.config.items() if key not in _CHANCE},
            sort_keys=True,
            default=str,
        )
        again = f"{settings} {history.config.get('seed')}"
        found.setdefault((settings, seen[again]), []).append(history)
        seen[again] += 1
    return [Group(_together(runs, histories, named), tuple(runs)) for runs in found.values()]


def _together(runs: list[History], histories: Sequence[History], named: dict[int, str]) -> str:
    if len(runs) == 1:
        return named[id(runs[0])]
    name = runs[0].config.get("name")
    of_that_name = {id(run) for run in histories if run.config.get("name") == name}
    if name and of_that_name == {id(run) for run in runs}:
        return f"{name} ({len(runs)} runs)"
    return f"{named[id(runs[0])]} and {len(runs) - 1} more"
