"""From the JSON of a request to raw inputs, as a file would have given them, and no others.

Rows and columns are counted from 0, as they are in the body.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..data import Encoder, Preparation
from ..data.cells import column
from ..data.encode import Column
from ..data.table import Table
from ..errors import DataError
from .limits import RefusedError

_WHERE = "the request"

# Characters of a value that an error repeats.
_LONG = 60


def read(document: Any, preparation: Preparation, most: int) -> Table | np.ndarray:
    """Take `{"rows": [...]}` for a table or an array, whichever the model was trained on.

    Raises:
        DataError: a row is not like those of the training, named with its column.
        RefusedError: there are too many rows.
    """
    if type(document) is not dict:
        raise DataError(f'the body is {_told(document)}, an object {{"rows": [...]}} is wanted')
    for name in document:
        if name != "rows":
            raise DataError(f"the body has the unknown member {_told(name)}, 'rows' is wanted")
    if "rows" not in document:
        raise DataError("the body lacks the member 'rows'")
    rows = document["rows"]
    if type(rows) is not list:
        raise DataError(f"'rows' is {_told(rows)}, a list is wanted")
    if not rows:
        raise DataError("'rows' is empty, at least one row is wanted")
    if len(rows) > most:
        raise RefusedError(413, f"the body has {len(rows)} rows, at most {most} are taken")
    if preparation.encoder is None:
        return _array(rows, preparation.shape)
    return _table(rows, preparation.encoder, preparation.unused)


def _array(rows: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty((len(rows), *shape))
    for i, row in enumerate(rows):
        _fill(array[i], row, i, ())
    return array


def _fill(out: np.ndarray, cells: Any, row: int, place: tuple[int, ...]) -> None:
    if type(cells) is not list or len(cells) != len(out):
        got = f"has {len(cells)} entries" if type(cells) is list else f"is {_told(cells)}"
        where = f"row {row}" + (f", column {_column(place)}" if place else "")
        wanted = f"{len(out)} {'numbers' if out.ndim == 1 else 'lists'}"
        raise DataError(f"{where} {got}, a list of {wanted} is wanted")
    if out.ndim > 1:
        for j, inner in enumerate(cells):
            _fill(out[j], inner, row, (*place, j))
        return
    if not _filled(out, cells):
        for j, cell in enumerate(cells):
            out[j] = _number(cell, row, _column((*place, j)))


def _filled(out: np.ndarray, cells: list[Any]) -> bool:
    """Fill in finite numbers all at once; say whether that is what they were."""
    # A bool is an int to Python, hence the exact types.
    if not set(map(type, cells)) <= {float, int}:
        return False
    try:
        out[:] = cells
    except OverflowError:  # an int beyond float64
        return False
    return bool(np.isfinite(out).all())


def _column(place: tuple[int, ...]) -> str:
    return str(place[0] if len(place) == 1 else place)


def _table(rows: list[Any], encoder: Encoder, unused: tuple[str, ...]) -> Table:
    columns = encoder.columns
    names = [each.name for each in columns]
    known = {*names, *unused}
    for i, row in enumerate(rows):
        if type(row) is not dict:
            raise DataError(f"row {i} is {_told(row)}, an object of columns is wanted")
        for name in names:
            if name not in row:
                raise DataError(f"row {i} lacks the column {name!r}")
        for name in row:
            if name not in known:
                raise DataError(f"row {i} has the unknown column {_told(name)}")
    index = np.arange(len(rows))
    inputs = {each.name: _cells([row[each.name] for row in rows], each, index) for each in columns}
    return Table(_WHERE, inputs, index, checksum="none: the rows come from no file")


def _cells(cells: list[Any], wanted: Column, index: np.ndarray) -> np.ndarray:
    name = wanted.name
    if wanted.categories is not None:
        texts = [_text(cell, i, wanted) for i, cell in enumerate(cells)]
        return column(np.array(texts, object), name, index, _WHERE, text=True)
    out = np.empty(len(cells))
    if not _filled(out, cells):
        for i, cell in enumerate(cells):
            out[i] = _number(cell, i, repr(name))
    return out


def _number(cell: Any, row: int, column: str) -> float:
    if type(cell) is not float and type(cell) is not int:
        raise DataError(f"{_told(cell)} is not a number, in row {row}, column {column}")
    try:
        number = float(cell)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"the number is too large, in row {row}, column {column}")
    return number


def _text(cell: Any, row: int, wanted: Column) -> str:
    where = f"in row {row}, column {wanted.name!r}"
    if type(cell) is not str:
        raise DataError(f"{_told(cell)} is not text, {where}")
    # The encoder would repeat it whole.
    if len(cell) > _LONG and cell.strip() not in (wanted.categories or ()):
        raise DataError(f"{_told(cell)} is not among the categories of the training rows, {where}")
    return cell


def _told(value: Any) -> str:
    """A value as it is named in a sentence, never at length."""
    if type(value) is list:
        return "a list"
    if type(value) is dict:
        return "an object"
    if value is None or type(value) is bool:
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
