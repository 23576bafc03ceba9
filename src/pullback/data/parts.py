"""Which example belongs to training, to validation, to test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import ConfigError, DataError
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
    folds: int = 0,
    fold: int = 0,
    classes: Sequence[str] | None = None,
) -> Parts:
    """Divide n examples at random, each class in the same proportion.

    Each class has in each part its share n_class · fraction, rounded down or up, and the parts'
    totals follow their fractions as closely as that allows. A class with a single example trains.

    `auto` is 60/20/20 up to 10⁴ examples and 98/1/1 beyond. Where the source has a test part of its
    own, only validation is cut off: 1/6 up to 10⁴ examples, 1/12 beyond (5,000 of MNIST's 60,000;
    with 1/60 of them, a rate of 98 % would be known only to 0.4 points).

    With folds, what is not in the test part is dealt out, like cards and class after class, to that
    many folds: their sizes differ by at most one, in all and within each class. One of them
    validates, the others train. All folds of a seed leave the test part that it has without them.

    Args:
        n: the number of examples.
        labels: (n,) class indices; None for regression, where nothing is stratified.
        fractions: "auto", (train, validation, test), or (train, validation) with a given test part.
        seed: the seed of the split.
        given_test: whether the source has its own test part.
        folds: into how many folds training and validation part are dealt; 0 for none.
        fold: which of them validates, from 0 on.
        classes: the names of the classes, for errors.

    Raises:
        DataError: a part that is asked for would be empty.
        ConfigError: there are fewer examples, or fewer of a class, than folds.

    >>> parts = split(5, None, (0.6, 0.4, 0), seed=0)
    >>> len(parts.train), len(parts.validation), parts.test
    (3, 2, None)
    >>> [len(split(5, None, (1, 0, 0), 0, folds=3, fold=i).validation) for i in range(3)]
    [2, 2, 1]
    """
    shares = _auto(n, given_test) if fractions == "auto" else fractions
    shares = (*shares, 0.0)[:3]
    groups = [np.arange(n)] if labels is None else _groups(labels)
    random = generator(seed, "split")
    counts = _apportion([len(group) for group in groups], shares)
    picked = [
        np.split(random.permutation(group), np.cumsum(sizes)[:-1])
        for group, sizes in zip(groups, counts, strict=True)
    ]
    if folds:
        _refuse_thin(picked, labels, classes, folds)
        picked, shares = _dealt(picked, folds, fold), (1.0, 1.0, shares[2])
    train, validation, test = (np.sort(np.concatenate(part)) for part in zip(*picked, strict=True))
    parts = {"training": train, "validation": validation, "test": test}
    for (name, part), share in zip(parts.items(), shares, strict=True):
        if share > 0 and not len(part):
            raise DataError(
                f"{n} examples leave the {name} part empty",
                next="give more examples or other fractions",
            )
    return Parts(train, validation if shares[1] > 0 else None, test if shares[2] > 0 else None)


def _dealt(picked: list[list[np.ndarray]], folds: int, fold: int) -> list[list[np.ndarray]]:
    """Deal what trains and validates out to the folds, each class from where the last one ended."""
    found, dealt = [], 0
    for train, validation, test in picked:
        rows = np.concatenate([train, validation])
        here = (dealt + np.arange(len(rows))) % folds == fold
        found.append([rows[~here], rows[here], test])
        dealt += len(rows)
    return found


def _refuse_thin(
    picked: list[list[np.ndarray]],
    labels: np.ndarray | None,
    classes: Sequence[str] | None,
    folds: int,
) -> None:
    """Refuse folds of which some would have no example, or none of a class."""
    for train, validation, test in picked:
        count = len(train) + len(validation)
        if count >= folds:
            continue
        of_class, instead = "", "ask for fewer folds"
        if labels is not None:
            label = int(labels[np.concatenate([train, validation, test])[0]])
            of_class = f" of class '{label if classes is None else classes[label]}'"
            instead += ", or leave the class out by data.classes"
        raise ConfigError(
            f"{folds} folds want as many examples{of_class} outside the test part, there are "
            f"{count}",
            where="the key 'data.folds'",
            next=instead,
        )


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
