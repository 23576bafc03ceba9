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
from ..runs import RunFolder

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

    folder: RunFolder
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
        run = RunFolder.open(folder)
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in _rows(run.metrics):
            rows.setdefault(row["kind"], []).append(row)
        return cls(
            folder=run,
            settings=run.config.read_text(encoding="utf-8"),
            meta=read_json(run.meta),
            rows=rows,
            timing=_rows(run.timing),
            result=read_json(run.result) if run.finished else None,
        )

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return all rows of a kind."""
        return self.rows.get(kind, [])

    def last(self, kind: str) -> dict[str, Any] | None:
        """Return the last row of a kind, or None."""
        rows = self.all(kind)
        return rows[-1] if rows else None

    def judged(self, kind: str) -> dict[str, Any] | None:
        """Return the last row of a kind for the test part, else validation, else training."""
        rows = {row["part"]: row for row in self.all(kind)}
        return next((rows[part] for part in reversed(PARTS) if part in rows), None)

    @cached_property
    def name(self) -> str:
        """The name of the run: that of its folder."""
        return self.folder.path.resolve().name

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings, parsed."""
        try:
            return tomllib.loads(self.settings)
        except tomllib.TOMLDecodeError as error:
            raise CheckpointError(
                f"{self.folder.config} is not valid TOML: {error}",
                next="restore the file or train again",
            ) from error

    @cached_property
    def status(self) -> str:
        """What `result.json` says, such as done or diverged; unfinished without it."""
        return self.result["status"] if self.result else "unfinished"

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations, in order of training.

        Of a run over peers, a part stands for what all workers have together, and a step is a
        round.
        """
        rows = self.all("evaluation")
        return rows if self.peers is None else [_together(row) for row in rows]

    @cached_property
    def peers(self) -> dict[str, Any] | None:
        """What a run over peers says of its network; None of another run."""
        return self.last("peers")

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
    def predicts(self) -> str:
        """What is predicted of a class: its probability, unless the run says that it is a score."""
        return (self.last("network") or {}).get("predicts", "probability")

    @cached_property
    def best(self) -> dict[str, Any] | None:
        """The evaluation with the lowest finite validation loss, the first of equals, or None."""
        seen = [row for row in self.evaluations if math.isfinite(value(row, "validation", "loss"))]
        return min(seen, key=lambda row: row["validation"]["loss"], default=None)

    @cached_property
    def final(self) -> dict[str, Any] | None:
        """The evaluation of the weights that training ended with; the last one if it has not."""
        end = self.last("end")
        if end is None or self.peers is not None:
            return self.evaluations[-1] if self.evaluations else None
        found = [row for row in self.evaluations if row["step"] == end["step"]]
        return found[-1] if found else None

    @cached_property
    def seconds(self) -> float:
        """How long all epochs took together, those before a resume among them."""
        return math.fsum(row["seconds"] for row in self.timing)

    def classes(self, k: int) -> list[str]:
        """Return the names of k classes or outputs; their numbers, where they have no names."""
        names = (self.last("data") or {}).get("classes")
        found = names if names and len(names) == k else range(k)
        return [str(name) for name in found]

    def target(self, index: int) -> str:
        """Return the name of a class; its number, where it has none."""
        names = (self.last("data") or {}).get("classes")
        return str(names[index] if names else index)


def value(evaluation: dict[str, Any] | None, part: str, key: str) -> float:
    """Return one number of an evaluation, nan where it was not measured.

    >>> value({"train": {"loss": 0.5}, "test": None}, "train", "loss")
    0.5
    >>> value({"train": {"loss": 0.5}, "test": None}, "test", "loss")
    nan
    """
    found = ((evaluation or {}).get(part) or {}).get(key)
    return math.nan if found is None else float(found)


def _together(row: dict[str, Any]) -> dict[str, Any]:
    """An evaluation over peers, with each part where another run has it."""
    parts = {name: both["together"] for name, both in row["parts"].items()}
    return row | parts | {"step": row["round"]}


def distinct_names(histories: Sequence[History]) -> list[str]:
    """Name runs apart: by their folder, and by its parent too where two folders have one name."""
    names = [history.name for history in histories]
    return [
        name if names.count(name) == 1 else f"{history.folder.path.resolve().parent.name}/{name}"
        for name, history in zip(names, histories, strict=True)
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a record; a run that stopped before its first row has no file yet."""
    return list(Record.read(path).rows()) if path.exists() else []
