"""CSV: comma-separated cells in UTF-8 under a header, read with the standard library."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import numpy as np

from ..errors import DataError
from .cells import is_number
from .raw import Raw, check_names


def read_csv(path: Path) -> Raw:
    """Read the cells of a CSV file as text; a row is named as in a spreadsheet, the header being 1.

    Raises:
        DataError: the file is absent, empty, not UTF-8, or its rows are of different length.
    """
    text, checksum = _text(path)
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(lines, [])]
        _check_header(header, path)
        cells, rows = [], []
        for row in lines:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"the row has {len(row)} cells, the header {len(header)}",
                    where=f"{path}, row {lines.line_num}",
                )
            cells.append(row)
            rows.append(lines.line_num)
    except csv.Error as error:
        raise DataError(f"not CSV: {error}", where=f"{path}, row {lines.line_num}") from error
    if not rows:
        raise DataError("the file has a header and no rows", where=str(path))
    columns = (np.array(values, object) for values in zip(*cells, strict=True))
    return Raw(dict(zip(header, columns, strict=True)), np.array(rows), checksum)


def _text(path: Path) -> tuple[str, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start} is not UTF-8", where=str(path), next="save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise DataError("the file is binary, not CSV", where=str(path))
    return text, hashlib.sha256(content).hexdigest()


def _check_header(header: list[str], path: Path) -> None:
    where = f"{path}, row 1"
    if not header:
        raise DataError("the file has no header", where=where, next="name the columns there")
    if len(header) == 1 and ";" in header[0]:
        raise DataError("the cells are separated by ';'", where=where, next="save it with commas")
    if all(is_number(name) for name in header):
        raise DataError(
            "the first row holds numbers, a header is wanted",
            where=where,
            next="name the columns there",
        )
    check_names(header, where)
