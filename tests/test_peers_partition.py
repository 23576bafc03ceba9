"""Who trains on what: every example once, nobody without, and how unlike the parts are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.errors import ConfigError
from pullback.peers import partition
from pullback.peers.partition import (
    Dirichlet,
    Equal,
    Partition,
    Quantity,
    Shards,
    partition_report,
)

CASES = [
    Equal(),
    Equal("drop"),
    Shards(),
    Shards(1),
    Dirichlet(0.5),
    Dirichlet(100.0, least=5),
    Quantity(alpha=1.0),
    Quantity(exponent=1.2),
    Quantity(shares=(5, 1, 1, 2, 3)),
]


def labels_of(n=500, classes=10, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(classes, size=n)


def sizes_of(parts) -> list[int]:
    return [len(part) for part in parts]


def test_every_partition_has_a_case():
    kinds = {
        kind
        for kind in vars(partition).values()
        if isinstance(kind, type) and issubclass(kind, Partition)
    }
    assert kinds - {Partition} == {type(case) for case in CASES}


# What is true of each of them


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_and_hold_every_example(case, seed):
    labels = labels_of(502, seed=seed)
    parts = case.deal(labels, 5, seed)
    assert len(parts) == 5
    assert min(sizes_of(parts)) >= getattr(case, "least", 1)
    dealt = np.concatenate(parts)
    assert len(np.unique(dealt)) == len(dealt)
    dropped = partition_report(parts, labels)["dropped"]
    assert dropped == (2 if case == Equal("drop") else 0)
    assert len(dealt) == 502 - dropped
    assert set(dealt.tolist()) <= set(range(502))
    for part in parts:
        assert (np.diff(part) > 0).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_seed_decides_all_of_it(case):
    labels = labels_of()
    one, same, other = (case.deal(labels, 5, seed) for seed in (3, 3, 4))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(a.tolist() != b.tolist() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_worker_has_everything(case):
    if isinstance(case, Quantity) and case.shares:
        case = Quantity(shares=(2.0,))
    (part,) = case.deal(labels_of(100), 1, 0)
    assert part.tolist() == list(range(100))


@pytest.mark.parametrize("case", [Equal(), Quantity(alpha=1.0), Quantity(exponent=1.0)], ids=str)
def test_those_blind_to_labels_take_a_number_or_targets_of_regression(case):
    by_number = case.deal(60, 4, 1)
    for labels in (labels_of(60), np.zeros((60, 2))):
        for a, b in zip(by_number, case.deal(labels, 4, 1), strict=True):
            np.testing.assert_array_equal(a, b)


# Each by itself


def test_equal_parts_differ_by_one_example_at_most():
    assert sizes_of(Equal().deal(103, 5, 0)) == [21, 21, 21, 20, 20]
    assert sizes_of(Equal("drop").deal(103, 5, 0)) == [20] * 5


def test_equal_parts_are_samples_of_the_whole():
    chosen = np.zeros(20)
    for seed in range(400):
        chosen[Equal().deal(20, 2, seed)[0]] += 1
    # five standard errors of 400 draws with probability ½
    np.testing.assert_allclose(chosen, 200, atol=50)


def test_two_shards_give_two_labels_where_shards_fit_the_classes():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 60))
    for seed in range(10):
        parts = Shards(2).deal(labels, 10, seed)  # 20 shards of 30: two for each label
        assert sizes_of(parts) == [60] * 10
        assert {len(set(labels[part])) for part in parts} <= {1, 2}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_shards_bound_the_labels_of_a_worker(each, workers, sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if len(labels) < workers * each:
        return
    parts = Shards(each).deal(labels, workers, 0)
    small = len(labels) // (workers * each)
    assert set(sizes_of(parts)) <= set(range(small * each, (small + 1) * each + 1))
    # a shard no longer than the smallest class lies over two labels at most
    if small + 1 <= min(sizes):
        assert max(len(set(labels[part])) for part in parts) <= 2 * each


def test_shards_of_a_label_are_samples_of_it():
    """Without the shuffle before the sort, the first shard would hold the first examples."""
    labels = np.zeros(40, int)
    together = [
        any(0 in part and 1 in part for part in Shards(1).deal(labels, 2, seed))
        for seed in range(40)
    ]
    assert 5 < sum(together) < 35


def test_dirichlet_shares_have_their_law():
    """The share s of one of n workers in a class has E s = 1/n and var s = (n−1)/(n²(nα+1))."""
    alpha, n, labels = 0.5, 4, np.repeat(np.arange(50), 200)
    shares = np.concatenate(
        [
            [np.bincount(labels[part], minlength=50) / 200 for part in case]
            for case in (Dirichlet(alpha).deal(labels, n, seed) for seed in range(20))
        ],
        axis=1,
    )
    variance = (n - 1) / (n**2 * (n * alpha + 1))
    draws = shares.shape[1]
    np.testing.assert_allclose(shares.mean(1), 1 / n, atol=5 * (variance / draws) ** 0.5)
    np.testing.assert_allclose(shares.var(1), variance, rtol=0.1)


def test_dirichlet_of_a_tiny_alpha_gives_each_class_to_one_worker():
    labels = labels_of(400, 20)
    parts = Dirichlet(1e-6).deal(labels, 3, 0)
    owners = sum(np.isin(np.arange(20), labels[part]).astype(int) for part in parts)
    assert np.all(owners == 1)


def test_dirichlet_of_a_large_alpha_deals_alike():
    labels = labels_of(4000)
    report = partition_report(Dirichlet(1e6).deal(labels, 4, 0), labels)
    assert report["distance"] < 0.01
    assert report["largest"] - report["smallest"] <= 10


@pytest.mark.parametrize("workers", [10, 100, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_dirichlet_of_a_small_alpha_ends(workers, seed):
    """Redrawing until every worker has ten examples, as is usual, may never end."""
    labels = labels_of(20_000)
    case = Dirichlet(0.1, least=10, tries=20)
    try:
        parts = case.deal(labels, workers, seed)
    except ConfigError as error:
        assert re.fullmatch(  # noqa: PT017
            r"Dirichlet with alpha 0.1 left some worker fewer than 10 examples in each of 20 "
            r"tries; the best had \d; raise alpha, lower least, or use fewer workers",
            str(error),
        )
        assert workers > 10
    else:
        assert min(sizes_of(parts)) >= 10
        assert workers < 1000


def test_dirichlet_draws_again_until_all_have_enough():
    labels = labels_of(60, 3)
    with pytest.raises(ConfigError, match="in each of 1 tries"):
        Dirichlet(0.3, least=4, tries=1).deal(labels, 4, 1)
    assert min(sizes_of(Dirichlet(0.3, least=4).deal(labels, 4, 1))) >= 4


def test_quantities_by_hand():
    # 1, 1/2, 1/4 of 7/4
    assert sizes_of(Quantity(exponent=1.0).deal(11, 3, 0)) == [6, 3, 2]
    assert sizes_of(Quantity(exponent=0.0).deal(11, 3, 0)) == [4, 4, 3]
    assert sizes_of(Quantity(shares=(0.6, 0.2, 0.2)).deal(5, 3, 0)) == [3, 1, 1]
    assert sizes_of(Quantity(shares=(1, 1, 1)).deal(8, 3, 0)) == [3, 3, 2]


def test_drawn_quantities_have_their_law():
    sizes = np.array([sizes_of(Quantity(alpha=2.0).deal(1000, 4, seed)) for seed in range(300)])
    variance = 3 / (16 * 9)
    error = 5 * 1000 * (variance / 300) ** 0.5
    np.testing.assert_allclose(sizes.mean(0), 250, atol=error)
    np.testing.assert_allclose(sizes.var() / 1e6, variance, rtol=0.15)


def test_quantities_do_not_follow_labels():
    labels = np.repeat([0, 1], 5000)
    report = partition_report(Quantity(exponent=1.0).deal(labels, 4, 0), labels)
    assert all(row["distance"] < 5 * (0.25 / row["examples"]) ** 0.5 for row in report["workers"])


# The report


def test_the_report_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    parts = [np.array([0, 1, 2, 3]), np.array([4, 6]), np.array([5])]
    report = partition_report(parts, labels)
    assert report["dropped"] == 1
    assert [row["labels"] for row in report["workers"]] == [[4, 0, 0], [0, 1, 1], [0, 1, 0]]
    # the whole is ½, ¼, ¼
    assert [row["distance"] for row in report["workers"]] == [0.5, 0.5, 0.75]
    assert [row["effective"] for row in report["workers"]] == pytest.approx([1, 2, 1])
    assert report["distance"] == pytest.approx((4 * 0.5 + 2 * 0.5 + 0.75) / 7)
    assert report["imbalance"] == pytest.approx(4 / (7 / 3))
    assert (report["smallest"], report["largest"], report["examples"]) == (1, 4, 7)


def test_the_effective_number_counts_equally_frequent_labels():
    labels = np.array([0, 0, 0, 1])
    row = partition_report([np.arange(4)], labels)["workers"][0]
    assert row["effective"] == pytest.approx(4 / 3**0.75)
    assert row["distance"] == 0


@pytest.mark.parametrize("labels", [6, np.zeros((6, 2)), np.zeros(6)], ids=["n", "table", "column"])
def test_without_classes_the_report_has_sizes_only(labels):
    report = partition_report([np.array([0, 3]), np.array([1, 2, 4])], labels)
    assert report["workers"] == [{"worker": 0, "examples": 2}, {"worker": 1, "examples": 3}]
    assert report["dropped"] == 1
    assert report["imbalance"] == pytest.approx(1.2)
    assert "distance" not in report


def test_a_worker_without_examples_has_no_distance():
    report = partition_report([np.arange(2), np.array([], int)], np.array([0, 1]))
    assert report["workers"][1] == {"worker": 1, "examples": 0, "labels": [0, 0]}
    assert report["distance"] == 0
    assert partition_report([np.array([], int)], np.array([0, 1]))["imbalance"] is None


# Refusals

LABELS = np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Equal("spread"),  # pyright: ignore[reportArgumentType]
            "Equal's remainder must be 'deal' or 'drop', got 'spread'",
        ),
        (lambda: Shards(0), "Shards' shards_per_worker must be at least 1, got 0"),
        (lambda: Dirichlet(0.0), "Dirichlet's alpha must be a positive number, got 0.0"),
        (lambda: Dirichlet(np.nan), "Dirichlet's alpha must be a positive number, got nan"),
        (lambda: Dirichlet(least=0), "Dirichlet's least must be at least 1, got 0"),
        (lambda: Dirichlet(tries=0), "Dirichlet's tries must be at least 1, got 0"),
        (Quantity, "Quantity wants exactly one of alpha, exponent and shares, got 0"),
        (
            lambda: Quantity(alpha=1.0, exponent=1.0),
            "Quantity wants exactly one of alpha, exponent and shares, got 2",
        ),
        (lambda: Quantity(alpha=-1.0), "Quantity's alpha must be a positive number, got -1.0"),
        (
            lambda: Quantity(exponent=-1.0),
            "Quantity's exponent must be a number of at least 0, got -1.0",
        ),
        (lambda: Quantity(shares=(1, 0)), "Quantity's shares must be positive numbers, got 0"),
        (
            lambda: Equal().deal(LABELS, 0, 0),
            "a partition wants at least 1 worker, got 0",
        ),
        (
            lambda: Equal().deal(LABELS, 7, 0),
            "7 workers with at least 1 examples each want 7, there are 6; "
            "use fewer workers, or give more examples",
        ),
        (
            lambda: Dirichlet(least=4).deal(LABELS, 2, 0),
            "2 workers with at least 4 examples each want 8, there are 6; "
            "use fewer workers, or give more examples",
        ),
        (
            lambda: Shards(3).deal(LABELS, 3, 0),
            "3 workers with 3 shards each want 9 examples, there are 6; "
            "use fewer workers or shards",
        ),
        (
            lambda: Shards().deal(6, 2, 0),
            "Shards deals by class, and these data have no classes; use equal or quantity",
        ),
        (
            lambda: Dirichlet().deal(np.zeros((6, 1)), 2, 0),
            "Dirichlet deals by class, and these data have no classes; use equal or quantity",
        ),
        (
            lambda: Quantity(shares=(1, 2)).deal(LABELS, 3, 0),
            "Quantity has 2 shares for 3 workers; give one share for each worker",
        ),
        (
            lambda: Quantity(shares=(1, 99)).deal(LABELS, 2, 0),
            "Quantity leaves worker 0 with 0 examples, at least 1 are wanted; "
            "make the sizes more even, lower least, or use fewer workers",
        ),
        (
            lambda: Quantity(alpha=1e-9, tries=3).deal(LABELS, 2, 0),
            "Quantity with alpha 1e-09 left some worker fewer than 1 examples in each of 3 tries; "
            "the best had 0; raise alpha, lower least, or use fewer workers",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_one_sentence(make, sentence):
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value) == sentence
