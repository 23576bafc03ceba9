"""Numbers of a trained run: its last evaluation, what it took, and what its model weighs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import tree
from ..model import load_model
from ..runs import RunFolder


def measure(result: dict[str, Any], run: Path, value: str) -> float:
    """A number of a run that has ended.

    Args:
        result: its result.json.
        run: its folder.
        value: "PART.NAME" of the last evaluation, such as "test.accuracy"; "run.seconds", of
            training; "check.worst", the worst relative error of its gradient check; "gap.NAME",
            how far training is ahead of the test part; "run.sent", bytes over a network of workers;
            "model.parameters", how many; "model.zeros", the share of the weights that is exactly 0;
            "model.bytes", of its file.

    Returns:
        The number; nan where the run diverged or has no such thing.
    """
    if result["status"] != "done":
        return float("nan")
    if value in _OTHER:
        return float(_OTHER[value](result, run))
    part, name = value.split(".")
    if part == "gap":
        return _of_part(result, "train", name) - _of_part(result, "test", name)
    return _of_part(result, part, name)


def _of_part(result: dict[str, Any], part: str, name: str) -> float:
    return float((result["final"] or {}).get(part, {}).get(name, np.nan))


def _parameters(run: Path) -> dict[str, np.ndarray]:
    return {name: np.asarray(a) for name, a in tree.named(load_model(run).params).items()}


def _count(run: Path) -> int:
    return sum(a.size for a in _parameters(run).values())


def _zeros(run: Path) -> float:
    """Of the arrays of two dimensions and more: biases and scales are not what is made sparse."""
    weights = [a for a in _parameters(run).values() if a.ndim > 1]
    return sum(int((a == 0).sum()) for a in weights) / sum(a.size for a in weights)


def _bytes(run: Path) -> int:
    return sum(file.stat().st_size for file in RunFolder.open(run).model.iterdir())


_OTHER: dict[str, Callable[[dict[str, Any], Path], float]] = {
    "check.worst": lambda result, run: (result["check"] or {}).get("worst", np.nan),
    "run.seconds": lambda result, run: result["seconds"],
    "run.sent": lambda result, run: result.get("bytes", np.nan),
    "model.parameters": lambda result, run: _count(run),
    "model.zeros": lambda result, run: _zeros(run),
    "model.bytes": lambda result, run: _bytes(run),
}
