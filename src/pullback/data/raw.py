"""The columns of a file before anything is made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import DataError


@dataclass(frozen=True, eq=False)
class Raw:
    """Columns as they were read.

    Args:
        columns: name → (n,) cells: str objects, or float64 with nan where a value is missing.
        rows: (n,) the row of the file that each comes from, as its user counts.
        checksum: SHA-256 of the file.
    """

    columns: dict[str, np.ndarray]
    rows: np.ndarray
    checksum: str


def check_names(names: list[str], where: str) -> None:
    """Refuse columns whose names are empty, repeated, or not printable on one line.

    Raises:
        DataError: there is such a column.
    """
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"column {number} has no name", where=where, next="name or remove it")
        if not name.isprintable():
            raise DataError(f"column {number} has the name {name!r}", where=where, next="rename it")
        if names.count(name) > 1:
            raise DataError(f"two columns are named '{name}'", where=where, next="rename one")
