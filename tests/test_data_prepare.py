"""What is fitted on the training part: categories, means, deviations; to disk and back."""

import json

import numpy as np
import pytest

from pullback.data import Encoder, Preparation, Rows, Standardizer, read_inputs, read_table
from pullback.errors import CheckpointError, DataError, ShapeError

TRAIN = "age,town,y\n31,Oslo,1\n44,Bergen,0\n28,Oslo,1\n"


def csv(folder, text, name="people.csv"):
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture
def fitted(tmp_path):
    table = read_table(csv(tmp_path, TRAIN), target="y")
    encoder = Encoder.fit(table, np.arange(3))
    standardizer = Standardizer.fit(encoder.apply(table))
    return Preparation((3,), encoder, standardizer, table.classes, unused=("y",))


def test_encoding_by_hand(tmp_path):
    table = read_table(csv(tmp_path, TRAIN), target="y")
    encoder = Encoder.fit(table, np.arange(3))
    assert encoder.features == ("age", "town=Bergen", "town=Oslo")
    assert encoder.apply(table).tolist() == [[31, 0, 1], [44, 1, 0], [28, 0, 1]]


def test_categories_come_from_the_training_rows_only(tmp_path):
    table = read_table(csv(tmp_path, TRAIN), target="y")
    encoder = Encoder.fit(table, np.array([0, 2]))
    assert encoder.features == ("age", "town=Oslo")
    says = r"'Bergen' is not among the categories .*\('Oslo'\), in people.csv, row 3, column 'town'"
    with pytest.raises(DataError, match=says):
        encoder.apply(table)


def test_too_many_categories_are_refused(tmp_path):
    names = "".join(f"name{i},1\n" for i in range(1001))
    table = read_table(csv(tmp_path, "who,n\n" + names), target="n", task="regression")
    with pytest.raises(DataError, match=r"1001 categories.*column 'who'"):
        Encoder.fit(table, np.arange(1001))


def test_new_inputs_in_any_order_with_or_without_the_target(tmp_path, fitted):
    expected = fitted.apply(read_inputs(csv(tmp_path, TRAIN), fitted))
    assert expected.dtype == np.float32
    np.testing.assert_allclose(expected.mean(axis=0), 0, atol=1e-6)
    for text in (
        "town,age\nOslo,31\nBergen,44\nOslo,28\n",
        "y,town,age\n,Oslo,31\n,Bergen,44\nx,Oslo,28\n",
    ):
        new = fitted.apply(read_inputs(csv(tmp_path, text, "new.csv"), fitted))
        np.testing.assert_array_equal(new, expected)


def test_a_column_stays_categorical_when_its_new_cells_look_like_numbers(tmp_path):
    table = read_table(csv(tmp_path, "code,y\na1,0\n7,1\n"), target="y", categorical=["code"])
    preparation = Preparation((2,), Encoder.fit(table, np.arange(2)), unused=("y",))
    new = read_inputs(csv(tmp_path, "code\n7\n7\n", "new.csv"), preparation)
    assert preparation.apply(new).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("age\n1\n", "lacks column 'town'"),
        ("nothing\n1\n", "lacks columns 'age', 'town'"),
        ("age,town,size,hue\n1,Oslo,2,x\n", "has the unknown columns 'hue', 'size'"),
        ("age,town\n1,Rome\n", "'Rome' is not among .*row 2, column 'town'"),
        ("age,town\nold,Oslo\n", "'old' is not a number, in new.csv, row 2, column 'age'"),
        ("age,town\n1e300,Oslo\n", "row 0 of the inputs is not finite in float32, in column 'age'"),
    ],
)
def test_new_inputs_that_do_not_fit(tmp_path, fitted, text, says):
    with pytest.raises(DataError, match=says):
        fitted.apply(read_inputs(csv(tmp_path, text, "new.csv"), fitted))


def test_arrays_as_inputs(tmp_path):
    preparation = Preparation((2,))
    x = np.arange(6).reshape(3, 2)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "none.npz", y=x)
    for name in ("x.npy", "x.npz"):
        got = preparation.apply(read_inputs(tmp_path / name, preparation), np.float64)
        assert got.tolist() == x.tolist()
        assert got.dtype == np.float64
    with pytest.raises(DataError, match="no array 'x'"):
        read_inputs(tmp_path / "none.npz", preparation)
    with pytest.raises(DataError, match="no known kind"):
        read_inputs(tmp_path / "x.txt", preparation)
    with pytest.raises(DataError, match=r"rows of shape \(2,\), got \(3,\)"):
        preparation.apply(np.zeros((2, 3)))
    with pytest.raises(
        DataError, match=r"row 1 of the inputs is not finite in float32, in column 0;"
    ):
        preparation.apply(np.array([[0, 0], [np.nan, 0]]))
    with pytest.raises(DataError, match="the inputs hold <U1"):
        preparation.apply(np.array([["a", "b"]]))


def test_tables_and_arrays_are_not_confused(tmp_path, fitted):
    with pytest.raises(DataError, match=r"a table .* is wanted"):
        fitted.apply(np.zeros((1, 3)))
    arrays = Preparation((3,))
    with pytest.raises(DataError, match=r"an array .* is wanted"):
        arrays.apply(read_inputs(csv(tmp_path, TRAIN), arrays))


def test_it_comes_back_from_json_exactly(tmp_path, fitted):
    again = Preparation.from_json(json.loads(json.dumps(fitted.to_json())))
    table = read_inputs(csv(tmp_path, TRAIN), fitted)
    np.testing.assert_array_equal(again.apply(table, float), fitted.apply(table, float))
    assert again.to_json() == fitted.to_json()
    bare = Preparation((28, 28))
    assert Preparation.from_json(json.loads(json.dumps(bare.to_json()))).to_json() == bare.to_json()


@pytest.mark.parametrize("spoil", ["shape", "encoder", "standardizer", "unused"])
def test_a_broken_description_is_refused(fitted, spoil):
    stored = fitted.to_json()
    del stored[spoil]
    with pytest.raises(CheckpointError, match="preparation"):
        Preparation.from_json(stored)
    with pytest.raises(CheckpointError, match="preparation"):
        Preparation.from_json(stored | {spoil: 7})


class TestStandardizer:
    def test_agrees_with_two_passes(self):
        x = np.random.default_rng(0).normal(3, 2, (1000, 4, 5))
        fitted = Standardizer.fit(x)
        np.testing.assert_allclose(fitted.mean, x.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(fitted.deviation, x.std(axis=0), rtol=1e-13)
        out = fitted.apply(x, np.float64)
        np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-13)
        np.testing.assert_allclose(out.std(axis=0), 1, rtol=1e-13)

    def test_blocks_merge_without_cancellation(self, monkeypatch):
        """A mean of 10⁹ with deviation 1: the naive Σx² − n·mean² has no correct digit left."""
        x = np.random.default_rng(0).normal(1e9, 1, (5000, 3))
        monkeypatch.setattr("pullback.data.rows._BLOCK_BYTES", 7 * 3 * 8)
        fitted = Standardizer.fit(Rows(x))
        np.testing.assert_allclose(fitted.mean, x.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(fitted.deviation, x.std(axis=0), rtol=1e-7)
        naive = np.sqrt(np.abs(np.square(x).mean(axis=0) - np.square(x.mean(axis=0))))
        assert not np.allclose(naive, x.std(axis=0), rtol=1e-2)

    def test_constant_features_have_deviation_one(self):
        x = np.full((1001, 2), 0.1)
        assert x[:, 0].std() > 0  # rounding hides that it is constant
        x[:, 1] = 1e-30 * np.arange(1001)
        fitted = Standardizer.fit(x)
        assert fitted.deviation[0] == 1
        assert fitted.deviation[1] < 1e-26
        assert (fitted.apply(x, np.float32)[:, 0] == 0).all()

    def test_small_numbers_do_not_vanish(self):
        x = np.array([[0.0], [1e-200]])
        assert np.isfinite(Standardizer.fit(x).apply(x, np.float64)).all()

    def test_rows_of_another_shape_are_refused(self):
        with pytest.raises(ShapeError, match=r"got \(3,\)"):
            Standardizer.fit(np.zeros((2, 2))).apply(np.zeros((2, 3)), np.float32)
