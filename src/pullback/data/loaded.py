"""From what an experiment says of its data to the parts that it trains and judges on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar, assert_never

import numpy as np

from ..errors import ConfigError
from .aligned import aligned
from .arrays import read_npy, read_npz
from .encode import Encoder
from .examples import Examples
from .generated import circles, digits, moons, xor
from .images import fashion_mnist, mnist
from .labels import keep_classes
from .parts import split
from .pixels import Pixels
from .prepare import Preparation
from .rows import Rows, row_bytes
from .spec import DataSpec
from .standardize import Standardizer
from .store import data_directory
from .table import Table, read_table

_MEGABYTE = 10**6
_Data = TypeVar("_Data", Examples, Table)


@dataclass(frozen=True, eq=False)
class Loaded:
    """The parts of the data, ready for training: their x, read from disk or not, is prepared.

    Args:
        train: the training part.
        validation: the part on which decisions are taken; None if there is none.
        test: the part on which nothing is decided; None if there is none.
        preparation: what was fitted on the training part, for new inputs.
        name: the source.
        checksum: SHA-256 of the source's content, whatever the split and the type.
    """

    train: Examples
    validation: Examples | None
    test: Examples | None
    preparation: Preparation
    name: str
    checksum: str


def load(
    spec: DataSpec, data_dir: Path | str | None = None, dtype: np.dtype | type = np.float32
) -> Loaded:
    """Read, divide, encode and standardise.

    All that is fitted (categories, means, deviations) is fitted on the training part alone.

    Args:
        spec: what to load.
        data_dir: the directory of the published data sets; see `data_directory`.
        dtype: float32 or float64.

    Raises:
        ConfigError: dtype is not floating point; there are too few examples for the folds.
        DataError: the data are absent, broken, or do not suit what is asked.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ConfigError(f"data come as float32 or float64, got {dtype}")
    source, given_test = _read(spec, data_dir, dtype)
    if spec.classes:
        source = _only(source, spec.classes)
        given_test = None if given_test is None else _only(given_test, spec.classes)
    rows = split(
        len(source),
        None if source.classes is None else source.y,
        spec.split,
        spec.seed,
        given_test=given_test is not None,
        folds=spec.folds,
        fold=spec.fold,
        classes=source.classes,
    )
    encoder = Encoder.fit(source, rows.train) if isinstance(source, Table) else None
    whole = _encoded(source, encoder) if isinstance(source, Table) else source
    train = whole.take(rows.train)
    preparation = Preparation(
        shape=whole.x.shape[1:],
        encoder=encoder,
        standardizer=Standardizer.fit(train.x) if spec.standardize else None,
        classes=whole.classes,
        unused=tuple(name for name in (spec.target, spec.weight, *spec.ignore) if name is not None),
    )

    def part(examples: Examples) -> Examples:
        return _prepared(examples, preparation, dtype, spec.stream_above_mb * _MEGABYTE)

    if spec.join_validation:
        # What was fitted stays as it was: weights from before the joining go on being right.
        train = whole.take(np.concatenate([rows.train, _there(rows.validation)]))
    test = given_test if rows.test is None else whole.take(rows.test)
    return Loaded(
        train=part(train),
        validation=None if rows.validation is None else part(whole.take(rows.validation)),
        test=None if test is None else part(test),
        preparation=preparation,
        name=whole.name,
        checksum=whole.checksum,
    )


def _there(validation: np.ndarray | None) -> np.ndarray:
    if validation is None:
        raise ConfigError(
            "there is no validation part to be joined to the training part",
            where="the key 'data.join_validation'",
            next="give a split with three parts, or set it to false",
        )
    return validation


def _read(
    spec: DataSpec, data_dir: Path | str | None, dtype: np.dtype
) -> tuple[Examples | Table, Examples | None]:
    """Return the examples of a source, and its own test part if it has one."""
    drawn = {key: value for key in ("n", "noise") if (value := getattr(spec, key)) is not None}
    match spec.source:
        case "digits":
            return digits(dtype), None
        case "circles":
            return circles(**drawn, seed=spec.seed, dtype=dtype), None
        case "moons":
            return moons(**drawn, seed=spec.seed, dtype=dtype), None
        case "xor":
            return xor(**drawn, seed=spec.seed, dtype=dtype), None
        case "mnist":
            return mnist(data_directory(data_dir), dtype)
        case "fashion-mnist":
            return fashion_mnist(data_directory(data_dir), dtype)
        case "file":
            return _read_file(spec, dtype), None
        case never:
            assert_never(never)


def _read_file(spec: DataSpec, dtype: np.dtype) -> Examples | Table:
    assert spec.path is not None
    path = Path(spec.path).expanduser()
    if spec.suffix == ".npz":
        return read_npz(path, task=spec.task, image=spec.image, dtype=dtype)
    if spec.suffix == ".npy":
        assert spec.target_path is not None
        return read_npy(
            path,
            Path(spec.target_path).expanduser(),
            limit_bytes=spec.stream_above_mb * _MEGABYTE,
            task=spec.task,
            image=spec.image,
            dtype=dtype,
        )
    assert spec.target is not None
    return read_table(
        path,
        target=spec.target,
        categorical=spec.categorical,
        ignore=spec.ignore,
        task=spec.task,
        weight=spec.weight,
    )


def _only(data: _Data, classes: tuple[str, ...]) -> _Data:
    """Keep the examples of these classes."""
    assert data.y is not None
    rows, y = keep_classes(data.y, data.classes, classes, data.name)
    return replace(data.take(rows), y=y, classes=classes)


def _prepared(
    examples: Examples, preparation: Preparation, dtype: np.dtype, limit_bytes: float
) -> Examples:
    """Prepare the inputs of a part; those on disk now if they fit into memory, else when read."""
    x = examples.x
    if isinstance(x, Rows):
        rows = x.prepared(partial(preparation.finish, dtype=dtype), dtype)
        fits = len(rows) * row_bytes(rows) <= limit_bytes
        return replace(examples, x=aligned(rows[:]) if fits else rows)
    if isinstance(x, Pixels):
        # They were read in this type.
        standard = preparation.standardizer
        return examples if standard is None else replace(examples, x=standard.apply(x, dtype))
    return replace(examples, x=aligned(preparation.finish(x, dtype)))


def _encoded(table: Table, encoder: Encoder) -> Examples:
    assert table.y is not None
    return Examples(
        x=encoder.apply(table),
        y=table.y,
        weight=table.weight,
        classes=table.classes,
        features=encoder.features,
        name=table.name,
        checksum=table.checksum,
    )
