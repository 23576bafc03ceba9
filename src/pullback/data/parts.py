"""Which example belongs to training, to validation, to test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import DataError
from .streams import generator

Fractions = Literal["auto"] | tuple[float, ...]

_SMALL = 10**4


@dataclass(frozen=True, eq=False)
class Parts:
    """The rows of each part, ascending; None for a part that was not asked for."""

    train: np.ndarray
    validation: np.ndarray | None
    test: np.ndarray | None


def split(
    n: int,
    labels: np.ndarray | None,
    fractions: Fractions,
    seed: int,
    *,
    given_test: bool = False,
) -> Parts:
    """Divide n examples at random, each class in the same proportion.

    Each class has in each part its share n_class · fraction, rounded down or up, and the parts'
    totals follow their fractions as closely as that allows. A class with a single example trains.

    `auto` is 60/20/20 up to 10⁴ examples and 98/1/1 beyond. Where the source has a test part of its
    own, only validation is cut off: 1/6 up to 10⁴ examples, 1/12 beyond (5,000 of MNIST's 60,000;
    with 1/60 of them, a rate of 98 % would be known only to 0.4 points).

    Args:
        n: the number of examples.
        labels: (n,) class indices; None for regression, where nothing is stratified.
        fractions: "auto", (train, validation, test), or (train, validation) with a given test part.
        seed: the seed of the split.
        given_test: whether the source has its own test part.

    Raises:
        DataError: a part that is asked for would be empty.

    >>> parts = split(5, None, (0.6, 0.4, 0), seed=0)
    >>> len(parts.train), len(parts.validation), parts.test
    (3, 2, None)
    """
    shares = _auto(n, given_test) if fractions == "auto" else fractions
    shares = (*shares, 0.0)[:3]
    groups = [np.arange(n)] if labels is None else _groups(labels)
    random = generator(seed, "split")
    counts = _apportion([len(group) for group in groups], shares)
    picked: tuple[list[np.ndarray], ...] = ([], [], [])
    for group, sizes in zip(groups, counts, strict=True):
        cuts = np.split(random.permutation(group), np.cumsum(sizes)[:-1])
        for part, rows in zip(picked, cuts, strict=True):
            part.append(rows)
    train, validation, test = (np.sort(np.concatenate(part)) for part in picked)
    parts = {"training": train, "validation": validation, "test": test}
    for (name, part), share in zip(parts.items(), shares, strict=True):
        if share > 0 and not len(part):
            raise DataError(
                f"{n} examples leave the {name} part empty",
                next="give more examples or other fractions",
            )
    return Parts(train, validation if shares[1] > 0 else None, test if shares[2] > 0 else None)


def _auto(n: int, given_test: bool) -> tuple[float, ...]:
    if given_test:
        return (5 / 6, 1 / 6) if n <= _SMALL else (11 / 12, 1 / 12)
    return (0.6, 0.2, 0.2) if n <= _SMALL else (0.98, 0.01, 0.01)


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each class that has any."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order, starts)


def _apportion(sizes: list[int], shares: tuple[float, ...]) -> list[np.ndarray]:
    """Round size · share for every class, so that each class's counts add up to its size.

    What rounding down leaves goes, one each, to the parts that were shortened most so far, over all
    classes; to training first, if the class would otherwise be absent there.
    """
    debt = np.zeros(len(shares))
    counts = []
    for size in sizes:
        exact = size * np.array(shares)
        # 0.6 · 5 is 3.0000000000000004 or 2.9999999999999996 in floating point: both mean 3.
        exact = np.where(
            np.isclose(exact, np.rint(exact), rtol=0, atol=1e-6), np.rint(exact), exact
        )
        count = np.floor(exact).astype(int)
        rounded = exact > count
        rank = np.where(rounded, debt + exact - count, -np.inf)
        if count[0] == 0 and rounded[0]:
            rank[0] = np.inf
        left = size - count.sum()
        count[np.argsort(-rank, kind="stable")[:left]] += 1
        debt += exact - count
        counts.append(count)
    return counts
