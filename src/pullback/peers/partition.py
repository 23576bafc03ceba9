"""How the training examples are dealt to the workers, and how unlike their parts are.

Every partition is a function of the labels, the number of workers and the seed. Parts are disjoint
and together hold every example, unless `Equal` is told to drop its remainder. Nothing is moved
afterwards to even sizes out: what does not fit is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..data.streams import generator
from ..errors import ConfigError


@dataclass(frozen=True)
class Partition:
    """A way to deal examples to workers.

    A subclass defines `_parts`, and says by `least` how many examples each worker must get.
    """

    @property
    def _least(self) -> int:
        return getattr(self, "least", 1)

    def deal(self, labels: np.ndarray | int, workers: int, seed: int) -> tuple[np.ndarray, ...]:
        """Return the rows of each worker, ascending.

        Shapes: labels (n,) class indices; (n, k) numbers for regression, or n alone, where the
            partition does not look at labels.

        Raises:
            ConfigError: there are too few examples; the partition wants labels and has none.

        >>> [part.tolist() for part in Shards(1).deal(np.array([1, 0, 1, 0]), 2, seed=0)]
        [[1, 3], [0, 2]]
        """
        n = _number(labels)
        if workers < 1:
            raise ConfigError(f"a partition wants at least 1 worker, got {workers}")
        if n < workers * self._least:
            raise ConfigError(
                f"{workers} workers with at least {self._least} examples each want "
                f"{workers * self._least}, there are {n}",
                next="use fewer workers, or give more examples",
            )
        return tuple(np.sort(rows) for rows in self._parts(labels, workers, seed))

    def _parts(self, labels: np.ndarray | int, workers: int, seed: int) -> list[np.ndarray]:
        """The rows of each worker, in any order."""
        raise NotImplementedError

    def _classes(self, labels: np.ndarray | int) -> np.ndarray:
        """The labels, where there are any."""
        if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu":
            return labels
        raise ConfigError(
            f"{type(self).__name__} deals by class, and these data have no classes",
            next="use equal or quantity",
        )


@dataclass(frozen=True)
class Equal(Partition):
    """Equal parts at random, so that every worker has a sample of the whole.

    Sizes:    ⌊n/workers⌋, and one more for each of the first workers while the remainder lasts.

    Args:
        remainder: "deal" it, one each, or "drop" it, so that all sizes are the same; then fewer
            than `workers` examples are dropped, and `partition_report` counts them.

    Raises:
        ConfigError: remainder is another word.

    >>> [len(part) for part in Equal().deal(11, workers=3, seed=0)]
    [4, 4, 3]
    >>> [len(part) for part in Equal("drop").deal(11, workers=3, seed=0)]
    [3, 3, 3]
    """

    remainder: Literal["deal", "drop"] = "deal"

    def __post_init__(self):
        if self.remainder not in ("deal", "drop"):
            raise ConfigError(f"Equal's remainder must be 'deal' or 'drop', got {self.remainder!r}")

    def _parts(self, labels, workers, seed):
        n = _number(labels)
        rows = generator(seed, "partition-rows").permutation(n)
        kept = n if self.remainder == "deal" else n - n % workers
        return np.array_split(rows[:kept], workers)


@dataclass(frozen=True)
class Shards(Partition):
    """Sort by label, cut into equal shards, and deal each worker a few of them.

    With two shards each, most workers know two labels of ten: the non-iid partition of federated
    averaging. Examples of one label are shuffled before the cut. Shards differ in size by at most
    one example. A shard on the border of two labels has both.

    Source:   McMahan et al. 2017, arXiv:1602.05629, §3

    Args:
        shards_per_worker: how many each worker gets.

    Raises:
        ConfigError: shards_per_worker is below 1; in `deal`, there are more shards than examples.

    >>> labels = np.repeat(np.arange(10), 20)
    >>> {len(set(labels[part])) for part in Shards().deal(labels, workers=10, seed=0)} <= {1, 2}
    True
    """

    shards_per_worker: int = 2

    def __post_init__(self):
        if self.shards_per_worker < 1:
            raise ConfigError(
                f"Shards' shards_per_worker must be at least 1, got {self.shards_per_worker}"
            )

    def _parts(self, labels, workers, seed):
        labels = self._classes(labels)
        count = workers * self.shards_per_worker
        if count > len(labels):
            raise ConfigError(
                f"{workers} workers with {self.shards_per_worker} shards each want {count} "
                f"examples, there are {len(labels)}",
                next="use fewer workers or shards",
            )
        rows = generator(seed, "partition-rows").permutation(len(labels))
        rows = rows[np.argsort(labels[rows], kind="stable")]
        shards = np.array_split(rows, count)
        dealt = generator(seed, "partition-shards").permutation(count).reshape(workers, -1)
        return [np.concatenate([shards[i] for i in mine]) for mine in dealt]


@dataclass(frozen=True)
class Dirichlet(Partition):
    """Deal each class in shares that are drawn anew for it: the smaller alpha, the more unlike.

    Shares:   s_k ~ Dirichlet(alpha · 1) over the workers, for each class k; worker i gets
              n_k · s_ki of its examples, rounded down or up to whole ones
    Variant:  shares of each class over the workers (Yurochkin), not of each worker over the
              classes (Hsu et al. 2019), so that all examples are dealt and sizes differ too.
    Source:   Yurochkin et al. 2019, arXiv:1905.12022

    Where some worker has fewer than `least` examples, all shares are drawn again, `tries` times at
    most. Sizes are never evened out in another way.

    Args:
        alpha: concentration; near 0 a class goes to few workers, from about 100 on to all alike.
        least: how many examples each worker must have.
        tries: how often to draw, before giving up.

    Raises:
        ConfigError: alpha is not positive; least or tries is below 1; in `deal`, no try was good.

    >>> labels = np.repeat(np.arange(10), 20)
    >>> parts = Dirichlet(0.5).deal(labels, workers=4, seed=0)
    >>> sum(len(part) for part in parts), min(len(part) for part in parts) >= 1
    (200, True)
    """

    alpha: float = 0.5
    least: int = 1
    tries: int = 100

    def __post_init__(self):
        _check_draws(self, self.alpha, self.least, self.tries)

    def _parts(self, labels, workers, seed):
        labels = self._classes(labels)
        classes, of = np.unique(labels, return_inverse=True)
        sizes = np.bincount(of)

        def draw(random):
            shares = _dirichlet(random, self.alpha, workers, len(classes))
            return np.stack([_counts(*each) for each in zip(shares, sizes, strict=True)])

        counts = _drawn(self, draw, seed)
        parts: list[list[np.ndarray]] = [[] for _ in range(workers)]
        rows = generator(seed, "partition-rows").permutation(len(labels))
        for k in range(len(classes)):
            cuts = np.split(rows[of[rows] == k], np.cumsum(counts[k])[:-1])
            for part, mine in zip(parts, cuts, strict=True):
                part.append(mine)
        return [np.concatenate(part) for part in parts]


@dataclass(frozen=True)
class Quantity(Partition):
    """Parts of unequal size, drawn without regard to labels.

    Give exactly one of alpha, exponent and shares. Sizes are rounded down or up to whole examples.

    Sizes:    alpha: n · Dirichlet(alpha · 1), drawn again as in `Dirichlet`
              exponent: worker i has a share proportional to (i + 1)^−exponent, worker 0 the most
              shares: proportional to the numbers given, one for each worker
    Source:   alpha: Li et al. 2022, arXiv:2102.02079, "quantity skew"

    Args:
        alpha: concentration; the smaller, the more unlike.
        exponent: of the power law; 0 makes sizes equal.
        shares: positive numbers; their sum does not matter.
        least: how many examples each worker must have.
        tries: how often to draw by alpha, before giving up.

    Raises:
        ConfigError: none or several of the three are given; a number is out of range; in `deal`,
            there are not as many shares as workers, or a worker would have too few examples.

    >>> [len(part) for part in Quantity(shares=(3, 2, 1)).deal(60, workers=3, seed=0)]
    [30, 20, 10]
    """

    alpha: float | None = None
    exponent: float | None = None
    shares: tuple[float, ...] | None = None
    least: int = 1
    tries: int = 100

    def __post_init__(self):
        given = [self.alpha is not None, self.exponent is not None, self.shares is not None]
        if sum(given) != 1:
            raise ConfigError(
                f"Quantity wants exactly one of alpha, exponent and shares, got {sum(given)}"
            )
        _check_draws(self, 1.0 if self.alpha is None else self.alpha, self.least, self.tries)
        if self.exponent is not None and not (math.isfinite(self.exponent) and self.exponent >= 0):
            raise ConfigError(
                f"Quantity's exponent must be a number of at least 0, got {self.exponent}"
            )
        if self.shares is not None:
            for share in self.shares:
                if not (math.isfinite(share) and share > 0):
                    raise ConfigError(f"Quantity's shares must be positive numbers, got {share}")

    def _parts(self, labels, workers, seed):
        n = _number(labels)
        if self.alpha is None:
            sizes = _counts(self._shares(workers), n)
            if sizes.min() < self.least:
                raise ConfigError(
                    f"Quantity leaves worker {sizes.argmin()} with {sizes.min()} examples, "
                    f"at least {self.least} are wanted",
                    next="make the sizes more even, lower least, or use fewer workers",
                )
        else:
            alpha = self.alpha

            def draw(random):
                return _counts(_dirichlet(random, alpha, workers, 1)[0], n)[None]

            sizes = _drawn(self, draw, seed)[0]
        rows = generator(seed, "partition-rows").permutation(n)
        return np.split(rows, np.cumsum(sizes)[:-1])

    def _shares(self, workers: int) -> np.ndarray:
        """The share of each worker, where it is not drawn."""
        if self.shares is None:
            return (1.0 + np.arange(workers)) ** -(self.exponent or 0.0)
        if len(self.shares) != workers:
            raise ConfigError(
                f"Quantity has {len(self.shares)} shares for {workers} workers",
                next="give one share for each worker",
            )
        return np.array(self.shares, float)


def partition_report(parts: Sequence[np.ndarray], labels: np.ndarray | int) -> dict[str, Any]:
    """Say how large the parts are and how unlike, as plain rows.

    Distance:   ½ Σ_k |p_ik − q_k|, total variation; p_i the labels of worker i, q those of all
    Effective:  exp(−Σ_k p_ik log p_ik), how many equally frequent labels are as mixed
    Imbalance:  the largest size over the mean size: so much longer than with equal parts does one
                pass take, where all wait for the slowest

    The whole's distance is the workers' mean, weighted by size: 0 where all are alike, near 1 where
    each has labels of its own and there are many. Without labels there are sizes only; a worker
    without examples has neither distance nor effective number.

    >>> row = partition_report([np.array([0, 1]), np.array([2, 3])], np.array([0, 0, 0, 1]))
    >>> row["workers"][1]
    {'worker': 1, 'examples': 2, 'labels': [1, 1], 'distance': 0.25, 'effective': 2.0}
    >>> row["examples"], row["dropped"], row["imbalance"], row["distance"]
    (4, 0, 1.0, 0.25)
    """
    n = _number(labels)
    sizes = np.array([len(part) for part in parts])
    rows: list[dict[str, Any]] = [
        {"worker": i, "examples": int(size)} for i, size in enumerate(sizes)
    ]
    whole: dict[str, Any] = {
        "workers": rows,
        "examples": int(sizes.sum()),
        "dropped": n - int(sizes.sum()),
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        "imbalance": float(sizes.max() / sizes.mean()) if sizes.any() else None,
    }
    if isinstance(labels, int) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return whole
    k = int(labels.max()) + 1
    q = np.bincount(labels, minlength=k) / n
    for row, part in zip(rows, parts, strict=True):
        counts = np.bincount(labels[part], minlength=k)
        row["labels"] = counts.tolist()
        if len(part):
            p = counts / len(part)
            row["distance"] = float(np.abs(p - q).sum() / 2)
            row["effective"] = float(np.exp(-np.sum(p[p > 0] * np.log(p[p > 0]))))
    distances = np.array([row.get("distance", 0.0) for row in rows])
    whole["distance"] = float(distances @ sizes / sizes.sum()) if sizes.any() else None
    return whole


def partition_text(report: Mapping[str, Any], classes: Sequence[str] | None = None) -> str:
    """Say what `partition_report` found, in a few lines and a table of the workers.

    Args:
        report: its row.
        classes: the names of the labels; their numbers, where there are none.

    >>> parts, labels = [np.array([0, 1]), np.array([2, 3])], np.array([0, 0, 0, 1])
    >>> print(partition_text(partition_report(parts, labels)))
    4 examples for 2 workers: 2 to 2 each, the largest 1 times the mean.
    Distance of labels from those of all (total variation): 0.25 on average.
    worker  examples  distance  effective  labels
         0         2      0.25          1  0: 2
         1         2      0.25          2  0: 1, 1: 1
    """
    workers, dropped = report["workers"], report["dropped"]
    lines = [
        f"{report['examples']} examples for {len(workers)} workers: {report['smallest']} to "
        f"{report['largest']} each"
        + (f", the largest {report['imbalance']:.3g} times the mean" if report["imbalance"] else "")
        + (f"; {dropped} dropped." if dropped else ".")
    ]
    header, rows = ["worker", "examples"], [[str(r["worker"]), str(r["examples"])] for r in workers]
    last = [""] * (1 + len(workers))
    if "distance" in report:
        distance = report["distance"]
        if distance is not None:
            lines.append(
                f"Distance of labels from those of all (total variation): {distance:.3g} on "
                "average."
            )
        header += ["distance", "effective"]
        for row, cells in zip(workers, rows, strict=True):
            cells += [f"{row[key]:.3g}" if key in row else "–" for key in ("distance", "effective")]
        last = ["labels", *(_most(row["labels"], classes) for row in workers)]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for cells, labels in zip([header, *rows], last, strict=True):
        told = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{told}  {labels}".rstrip())
    return "\n".join(lines)


def _most(counts: Sequence[int], classes: Sequence[str] | None) -> str:
    """The labels that a worker has, those it has most of first; of many, the first few."""
    order = sorted((k for k in range(len(counts)) if counts[k]), key=lambda k: (-counts[k], k))
    told = [f"{classes[k] if classes else k}: {counts[k]}" for k in order[:6]]
    return ", ".join(told) + (f" and {len(order) - 6} more" if len(order) > 6 else "")


def _number(labels: np.ndarray | int) -> int:
    return len(labels) if isinstance(labels, np.ndarray) else int(labels)


def _check_draws(owner: Partition, alpha: float, least: int, tries: int) -> None:
    name = type(owner).__name__
    if not (math.isfinite(alpha) and alpha > 0):
        raise ConfigError(f"{name}'s alpha must be a positive number, got {alpha}")
    for field, value in (("least", least), ("tries", tries)):
        if value < 1:
            raise ConfigError(f"{name}'s {field} must be at least 1, got {value}")


def _dirichlet(random: np.random.Generator, alpha: float, workers: int, count: int) -> np.ndarray:
    """`count` draws of shares over the workers, (count, workers).

    A gamma variate of a small shape underflows; its logarithm does not. With U uniform,
    Gamma(alpha) has the law of Gamma(alpha + 1) · U^(1/alpha).
    """
    shape = (count, workers)
    log = np.log(random.gamma(alpha + 1, size=shape)) + np.log1p(-random.random(shape)) / alpha
    shares = np.exp(log - log.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def _counts(shares: np.ndarray, n: int) -> np.ndarray:
    """Round n · share to whole numbers that add up to n.

    All are rounded down; what is left goes, one each, to those that lost most; to the first of
    equals.
    """
    exact = n * (shares / shares.sum())
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return counts


def _drawn(owner: Dirichlet | Quantity, draw, seed: int) -> np.ndarray:
    """Draw counts (classes, workers) until each worker has enough, or say what to do."""
    best = 0
    for attempt in range(owner.tries):
        counts = draw(generator(seed, "partition-shares", attempt))
        smallest = int(counts.sum(0).min())
        if smallest >= owner.least:
            return counts
        best = max(best, smallest)
    raise ConfigError(
        f"{type(owner).__name__} with alpha {owner.alpha} left some worker fewer than "
        f"{owner.least} examples in each of {owner.tries} tries; the best had {best}",
        next="raise alpha, lower least, or use fewer workers",
    )
