"""NPZ and NPY: read whole or streamed, and refused where they lie."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.data.arrays import open_npy, read_archive, read_npy, read_npz
from pullback.data.rows import Rows
from pullback.errors import DataError

X = np.arange(12).reshape(6, 2)
Y = np.array(["b", "a", "b", "a", "b", "a"])


def npz(folder, **arrays):
    np.savez_compressed(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_npz_gives_examples(tmp_path):
    data = read_npz(npz(tmp_path, x=X, y=Y, weight=np.arange(6)), image=(1, 2))
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.x, X)
    assert data.y.tolist() == [1, 0, 1, 0, 1, 0]
    assert data.classes == ("a", "b")
    assert data.weight is not None
    assert data.weight.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.image == (1, 2)
    exact = read_npz(tmp_path / "data.npz", dtype=np.float64)
    assert exact.x.dtype == np.float64
    assert exact.checksum == data.checksum


def test_targets_of_many_columns_are_numbers(tmp_path):
    data = read_npz(npz(tmp_path, x=X, y=X / 2))
    assert data.classes is None
    np.testing.assert_array_equal(data.y, X / 2)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": X}, "no array 'y'"),
        ({"x": X, "y": Y, "z": Y}, "the file holds an array 'z'"),
        ({"x": X, "y": Y[:5]}, "x has 6 rows, y has 5"),
        ({"x": X[:, 0], "y": Y}, r"x has shape \(6,\).*reshape"),
        ({"x": Y[:, None], "y": Y}, "x holds <U1, numbers are wanted"),
        ({"x": X[:0], "y": Y[:0]}, "nothing in it"),
        ({"x": np.where(X == 5, np.nan, X), "y": Y}, r"x\[2, 1\] is nan"),
        ({"x": np.where(X == 4, 1e300, X), "y": Y}, r"x\[2, 0\] is inf"),
        ({"x": X, "y": Y, "weight": Y}, "weight holds <U1"),
        ({"x": X, "y": Y, "weight": -np.ones(6)}, r"weight\[0\] is -1"),
    ],
)
def test_unfit_npz_is_refused(tmp_path, arrays, says):
    with pytest.raises(DataError, match=says) as caught:
        read_npz(npz(tmp_path, **arrays))
    assert "data.npz" in str(caught.value)


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickles_are_not_opened(tmp_path):
    sprung = tmp_path / "sprung"
    trap = np.array([Trap(sprung), None], object)
    np.savez(tmp_path / "data.npz", x=trap, y=Y)
    with pytest.raises(DataError, match="other than numbers and text"):
        read_npz(tmp_path / "data.npz")
    np.save(tmp_path / "x.npy", trap)
    np.save(tmp_path / "y.npy", Y)
    with pytest.raises(DataError, match="other than numbers and text"):
        read_npy(tmp_path / "x.npy", tmp_path / "y.npy", limit_bytes=1e9)
    (tmp_path / "data.npz").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(DataError, match="cannot read NPZ"):
        read_npz(tmp_path / "data.npz")
    assert not sprung.exists()


@pytest.mark.parametrize("shape", ["(10000000000,)", "(5,)", "(7, 1)", "(-2, -3)"])
def test_headers_that_lie_are_refused_before_memory_is_taken(tmp_path, shape):
    honest = io.BytesIO()
    np.save(honest, np.zeros(6))
    content = honest.getvalue().replace(b"(6,)", shape.encode().ljust(4), 1)
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", content)
    tracemalloc.start()
    with pytest.raises(DataError):
        read_archive(tmp_path / "data.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def npy(folder, x, y=Y):
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return folder / "x.npy", folder / "y.npy"


def test_npy_is_resident_or_streams(tmp_path):
    paths = npy(tmp_path, X.astype(np.uint8))
    resident = read_npy(*paths, limit_bytes=X.size * 4)
    streamed = read_npy(*paths, limit_bytes=X.size * 4 - 1)
    assert isinstance(resident.x, np.ndarray)
    assert not isinstance(resident.x, np.memmap)
    assert isinstance(streamed.x, Rows)
    assert isinstance(streamed.x.source, np.memmap)
    np.testing.assert_array_equal(streamed.x[:], resident.x)
    assert streamed.checksum == resident.checksum
    assert (streamed.streamed, resident.streamed) == (True, False)


def test_a_value_that_is_not_finite_is_found_on_disk_too(tmp_path):
    x = X.astype(np.float32)
    x[4, 1] = np.nan
    with pytest.raises(DataError, match=r"x\[4, 1\] is nan"):
        read_npy(*npy(tmp_path, x), limit_bytes=1)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (X[:5], "x has 5 rows, y has 6"),
        (X * 1j, "other than numbers and text"),
        (X[:, 0], "reshape"),
    ],
)
def test_unfit_npy_is_refused(tmp_path, x, says):
    with pytest.raises(DataError, match=says):
        read_npy(*npy(tmp_path, x), limit_bytes=1e9)


def test_every_plain_array_that_numpy_saves_is_read(tmp_path):
    for dtype in ("?", "u1", "<i4", ">i8", "f2", "<f4", ">f8", "g", "U3"):
        for array in (np.arange(6).reshape(2, 3), np.arange(5), np.arange(4).reshape(2, 2).T):
            for version in ((1, 0), (2, 0), (3, 0)):
                with open(tmp_path / "a.npy", "wb") as file:
                    np.lib.format.write_array(file, array.astype(dtype), version)
                read = open_npy(tmp_path / "a.npy")
                np.testing.assert_array_equal(read, array.astype(dtype))
                assert read.dtype == dtype
    np.savez(tmp_path / "data.npz", x=X.T, y=np.asfortranarray(X))
    held = read_archive(tmp_path / "data.npz")
    np.testing.assert_array_equal(held["x"], X.T)
    np.testing.assert_array_equal(held["y"], X)


@pytest.mark.parametrize("keep", [0, 5, 20, 100, -1])
def test_truncated_npy_is_refused(tmp_path, keep):
    paths = npy(tmp_path, X)
    paths[0].write_bytes(paths[0].read_bytes()[:keep])
    with pytest.raises(DataError, match=r"NPY|claims.*x\.npy"):
        read_npy(*paths, limit_bytes=1e9)


def test_an_absent_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_npz(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="No such file"):
        read_npy(tmp_path / "absent.npy", tmp_path / "absent.npy", limit_bytes=1e9)


@settings(max_examples=300)
@given(st.data())
def test_damaged_files_never_escape(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    path = npz(folder, x=X, y=np.arange(6)) if data.draw(st.booleans()) else npy(folder, X)[0]
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read_npz(path) if path.suffix == ".npz" else read_npy(path, folder / "y.npy", limit_bytes=9)
    except DataError as error:
        said = str(error)
        assert "\n" not in said


@pytest.mark.parametrize("code", [0x110000, 0xD800])
def test_text_that_is_no_text_is_refused(tmp_path, code):
    paths = npy(tmp_path, X)
    np.save(paths[1], np.array([code] * 6, np.uint32).view("<U1"))
    with pytest.raises(DataError, match="text that is not Unicode"):
        read_npy(*paths, limit_bytes=1e9)


def test_names_from_a_file_stay_on_one_line(tmp_path):
    with pytest.raises(DataError, match=r"array 'x\\ny'") as caught:
        read_npz(npz(tmp_path, **{"x\ny": X}))
    assert "\n" not in str(caught.value)
