"""From the columns of a table to one matrix: numbers as they are, categories one-hot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from .table import Table

_MOST_CATEGORIES = 1000


@dataclass(frozen=True)
class Column:
    """One column of the inputs: its categories, sorted, or None if it holds numbers."""

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features that it becomes."""
        if self.categories is None:
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)


@dataclass(frozen=True)
class Encoder:
    """The encoding that the training rows of a table have fixed.

    A categorical column with categories c₁..c_m becomes m features, (1 if the cell is c_i else 0).
    """

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, table: Table, rows: np.ndarray) -> Encoder:
        """Take the categories from the rows of the training part only.

        Raises:
            DataError: a column has more than 1,000 categories.
        """
        return cls(tuple(_fit(name, cells[rows], table) for name, cells in table.inputs.items()))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the encoded columns."""
        return tuple(feature for column in self.columns for feature in column.features)

    def apply(self, table: Table) -> np.ndarray:
        """Encode a table; its columns may stand in any order.

        Shapes: (n, number of features), float64

        Raises:
            DataError: a column is missing or unknown, holds text for numbers, or a category that
                the training rows did not have.
        """
        names = [column.name for column in self.columns]
        _refuse_difference("lacks", set(names) - set(table.inputs), table)
        _refuse_difference("has the unknown", set(table.inputs) - set(names), table)
        parts = [_encode(column, table.inputs[column.name], table) for column in self.columns]
        return np.concatenate(parts, axis=1)

    def to_json(self) -> list[dict]:
        """Return plain lists and dictionaries."""
        return [
            {"name": c.name, "categories": None if c.categories is None else list(c.categories)}
            for c in self.columns
        ]

    @classmethod
    def from_json(cls, stored: Sequence[dict]) -> Encoder:
        """Return what `to_json` stored.

        Raises:
            ValueError: names of columns, or the categories of one, are not texts, or not different.
        """
        categories = [c["categories"] for c in stored]
        return cls(
            tuple(
                Column(name, None if each is None else names(each))
                for name, each in zip(names([c["name"] for c in stored]), categories, strict=True)
            )
        )


def names(stored: object) -> tuple[str, ...]:
    """A stored list of names, which are texts and each another.

    Raises:
        ValueError: it is not that.
    """
    if not isinstance(stored, list) or not all(isinstance(name, str) for name in stored):
        raise ValueError("names are a list of texts")
    if len(set(stored)) < len(stored):
        raise ValueError("a name is there twice")
    return tuple(stored)


def _fit(name: str, cells: np.ndarray, table: Table) -> Column:
    if cells.dtype == np.float64:
        return Column(name)
    categories = tuple(sorted(set(cells)))
    if len(categories) > _MOST_CATEGORIES:
        raise DataError(
            f"the column has {len(categories)} categories, at most {_MOST_CATEGORIES} are taken",
            where=f"{table.name}, column '{name}'",
            next="ignore it or merge categories",
        )
    return Column(name, categories)


def _encode(column: Column, cells: np.ndarray, table: Table) -> np.ndarray:
    if column.categories is None:
        if cells.dtype != np.float64:
            raise DataError(
                f"{cells[0]!r} is not a number",
                where=f"{table.name}, row {table.rows[0]}, column '{column.name}'",
            )
        return cells[:, None]
    position = {category: i for i, category in enumerate(column.categories)}
    codes = np.array([position.get(cell, -1) for cell in cells])
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        shown = ", ".join(map(repr, column.categories[:10])) + (", …" if len(position) > 10 else "")
        raise DataError(
            f"{cells[row]!r} is not among the categories of the training rows ({shown})",
            where=f"{table.name}, row {table.rows[row]}, column '{column.name}'",
            next="merge it with another category or remove the row",
        )
    return np.eye(len(position))[codes]


def _refuse_difference(verb: str, names: set[str], table: Table) -> None:
    if names:
        listed = ", ".join(f"'{name}'" for name in sorted(names))
        word = "column" if len(names) == 1 else "columns"
        raise DataError(f"the table {verb} {word} {listed}", where=table.name)
