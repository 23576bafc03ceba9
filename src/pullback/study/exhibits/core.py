"""What an exhibit is given, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import Experiment
from ..chart import Chart


@dataclass(frozen=True)
class Given:
    """What an exhibit may ask for.

    Attributes:
        seed: of everything random.
        experiments: those of the arms that it names, of this form and seed, by the name of the arm.
        runs: the folders where they were trained, likewise.
        data_dir: where data sets lie.
    """

    seed: int
    experiments: dict[str, Experiment]
    runs: dict[str, Path]
    data_dir: Path | None = None


@dataclass(frozen=True)
class Shown:
    """What an exhibit found.

    Attributes:
        numbers: by name; what claims are about.
        charts: the pictures.
    """

    numbers: dict[str, float]
    charts: tuple[Chart, ...] = ()

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "numbers": self.numbers,
            "charts": [chart.model_dump(mode="json") for chart in self.charts],
        }

    @classmethod
    def of(cls, row: dict[str, Any]) -> Shown:
        """From plain data."""
        charts = tuple(Chart.model_validate(each) for each in row["charts"])
        return cls({key: float(value) for key, value in row["numbers"].items()}, charts)
