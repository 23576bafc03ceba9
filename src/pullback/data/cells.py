"""The cells of a table's column: numbers, or text, but not both."""

from __future__ import annotations

import numpy as np

from ..errors import DataError

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})


def column(
    cells: np.ndarray, name: str, rows: np.ndarray, where: str, *, text: bool = False
) -> np.ndarray:
    """Read a column: float64 if every cell is a number, text if it is asked for or no cell is one.

    Args:
        cells: (n,) str objects, or float64 with nan where a value is missing.
        name: the column's name.
        rows: (n,) the row of the file that each cell comes from, for errors.
        where: the file.
        text: whether the column holds categories, whatever its cells look like.

    Returns:
        (n,) float64, or stripped str objects.

    Raises:
        DataError: a cell is missing, infinite, or text among numbers.

    >>> column(np.array(["1", "2.5"], object), "age", np.array([2, 3]), "people.csv")
    array([1. , 2.5])
    """
    if cells.dtype == np.float64:
        _refuse_not_finite(cells, name, rows, where)
        return np.array([as_text(value) for value in cells], object) if text else cells
    numbers = None if text else _numbers(cells)
    if numbers is not None:
        _refuse_not_finite(numbers, name, rows, where)
        return numbers
    stripped = np.array([cell.strip() for cell in cells], object)
    for cell, row in zip(stripped, rows, strict=True):
        if cell.lower() in MISSING:
            raise _missing(cell, name, int(row), where)
    if not text:
        numeric = np.array([is_number(cell) for cell in cells])
        if numeric.any():
            odd = int(np.flatnonzero(~numeric)[0])
            raise DataError(
                f"{stripped[odd]!r} is not a number",
                where=f"{where}, row {rows[odd]}, column '{name}'",
                next=f"mend it or list '{name}' under categorical",
            )
    return stripped


def as_text(value: object) -> str:
    """Write a value as a name: whole numbers without a decimal point, all else as Python does.

    >>> as_text(3.0), as_text(2.5), as_text("three")
    ('3', '2.5', 'three')
    """
    if isinstance(value, float | np.floating) and value == np.floor(value):
        return str(int(value))
    return str(value)


def _numbers(cells: np.ndarray) -> np.ndarray | None:
    # float() takes 1_000 for a number; in a table it is a code.
    if "_" in "".join(cells):
        return None
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None


def is_number(cell: str) -> bool:
    """Say whether a cell reads as a number, be it finite or not."""
    if "_" in cell:
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_not_finite(numbers: np.ndarray, name: str, rows: np.ndarray, where: str) -> None:
    bad = np.flatnonzero(~np.isfinite(numbers))
    if not len(bad):
        return
    value, row = numbers[bad[0]], int(rows[bad[0]])
    if np.isnan(value):
        raise _missing("nan", name, row, where)
    raise DataError(f"{value} is not finite", where=f"{where}, row {row}, column '{name}'")


def _missing(cell: str, name: str, row: int, where: str) -> DataError:
    return DataError(
        f"a value is missing ({cell!r})",
        where=f"{where}, row {row}, column '{name}'",
        next="fill it in or remove the row",
    )
