"""The numbers of a task, taken out and put back: what may differ inside one compiled program."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any


def numbers(part: Any, path: str = "") -> dict[str, float]:
    """Every number of a task by its path; whole numbers and words belong to its shape.

    >>> from pullback.optim import Momentum
    >>> numbers(Momentum(0.1))
    {'learning_rate': 0.1, 'momentum': 0.9}
    """
    if isinstance(part, float):
        return {path: part}
    found = {}
    for name, value in _inside(part):
        found |= numbers(value, f"{path}/{name}" if path else name)
    return found


def with_numbers(part: Any, values: Mapping[str, Any], path: str = "") -> Any:
    """A copy with other numbers at some paths; they may be traced, or None for a blank.

    Nothing is checked: a traced number has no value yet. Whoever traces one has built the task with
    each of its values before, and that checked them.

    >>> from pullback.optim import Momentum
    >>> with_numbers(Momentum(0.1), {"learning_rate": None})
    Momentum(learning_rate=None, momentum=0.9, convention='heavy-ball', nesterov=False)
    """
    if path in values:
        return values[path]
    changed = {
        name: with_numbers(value, values, f"{path}/{name}" if path else name)
        for name, value in _inside(part)
    }
    if not changed:
        return part
    if isinstance(part, tuple):
        made = changed.values()
        return type(part)(*made) if hasattr(part, "_fields") else tuple(made)
    twin = copy.copy(part)
    for name, value in changed.items():
        object.__setattr__(twin, name, value)  # past the guard of a frozen class
    return twin


def _inside(part: Any) -> list[tuple[str, Any]]:
    """The parts of a task's part by name: the fields of ours, the entries of a tuple."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return [(field.name, getattr(part, field.name)) for field in dataclasses.fields(part)]
    if isinstance(part, tuple):
        return [(str(i), value) for i, value in enumerate(part)]
    return []
