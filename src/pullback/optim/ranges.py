"""What the arguments of rules and schedules may be, each refused with one sentence.

A value that JAX traces is let through: it was checked where it came from, and a trace has no value
to compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

from ..errors import ConfigError


def positive(owner: object, *names: str) -> None:
    """Refuse what is not above zero and finite."""
    _require(owner, names, lambda v: math.isfinite(v) and v > 0, "a positive number")


def not_negative(owner: object, *names: str) -> None:
    """Refuse what is negative or not finite."""
    _require(owner, names, lambda v: math.isfinite(v) and v >= 0, "a number of at least 0")


def below_one(owner: object, *names: str) -> None:
    """Refuse a weight of the past that would never let it go, or turn it round."""
    _require(owner, names, lambda v: 0 <= v < 1, "in [0, 1)")


def between(owner: object, *names: str) -> None:
    """Refuse a share that is not strictly between nothing and all."""
    _require(owner, names, lambda v: 0 < v < 1, "in (0, 1)")


def one_of(owner: object, name: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that means nothing here."""
    wanted = " or ".join(f"'{choice}'" for choice in choices)
    _require(owner, (name,), lambda v: v in choices, wanted)


def whole(owner: object, name: str, least: int = 1, word: str | None = None) -> None:
    """Refuse what is neither a whole number, `least` or more, nor the word that stands for one."""
    wanted = f"a whole number of at least {least}" + (f" or '{word}'" if word else "")

    def fits(value):
        return value == word if isinstance(value, str) else value == int(value) >= least

    _require(owner, (name,), fits, wanted)


def _require(owner: object, names: tuple[str, ...], fits: Callable[[Any], bool], wanted: str):
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, jax.Array) and not fits(value):
            raise ConfigError(f"{type(owner).__name__}'s {name} must be {wanted}, got {value!r}")
