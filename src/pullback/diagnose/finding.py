"""A finding: what is wrong, where, the numbers that say so, and what to try."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal[
    "bias",
    "variance",
    "diverged",
    "vanishing gradients",
    "exploding gradients",
    "dead units",
    "saturated units",
    "small updates",
    "large updates",
]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what it is.
        says: the sentence, with its numbers.
        next: what to try.
        numbers: what it rests on, by name.
        layers: the layers that it is about, from input to output; none where it is about all.
    """

    kind: Kind
    says: str
    next: str
    numbers: dict[str, float]
    layers: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind.capitalize()}: {self.says} Try: {self.next}."


def percent(share: float) -> str:
    """Say a share of one.

    >>> percent(0.0312), percent(1.0)
    ('3.12 %', '100 %')
    """
    return f"{100 * share:.3g} %"


def plural(count: int, noun: str) -> str:
    """Say how many.

    >>> plural(1, "layer"), plural(2, "layer")
    ('1 layer', '2 layers')
    """
    return f"{count} {noun}" + "s" * (count != 1)


def listed(names: Iterable[str], most: int = 4) -> str:
    """Say a list of names, cut where it is long.

    >>> listed("abcdef")
    'a, b, c, d and 2 more'
    """
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
