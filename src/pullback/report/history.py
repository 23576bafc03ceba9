"""What the folder of a run tells: its settings, its versions, its rows and how it ended."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import read_json
from ..record import Record

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class History:
    """Everything that a report knows of one run.

    Attributes:
        folder: the folder of the run.
        settings: the text of `config.toml`.
        meta: versions, device, seed, sums of the data, from `meta.json`.
        rows: the rows of `metrics.jsonl` by their kind, each in the order in which it was written.
        timing: the rows of `timing.jsonl`.
        result: `result.json`, or None while the run is unfinished.
    """

    folder: Path
    settings: str
    meta: dict[str, Any]
    rows: dict[str, list[dict[str, Any]]]
    timing: list[dict[str, Any]]
    result: dict[str, Any] | None

    @classmethod
    def read(cls, folder: Path) -> History:
        """Read the folder of a run, finished or not.

        Raises:
            CheckpointError: the folder holds no run, or a file of it is broken.
        """
        if not (folder / "config.toml").is_file():
            raise CheckpointError(
                f"{folder} is not the folder of a run: it holds no config.toml",
                next="name a folder that `pullback train` made",
            )
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in _records(folder / "metrics.jsonl"):
            rows.setdefault(row["kind"], []).append(row)
        return cls(
            folder=folder,
            settings=(folder / "config.toml").read_text(encoding="utf-8"),
            meta=_json(folder / "meta.json") or {},
            rows=rows,
            timing=_records(folder / "timing.jsonl"),
            result=_json(folder / "result.json"),
        )

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return all rows of a kind."""
        return self.rows.get(kind, [])

    def last(self, kind: str) -> dict[str, Any] | None:
        """Return the last row of a kind, or None."""
        rows = self.all(kind)
        return rows[-1] if rows else None

    @cached_property
    def name(self) -> str:
        """The name of the run: that of its folder."""
        return self.folder.resolve().name

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings, parsed."""
        try:
            return tomllib.loads(self.settings)
        except tomllib.TOMLDecodeError as error:
            raise CheckpointError(
                f"{self.folder / 'config.toml'} is not valid TOML: {error}",
                next="restore the file or train again",
            ) from error

    @cached_property
    def status(self) -> str:
        """One of done, diverged, interrupted, unfinished."""
        return self.result["status"] if self.result else "unfinished"

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations, in order of training."""
        return self.all("evaluation")

    @cached_property
    def parts(self) -> list[str]:
        """The parts of the data that were evaluated at least once."""
        return [part for part in PARTS if any(row.get(part) for row in self.evaluations)]

    @cached_property
    def metric(self) -> str:
        """What is measured beside the loss: accuracy, or r2 for a regression."""
        for row in self.evaluations:
            for part in self.parts:
                if "r2" in (row.get(part) or {}):
                    return "r2"
        return "accuracy"

    @cached_property
    def best(self) -> dict[str, Any] | None:
        """The evaluation with the lowest finite validation loss, the first of equals, or None."""
        seen = [row for row in self.evaluations if math.isfinite(value(row, "validation", "loss"))]
        return min(seen, key=lambda row: row["validation"]["loss"], default=None)

    @cached_property
    def final(self) -> dict[str, Any] | None:
        """The last evaluation: that of `result.json`, or of the last row of an unfinished run."""
        if self.result and self.result.get("final"):
            return self.result["final"]
        return self.last("evaluation")

    def classes(self, k: int) -> list[str]:
        """Return the names of k classes or outputs; their numbers where they have no names."""
        names = (self.last("data") or {}).get("classes")
        return (
            [str(name) for name in names] if names and len(names) == k else list(map(str, range(k)))
        )


def value(evaluation: dict[str, Any], part: str, key: str) -> float:
    """Return one number of an evaluation, nan where it was not measured.

    >>> value({"train": {"loss": 0.5}, "test": None}, "train", "loss")
    0.5
    >>> value({"train": {"loss": 0.5}, "test": None}, "test", "loss")
    nan
    """
    found = (evaluation.get(part) or {}).get(key)
    return math.nan if found is None else float(found)


def distinct_names(histories: Sequence[History]) -> list[str]:
    """Name runs apart: by their folder, and by its parent too where two folders have one name."""
    names = [history.name for history in histories]
    return [
        name if names.count(name) == 1 else f"{history.folder.resolve().parent.name}/{name}"
        for name, history in zip(names, histories, strict=True)
    ]


def _records(path: Path) -> list[dict[str, Any]]:
    """Read rows; a run that stopped before its first row has no file yet."""
    return list(Record.read(path).rows()) if path.exists() else []


def _json(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None
