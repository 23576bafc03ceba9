"""What a target is: classes or numbers."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import DataError, nearest
from .cells import as_text
from .examples import not_finite
from .rows import first_not_finite

Task = Literal["auto", "classification", "regression"]

_MOST_CLASSES = 20


def targets_of(
    values: np.ndarray, task: Task, where: str
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Turn the values of a target into class indices with names, or into numbers.

    `auto` takes text, booleans, and whole numbers with at most 20 different values for classes,
    everything else for numbers. Classes are sorted: as numbers if they are, else as text.

    Args:
        values: (n,) text or numbers, or (n, k) numbers.
        task: what they are meant as.
        where: the place to name in an error.

    Returns:
        Indices (n,) and the classes' names, or numbers (n, k) of float64 and None.

    Raises:
        DataError: the values do not suit the task.

    >>> targets_of(np.array(["no", "yes", "no"]), "auto", "answers")
    (array([0, 1, 0]), ('no', 'yes'))
    """
    if values.ndim not in (1, 2) or values.dtype.kind not in "OUbiuf":
        raise DataError(
            f"targets have shape {values.shape} of {values.dtype}, "
            "text or numbers of shape (n,) or (n, k) are wanted",
            where=where,
        )
    bad = first_not_finite(values)
    if bad is not None:
        raise not_finite("y", values[bad], bad, where, None)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    text = values.dtype.kind in "OU"
    if values.ndim == 2 and (text or task == "classification"):
        raise DataError(
            f"a class is one value, the targets have {values.shape[1]} columns",
            where=where,
            next="give class numbers, not one-hot rows",
        )
    if task == "regression" and text:
        raise DataError(
            f"the target is text ({str(values[0])!r}), regression wants numbers",
            where=where,
            next="choose another target or task = 'classification'",
        )
    if task == "classification" or (task == "auto" and values.ndim == 1 and _are_classes(values)):
        return _classes(values, where)
    return values.reshape(len(values), -1).astype(np.float64), None


def keep_classes(
    y: np.ndarray, classes: tuple[str, ...] | None, wanted: tuple[str, ...], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the examples of some classes, and number these anew in the order of their naming.

    Returns:
        The rows to keep, ascending, and their class indices.

    Raises:
        DataError: there is no such class.

    >>> keep_classes(np.array([0, 2, 1, 2]), ("a", "b", "c"), ("c", "a"), "here")
    (array([0, 1, 3]), array([1, 0, 0]))
    """
    if classes is None:
        raise DataError("classes are named, the target holds numbers", where=where)
    number = np.full(len(classes), -1)
    for i, name in enumerate(wanted):
        if name not in classes:
            raise DataError(f"there is no class '{name}'", where=where, next=nearest(name, classes))
        number[classes.index(name)] = i
    rows = np.flatnonzero(number[y] >= 0)
    return rows, number[y[rows]]


def _are_classes(values: np.ndarray) -> bool:
    if values.dtype.kind in "OUb":
        return True
    return bool(np.all(values == np.floor(values))) and len(np.unique(values)) <= _MOST_CLASSES


def _classes(values: np.ndarray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    found, index = np.unique(values, return_inverse=True)
    if len(found) < 2:
        raise DataError(
            f"the target has a single class, {as_text(found[0])!r}"
            if len(found)
            else "no examples",
            where=where,
            next="give examples of at least two",
        )
    return index, tuple(as_text(value) for value in found)
