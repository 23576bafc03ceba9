"""The folder of a run: what lies where, who may write, and when a run is finished.

`config.toml` (resolved) · `meta.json` (versions, seed, device, sum of the data) · `metrics.jsonl`
and `timing.jsonl` (see `pullback.record`) · `checkpoints/` · `model/` (safetensors and JSON) ·
`figures/` · `report.html` · `result.json`, written last: without it the run is unfinished ·
`run.lock`, held by the process that writes.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, jsontext, sealed, tensors
from .errors import CheckpointError, OutputError
from .files import discard, write_json, writing

_LOCK = "run.lock"
_KIND = "model"
_MODEL = "model.safetensors"
_DESCRIPTION = "model.json"
# Means and deviations of three million features; JSON in memory may take twenty times its text.
_DESCRIPTION_BYTES = 1 << 27
_PACKAGES = ("numpy", "jax", "jaxlib")

_FOLDERS = re.compile(r"checkpoints|figures|(?:\.old-)?model|\.tmp-[0-9a-f]{12}")
_FILES = re.compile(
    r"""config\.toml | meta\.json | metrics\.jsonl | timing\.jsonl | report\.html | diagnosis\.html
    | result\.json | run\.lock
    | figures/[^/]+\.(?:svg|png)
    | (?:\.old-)?model/(?:model\.safetensors|model\.json|manifest\.json)
    | checkpoints/(?:\.old-)?step-\d{9,}/(?:tensors\.safetensors|progress\.json|manifest\.json)
    | (?:.+/)?\.tmp-[0-9a-f]{12}(?:/.+)?""",
    re.VERBOSE,
)


class RunFolder:
    """A run on disk. Make one with `create`, or find one with `open`.

    A process that writes holds the run's lock: `create` takes it, `lock` takes it for a run that
    goes on, the end of a `with` block gives it back. The system gives it back for a killed process.

    >>> RunFolder(Path("runs/digits")).metrics
    PosixPath('runs/digits/metrics.jsonl')
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock: int | None = None

    @classmethod
    def create(cls, path: Path, force: bool = False) -> RunFolder:
        """Make the folder of a new run, empty and locked.

        Args:
            path: the folder; absent or empty, unless `force`.
            force: delete the run that is there. A folder that holds anything else than the files
                of a run is left alone.

        Raises:
            OutputError: the folder holds something, is written by another process, or cannot be
                made.
        """
        run = cls(path)
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            run._refuse_if_taken(force)
            run.lock()
            try:
                # Another process may have filled the folder before the lock was ours.
                run._refuse_if_taken(force)
                run._clear()
            except OSError:
                run.unlock()
                raise
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Find an existing run, to read it or to `lock` it and go on.

        Raises:
            CheckpointError: there is none.
        """
        run = cls(path)
        for file in (run.config, run.meta):
            if not file.is_file():
                raise CheckpointError(
                    f"{path} is no run: it has no {file.name}",
                    next="give the folder of a run, such as runs/NAME",
                )
        return run

    @property
    def config(self) -> Path:
        """The resolved experiment file."""
        return self.path / "config.toml"

    @property
    def meta(self) -> Path:
        """Versions, seed, device and the sum of the data (see `write_meta`)."""
        return self.path / "meta.json"

    @property
    def metrics(self) -> Path:
        """The record of all that the same seed gives again."""
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        """The record of seconds, which differ from run to run."""
        return self.path / "timing.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints (see `pullback.checkpoint`)."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The sealed folder of the trained model (see `save_model`)."""
        return self.path / "model"

    @property
    def figures(self) -> Path:
        """The folder of the report's figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def result(self) -> Path:
        """How the run ended (see `write_result`)."""
        return self.path / "result.json"

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return self.result.is_file()

    def lock(self) -> RunFolder:
        """Take the run for this process alone, and clear what a killed writer left.

        Raises:
            OutputError: another process writes to the run, or the lock cannot be had.
        """
        with writing(self.path):
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()}\n".encode())
            except BlockingIOError as error:
                holder = os.read(descriptor, 64).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise OutputError(
                    f"{self.path} is being written by another process ({holder})",
                    next="wait until it ends, or give another name",
                ) from error
            except OSError:
                os.close(descriptor)
                raise
            self._lock = descriptor
            sealed.clean(self.path)
        return self

    def unlock(self) -> None:
        """Give the lock back, if this object holds it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def write_meta(
        self,
        *,
        seed: int,
        device: str,
        data: str,
        argv: Sequence[str],
        precision: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what the run depends on.

        Args:
            seed: the seed of all its random streams.
            device: what it is computed on, in words.
            data: the checksum of its data.
            argv: the command line that started it.
            precision: what was asked of its products, and what was settled.
        """
        meta = {
            "versions": {
                "python": platform.python_version(),
                "pullback": __version__,
                **{package: importlib.metadata.version(package) for package in _PACKAGES},
            },
            "platform": platform.platform(),
            "seed": seed,
            "device": device,
            "data": data,
            "argv": list(argv),
        }
        if precision is not None:
            meta["precision"] = dict(precision)
        write_json(self.meta, meta)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write how the run ended. It is then finished: write this last."""
        write_json(self.result, result)

    def save_model(self, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> None:
        """Write the trained model, whole or not at all, over an older one.

        Args:
            arrays: its parameters and state by name.
            description: all else that is needed to use it, as JSON.

        Raises:
            OutputError: it could not be written; the older one can still be loaded.
        """
        contents = {
            _MODEL: tensors.encode(arrays),
            _DESCRIPTION: (jsontext.encode(description, indent=2) + "\n").encode(),
        }
        sealed.write(self.model, _KIND, contents)

    def load_model(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Read what `save_model` wrote, every byte checked.

        Raises:
            CheckpointError: there is no model yet, or it is broken.
        """
        path = sealed.find(self.model)
        if path is None:
            raise CheckpointError(
                f"{self.path} has no model yet", next=f"run `pullback resume {self.path}`"
            )
        contents = sealed.read(path, _KIND, [_MODEL, _DESCRIPTION])
        size = len(contents[_DESCRIPTION])
        if size > _DESCRIPTION_BYTES:
            raise CheckpointError(
                f"{size:,} bytes, {_DESCRIPTION_BYTES:,} at most", where=str(path / _DESCRIPTION)
            )
        try:
            description = jsontext.decode(contents[_DESCRIPTION])
        except ValueError as error:
            raise CheckpointError(f"no JSON: {error}", where=str(path / _DESCRIPTION)) from error
        return tensors.decode(contents[_MODEL], where=str(path / _MODEL)), description

    def _refuse_if_taken(self, force: bool) -> None:
        entries = {path.name for path in self.path.iterdir()} - {_LOCK}
        if not entries:
            return
        foreign = _foreign(self.path)
        if foreign is not None:
            raise OutputError(
                f"{self.path} is not the folder of a run: it holds {foreign}",
                next="give another name; nothing there was touched",
            )
        if not force:
            if not (self.config.is_file() and self.meta.is_file()):
                raise OutputError(
                    f"{self.path} already holds an unfinished run, stopped before it began",
                    next="give another name, or replace it with --force",
                )
            state = "a finished run" if self.finished else "an unfinished run"
            raise OutputError(
                f"{self.path} already holds {state}",
                next=f"go on with `pullback resume {self.path}`, give another name, "
                "or replace it with --force",
            )

    def _clear(self) -> None:
        # These first: a deletion that is cut short then leaves nothing that `open` takes for a run.
        self.result.unlink(missing_ok=True)
        self.meta.unlink(missing_ok=True)
        for path in self.path.iterdir():
            if path.name != _LOCK:
                discard(path)


def _foreign(root: Path) -> str | None:
    """Return something in a folder that shows that it is not a run and nothing else, or None."""
    if not (root / _LOCK).is_file() and not (root / "meta.json").is_file():
        return min(path.name for path in root.iterdir())
    for place, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = Path(place, name)
            told = path.relative_to(root).as_posix()
            if path.is_symlink():
                return told
            if name in files and not _FILES.fullmatch(told):
                return told
            if name in folders and "/" not in told and not _FOLDERS.fullmatch(told):
                return told
    return None
