"""Who trains and who judges: each class in its share, and nobody twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.data import split
from pullback.errors import DataError


def parts_of(parts):
    return [
        part if part is not None else np.array([], int)
        for part in (parts.train, parts.validation, parts.test)
    ]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
    st.sampled_from(
        [(0.6, 0.2, 0.2), (0.98, 0.01, 0.01), (0.5, 0.5, 0), (1, 0, 0), (0.1, 0.3, 0.6)]
    ),
    st.integers(0, 5),
)
def test_every_class_has_its_share_and_every_row_one_place(sizes, shares, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(seed).shuffle(labels)
    try:
        parts = split(len(labels), labels, shares, seed)
    except DataError as error:
        said = str(error)
        assert "empty" in said
        return
    found = parts_of(parts)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(labels)))
    counts = np.array([np.bincount(labels[rows], minlength=len(sizes)) for rows in found])
    exact = np.outer(shares, sizes)
    # rounded down or up; a share that is whole stays as it is
    assert (np.abs(counts - exact) < 0.995).all()
    assert (counts[0] >= 1).all()
    for rows in found:
        assert (np.diff(rows) > 0).all()


def test_the_totals_follow_the_fractions_too():
    """Rounding each class by itself would give 0 of 50 classes' 2 examples to the test part."""
    labels = np.repeat(np.arange(50), 2)
    assert [len(part) for part in parts_of(split(100, labels, (0.6, 0.2, 0.2), 0))] == [60, 20, 20]
    digits = np.repeat(np.arange(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    sizes = [len(part) for part in parts_of(split(1797, digits, "auto", 0))]
    np.testing.assert_allclose(sizes, [1078.2, 359.4, 359.4], atol=1)


@pytest.mark.parametrize(
    ("n", "given_test", "sizes"),
    [
        (10_000, False, [6000, 2000, 2000]),
        (10_001, False, [9801, 100, 100]),
        (60_000, True, [55_000, 5000, 0]),
        (6000, True, [5000, 1000, 0]),
    ],
)
@pytest.mark.parametrize("labelled", [True, False])
def test_auto(n, given_test, sizes, labelled):
    labels = np.arange(n) % 10 if labelled else None
    parts = split(n, labels, "auto", 0, given_test=given_test)
    np.testing.assert_allclose([len(part) for part in parts_of(parts)], sizes, atol=2)
    assert (parts.test is None) == given_test


def test_it_is_a_function_of_the_seed():
    labels = np.arange(100) % 3
    a, b, c = (split(100, labels, "auto", seed) for seed in (0, 0, 1))
    for one, same in zip(parts_of(a), parts_of(b), strict=True):
        np.testing.assert_array_equal(one, same)
    assert a.train.tolist() != c.train.tolist()


def test_rows_are_drawn_at_random_within_a_class():
    chosen = np.zeros(20)
    for seed in range(400):
        test = split(20, np.zeros(20, int), (0.5, 0, 0.5), seed).test
        assert test is not None
        chosen[test] += 1
    np.testing.assert_allclose(chosen, 200, atol=50)


def test_a_class_with_one_example_trains():
    labels = np.array([0] * 9 + [1])
    for seed in range(20):
        assert 9 in split(10, labels, (0.6, 0.2, 0.2), seed).train


def test_parts_that_are_not_asked_for_are_none():
    parts = split(4, np.array([0, 1, 1, 0]), (1, 0, 0), 0)
    assert parts.train.tolist() == [0, 1, 2, 3]
    assert parts.validation is None
    assert parts.test is None


def test_a_part_that_would_be_empty_is_refused():
    with pytest.raises(DataError, match="1 examples leave the validation part empty"):
        split(1, None, "auto", 0)


def test_a_whole_share_is_kept_even_where_the_part_is_owed_rows():
    labels = np.repeat(np.arange(4), [1, 1, 1, 4])  # three classes that can only train
    validation = split(7, labels, (0.3, 0.5, 0.2), 0).validation
    assert validation is not None
    assert np.sum(labels[validation] == 3) == 2
