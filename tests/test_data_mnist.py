"""Folders of IDX files: genuine MNIST where it is at hand, small imitations everywhere."""

import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

from pullback.data import Pixels, fashion_mnist, mnist, read_inputs, registry, verify
from pullback.data.loaded import load
from pullback.data.registry import MNIST
from pullback.data.spec import DataSpec
from pullback.data.store import Directory, data_directory
from pullback.errors import DataError


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def imitate(folder, n_train=50, n_test=20, side=28):
    """Write a small data set in MNIST's form."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for prefix, n in (("train", n_train), ("t10k", n_test)):
        pictures = random.integers(0, 256, (n, side, side), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pictures), 1))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return Directory(folder, "--data-dir")


@pytest.mark.mnist
def test_genuine_mnist(mnist_directory):
    directory = data_directory(mnist_directory)
    assert set(verify("mnist", directory).values()) == {"ok"}
    train, test = mnist(directory)
    assert (train.x.shape, test.x.shape) == ((60000, 784), (10000, 784))
    assert train.x.dtype == np.float32
    assert train.image == (28, 28)
    # the published counts per digit, and the mean and deviation that everybody quotes
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.y).tolist() == counts
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert isinstance(train.x, Pixels)
    assert train.x.values.nbytes == 60000 * 784
    x = np.asarray(train.x)
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_allclose([x.mean(), x.std()], [0.1307, 0.3081], atol=5e-5)
    assert train.targets(np.float32, 10)[0].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.mnist
def test_genuine_mnist_is_loaded_split_and_standardised(mnist_directory):
    loaded = load(DataSpec("mnist", standardize=True), mnist_directory)
    assert loaded.validation is not None
    assert loaded.test is not None
    assert [len(loaded.train), len(loaded.validation), len(loaded.test)] == [55000, 5000, 10000]
    share = np.bincount(loaded.validation.y) / 5000
    np.testing.assert_allclose(share, np.bincount(loaded.train.y) / 55000, atol=3e-4)
    x = np.asarray(loaded.train.x, np.float64)
    moving = x.std(axis=0) > 0
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0)[moving], 1, atol=1e-4)


@pytest.mark.mnist
def test_genuine_pictures_are_inputs_for_prediction(mnist_directory):
    loaded = load(DataSpec("mnist", standardize=True), mnist_directory)
    folder = mnist_directory
    path = next(folder.rglob("t10k-images-idx3-ubyte*"))
    x = loaded.preparation.apply(read_inputs(path, loaded.preparation))
    assert loaded.test is not None
    np.testing.assert_array_equal(x, loaded.test.x)


@pytest.mark.mnist
def test_mnist_is_not_taken_for_fashion_mnist(mnist_directory):
    with pytest.raises(DataError, match="these files are mnist, fashion-mnist is wanted"):
        fashion_mnist(Directory(next(mnist_directory.rglob("t10k-labels*")).parent, "--data-dir"))


def test_another_data_set_under_the_same_file_names_is_refused(tmp_path, monkeypatch):
    directory = imitate(tmp_path)
    sum_of_labels = hashlib.sha256((tmp_path / "t10k-labels-idx1-ubyte").read_bytes()).hexdigest()
    labels = replace(MNIST.test_labels, content=sum_of_labels)
    monkeypatch.setattr(registry, "MNIST", replace(MNIST, test_labels=labels))
    with pytest.raises(DataError, match="these files are mnist, fashion-mnist is wanted"):
        fashion_mnist(directory)


def test_a_folder_is_found_by_name_and_directly(tmp_path):
    direct = imitate(tmp_path / "direct")
    imitate(tmp_path / "parent" / "mnist")
    a, _ = mnist(direct)
    b, _ = mnist(Directory(tmp_path / "parent", "PULLBACK_DATA"))
    assert a.checksum == b.checksum
    np.testing.assert_array_equal(a.x, b.x)


def test_float64_is_the_exact_quotient(tmp_path):
    directory = imitate(tmp_path)
    train, _ = mnist(directory, np.float64)
    assert train.x.dtype == np.float64
    raw = gzip.decompress((tmp_path / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    np.testing.assert_array_equal(np.ravel(train.x[:]), np.frombuffer(raw, np.uint8) / 255)
    assert mnist(directory)[0].checksum == train.checksum


def test_swapped_files_are_named(tmp_path):
    directory = imitate(tmp_path)
    labels, pictures = tmp_path / "train-labels-idx1-ubyte", tmp_path / "train-images-idx3-ubyte.gz"
    kept = labels.read_bytes()
    labels.write_bytes(gzip.decompress(pictures.read_bytes()))
    with pytest.raises(DataError, match=r"train-labels.*it holds pictures: are the files swapped"):
        mnist(directory)
    labels.write_bytes(kept)
    pictures.write_bytes(gzip.compress(kept))
    with pytest.raises(DataError, match=r"train-images.*it holds labels: are the files swapped"):
        mnist(directory)


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("train-labels-idx1-ubyte", np.zeros(49, np.uint8), "49 labels for 50 pictures"),
        ("train-labels-idx1-ubyte", np.full(50, 10, np.uint8), "label 10 of a data set with 10"),
        ("train-images-idx3-ubyte.gz", np.zeros((0, 28, 28), np.uint8), "holds no pictures"),
        ("train-images-idx3-ubyte.gz", np.zeros((50, 9, 9), np.uint8), r"\(9, 9\), test pictures"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, name, array, says):
    directory = imitate(tmp_path)
    packed = gzip.compress(idx(array)) if name.endswith(".gz") else idx(array)
    (tmp_path / name).write_bytes(packed)
    with pytest.raises(DataError, match=says):
        mnist(directory)


def test_a_given_directory_without_the_files_is_refused_and_not_filled(tmp_path):
    directory = imitate(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"mnist lacks its file t10k-labels-idx1-ubyte.gz.*fetch"):
        mnist(directory)
    assert sorted(tmp_path.iterdir()) == before


def test_verify_tells_each_file_apart(tmp_path):
    directory = imitate(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    states = verify("mnist", directory)
    assert states["t10k-labels-idx1-ubyte"] == "missing"
    assert {states[name] for name in states if "t10k-labels" not in name} == {"wrong"}
    unpacked = verify("fashion-mnist", directory)
    assert unpacked["train-labels-idx1-ubyte"] == "unknown"
    assert unpacked["train-images-idx3-ubyte"] == "wrong"


def test_the_registry_is_well_formed():
    for file in MNIST.files:
        assert len(bytes.fromhex(file.archive)) == hashlib.sha256().digest_size
        assert file.size > 0
