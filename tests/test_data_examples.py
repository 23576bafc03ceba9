"""Examples and the sources that need no file."""

import subprocess
import sys

import numpy as np
import pytest

from pullback.data import Examples, Rows, circles, digits, moons, xor
from pullback.errors import DataError, ShapeError

X = np.zeros((3, 2))
LABELS = np.array([0, 1, 1])
PAIR = ("a", "b")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"x": X[:2]}, "x has 2 rows, y has 3"),
        ({"x": X[:, 0]}, r"x has shape \(3,\)"),
        ({"x": X[:0], "y": LABELS[:0]}, "there are no examples"),
        ({"x": X.astype(int)}, "x holds int64"),
        ({"x": np.array([[0, 0], [0, np.nan], [0, 0]])}, r"x\[1, 1\] is nan"),
        ({"x": np.array([[0, 0], [0, 0], [np.inf, 0]]), "features": PAIR}, r"x\[2, 'a'\] is inf"),
        ({"features": ("a",)}, "1 feature names"),
        ({"image": (2, 2)}, "has 4 pixels, a row has 2"),
        ({"y": np.array([0, 1, 2])}, r"y\[2\] is 2, labels lie in 0..1"),
        ({"y": np.array([0, -1, 1])}, r"y\[1\] is -1"),
        ({"y": np.array([0.0, 1.0, 1.0])}, "indices .* of integers"),
        ({"classes": None}, "regression wants targets"),
        ({"classes": None, "y": np.array([[0.0], [np.inf], [0.0]])}, r"y\[1, 0\] is inf"),
        ({"weight": np.ones(2)}, r"weight has shape \(2,\)"),
        ({"weight": np.array([1.0, -1.0, 1.0])}, r"weight\[1\] is -1.0"),
        ({"weight": np.array([1.0, np.nan, 1.0])}, r"weight\[1\] is nan"),
        ({"weight": np.zeros(3)}, "all weights are zero"),
    ],
)
def test_unfit_arrays_are_refused(fields, says):
    with pytest.raises(DataError, match=says):
        Examples(**({"x": X, "y": LABELS, "classes": PAIR} | fields))


def test_targets_fit_the_network_or_are_refused():
    two = Examples(X, LABELS, classes=PAIR)
    assert two.targets(np.float32, 1).tolist() == [[0], [1], [1]]
    assert two.targets(np.float64, 2).tolist() == [[1, 0], [0, 1], [0, 1]]
    assert two.targets(np.float64, 2).dtype == np.float64
    with pytest.raises(ShapeError, match="has 3 outputs, the data want 1 or 2"):
        two.targets(np.float32, 3)
    three = Examples(X, np.array([2, 0, 1]), classes=("a", "b", "c"))
    with pytest.raises(ShapeError, match="has 1 outputs, the data want 3"):
        three.targets(np.float32, 1)
    numbers = Examples(X, np.arange(6.0).reshape(3, 2))
    assert numbers.targets(np.float32, 2).tolist() == numbers.y.tolist()
    with pytest.raises(ShapeError, match="has 1 outputs, the data want 2"):
        numbers.targets(np.float32, 1)


def test_take_keeps_rows_together():
    x = np.arange(6.0).reshape(3, 2)
    taken = Examples(x, LABELS, np.array([1.0, 2.0, 3.0]), PAIR, name="n", checksum="c")
    taken = taken.take(np.array([2, 0]))
    assert np.asarray(taken.x).tolist() == [[4, 5], [0, 1]]
    assert taken.y.tolist() == [1, 0]
    assert taken.weight is not None
    assert taken.weight.tolist() == [3, 1]
    assert (taken.name, taken.checksum, taken.classes) == ("n", "c", PAIR)


def test_rows_read_nothing_before_they_are_asked():
    class Counted(np.ndarray):
        reads = 0

        def __getitem__(self, key):
            Counted.reads += 1
            return super().__getitem__(key)

    source = np.arange(20.0).reshape(10, 2).view(Counted)
    rows = Rows(source).take(np.arange(1, 10)).take(np.array([0, 4, 8]))
    rows = rows.prepared(lambda x: np.asarray(x, np.float32) * 2, np.dtype(np.float32))
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == ((3, 2), 2, np.float32, 3)
    assert Counted.reads == 0
    assert rows[:2].tolist() == [[4, 6], [20, 22]]
    assert Counted.reads == 1
    assert rows[2].tolist() == [36, 38]
    assert rows[np.array([2, 0])].tolist() == [[36, 38], [4, 6]]
    np.testing.assert_array_equal(np.asarray(rows), rows[:])


def test_digits():
    data = digits()
    assert data.x.shape == (1797, 64)
    assert data.x.dtype == np.float32
    assert data.image == (8, 8)
    assert data.classes == tuple("0123456789")
    assert (np.min(data.x), np.max(data.x)) == (0, 1)
    assert np.bincount(data.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits(np.float64).checksum == data.checksum


@pytest.mark.parametrize("draw", [circles, moons, xor])
def test_drawn_sources_follow_their_arguments(draw):
    data = draw(101, noise=0.2, seed=3)
    assert data.x.shape == (101, 2)
    assert data.x.dtype == np.float32
    assert abs(2 * data.y.sum() - 101) <= 3
    assert data.features == ("x1", "x2")
    again, other = draw(101, noise=0.2, seed=3), draw(101, noise=0.2, seed=4)
    np.testing.assert_array_equal(again.x, data.x)
    assert again.checksum == data.checksum
    assert other.checksum != data.checksum
    assert draw(10, dtype=np.float64).x.dtype == np.float64


def test_drawn_points_lie_where_they_should():
    ring = circles(200, noise=0, dtype=np.float64)
    radius = np.linalg.norm(np.asarray(ring.x), axis=1)
    np.testing.assert_allclose(radius, np.where(ring.y == 0, 1, 0.5))
    moon = moons(200, noise=0, dtype=np.float64)
    x = np.asarray(moon.x)
    np.testing.assert_allclose(np.linalg.norm(x[moon.y == 0], axis=1), 1)
    assert (x[moon.y == 0, 1] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(x[moon.y == 1] - [[1, 0.5]], axis=1), 1)
    assert (x[moon.y == 1, 1] <= 0.5).all()
    corner = np.rint(np.asarray(xor(400, noise=0.05).x)).astype(int)
    np.testing.assert_array_equal(corner[:, 0] ^ corner[:, 1], xor(400, noise=0.05).y)
    spread = np.asarray(xor(4000, noise=0.3).x) - np.asarray(xor(4000, noise=0).x)
    np.testing.assert_allclose(spread.std(axis=0), 0.3, atol=0.01)


def test_the_room_is_light():
    heavy = "('jax', 'sklearn', 'pyarrow', 'pooch', 'requests', 'matplotlib')"
    code = f"import sys, pullback.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
