"""Weights of classes: what they do to a loss, and to an experiment."""

from __future__ import annotations

import tomllib

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from pullback import config
from pullback.data import Batches
from pullback.errors import ConfigError, ShapeError
from pullback.loss import ClassWeighted, Hinge, SoftmaxCrossEntropy, balanced
from pullback.maps import Affine, chain
from pullback.optim import SGD
from pullback.prepared import prepare
from pullback.train import Part, Task, begin

LABELS = np.array([0, 0, 0, 1, 1, 2])


def test_balanced_weights_are_those_of_scikit_learn():
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(balanced(LABELS, 3), theirs)


def test_an_example_of_weight_two_is_two_examples_to_the_balance():
    weight = np.array([2.0, 1, 0, 1, 1, 3])
    again = np.repeat(LABELS, weight.astype(int))
    np.testing.assert_allclose(balanced(LABELS, 3, weight), balanced(again, 3))


def test_balanced_weights_want_every_class():
    with pytest.raises(ConfigError, match="class 3 has none in the training part"):
        balanced(LABELS, 4)
    with pytest.raises(ConfigError, match="class 2 has none"):
        balanced(LABELS, 3, np.array([1.0, 1, 1, 1, 1, 0]))


def test_a_class_weight_multiplies_the_weights_of_its_examples():
    rng = np.random.default_rng(0)
    z, t = jnp.asarray(rng.standard_normal((6, 3))), jnp.asarray(np.eye(3)[LABELS])
    weight, classes = rng.uniform(0.5, 2, 6), (0.5, 2.0, 3.0)
    inner = SoftmaxCrossEntropy()
    outer = ClassWeighted(inner, classes)
    told = jnp.asarray(weight * np.array(classes)[LABELS])
    ours, saved = outer.forward(z, t, jnp.asarray(weight))
    expected, known = inner.forward(z, t, told)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    np.testing.assert_allclose(outer.reverse(saved), inner.reverse(known), rtol=1e-5)
    np.testing.assert_allclose(outer.outputs(z, t, jnp.asarray(weight)).sum(), ours, rtol=1e-6)


def test_one_output_has_two_classes():
    z, t = jnp.array([[0.5], [0.5]]), jnp.array([[0.0], [1.0]])
    value, saved = ClassWeighted(Hinge(), (1.0, 3.0)).forward(z, t, jnp.ones(2))
    assert float(value) == pytest.approx((1 * 1.5 + 3 * 0.5) / 4)
    np.testing.assert_allclose(
        ClassWeighted(Hinge(), (1.0, 3.0)).reverse(saved), [[0.25], [-0.75]], rtol=1e-6
    )


def test_weights_that_do_not_fit_are_refused():
    for weights in ((1.0, -1.0), (0.0, 0.0), (1.0, float("nan"))):
        with pytest.raises(ConfigError, match="class weights must be numbers of at least 0"):
            ClassWeighted(Hinge(), weights)
    loss = ClassWeighted(SoftmaxCrossEntropy(), (1.0, 2.0))
    with pytest.raises(ShapeError, match="wants targets of 2 classes, got 3 columns"):
        loss.forward(jnp.zeros((4, 3)), jnp.zeros((4, 3)), jnp.ones(4))


def test_the_reported_loss_is_weighted_and_the_accuracy_is_not(monkeypatch):
    monkeypatch.setattr("pullback.train.measure.BLOCK", 4)  # so that the last block overlaps
    x = np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[LABELS]
    weight = np.array([1, 2, 1, 0.5, 1, 3], np.float32)
    part = Part(Batches(x, y, weight, 2, 0, limit_bytes=float("inf")), classifies=True)
    plain = Task(chain(Affine(3)), SoftmaxCrossEntropy(), SGD(0.1))
    tilted = Task(plain.net, ClassWeighted(plain.loss, (0.0, 1.0, 5.0)), plain.rule)
    learner = begin(plain, 0, x)
    ours, theirs = part.evaluate(tilted, learner), part.evaluate(plain, learner)
    z = x @ np.asarray(learner.params["affine1"]["weight"])
    expected, _ = tilted.loss.forward(*map(jnp.asarray, (z, y, weight)))
    assert ours["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert ours["loss"] != pytest.approx(theirs["loss"], rel=0.01)
    assert sum(ours["outputs"]) == pytest.approx(ours["loss"])
    assert ours["accuracy"] == theirs["accuracy"]


# In an experiment


@pytest.fixture(scope="module")
def skewed(tmp_path_factory):
    """A file in which one example of nine is of class 1, whatever its input."""
    path = tmp_path_factory.mktemp("skewed") / "skewed.npz"
    x = np.random.default_rng(0).standard_normal((90, 2)).astype(np.float32)
    np.savez(path, x=x, y=(np.arange(90) % 9 == 0).astype(int))
    return {"source": "file", "path": str(path), "split": (1.0, 0.0, 0.0)}


@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "hinge"])
def test_balanced_is_resolved_from_the_training_part(skewed, loss):
    table = {"data": skewed, "class_weight": "balanced", "loss": loss}
    prepared = prepare(config.parse(table, "test"))
    assert isinstance(prepared.task.loss, ClassWeighted)
    assert prepared.task.loss.weights == pytest.approx((90 / (2 * 80), 90 / (2 * 10)))
    again = config.parse(tomllib.loads(prepared.experiment.toml()), "the resolved file")
    assert again.class_weight == "balanced"


def test_weights_may_be_given_one_by_one(skewed):
    table = {"data": skewed, "class_weight": [1, 8.0], "loss": "sigmoid-cross-entropy"}
    prepared = prepare(config.parse(table, "test"))
    assert prepared.task.loss == ClassWeighted(config.LOSSES[table["loss"]](), (1.0, 8.0))
    assert prepared.outputs == 1


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, 2.0, 3.0], "there are 2 classes, 0, 1, and 3 weights, in the key 'class_weight'"),
        ([0.0, 0.0], "and one of them positive"),
    ],
)
def test_weights_that_do_not_fit_the_classes_are_refused(skewed, weights, words):
    with pytest.raises(ConfigError, match=words):
        prepare(config.parse({"data": skewed, "class_weight": weights}, "test"))


def test_what_is_no_weight_is_refused_in_the_file():
    for bad in ([-1.0, 2.0], "even", ["1", "2"]):
        with pytest.raises(ConfigError, match="class_weight"):
            config.parse({"class_weight": bad}, "test.toml")


def test_numbers_have_no_classes_to_weigh(skewed):
    table = {"data": skewed | {"task": "regression"}, "class_weight": "balanced"}
    with pytest.raises(
        ConfigError, match="weights of classes want classes, the targets are numbers"
    ):
        prepare(config.parse(table, "test"))
