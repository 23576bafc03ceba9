"""An estimator's values as plain data of JSON, and back, by a closed registry of classes.

Numbers, strings, booleans and None are themselves. All else is a table that says what it is: a
tuple, a list, a dict, an array, or an object of one of the classes below with its fields, whose own
checks are run when it is made again. No name is ever imported.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from .. import augment, initializer, loss, maps, optim, penalty
from ..errors import CheckpointError, ConfigError, PullbackError

_BASES = (
    maps.Map,
    loss.Loss,
    penalty.Penalty,
    optim.Rule,
    optim.Method,
    optim.Schedule,
    initializer.Initializer,
    augment.Augmentation,
)
_ROOMS = (maps, loss, penalty, optim, initializer, augment)
_CLASSES: dict[str, Any] = {"Node": maps.Node} | {
    kind.__name__: kind
    for room in _ROOMS
    for kind in vars(room).values()
    if isinstance(kind, type) and issubclass(kind, _BASES)
}
_ARRAYS = "?bhilqBHILQefdUO"


def encode(value: Any, word: str) -> Any:
    """Write a value as plain data.

    Args:
        value: an argument or an attribute of an estimator.
        word: its name, for the error.

    Raises:
        ConfigError: it is a function, or an object of none of the classes that can be loaded.

    >>> encode((3, maps.LeakyRelu(0.2)), "activation")
    {'tuple': [3, {'object': 'LeakyRelu', 'fields': {'negative_slope': 0.2}}]}
    """
    if value is None or isinstance(value, bool | int | float | str):
        # Subclasses, such as NumPy's double, become what they are one of.
        plain: Any = (bool, int, float, str)
        return next((kind(value) for kind in plain if isinstance(value, kind)), None)
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return encode(value.item(), word)
    if type(value) is tuple or type(value) is list:
        return {type(value).__name__: [encode(each, word) for each in value]}
    if type(value) is dict:
        return {"dict": [[encode(key, word), encode(each, word)] for key, each in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.char in _ARRAYS:
        entries = [encode(each, word) for each in value.ravel().tolist()]
        return {"array": entries, "dtype": str(value.dtype), "shape": list(value.shape)}
    name = type(value).__name__
    if _CLASSES.get(name) is type(value):
        fields = {field: encode(getattr(value, field), word) for field in _fields(type(value))}
        return {"object": name, "fields": fields}
    raise ConfigError(
        f"{word} cannot be saved: {value!r}",
        next="give a number, a name, a table, or an object of pullback",
    )


def decode(plain: Any, where: str) -> Any:
    """Make a value from what `encode` wrote.

    Raises:
        CheckpointError: this is nothing that it writes, or a class refuses its fields.
    """
    if plain is None or isinstance(plain, bool | int | float | str):
        return plain
    if isinstance(plain, dict):
        keys = set(plain)
        if keys == {"tuple"} and isinstance(plain["tuple"], list):
            return tuple(decode(each, where) for each in plain["tuple"])
        if keys == {"list"} and isinstance(plain["list"], list):
            return [decode(each, where) for each in plain["list"]]
        if keys == {"dict"} and _pairs(plain["dict"]):
            found = [(decode(key, where), decode(each, where)) for key, each in plain["dict"]]
            if all(key is None or isinstance(key, bool | int | float | str) for key, _ in found):
                return dict(found)
        if keys == {"array", "dtype", "shape"}:
            return _array(plain, where)
        if keys == {"object", "fields"} and isinstance(plain["fields"], dict):
            return _object(plain, where)
    raise CheckpointError(f"no value of an estimator: {_short(plain)}", where=where)


def _fields(kind: Any) -> tuple[str, ...]:
    if kind is maps.Node:
        return maps.Node._fields
    return tuple(field.name for field in dataclasses.fields(kind) if field.init)


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(p, list) and len(p) == 2 for p in value)


def _object(plain: dict[str, Any], where: str) -> Any:
    kind = _CLASSES.get(plain["object"]) if isinstance(plain["object"], str) else None
    if kind is None:
        raise CheckpointError(f"no class of pullback: {_short(plain['object'])}", where=where)
    fields = {name: decode(each, where) for name, each in plain["fields"].items()}
    if fields.keys() != set(_fields(kind)):
        raise CheckpointError(
            f"{plain['object']} has the fields {list(_fields(kind))}, got {sorted(fields)}",
            where=where,
        )
    try:
        return kind(**fields)
    except (PullbackError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{plain['object']} refuses its fields: {error}", where=where
        ) from None


def _array(plain: dict[str, Any], where: str) -> np.ndarray:
    entries, shape, name = plain["array"], plain["shape"], plain["dtype"]
    sizes = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if sizes and isinstance(entries, list) and isinstance(name, str):
        try:
            dtype = np.dtype(name)
            if dtype.char in _ARRAYS and math.prod(shape) == len(entries):
                found = np.empty(len(entries), dtype)
                found[:] = [decode(each, where) for each in entries]
                return found.reshape(shape)
        except (TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"no array of {_short(name)}: {error}", where=where) from None
    raise CheckpointError(f"no array: {_short(plain)}", where=where)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}…"
