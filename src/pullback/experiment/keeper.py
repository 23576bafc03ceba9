"""The checkpoints of a run, each with how long its records were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from .. import checkpoint
from ..errors import CheckpointError
from ..record import Record
from ..runs import RunFolder

T = TypeVar("T")


class Keeper:
    """Saves checkpoints of a run, and finds the newest.

    Args:
        folder: of the run.
        record, timing: its records.
        keep: how many checkpoints to keep.
    """

    def __init__(self, folder: RunFolder, record: Record, timing: Record, keep: int):
        self._folder, self._keep = folder, keep
        self._records = {"metrics_bytes": record, "timing_bytes": timing}

    def save(self, arrays: Mapping[str, np.ndarray], progress: Mapping[str, Any]) -> None:
        """Write a checkpoint; the records are on the disk before it speaks of them."""
        for record in self._records.values():
            record.flush(sync=True)
        sizes = {name: record.size for name, record in self._records.items()}
        checkpoint.save(self._folder.checkpoints, arrays, {**progress, **sizes}, self._keep)

    def latest(self, accept_older: bool = False) -> checkpoint.Loaded | None:
        """Load the newest checkpoint, if there is one; the progress is as it was given."""
        return self._load(accept_older)[0]

    def take_up(self, accept_older: bool) -> checkpoint.Loaded | None:
        """Load the newest checkpoint, and cut the records back to it; to nothing if there is none.

        Raises:
            CheckpointError: it is broken, or a record is shorter than it says.
        """
        found, sizes = self._load(accept_older)
        for name, record in self._records.items():
            record.truncate(sizes[name])
        return found

    def _load(self, accept_older: bool) -> tuple[checkpoint.Loaded | None, dict[str, int]]:
        found = checkpoint.load_latest(self._folder.checkpoints, accept_older)
        if found is None:
            return None, dict.fromkeys(self._records, 0)
        arrays, stored = found
        return (arrays, stored), {name: stored.pop(name) for name in self._records}


def understood(read: Callable[[], T]) -> T:
    """Return what reading a progress gives.

    Raises:
        CheckpointError: it has other fields than this version knows.
    """
    try:
        return read()
    except TypeError as error:
        raise CheckpointError(
            f"the checkpoint's progress is not understood: {error}",
            next="use the version of pullback that wrote it",
        ) from error
