"""From a specification to parts ready for training."""

import numpy as np
import pytest

from pullback.data import DataSpec, Rows, digits, load, read_inputs
from pullback.errors import ConfigError, DataError


def csv(folder, n=40):
    random = np.random.default_rng(0)
    lines = ["id,size,hue,share,kind"]
    lines += [
        f"{i},{random.normal(5, 3):.6f},{'red' if i % 3 else 'blue'},{1 + i % 2},{'ab'[i % 2]}"
        for i in range(n)
    ]
    (folder / "things.csv").write_text("\n".join(lines) + "\n")
    return folder / "things.csv"


def test_the_default_is_digits_in_three_parts():
    loaded = load(DataSpec())
    assert loaded.validation is not None
    assert loaded.test is not None
    assert len(loaded.train) + len(loaded.validation) + len(loaded.test) == 1797
    assert loaded.train.x.shape == (len(loaded.train), 64)
    assert loaded.train.x.dtype == np.float32
    assert loaded.name == "digits"
    assert loaded.preparation.shape == (64,)
    assert loaded.checksum == load(DataSpec(seed=1, standardize=True), dtype=np.float64).checksum


def test_the_truth_table_of_exclusive_or():
    loaded = load(DataSpec("xor", n=4, noise=0, split=(1, 0, 0)), dtype=np.float64)
    assert np.asarray(loaded.train.x).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert loaded.train.targets(np.float64, 1).tolist() == [[0], [1], [1], [0]]
    assert loaded.validation is None
    assert loaded.test is None


@pytest.mark.parametrize("source", ["circles", "moons", "xor"])
def test_drawn_sources_follow_the_seed(source):
    a = load(DataSpec(source, n=50, noise=0.1, seed=1))
    b = load(DataSpec(source, n=50, noise=0.1, seed=2))
    assert a.checksum != b.checksum
    assert len(a.train) == 30


def test_a_table_is_encoded_and_standardised_by_its_training_part(tmp_path):
    spec = DataSpec(
        "file",
        csv(tmp_path),
        target="kind",
        weight="share",
        ignore=("id",),
        standardize=True,
    )
    loaded = load(spec, dtype=np.float64)
    train = loaded.train
    assert train.features == ("size", "hue=blue", "hue=red")
    assert train.classes == ("a", "b")
    np.testing.assert_allclose(np.asarray(train.x).mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(np.asarray(train.x).std(axis=0), 1)
    assert loaded.test is not None
    assert abs(np.asarray(loaded.test.x).mean()) > 1e-6
    assert train.weight is not None
    np.testing.assert_array_equal(train.weight, 1 + train.y)
    again = loaded.preparation.apply(read_inputs(csv(tmp_path), loaded.preparation), np.float64)
    known = {row.tobytes() for row in again}
    for part in (train, loaded.test):
        assert {row.tobytes() for row in np.asarray(part.x)} <= known


def test_some_classes_of_a_source_in_the_order_they_are_named(tmp_path):
    loaded, whole = load(DataSpec(classes=("8", "3"))), load(DataSpec())
    assert loaded.train.classes == ("8", "3")
    assert loaded.preparation.classes == ("8", "3")
    assert loaded.checksum == whole.checksum
    parts = [part for part in (loaded.train, loaded.validation, loaded.test) if part is not None]
    assert sum((part.y == 0).sum() for part in parts) == 174
    assert sum((part.y == 1).sum() for part in parts) == 183
    eights = {row.tobytes() for row in digits().x[digits().y == 8]}
    assert all(row.tobytes() in eights for row in loaded.train.x[loaded.train.y == 0])
    spec = DataSpec("file", csv(tmp_path), target="hue", ignore=("kind",), classes=("red", "blue"))
    table = load(spec)
    assert table.train.classes == ("red", "blue")
    assert (table.train.y == 0).sum() > (table.train.y == 1).sum()


def test_classes_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="no class '10', in digits"):
        load(DataSpec(classes=("1", "10")))
    with pytest.raises(DataError, match="the target holds numbers"):
        load(DataSpec("file", csv(tmp_path), target="size", classes=("1", "2")))


def npy(folder, n=200):
    x = np.random.default_rng(0).integers(0, 256, (n, 4), dtype=np.uint8)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", np.arange(n) % 2)
    return {"source": "file", "path": folder / "x.npy", "target_path": folder / "y.npy"}


@pytest.mark.parametrize("standardize", [False, True])
def test_streamed_inputs_are_those_of_resident_ones(tmp_path, standardize):
    arguments = npy(tmp_path) | {"standardize": standardize}
    whole = load(DataSpec(**arguments))
    streamed = load(DataSpec(**arguments, stream_above_mb=0.0015))
    assert isinstance(whole.train.x, np.ndarray)
    assert isinstance(streamed.train.x, Rows)
    assert streamed.train.x.dtype == np.float32
    assert streamed.checksum == whole.checksum
    np.testing.assert_array_equal(streamed.train.x[:], whole.train.x)
    # what fits into memory by itself is brought there
    assert streamed.test is not None
    assert whole.test is not None
    assert isinstance(streamed.test.x, np.ndarray)
    np.testing.assert_array_equal(streamed.test.x, whole.test.x)


def test_npz(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 6))
    np.savez(tmp_path / "a.npz", x=x, y=x[:, :2])
    loaded = load(DataSpec("file", tmp_path / "a.npz", image=(2, 3)))
    assert loaded.train.classes is None
    assert loaded.train.image == (2, 3)
    assert loaded.train.targets(np.float32, 2).shape == (18, 2)


def test_a_given_directory_that_is_absent(tmp_path):
    with pytest.raises(DataError, match="--data-dir names"):
        load(DataSpec("mnist"), tmp_path / "absent")


def test_only_floating_point_is_loaded():
    with pytest.raises(ConfigError, match="got int64"):
        load(DataSpec(), dtype=np.int64)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"source": "digist"}, "did you mean 'digits'"),
        ({"noise": 0.1}, "noise does not belong to data from 'digits'"),
        ({"source": "mnist", "target": "y"}, "target does not belong to data from 'mnist'"),
        ({"source": "xor", "path": "a.csv"}, "path does not belong"),
        ({"source": "file"}, "set path"),
        ({"source": "file", "path": "a.xls"}, "of no known kind"),
        ({"source": "file", "path": "a.csv"}, "a table wants target"),
        ({"source": "file", "path": "a.npy"}, "wants? target_path"),
        ({"source": "file", "path": "a.npz", "target": "y"}, "target does not belong .*'.npz'"),
        ({"source": "file", "path": "a.csv", "target": "y", "n": 3}, "n does not belong"),
        ({"source": "file", "path": "a.csv", "target": "y", "image": (2, 2)}, "image does not"),
        ({"source": "file", "path": "a.csv", "target": "y", "weight": "y"}, "both target and"),
        ({"source": "file", "path": "a.csv", "target": "y", "ignore": ("y",)}, "ignored and used"),
        ({"source": "xor", "n": 0}, "n must be at least 1"),
        ({"source": "xor", "noise": -1}, "noise must be"),
        ({"source": "xor", "noise": float("nan")}, "noise must be"),
        ({"classes": ("1",)}, "two or more different"),
        ({"classes": ("1", "1")}, "two or more different"),
        ({"seed": -1}, "seed must be"),
        ({"split": (0.5, 0.5)}, "three fractions"),
        ({"source": "mnist", "split": (0.8, 0.1, 0.1)}, "two fractions"),
        ({"split": (0.5, 0.4, 0.2)}, "add up to 1, got 1.1"),
        ({"split": (1.5, -0.5, 0)}, r"fractions in \[0, 1\]"),
        ({"split": (0, 0.5, 0.5)}, "training above 0"),
        ({"split": "half"}, "must be 'auto'"),
        ({"source": "file", "path": "a.npz", "task": "guess"}, "there is no task 'guess'"),
        ({"source": "file", "path": "a.npz", "image": (2,)}, "image must be"),
        (
            {"source": "file", "path": "a.npy", "target_path": "b.npy", "stream_above_mb": 0},
            "stream_above_mb must be",
        ),
    ],
)
def test_settings_are_checked_before_anything_is_read(arguments, says):
    with pytest.raises(ConfigError, match=says):
        DataSpec(**arguments)


def test_the_validation_part_may_be_trained_on_as_well():
    apart = load(DataSpec("moons", n=100, standardize=True))
    joined = load(DataSpec("moons", n=100, standardize=True, join_validation=True))
    assert apart.validation is not None
    assert joined.validation is not None
    both = np.concatenate([apart.train.x, apart.validation.x])
    np.testing.assert_array_equal(joined.train.x, both)
    np.testing.assert_array_equal(joined.validation.x, apart.validation.x)
    with pytest.raises(ConfigError, match="no validation part to be joined"):
        load(DataSpec("moons", split=(0.8, 0.0, 0.2), join_validation=True))
