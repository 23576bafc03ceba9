"""Losses: derivatives, weights, kinks, minima, stability, links, and training through each."""

from __future__ import annotations

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import LOSSES
from command import invoke, settings

from pullback import config
from pullback.check import check_gradient, check_gradients
from pullback.errors import ConfigError, ShapeError
from pullback.loss import (
    AbsoluteError,
    CosineDistance,
    GaussianLikelihood,
    Hinge,
    Huber,
    MulticlassHinge,
    PoissonLikelihood,
    Quantile,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
    SquaredHinge,
)
from pullback.prepared import prepare
from pullback.train import Plan, begin, fit

EACH = pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)


def column(*values):
    return jnp.asarray(values, jnp.float32)[:, None]


# Derivatives


def errors_of(case):
    """The errors of a loss's reverse, with random weights of which one is zero."""
    z, t = case.sample()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(z)) * (np.arange(len(z)) != 1)

    def forward(at):
        return case.loss.forward(at["z"], jnp.asarray(t), jnp.asarray(weight))

    errors = check_gradient(
        lambda at: forward(at)[0], lambda at: {"z": case.loss.reverse(forward(at)[1])}, {"z": z}
    )
    return errors.differences["z"], errors.autodiff["z"]


@EACH
def test_the_derivative_against_differences_and_autodiff(case):
    differences, autodiff = errors_of(case)
    assert differences < 1e-9
    assert autodiff < 1e-12


@dataclasses.dataclass(frozen=True)
class ClippedVariance(GaussianLikelihood):
    """ε bounds the variance in the value, and the derivative knows nothing of it."""

    def terms(self, z, t):
        mean, raw = jnp.split(z, 2, axis=-1)
        raw = jnp.maximum(raw, math.log(self.eps))
        return 0.5 * (raw + (t - mean) ** 2 * jnp.exp(-raw))


class DiagonalSoftmax(SoftmaxCrossEntropy):
    def slopes(self, z, t):
        p = self.link(z)
        return -t / p * p * (1 - p)


class UnsmoothedSlope(SigmoidCrossEntropy):
    def slopes(self, z, t):
        return jax.nn.sigmoid(z) - t


class NoSign(SquaredHinge):
    def slopes(self, z, t):
        return -super().slopes(z, t)


class SelfishHinge(MulticlassHinge):
    """The right class does not feel those that come too near."""

    def slopes(self, z, t):
        return jnp.maximum(super().slopes(z, t), 0)


class NoProjection(CosineDistance):
    def slopes(self, z, t):
        return -self.link(t) / jnp.linalg.norm(z, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("Gaussian likelihood, one target", ClippedVariance(0.5)),
        ("softmax", DiagonalSoftmax()),
        ("sigmoid, smoothed", UnsmoothedSlope(0.1)),
        ("squared hinge", NoSign()),
        ("multiclass hinge", SelfishHinge()),
        ("cosine distance", NoProjection()),
    ],
)
def test_a_wrong_derivative_is_rejected(name, mutant):
    (case,) = (case for case in LOSSES if case.name == name)
    assert min(errors_of(dataclasses.replace(case, loss=mutant))) > 1e-3


@EACH
def test_float32_agrees_with_float64_wherever_it_is_claimed(case):
    sizes = np.minimum([0, 1e-3, 0.1, 1, 10, 100, 1e3, 1e4], case.reach)
    rng = np.random.default_rng(2)
    _, t = case.sample(n=32)
    z = rng.choice((-1, 1), (32, case.loss.width(case.columns))) * np.repeat(sizes, 4)[:, None]
    z, t = z.astype(np.float32), t.astype(np.float32)

    def passed(z, t):
        found = case.loss.terms(z, t), case.loss.slopes(z, t)
        assert {each.dtype for each in found} == {z.dtype}
        return map(np.asarray, found)

    narrow = passed(jnp.asarray(z), jnp.asarray(t))
    with jax.enable_x64(True):
        wide = passed(jnp.asarray(z, np.float64), jnp.asarray(t, np.float64))
    for a, b in zip(narrow, wide, strict=True):
        assert np.max(np.abs(a - b) / np.maximum(1, np.max(np.abs(b), axis=1)[:, None])) < 1e-5


# Weights


@EACH
def test_weight_two_is_twice_the_example_and_weight_zero_is_none(case):
    z, t = map(jnp.asarray, case.sample(1, 4, np.float32))
    twice = np.array([0, 0, 2, 3])
    a, _ = case.loss.forward(z, t, jnp.array([2.0, 0, 1, 1]))
    b, _ = case.loss.forward(z[twice], t[twice], jnp.ones(4))
    np.testing.assert_allclose(a, b, rtol=1e-5)


@EACH
def test_a_batch_without_any_weight_costs_and_moves_nothing(case):
    value, saved = case.loss.forward(*map(jnp.asarray, case.sample(0, 4, np.float32)), jnp.zeros(4))
    assert float(value) == 0
    assert not case.loss.reverse(saved).any()


@EACH
def test_the_parts_by_target_sum_to_the_value(case):
    z, t = map(jnp.asarray, case.sample(dtype=np.float32))
    parts = case.loss.outputs(z, t, jnp.ones(6))
    assert parts.shape == (case.columns,)
    np.testing.assert_allclose(parts.sum(), case.loss.forward(z, t, jnp.ones(6))[0], rtol=1e-5)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"wants logits .n, 2. .* got .4, 3. and .4, 2."):
        SquaredError().forward(jnp.zeros((4, 3)), jnp.zeros((4, 2)), jnp.ones(4))
    with pytest.raises(ShapeError, match=r"wants logits .n, 4. .* got .4, 2. and .4, 2."):
        GaussianLikelihood().forward(jnp.zeros((4, 2)), jnp.zeros((4, 2)), jnp.ones(4))
    with pytest.raises(ShapeError, match="weights of shape"):
        SquaredError().forward(jnp.zeros((4, 3)), jnp.zeros((4, 3)), jnp.ones(3))


# By hand, and at the kinks


@pytest.mark.parametrize(
    ("loss", "z", "t", "terms", "slopes"),
    [
        (AbsoluteError(), (1.0, 3.0, 2.0), 2.0, (1.0, 1.0, 0.0), (-1.0, 1.0, 0.0)),
        (Huber(0.5), (0.5, 3.0, -2.0), 0.0, (0.125, 1.375, 0.875), (0.5, 0.5, -0.5)),
        (Quantile(0.75), (1.0, 3.0, 2.0), 2.0, (0.75, 0.25, 0.0), (-0.75, 0.25, 0.0)),
        (Hinge(), (0.5, 1.0, 3.0), 1.0, (0.5, 0.0, 0.0), (-1.0, 0.0, 0.0)),
        (Hinge(), (-2.0, -1.0, 0.5), 0.0, (0.0, 0.0, 1.5), (0.0, 0.0, 1.0)),
        (SquaredHinge(), (-1.0, 1.0, 3.0), 1.0, (4.0, 0.0, 0.0), (-4.0, 0.0, 0.0)),
        (PoissonLikelihood(), (0.0, 1.0), 2.0, (1.0, math.e - 2), (-1.0, math.e - 2)),
        # Labels of 0 and 1 in place of ±1, as the sheets' network has them: 1 − 0·z never moves.
        (Hinge(), (-3.0, 0.0, 3.0), 0.5, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    ],
    ids=str,
)
def test_terms_and_slopes_by_hand(loss, z, t, terms, slopes):
    z = column(*z)
    t = jnp.full_like(z, t)
    np.testing.assert_allclose(loss.terms(z, t), column(*terms), rtol=1e-6)
    np.testing.assert_allclose(loss.slopes(z, t), column(*slopes), rtol=1e-6)


def test_the_gaussian_likelihood_by_hand():
    z, t = jnp.array([[1.0, math.log(4.0)]]), jnp.array([[3.0]])
    loss = GaussianLikelihood(1e-12)
    assert float(loss.terms(z, t)[0, 0]) == pytest.approx(0.5 * (math.log(4) + 4 / 4))
    np.testing.assert_allclose(loss.slopes(z, t), [[-2 / 4, 0.5 * (1 - 4 / 4)]], atol=1e-6)
    assert float(loss.link(z)[0, 0]) == 1
    assert float(loss.deviation(z)[0, 0]) == pytest.approx(2)


def test_the_multiclass_hinge_by_hand_and_at_its_kink():
    t = jnp.array([[0.0, 1.0, 0.0]])
    loss, tied = MulticlassHinge(), jnp.array([[1.0, 2.0, 1.5]])  # class 0 is just far enough
    assert loss.terms(tied, t).tolist() == [[0.0, 0.0, 0.5]]
    assert loss.slopes(tied, t).tolist() == [[0.0, -1.0, 1.0]]
    both = jnp.array([[3.0, 2.0, 1.5]])
    assert loss.slopes(both, t).tolist() == [[1.0, -2.0, 1.0]]


def test_a_vector_without_direction_costs_one_and_moves_nothing():
    loss, zeros, ones = CosineDistance(), jnp.zeros((1, 2)), jnp.ones((1, 2))
    for z, t in ((zeros, ones), (ones, zeros)):
        assert float(loss.terms(z, t).sum()) == 1
        assert not loss.slopes(z, t).any()
    tiny = 1e-30 * jnp.array([[3.0, 4.0]])  # whose squares underflow
    np.testing.assert_allclose(loss.link(tiny), [[0.6, 0.8]], rtol=1e-6)
    assert float(loss.terms(tiny, tiny).sum()) == pytest.approx(0, abs=1e-6)


def test_cross_entropies_by_hand():
    z, t = jnp.asarray([[0.0, np.log(3.0)]]), jnp.asarray([[0.0, 1.0]])
    value, saved = SoftmaxCrossEntropy().forward(z, t, jnp.ones(1))
    assert float(value) == pytest.approx(-np.log(0.75))
    np.testing.assert_allclose(SoftmaxCrossEntropy().reverse(saved), [[0.25, -0.25]], rtol=1e-6)
    z, t = column(np.log(3.0)), column(1.0)
    value, saved = SigmoidCrossEntropy().forward(z, t, jnp.ones(1))
    assert float(value) == pytest.approx(-np.log(0.75))
    np.testing.assert_allclose(SigmoidCrossEntropy().reverse(saved), [[-0.25]], rtol=1e-6)


def test_smoothing_moves_the_targets():
    z, t = map(jnp.asarray, LOSSES[0].sample(dtype=np.float32))
    t = jax.nn.one_hot(jnp.argmax(t, axis=1), 3)
    for kind, share in ((SoftmaxCrossEntropy, 0.2 / 3), (SigmoidCrossEntropy, 0.1)):
        moved = 0.8 * t + share
        np.testing.assert_allclose(kind(0.2).terms(z, t), kind().terms(z, moved), rtol=1e-5)
        with pytest.raises(ConfigError, match=r"smoothing must be in \[0, 1\), got 1"):
            kind(1.0)


def test_what_each_loss_makes_of_a_constant_prediction():
    """At the minimum over one number: the mean, median, a quantile, the logarithm of the mean."""
    t = np.random.default_rng(0).exponential(2, 101)
    grid = np.linspace(0, 10, 2001)
    z = jnp.asarray(np.repeat(grid[None], 101, axis=0), jnp.float32)
    targets = jnp.asarray(np.repeat(t[:, None], 2001, axis=1), jnp.float32)

    def best(loss):
        return grid[int(np.argmin(np.asarray(loss.terms(z, targets), np.float64).sum(axis=0)))]

    assert best(SquaredError()) == pytest.approx(t.mean(), abs=0.006)
    assert best(AbsoluteError()) == pytest.approx(np.median(t), abs=0.006)
    assert best(Quantile(0.9)) == pytest.approx(np.quantile(t, 0.9), abs=0.006)
    assert np.exp(best(PoissonLikelihood())) == pytest.approx(t.mean(), abs=0.02)


# Links


def test_links():
    z = jnp.asarray([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(SoftmaxCrossEntropy().link(z), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(SigmoidCrossEntropy().link(z), [[0.5, 0.75]], rtol=1e-6)
    np.testing.assert_array_equal(SquaredError().link(z), z)
    np.testing.assert_array_equal(Hinge().link(column(-1.0, 0.0, 1.0)), column(0.0, 0.5, 1.0))
    np.testing.assert_allclose(PoissonLikelihood().link(z), [[1.0, 3.0]], rtol=1e-6)
    one_hot = MulticlassHinge().link(jnp.array([[2.0, 1.0, 1.0]]))  # the margin is just met
    np.testing.assert_allclose(one_hot, [[1.0, 0.0, 0.0]], atol=1e-6)


# What a loss asks of the data


@pytest.mark.parametrize(
    ("loss", "t", "wants"),
    [
        (Quantile(), None, "Quantile wants numbers, the targets are classes"),
        (GaussianLikelihood(), None, "wants numbers, the targets are classes"),
        (PoissonLikelihood(), None, "wants counts"),
        (PoissonLikelihood(), [[1.0], [-1.0]], "wants counts.*, the targets are other numbers"),
        (SoftmaxCrossEntropy(), [[0.5, 0.4]], "wants classes or probabilities"),
        (SigmoidCrossEntropy(), [[1.5]], "wants classes or probabilities"),
        (Hinge(), [[0.5]], "wants classes or zeros and ones"),
        (SquaredHinge(), [[-1.0], [1.0]], "SquaredHinge wants classes or zeros and ones"),
        (MulticlassHinge(), [[1.0, 1.0]], "wants classes or one-hot rows"),
        (CosineDistance(), [[1.0]], "wants rows of at least two numbers"),
    ],
    ids=str,
)
def test_targets_that_do_not_suit_are_refused(loss, t, wants):
    with pytest.raises(ConfigError, match=wants):
        loss.check(None if t is None else np.array(t))


@pytest.mark.parametrize(
    "case", [case for case in LOSSES if case.name != "softmax, any targets"], ids=lambda c: c.name
)
def test_targets_that_suit_are_taken(case):
    case.loss.check(case.sample()[1])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Huber(0.0), "delta must be a positive number, got 0"),
        (lambda: Quantile(1.0), r"level must be in \(0, 1\), got 1"),
        (lambda: GaussianLikelihood(-1.0), "eps must be a positive number, got -1"),
    ],
)
def test_arguments_out_of_range_are_refused(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


# Training


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A file of 60 examples with two targets, which may be counts or directions too."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    y = rng.poisson(np.exp(x @ rng.uniform(-0.5, 0.5, (3, 2)) + 1))
    path = tmp_path_factory.mktemp("numbers") / "numbers.npz"
    np.savez(path, x=x, y=y.astype(np.float32))
    return {"source": "file", "path": str(path), "task": "regression"}


CLASSES = {"source": "circles", "n": 60}
NUMBERS_ONLY = {"quantile", "gaussian-likelihood", "poisson-likelihood"}
OF_BOTH = {"squared-error", "absolute-error", "huber", "cosine-distance"}


@pytest.mark.parametrize("name", sorted(config.LOSSES))
def test_a_network_learns_by_each_loss(name, numbers):
    classes = name not in NUMBERS_ONLY | OF_BOTH
    table = {
        "loss": name,
        "data": CLASSES if classes else numbers,
        "network": {"hidden": [5], "activation": "tanh"},
        "rule": {"learning_rate": 0.05},
        "train": {"epochs": 4, "batch_size": 8},
    }
    prepared = prepare(config.parse(table, "test"))
    train = prepared.batches(prepared.loaded.train)
    rows = []
    learner, _ = fit(
        prepared.task,
        train,
        Plan(epochs=4, evaluate_epochs=4, watch_epochs=0),
        parts={"train": train},
        at_epoch=lambda learner, progress: rows.append(progress.last),
    )
    first, last = rows[0]["train"], rows[-1]["train"]
    assert last["loss"] < first["loss"]
    assert len(last["outputs"]) == prepared.columns
    assert ("accuracy" in last) == classes
    assert jax.tree.leaves(learner.params)[-1].shape[-1] == prepared.outputs


@pytest.mark.parametrize("name", sorted(NUMBERS_ONLY))
def test_a_loss_of_numbers_refuses_classes(name):
    with pytest.raises(ConfigError, match=f"wants .*, the targets are classes, in loss = '{name}'"):
        prepare(config.parse({"loss": name, "data": CLASSES}, "test"))


def test_two_classes_are_one_output_where_the_loss_is_a_yes_or_no():
    for name in ("sigmoid-cross-entropy", "hinge", "squared-hinge"):
        assert prepare(config.parse({"loss": name, "data": CLASSES}, "test")).outputs == 1
    for name in ("softmax-cross-entropy", "multiclass-hinge", "squared-error"):
        assert prepare(config.parse({"loss": name, "data": CLASSES}, "test")).outputs == 2


def test_the_gradient_check_of_a_run_knows_two_outputs_for_each_target(numbers):
    prepared = prepare(config.parse({"loss": "gaussian-likelihood", "data": numbers}, "test"))
    assert (prepared.columns, prepared.outputs) == (2, 4)
    few = prepared.loaded.train.take(np.arange(8))
    learner = begin(prepared.task, 0, prepared.like)
    report = check_gradients(
        prepared.task.net,
        prepared.task.loss,
        prepared.task.penalty,
        jax.tree.map(lambda w: w + 0.01, learner.params),
        learner.state,
        (few.x[:], few.targets(np.float64, 2), np.ones(8)),
    )
    assert report.ok, report


def test_a_margin_is_told_as_a_score(tmp_path):
    run = tmp_path / "run"
    invoke("train", *settings(loss="hinge", train__epochs=1), "--out", run)
    np.save(tmp_path / "x.npy", np.zeros((2, 2), np.float32))
    header = invoke("predict", run, tmp_path / "x.npy").stdout.splitlines()[0]
    assert header == "prediction,score of 0,score of 1"
    shown = json.loads(invoke("predict", run, tmp_path / "x.npy", "--json").stdout)
    assert np.sum(shown["scores"], axis=1) == pytest.approx(1)
    page = (run / "report.html").read_text()
    assert "score of" in page
    assert "probability of" not in page
