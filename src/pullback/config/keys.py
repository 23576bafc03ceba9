"""Values of an experiment's table, found by the keys that users write."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ConfigError


def put(table: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a value in a table, in place.

    Args:
        table: of an experiment, as in its file.
        key: such as "penalty[0].strength".
        value: as in a file.
        where: the key stands, for the sentence.

    Raises:
        ConfigError: there is no table to hold it.

    >>> table = {"penalty": [{"strength": 0.1}]}
    >>> put(table, "penalty[0].strength", 0.2, "a test")
    >>> table
    {'penalty': [{'strength': 0.2}]}
    """
    *path, last = steps(key)
    inner: Any = table
    try:
        for part in path:
            inner = inner[part]
        if isinstance(last, int):
            inner[last]  # a list is not made longer
        inner[last] = value
    except (KeyError, IndexError, TypeError):
        raise ConfigError(
            f"there is no '{key}' in the experiment",
            where=where,
            next="write the table that holds it into the file, such as the penalty whose "
            "strength is searched",
        ) from None


def steps(key: str) -> list[str | int]:
    """Return the keys and places in lists that lead to a value.

    >>> steps("penalty[0].strength")
    ['penalty', 0, 'strength']
    """
    found = re.findall(r"([^.\[\]]+)|\[(\d+)\]", key)
    return [name or int(index) for name, index in found]
