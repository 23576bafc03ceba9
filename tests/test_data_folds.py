"""Folds: every example outside the test part validates once, and nothing is fitted on it then."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback import config
from pullback.data import DataSpec, load, split
from pullback.errors import ConfigError, DataError
from pullback.prepared import prepare


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(12, 60), min_size=1, max_size=6),
    st.sampled_from([(0.6, 0.2, 0.2), (0.5, 0.5, 0), (1, 0, 0), (0.4, 0, 0.6)]),
    st.integers(2, 4),
    st.integers(0, 5),
    st.booleans(),
)
def test_folds_part_what_is_not_tested_evenly_class_by_class(sizes, shares, folds, seed, named):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(seed).shuffle(labels)
    known, n = labels if named else None, len(labels)
    plain = split(n, known, shares, seed)
    held_out = []
    for fold in range(folds):
        parts = split(n, known, shares, seed, folds=folds, fold=fold)
        assert parts.validation is not None
        np.testing.assert_array_equal(parts.test, plain.test)
        every = (parts.train, parts.validation, parts.test)
        everyone = [part for part in every if part is not None]
        assert sorted(np.concatenate(everyone).tolist()) == list(range(n))
        assert all((np.diff(part) > 0).all() for part in everyone)
        held_out.append(parts.validation)
    pool = [part for part in (plain.train, plain.validation) if part is not None]
    assert sorted(np.concatenate(held_out)) == sorted(np.concatenate(pool))  # and so disjoint
    assert np.ptp([len(rows) for rows in held_out]) <= 1
    if named:
        counts = [np.bincount(labels[rows], minlength=len(sizes)) for rows in held_out]
        assert np.ptp(counts, axis=0).max() <= 1


def test_folds_are_drawn_at_random_by_the_seed():
    counts = np.zeros(20)
    for seed in range(400):
        counts[split(20, None, (0.5, 0, 0.5), seed, folds=2, fold=1).validation] += 1
    np.testing.assert_allclose(counts, 100, atol=40)


def test_a_source_with_its_own_test_part_is_dealt_out_whole():
    labels = np.arange(60) % 10
    found = [split(60, labels, "auto", 0, given_test=True, folds=6, fold=i) for i in range(6)]
    assert [(len(p.train), p.validation is not None, p.test) for p in found] == [
        (50, True, None)
    ] * 6


def table(folder, changed=None):
    """Twelve rows; the numbers and the hue of some of them may be others."""
    rows = [(f"{i}.5", "red" if i % 2 else "blue", i % 3 / 2) for i in range(12)]
    for i, row in (changed or {}).items():
        rows[i] = (*row, rows[i][2])
    lines = ["size,hue,y", *(",".join(map(str, row)) for row in rows)]
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_is_fitted_does_not_see_the_fold_that_validates(tmp_path):
    shares = (0.5, 0.25, 0.25)
    spec = DataSpec(
        "file",
        table(tmp_path),
        target="y",
        task="regression",
        split=shares,
        standardize=True,
        folds=3,
    )

    def loaded(fold, changed=None):
        table(tmp_path, changed)
        return load(replace(spec, fold=fold), dtype=np.float64)

    rows = split(12, None, shares, 0, folds=3, fold=1).validation
    assert rows is not None
    held = int(rows[0])
    large, plain = {held: ("1000", "red")}, loaded(1)
    outside, inside = loaded(1, large), loaded(0, large)
    assert outside.preparation.to_json() == plain.preparation.to_json()
    np.testing.assert_array_equal(outside.train.x, plain.train.x)
    assert outside.validation is not None
    assert np.abs(outside.validation.x).max() > 100
    assert outside.checksum == inside.checksum != plain.checksum
    # Where it trains, it is seen.
    assert inside.preparation.to_json() != loaded(0).preparation.to_json()
    np.testing.assert_allclose(np.asarray(inside.train.x).mean(axis=0), 0, atol=1e-12)
    # And so are the categories of a table.
    new = {held: ("1", "green")}
    assert "hue=green" in (loaded(0, new).train.features or ())
    with pytest.raises(DataError, match="'green' is not among the categories of the training rows"):
        loaded(1, new)


def test_streamed_inputs_have_the_folds_of_resident_ones(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(60) % 2)
    spec = DataSpec("file", tmp_path / "x.npy", target_path=tmp_path / "y.npy", folds=4, fold=2)
    whole, streamed = load(spec), load(replace(spec, stream_above_mb=1e-6))
    assert streamed.train.streamed
    np.testing.assert_array_equal(streamed.train.x[:], whole.train.x)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"folds": 1}, "folds must be 0, for none, or at least 2, got 1"),
        ({"folds": -2}, "folds must be 0, for none, or at least 2, got -2"),
        ({"folds": 5, "fold": 5}, "fold must be one of 0 to 4, there are 5 folds, got 5"),
        ({"folds": 5, "fold": -1}, "fold must be one of 0 to 4"),
        ({"fold": 2}, "fold = 2 is of no folds; set folds"),
        ({"folds": 5, "join_validation": True}, "is not joined to the training part"),
    ],
)
def test_folds_that_mean_nothing_are_refused(arguments, says):
    with pytest.raises(ConfigError, match=says):
        DataSpec(**arguments)


def test_more_folds_than_examples_are_refused(tmp_path):
    shares = (0.5, 0.25, 0.25)
    spec = DataSpec("file", table(tmp_path), target="y", split=shares, folds=10)
    with pytest.raises(ConfigError, match=r"10 folds want .* outside the test part, there are 9"):
        load(replace(spec, task="regression"))
    wanted = "4 folds want as many examples of class '0' outside the test part, there are 3"
    with pytest.raises(ConfigError, match=f"{wanted}, in the key 'data.folds'"):
        load(replace(spec, task="classification", folds=4))


def test_a_fold_is_an_experiment_of_its_own():
    text = config.parse({"data": {"folds": 5, "fold": 2}}, "test").toml()
    assert "folds = 5\nfold = 2\n" in text
    with pytest.raises(ConfigError, match=r"fold must be one of 0 to 4.*, in test"):
        config.parse({"data": {"folds": 5, "fold": 7}}, "test")
    table = {"data": {"source": "circles", "n": 50, "folds": 5, "fold": 2}}
    prepared = prepare(config.parse(table, "test"))
    sizes = {name: len(part) for name, part in prepared.examples().items()}
    assert sizes == {"train": 32, "validation": 8, "test": 10}
