"""A user's table: columns of numbers and text, with a target if it has one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
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
        y: class indices (n,), or numbers (n, 1); None if no target was asked for.
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


def read_table(
    path: Path,
    *,
    target: str | None = None,
    categorical: Collection[str] = (),
    ignore: Collection[str] = (),
    task: Task = "auto",
    weight: str | None = None,
) -> Table:
    """Read a CSV or Parquet file.

    A column is numeric if every cell is a number, categorical if it is listed as such or no cell is
    a number; a mixture and a missing value are refused, with their row and column.

    Args:
        path: the file; its suffix says what it is.
        target: the column to be predicted; None reads inputs only.
        categorical: columns to take for text, whatever their cells look like.
        ignore: columns to leave out unread.
        task: what the target is meant as; see `targets_of`.
        weight: the column that says how much a row counts.

    Raises:
        DataError: the file or a column is not what it should be.
    """
    raw = READERS[path.suffix.lower()](path)
    for role, names in (
        ("target", [target] if target is not None else []),
        ("weight", [weight] if weight is not None else []),
        ("categorical", categorical),
        ("ignore", ignore),
    ):
        _check_names(role, names, raw, path)
    where = str(path)

    def typed(name: str, text: bool) -> np.ndarray:
        return column(raw.columns[name], name, raw.rows, where, text=text)

    inputs = {
        name: typed(name, name in categorical)
        for name in raw.columns
        if name not in (target, weight) and name not in ignore
    }
    if not inputs:
        raise DataError("no column is left as an input", where=where)
    y, classes = None, None
    if target is not None:
        text = target in categorical
        values = _labels(raw, target, where) if task == "classification" else typed(target, text)
        y, classes = targets_of(values, task, f"{path}, column '{target}'")
    return Table(
        name=path.name,
        inputs=inputs,
        rows=raw.rows,
        checksum=raw.checksum,
        y=y,
        classes=classes,
        weight=None if weight is None else _weights(raw, weight, where),
    )


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
            f"weights are numbers, got '{values[0]}'",
            where=f"{where}, row {raw.rows[0]}, column '{name}'",
        )
    return values


def _check_names(role: str, names: Collection[str], raw: Raw, path: Path) -> None:
    for name in names:
        if name not in raw.columns:
            raise DataError(
                f"{role} names the column '{name}', which is not there",
                where=str(path),
                next=nearest(name, raw.columns),
            )
