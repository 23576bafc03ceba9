"""A user's table: columns of numbers and text, with a target if it has one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import DataError, nearest
from .cells import column
from .csv_file import read_csv
from .labels import Task, targets_of
from .parquet_file import read_parquet
from .raw import Raw

READERS = {".csv": read_csv, ".parquet": read_parquet, ".pq": read_parquet}


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a file, typed but not encoded: an `Encoder` makes inputs of them.

    Args:
        name: the file.
        inputs: column name → (n,) float64, or str objects for a categorical column.
        rows: (n,) the row of the file that each comes from, as its user counts.
        checksum: SHA-256 of the file.
        y: class indices (n,), or numbers (n, 1); None for new inputs.
        classes: the names of the classes; None for regression.
        weight: (n,) how much each row counts.
    """

    name: str
    inputs: dict[str, np.ndarray]
    rows: np.ndarray
    checksum: str
    y: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def take(self, index: np.ndarray) -> Table:
        """Return the rows at `index`."""
        return replace(
            self,
            inputs={name: cells[index] for name, cells in self.inputs.items()},
            rows=self.rows[index],
            y=None if self.y is None else self.y[index],
            weight=None if self.weight is None else self.weight[index],
        )


def read_table(
    path: Path,
    *,
    target: str,
    categorical: Collection[str] = (),
    ignore: Collection[str] = (),
    task: Task = "auto",
    weight: str | None = None,
) -> Table:
    """Read a CSV or Parquet file to train on.

    A column is numeric if every cell is a number, categorical if it is listed as such or no cell is
    a number; a mixture and a missing value are refused, with their row and column.

    Args:
        path: the file; its suffix says what it is.
        target: the column to be predicted.
        categorical: columns to take for text, whatever their cells look like.
        ignore: columns to leave out unread.
        task: what the target is meant as; see `targets_of`.
        weight: the column that says how much a row counts.

    Raises:
        DataError: the file or a column is not what it should be.
    """
    raw, where = READERS[path.suffix.lower()](path), str(path)
    _check_names("target", [target], raw, where)
    _check_names("weight", [] if weight is None else [weight], raw, where)
    _check_names("categorical", categorical, raw, where)
    _check_names("ignore", ignore, raw, where)
    if task == "classification" and target not in categorical:
        values = _labels(raw, target, where)
    else:
        values = column(raw.columns[target], target, raw.rows, where, text=target in categorical)
    y, classes = targets_of(values, task, f"{where}, column '{target}'")
    return Table(
        name=path.name,
        inputs=_inputs(raw, categorical, {target, weight, *ignore}, where),
        rows=raw.rows,
        checksum=raw.checksum,
        y=y,
        classes=classes,
        weight=None if weight is None else _weights(raw, weight, where),
    )


def read_new(path: Path, *, categorical: Collection[str], unused: Collection[str]) -> Table:
    """Read a CSV or Parquet file of inputs alone, as `read_table` reads its inputs.

    Args:
        path: the file.
        categorical: columns to take for text.
        unused: columns that may be there, such as the target, and are left out unread.

    Raises:
        DataError: the file or a column is not what it should be.
    """
    raw, where = READERS[path.suffix.lower()](path), str(path)
    return Table(path.name, _inputs(raw, categorical, unused, where), raw.rows, raw.checksum)


def _inputs(
    raw: Raw, categorical: Collection[str], unused: Collection[str | None], where: str
) -> dict[str, np.ndarray]:
    inputs = {
        name: column(cells, name, raw.rows, where, text=name in categorical)
        for name, cells in raw.columns.items()
        if name not in unused
    }
    if not inputs:
        raise DataError("no column is left as an input", where=where)
    return inputs


def _labels(raw: Raw, target: str, where: str) -> np.ndarray:
    """Read a target known to hold classes, where text among numbers is a name like others."""
    cells = raw.columns[target]
    try:
        return column(cells, target, raw.rows, where)
    except DataError:
        return column(cells, target, raw.rows, where, text=True)


def _weights(raw: Raw, name: str, where: str) -> np.ndarray:
    values = column(raw.columns[name], name, raw.rows, where)
    if values.dtype != np.float64:
        raise DataError(
            f"weights are numbers, got {values[0]!r}",
            where=f"{where}, row {raw.rows[0]}, column '{name}'",
        )
    return values


def _check_names(role: str, names: Collection[str], raw: Raw, where: str) -> None:
    for name in names:
        if name not in raw.columns:
            raise DataError(
                f"{role} names the column '{name}', which is not there",
                where=where,
                next=nearest(name, raw.columns),
            )
