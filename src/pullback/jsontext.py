"""JSON that gives back exactly what it was given.

JSON (RFC 8259) has no word for a number that is not finite, and Python's own NaN and Infinity are
no JSON. A float that is not finite is therefore written as an object of one member,
`{"float": "nan"}`, `{"float": "inf"}` or `{"float": "-inf"}`, and read back as that float: a
string "nan", the name of a class perhaps, stays a string. Finite floats are written by `repr`,
which names the same double again; a float32 becomes the double of equal value.

Arrays and scalars of NumPy or JAX become lists and numbers through their `tolist`; tuples become
lists. The text is pure ASCII, so that its length is its size in bytes.
"""

from __future__ import annotations

import json
import math
from typing import Any

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(value: Any, *, indent: int | None = None) -> str:
    """Write a value as strict JSON: compact on one line, or indented for a reader.

    Raises:
        TypeError: the value holds something else than numbers, strings, booleans, None, lists,
            arrays, and dictionaries whose keys are strings.
        ValueError: it holds a dictionary that would be read back as a float.

    >>> encode({"loss": math.inf, "shape": (2, 3)})
    '{"loss":{"float":"inf"},"shape":[2,3]}'
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(_plain(value), allow_nan=False, indent=indent, separators=separators)


def decode(text: str | bytes) -> Any:
    """Read what `encode` wrote.

    Raises:
        ValueError: the text is not strict ASCII JSON, or is nested too deeply to be ours.

    >>> decode('{"loss":{"float":"-inf"}}')
    {'loss': -inf}
    """
    if isinstance(text, bytes):
        text = text.decode("ascii")
    try:
        return json.loads(text, object_hook=_float_back, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if isinstance(value, dict):
        return _plain_object(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise TypeError(f"JSON cannot hold {value!r} of type {kind.__name__}")


def _plain_object(value: dict) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        if type(key) is not str:
            raise TypeError(f"a key of a JSON object is a string, got {key!r}")
        plain[key] = _plain(item)
    if _means_float(value):
        raise ValueError(f"{value} would be read back as a float; give its key another name")
    return plain


def _means_float(value: dict) -> bool:
    return len(value) == 1 and isinstance(name := value.get("float"), str) and name in _NOT_FINITE


def _float_back(value: dict[str, Any]) -> Any:
    return _NOT_FINITE[value["float"]] if _means_float(value) else value


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no JSON")
