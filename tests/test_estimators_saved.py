"""Estimators that leave: saved and loaded, and whatever else might lie in such a folder."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pullback import jsontext, sealed, tensors
from pullback.errors import CheckpointError, ConfigError
from pullback.estimators import NetworkClassifier, NetworkRegressor, load, written
from pullback.estimators.base import ARRAYS, DESCRIPTION, KIND
from pullback.maps import Affine, BatchNorm, LeakyRelu, chain, skip
from pullback.optim import Cosine
from pullback.penalty import L1, L2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

random = np.random.default_rng(0)
X = random.normal(size=(40, 3))
NAMES = np.where(X[:, 0] > 0, "up", "down")
NUMBERS = np.stack([X[:, 0] * X[:, 1], X[:, 2]], axis=1)


def trained(**settings) -> Any:
    given: Any = {"epochs": 3, "patience": 0, "random_state": 0} | settings
    return NetworkClassifier((4,), **given).fit(X, NAMES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The files of an estimator, and what it tells."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    trained().save(folder)
    files = {name: (folder / name).read_bytes() for name in (ARRAYS, DESCRIPTION)}
    return files, json.loads(files[DESCRIPTION])


NETS: dict[str, Any] = {
    "names": {"normalization": "layer-norm", "penalty": {"name": "l1", "strength": 0.1}},
    "objects": {"activation": [LeakyRelu(0.2)], "penalty": [L2(0.1), L1(0.01)]},
    "a batch-norm": {"normalization": "batch-norm", "learning_rate": Cosine(0.01, 50)},
    "weights": {"class_weight": {"up": 2.0}, "validation_fraction": 0.2},
    "second order": {"rule": "lbfgs", "loss": "softmax-cross-entropy"},
}  # fmt: skip


@pytest.mark.parametrize("settings", NETS.values(), ids=NETS.keys())
def test_what_was_saved_comes_back(settings, tmp_path):
    model = trained(**settings)
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    assert twin.get_params() == model.get_params()
    assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert_array_equal(twin.predict(X), model.predict(X))
    assert twin.history_ == model.history_
    assert (twin.n_iter_, twin.best_epoch_) == (model.n_iter_, model.best_epoch_)


def test_a_loaded_estimator_goes_on_as_the_saved_one(tmp_path):
    model = trained(rule="adam")
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    for each in (model, twin):
        each.partial_fit(X, NAMES)
    assert_array_equal(twin.decision_function(X), model.decision_function(X))


def test_a_whole_net_and_several_numbers(tmp_path):
    net = chain(Affine(4), skip(Affine(4), BatchNorm(), LeakyRelu()), Affine(2))
    model: Any = NetworkRegressor(net=net, epochs=2, random_state=0).fit(X, NUMBERS)
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    assert twin.net_ == model.net_
    assert_array_equal(twin.predict(X), model.predict(X))
    assert_array_equal(twin.saliency(X, 1), model.saliency(X, 1))


def test_names_of_features_come_back(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model: Any = NetworkClassifier((4,), epochs=1, patience=0).fit(frame, NAMES)
    model.save(tmp_path / "model")
    assert_array_equal(load(tmp_path / "model").feature_names_in_, ["a", "b", "c"])


def test_a_function_is_not_saved(tmp_path):
    pair = (lambda z, t: (z - t) ** 2, lambda z, t: 2 * (z - t))
    with pytest.raises(ConfigError, match="loss cannot be saved"):
        trained(loss=pair).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


VALUES: Any = [
    None, True, 3, 2.5, float("inf"), "a", (1, (2,)), [1, "b"], {"a": 1, 2: None},
    np.array(["x", "yy"]), np.array([1, "a", None], object), np.arange(3), np.array([True]),
    Affine(3), chain(Affine(2), LeakyRelu()),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back(value):
    plain = jsontext.decode(jsontext.encode(written.encode(value, "it")))
    back = written.decode(plain, "here")
    assert type(back) is type(value)
    assert_array_equal(back, value) if isinstance(value, np.ndarray) else None
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
    else:
        assert back == value


# What does not come from `save` is refused with a sentence, and nothing of it is run.


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('it was run')",)


def put(told, *path, value):
    """A copy of what is told, with one value changed."""
    copy = json.loads(json.dumps(told))
    *inner, last = path
    place = copy
    for key in inner:
        place = place[key]
    place[last] = value
    return copy


def rewritten(name, change):
    def make(files, told):
        arrays = dict(tensors.decode(files[ARRAYS], "here"))
        arrays[name] = change(arrays[name])
        return {**files, ARRAYS: tensors.encode(arrays)}

    return make


def telling(*path, value):
    def make(files, told):
        return {**files, DESCRIPTION: json.dumps(put(told, *path, value=value)).encode()}

    return make


WIDTH = (
    *("fitted", "net_", "fields", "nodes", "tuple", 0),
    *("fields", "map", "fields", "width"),
)
WEIGHT = "params/affine1/weight"
EVIL: dict[str, Any] = {
    "a pickle": lambda files, _: {**files, ARRAYS: pickle.dumps(Bomb())},
    "a huge header": lambda files, _: {**files, ARRAYS: (1 << 62).to_bytes(8, "little")},
    "cut short": lambda files, _: {**files, ARRAYS: files[ARRAYS][:-9]},
    "brackets": lambda files, _: {**files, DESCRIPTION: b"[" * 100_000},
    "no object": lambda files, _: {**files, DESCRIPTION: b"[]"},
    "another format": telling("format", value=99),
    "another estimator": telling("estimator", value="os.system"),
    "no arguments": telling("arguments", value=[]),
    "a strange argument": telling("arguments", "run", value="rm"),
    "a strange attribute": telling("fitted", "__class__", value="int"),
    "a method overwritten": telling("fitted", "predict", value=3),
    "a class from elsewhere": telling(
        "fitted", "net_", value={"object": "Popen", "fields": {"args": "true"}}
    ),
    "no network": telling("fitted", "net_", value=7),
    "a layer of no width": telling(*WIDTH, value=-1),
    "a layer too wide": telling(*WIDTH, value=10**9),
    "more features": telling("fitted", "n_features_in_", value=10**9),
    "another type": telling("fitted", "_dtype", value="object"),
    "an array of objects": telling(
        "fitted", "classes_", value={"array": [[0]], "dtype": "object", "shape": [1]}
    ),
    "an array that is none": telling(
        "fitted", "classes_", value={"array": [], "dtype": "int64", "shape": [10**18]}
    ),
    "nan": rewritten(WEIGHT, lambda a: np.full_like(a, np.nan)),
    "another shape": rewritten(WEIGHT, lambda a: a.T.copy()),
    "another dtype": rewritten(WEIGHT, lambda a: a.astype(np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("make", EVIL.values(), ids=EVIL.keys())
def test_what_is_no_estimator_is_refused(make, saved, tmp_path):
    files, told = saved
    sealed.write(tmp_path / "model", KIND, make(files, told))
    with pytest.raises(CheckpointError) as refused:
        load(tmp_path / "model")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_every_changed_byte_is_seen(saved, tmp_path):
    files, _ = saved
    sealed.write(tmp_path / "model", KIND, files)
    for name in files:
        data = bytearray(files[name])
        data[len(data) // 2] ^= 1
        (tmp_path / "model" / name).write_bytes(data)
        with pytest.raises(CheckpointError, match="are not those that its manifest tells of"):
            load(tmp_path / "model")
        (tmp_path / "model" / name).write_bytes(files[name])
    with pytest.raises(CheckpointError):
        load(tmp_path / "nothing")
