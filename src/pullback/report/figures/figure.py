"""What every figure of the report is: an image, words that stand for it, and its numbers."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

LONGEST_TABLE = 200
_NUMBER = re.compile(r"[-+]?(\d|inf|nan$)|–")
T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """The numbers of a figure, as text.

    Attributes:
        header: the names of the columns.
        rows: the cells, already said in words.
        stride: 1, or n where only every n-th row, and the last, of a long table was kept.
        total: how many rows there were.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    stride: int
    total: int

    @property
    def worded(self) -> list[int]:
        """The columns, counted from 1, that hold words; the others hold numbers."""
        columns = enumerate(zip(*self.rows, strict=True), start=1)
        return [n for n, cells in columns if not all(_NUMBER.match(cell) for cell in cells)]


@dataclass(frozen=True)
class Tile:
    """One picture of a sprite sheet: where it lies, and what is said beneath it.

    Attributes:
        x: its place from the left edge, in per cent, as CSS counts a background's position.
        y: its place from the upper edge, likewise.
        caption: the line beneath.
        note: a second line, smaller.
    """

    x: float
    y: float
    caption: str
    note: str


@dataclass(frozen=True)
class Sheet:
    """Many small pictures of one size in one, which a page cuts and scales.

    Attributes:
        columns: pictures in a line.
        aspect: width over height of one picture.
        tiles: the pictures, line by line.
    """

    columns: int
    aspect: float
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        id: unique in a run; the name of its file.
        title: a few words, the heading.
        caption: what is drawn, with what was left out or thinned.
        alt: what the picture shows, for a reader who does not see it.
        image: the bytes of the picture.
        format: of `image`.
        table: the numbers behind it.
        sheet: how to cut the image, if it is many pictures in one.
        wide: whether it wants the whole width of the page.
    """

    id: str
    title: str
    caption: str
    alt: str
    image: bytes
    format: Literal["svg", "png"]
    table: Table
    sheet: Sheet | None = None
    wide: bool = False

    @property
    def uri(self) -> str:
        """The picture as a `data:` address, so that a page needs no second file."""
        kind = "image/svg+xml" if self.format == "svg" else "image/png"
        return f"data:{kind};base64,{base64.b64encode(self.image).decode()}"


@dataclass(frozen=True)
class Absent:
    """A figure that cannot be drawn, and why."""

    id: str
    title: str
    reason: str


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Make a table; of one longer than `LONGEST_TABLE` keep every n-th row, and the last.

    >>> long = table(["n"], [[n] for n in range(1000)])
    >>> len(long.rows), long.stride, long.rows[1], long.rows[-1]
    (168, 6, ('6',), ('999',))
    """
    stride = math.ceil(len(rows) / (LONGEST_TABLE - 1)) if len(rows) > LONGEST_TABLE else 1
    kept = [row for n, row in enumerate(rows) if n % stride == 0 or n == len(rows) - 1]
    cells = tuple(tuple(str(cell) for cell in row) for row in kept)
    return Table(tuple(header), cells, stride, len(rows))


def thin(items: Sequence[T], most: int) -> list[T]:
    """Keep at most `most` items at equal distances, the first and the last among them.

    >>> thin("abcdefg", 3)
    ['a', 'd', 'g']
    """
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
