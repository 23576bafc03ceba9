"""Parquet, through the optional package pyarrow."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..errors import DataError
from .raw import Raw, check_names


def read_parquet(path: Path) -> Raw:
    """Read the columns of a Parquet file: numbers and booleans as float64, text as text.

    Rows are counted from 1.

    Raises:
        DataError: pyarrow is not installed; the file is absent, broken or empty, or holds a column
            of another type.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            "Parquet needs the package pyarrow", next="pip install 'pullback[parquet]'"
        ) from error
    try:
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
            table = parquet.read_table(file)
        names = table.column_names
        check_names(names, str(path))
        columns = {name: _cells(table.column(name), name, path) for name in names}
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read Parquet: {reason}", where=str(path)) from error
    if not table.num_rows or not table.num_columns:
        raise DataError("the file has no rows or no columns", where=str(path))
    return Raw(columns, np.arange(1, table.num_rows + 1), checksum)


def _cells(column, name: str, path: Path) -> np.ndarray:
    """Turn a pyarrow column into cells; a missing text becomes the empty one."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        cells = column.cast(pyarrow.float64(), safe=False).to_pylist()
        return np.array([np.nan if cell is None else cell for cell in cells], np.float64)
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array(["" if cell is None else cell for cell in column.to_pylist()], object)
    raise DataError(
        f"the column has type {kind}, numbers, booleans or text are wanted",
        where=f"{path}, column '{name}'",
        next="convert or remove it",
    )
