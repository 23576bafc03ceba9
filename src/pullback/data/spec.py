"""What an experiment says of its data."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from ..errors import ConfigError, nearest
from .labels import Task
from .parts import Fractions

Source = Literal["digits", "circles", "moons", "xor", "mnist", "fashion-mnist", "file"]

_OF_PLANE = {"n", "noise"}
_OF_TABLE = {"path", "target", "categorical", "ignore", "weight", "task"}
_OF_NPZ = {"path", "task", "image"}
_OF_NPY = {"path", "target_path", "task", "image", "stream_above_mb"}
_OF_SUFFIX = {
    ".csv": _OF_TABLE,
    ".parquet": _OF_TABLE,
    ".pq": _OF_TABLE,
    ".npz": _OF_NPZ,
    ".npy": _OF_NPY,
}
_OF_SOURCE = {"circles": _OF_PLANE, "moons": _OF_PLANE, "xor": _OF_PLANE}
_OF_ALL = {
    "source",
    "classes",
    "split",
    "folds",
    "fold",
    "join_validation",
    "standardize",
    "seed",
}


@dataclass(frozen=True)
class DataSpec:
    """The data of an experiment: a source, what belongs to it, and how it is divided.

    Args:
        source: a data set by name, or "file" for the user's own.
        path: the file: .csv, .parquet, .npz (arrays x, y and perhaps weight) or .npy (x).
        target: the column of a table to be predicted.
        target_path: the .npy file of targets that goes with .npy inputs.
        categorical: columns of a table to take for text, whatever they hold.
        ignore: columns of a table to leave out.
        weight: the column of a table that says how much a row counts.
        task: what the target of a file is meant as; see `targets_of`.
        classes: the classes to keep, in this order, of two or more; all if empty.
        image: (height, width) as which a row of .npz or .npy inputs may be drawn.
        n: the number of points to draw (circles, moons, xor).
        noise: the deviation of the noise added to them.
        split: "auto", or fractions that add up to 1: three (training, validation, test), or two
            (training, validation) where the source has its own test part; see `split`.
        folds: into how many folds the training and the validation part are dealt together, for
            cross-validation: one validates, the others train; 0 for none.
        fold: the one that validates, from 0 on.
        join_validation: whether the validation part is trained on as well; it is still evaluated.
        standardize: whether features are brought to mean 0 and deviation 1, fitted on training.
        stream_above_mb: .npy inputs larger than this stay on disk.
        seed: the seed of drawn points and of the split.

    Raises:
        ConfigError: a value is out of range, or does not belong to the source.

    >>> DataSpec("digits", noise=0.1)
    Traceback (most recent call last):
    ...
    pullback.errors.ConfigError: noise does not belong to data from 'digits'; remove it
    """

    source: Source = "digits"
    path: Path | str | None = None
    target: str | None = None
    target_path: Path | str | None = None
    categorical: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    weight: str | None = None
    task: Task = "auto"
    classes: tuple[str, ...] = ()
    image: tuple[int, ...] | None = None
    n: int | None = None
    noise: float | None = None
    split: Fractions = "auto"
    folds: int = 0
    fold: int = 0
    join_validation: bool = False
    standardize: bool = False
    stream_above_mb: float = 2048
    seed: int = 0

    def __post_init__(self):
        """Check the settings."""
        if self.source not in get_args(Source):
            raise ConfigError(
                f"there is no source of data '{self.source}'",
                next=nearest(self.source, get_args(Source)),
            )
        if self.task not in get_args(Task):
            raise ConfigError(
                f"there is no task '{self.task}'", next=nearest(self.task, get_args(Task))
            )
        self._refuse_strangers()
        self._check_file()
        self._check_ranges()
        self._check_split()
        self._check_folds()

    @property
    def suffix(self) -> str:
        """The kind of the file, such as ".csv"."""
        return Path(self.path or "").suffix.lower()

    @property
    def gives_test(self) -> bool:
        """Whether the source has a test part of its own."""
        return self.source in ("mnist", "fashion-mnist")

    def _refuse_strangers(self):
        """Refuse what was set and does not belong to the source."""
        if self.source != "file":
            own, origin = _OF_SOURCE.get(self.source, set()), self.source
        elif self.path is None:
            raise ConfigError("data from a file want a path", next="set path")
        elif self.suffix not in _OF_SUFFIX:
            raise ConfigError(
                f"'{self.path}' is of no known kind", next=f"known: {', '.join(_OF_SUFFIX)}"
            )
        else:
            own, origin = _OF_SUFFIX[self.suffix], self.suffix
        for field in fields(self):
            if field.name in own | _OF_ALL or getattr(self, field.name) == field.default:
                continue
            raise ConfigError(
                f"{field.name} does not belong to data from '{origin}'", next="remove it"
            )

    def _check_file(self):
        if self.suffix == ".npy" and self.target_path is None:
            raise ConfigError(".npy inputs want target_path, a .npy file of targets")
        if "target" in _OF_SUFFIX.get(self.suffix, ()) and self.target is None:
            raise ConfigError("a table wants target, the column to be predicted")
        for name in self.ignore:
            if name in (self.target, self.weight, *self.categorical):
                raise ConfigError(f"column '{name}' is ignored and used", next="do one of both")
        if self.weight is not None and self.weight == self.target:
            raise ConfigError(f"column '{self.weight}' cannot be both target and weight")

    def _check_ranges(self):
        if self.n is not None and self.n < 1:
            raise ConfigError(f"n must be at least 1, got {self.n}")
        if self.noise is not None and not 0 <= self.noise < math.inf:
            raise ConfigError(f"noise must be finite and at least 0, got {self.noise}")
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, got {self.seed}")
        if not self.stream_above_mb > 0:
            raise ConfigError(f"stream_above_mb must be positive, got {self.stream_above_mb}")
        if self.classes and len(set(self.classes)) < max(2, len(self.classes)):
            raise ConfigError(f"classes must be two or more different names, got {self.classes}")
        if self.image is not None and (len(self.image) != 2 or min(self.image) < 1):
            raise ConfigError(f"image must be (height, width), got {self.image}")

    def _check_split(self):
        if self.split == "auto":
            return
        wanted = "two fractions (training, validation)" if self.gives_test else "three fractions"
        if isinstance(self.split, str) or len(self.split) != (2 if self.gives_test else 3):
            raise ConfigError(
                f"split must be 'auto' or {wanted} for '{self.source}', got {self.split}"
            )
        if not all(0 <= share <= 1 for share in self.split) or not self.split[0] > 0:
            raise ConfigError(
                f"split wants fractions in [0, 1], training above 0, got {self.split}"
            )
        if not math.isclose(sum(self.split), 1, abs_tol=1e-6):
            raise ConfigError(f"split must add up to 1, got {sum(self.split):g}")

    def _check_folds(self):
        if self.folds < 0 or self.folds == 1:
            raise ConfigError(f"folds must be 0, for none, or at least 2, got {self.folds}")
        if not self.folds and self.fold:
            raise ConfigError(f"fold = {self.fold} is of no folds", next="set folds, or remove it")
        if self.folds and not 0 <= self.fold < self.folds:
            raise ConfigError(
                f"fold must be one of 0 to {self.folds - 1}, there are {self.folds} folds, "
                f"got {self.fold}"
            )
        if self.folds and self.join_validation:
            raise ConfigError(
                "a fold that is held out is not joined to the training part",
                next="set folds = 0 or join_validation = false",
            )
