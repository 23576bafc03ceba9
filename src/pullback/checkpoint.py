"""Checkpoints: all that a run needs to go on, whole or absent.

A checkpoint is a sealed folder (see `pullback.sealed`), `step-000000600/`, of the run's arrays
(`tensors.safetensors`) and its progress (`progress.json`): its step, and whatever else the trainer
must know again. Nothing in it is code, and NumPy is all it takes to read it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import jsontext, sealed, tensors
from .errors import CheckpointError, ConfigError
from .files import writing

_KIND = "checkpoint"
_TENSORS = "tensors.safetensors"
_PROGRESS = "progress.json"
_NAME = re.compile(r"(?:\.old-)?step-(\d{9,})")

Loaded = tuple[dict[str, np.ndarray], dict[str, Any]]


def save(
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    progress: Mapping[str, Any],
    keep: int = 1,
) -> Path:
    """Write a checkpoint; only when it is on the disk, remove others.

    The newest `keep` up to this step stay. Checkpoints of later steps are removed: they belong to a
    future that the run left when it went on from an earlier one.

    Args:
        folder: the folder of all checkpoints of a run; made if it is absent.
        arrays: the arrays by name.
        progress: what `pullback.jsontext` can hold, with the number of steps done under "step".
        keep: how many to keep, this one included.

    Returns:
        The folder of this checkpoint.

    Raises:
        OutputError: it could not be written; those there before can still be loaded.
        CheckpointError: an array or the step cannot be stored.
    """
    if keep < 1:
        raise ConfigError(f"keep must be 1 or more, got {keep}")
    step = progress.get("step")
    if type(step) is not int or step < 0:
        raise CheckpointError(f"progress wants its step, a whole number from 0 on, got {step!r}")
    contents = {
        _TENSORS: tensors.encode(arrays),
        _PROGRESS: (jsontext.encode(progress, indent=2) + "\n").encode(),
    }
    path = folder / _name(step)
    with writing(path):
        sealed.clean(folder)
        sealed.write(path, _KIND, contents)
        kept = [other for other in _steps(folder) if other <= step][:keep]
        for other in _steps(folder):
            if other not in kept:
                sealed.remove(folder / _name(other))
    return path


def load(path: Path) -> Loaded:
    """Read a checkpoint, every byte checked.

    Returns:
        Its arrays and its progress.

    Raises:
        CheckpointError: it is missing, incomplete, changed, or of a later version.
    """
    contents = sealed.read(path, _KIND, [_TENSORS, _PROGRESS])
    try:
        progress = jsontext.decode(contents[_PROGRESS])
        step = progress["step"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"no progress with a step: {error}", where=str(path)) from error
    named = _NAME.fullmatch(path.name)
    if named and int(named[1]) != step:
        raise CheckpointError(f"{path} holds step {step}", next="give the folder its name again")
    return tensors.decode(contents[_TENSORS], where=str(path / _TENSORS)), progress


def latest(folder: Path) -> Path | None:
    """Return the newest checkpoint that is whole, or None.

    It passes over broken ones; to resume a run, `load_latest` is what you want.
    """
    for path in _newest_first(folder):
        try:
            load(path)
        except CheckpointError:
            continue
        return path
    return None


def load_latest(folder: Path, accept_older: bool = False) -> Loaded | None:
    """Read the newest checkpoint, or None if there is none yet.

    Args:
        folder: the folder of all checkpoints of a run; may be absent.
        accept_older: if the newest is broken, take the newest whole one in its stead.

    Raises:
        CheckpointError: the newest is broken; the error names the one to take instead, if there is
            one.
    """
    broken: CheckpointError | None = None
    for path in _newest_first(folder):
        try:
            loaded = load(path)
        except CheckpointError as error:
            broken = broken or error
            continue
        if broken and not accept_older:
            advice = f"{path.name} is whole: `pullback resume --accept-older` goes on from there"
            raise CheckpointError(broken.what, where=broken.where, next=advice)
        return loaded
    if broken:
        raise broken
    return None


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _steps(folder: Path) -> list[int]:
    """Return the steps of all checkpoints, whole or broken, the latest first."""
    names = [_NAME.fullmatch(path.name) for path in folder.glob("*step-*")]
    return sorted({int(name[1]) for name in names if name}, reverse=True)


def _newest_first(folder: Path) -> list[Path]:
    found = [sealed.find(folder / _name(step)) for step in _steps(folder)]
    return [path for path in found if path]
