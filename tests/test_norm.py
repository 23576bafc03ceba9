"""Normalisation: both oracles with every deviation, kinks, statistics, float32, and folding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import assert_same_run

from pullback import config, experiment, model
from pullback.check import check_map
from pullback.errors import ConfigError, ShapeError
from pullback.maps import (
    Affine,
    BatchNorm,
    Conv,
    Flatten,
    LayerNorm,
    Map,
    Net,
    Node,
    Relu,
    Run,
    Subtract,
    Tanh,
    chain,
    fold,
    skip,
    towers,
)

TRAIN, EVALUATE = Run(train=True), Run()
NORMS = [BatchNorm("l2"), BatchNorm("l1"), BatchNorm("linf"), LayerNorm()]
DEVIATIONS = ["l2", "l1", "linf"]


def moved(tree, seed: int = 0, dtype: Any = np.float64):
    """A tree like this one, as after some training: positive, and nowhere what it began with."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(draw.uniform(0.5, 2, leaf.shape), dtype), tree)


def errors_of(norm: Map, run: Run, shape=(6, 3), seed: int = 0) -> tuple[float, float]:
    """The worst errors against differences and autodiff, at learned gains and a moved state."""
    with jax.enable_x64(True):
        x = np.random.default_rng(seed).normal(1, 2, shape)
        params, state = moved(norm.init(None, x), seed)
        found = check_map(norm, x, run, seed=seed, params=params, state=state)
    return max(found.differences.values()), max(found.autodiff.values())


@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize("run", [TRAIN, EVALUATE], ids=["training", "evaluation"])
@pytest.mark.parametrize("shape", [(6, 3), (2, 2, 2, 3), (1, 3)], ids=str)
def test_reverse_against_both_oracles(norm, run, shape):
    differences, autodiff = errors_of(norm, run, shape)
    assert differences < 1e-9
    assert autodiff < 1e-13


class NoVarianceTerm(BatchNorm):
    """The deviation as if it were a constant."""

    def _pull(self, saved):
        return jnp.zeros_like(saved.u)


class MinusEps(BatchNorm):
    """The notes' slip: σ² − ε in the reverse."""

    def reverse(self, params, saved, dy):
        wrong = 1 / jnp.sqrt(1 / saved.inverse**2 - 2 * self.eps)
        return super().reverse(params, replace(saved, inverse=wrong), dy)


class NoGain(BatchNorm):
    """The cotangent of x without the gain."""

    def reverse(self, params, saved, dy):
        dparams, dx = super().reverse(params, saved, dy)
        return dparams, dx / params["gain"][None]


class NoPullOfTheMean(BatchNorm):
    """An l1 deviation that forgets that every |x − μ| moves with μ."""

    def _pull(self, saved):
        return jnp.sign(saved.u)


class AlwaysOfItsBatch(BatchNorm):
    """An evaluation whose reverse is that of a training pass."""

    def reverse(self, params, saved, dy):
        return super().reverse(params, replace(saved, of_batch=True), dy)


class HalfLayer(LayerNorm):
    """The gain after the means, not before them."""

    def reverse(self, params, saved, dy):
        dparams, dx = super().reverse({"gain": jnp.ones_like(params["gain"])}, saved, dy)
        return dparams, dx * params["gain"][None]


@pytest.mark.parametrize(
    ("mutant", "run"),
    [
        (NoVarianceTerm(), TRAIN),
        (NoVarianceTerm("l1"), TRAIN),
        (NoVarianceTerm("linf"), TRAIN),
        (MinusEps(), TRAIN),
        (NoGain(), TRAIN),
        (NoGain(), EVALUATE),
        (NoPullOfTheMean("l1"), TRAIN),
        (AlwaysOfItsBatch(), EVALUATE),
        (HalfLayer(), TRAIN),
    ],
    ids=lambda value: str(value) if isinstance(value, Map) else None,
)
def test_the_oracles_reject_a_wrong_reverse(mutant, run):
    differences, autodiff = errors_of(mutant, run, (5, 3))
    assert differences > 1e-7
    assert autodiff > 1e-7


def reverse_of(norm: Map, x, dy):
    """The cotangent of one feature, from its entries and the cotangents of the outputs."""
    with jax.enable_x64(True):
        x, dy = (jnp.asarray(column, jnp.float64)[:, None] for column in (x, dy))
        params, state = norm.init(None, x)
        _, saved, _ = norm.forward(params, state, x, TRAIN)
        return np.asarray(norm.reverse(params, saved, dy)[1][:, 0])


def test_at_the_mean_the_l1_deviation_does_not_move():
    # s = 2/3, u = (−3/2, 0, 3/2), h = (−1, 0, 1)/3: sign(0) = 0.
    dx = reverse_of(BatchNorm("l1", eps=1e-12), [-1, 0, 1], [0, 0, 1])
    np.testing.assert_allclose(dx, [1 / 4, -1 / 2, 1 / 4], rtol=1e-9)
    # One side of the kink would give it the slope of its neighbour.
    assert abs(reverse_of(BatchNorm("l1", eps=1e-12), [-1, 1e-9, 1], [0, 0, 1]) - dx).max() > 0.1


def test_the_first_of_several_largest_moves_the_linf_deviation():
    # s = 2, u = (1, −1, 0, 0), h = (1, 0, 0, 0).
    dx = reverse_of(BatchNorm("linf", eps=1e-12), [2, -2, 0, 0], [1, 0, 0, 0])
    np.testing.assert_allclose(dx, [0, 0, 0, 0], atol=1e-9)
    # It is one of the two slopes at the tie, that of a first entry which is a little larger.
    other = reverse_of(BatchNorm("linf", eps=1e-12), [2, -2 - 1e-9, 0, 0], [1, 0, 0, 0])
    np.testing.assert_allclose(other, [1 / 4, 1 / 4, -1 / 4, -1 / 4], rtol=1e-6)


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_a_constant_feature_becomes_the_shift(deviation):
    norm, x = BatchNorm(deviation), jnp.full((4, 2), 1e4)
    params, state = moved(norm.init(None, x), dtype=np.float32)
    y, saved, _ = norm.forward(params, state, x, TRAIN)
    np.testing.assert_array_equal(y, jnp.broadcast_to(params["shift"][None], y.shape))
    (dparams, dx) = norm.reverse(params, saved, jnp.ones_like(x))
    np.testing.assert_array_equal(dparams["gain"], 0)
    np.testing.assert_allclose(dx, 0, atol=1e-6)


def by_hand(deviation: str, x, eps: float):
    """The statistics of a batch, and the divisor, as algorithm 5 and the notes write them."""
    centred = x - x.mean(axis=0)
    if deviation == "l2":
        variance = (centred**2).mean(axis=0)
        return x.mean(axis=0), variance, np.sqrt(variance + eps)
    size = abs(centred)
    found = size.mean(axis=0) if deviation == "l1" else size.max(axis=0)
    return x.mean(axis=0), found, found + eps


def assert_statistics(norm: BatchNorm) -> None:
    """Two training steps and an evaluation, by hand."""
    draw = np.random.default_rng(0)
    first, second, unseen = (draw.normal(3, 2, (5, 2)).astype(np.float32) for _ in range(3))
    params, state = norm.init(None, first)
    params = moved(params, dtype=np.float32)
    mean, spread = np.zeros(2), np.ones(2)
    for x in (first, second):
        y, _, state = norm.forward(params, state, jnp.asarray(x), TRAIN)
        of_batch, measured, scale = by_hand(norm.deviation, x, norm.eps)
        u = (x - of_batch) / scale
        np.testing.assert_allclose(y, params["gain"][None] * u + params["shift"][None], rtol=1e-4)
        mean = norm.momentum * mean + (1 - norm.momentum) * of_batch
        spread = norm.momentum * spread + (1 - norm.momentum) * measured
    assert set(state) == {"mean", norm.statistic}
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(state[norm.statistic], spread, rtol=1e-5)
    y, _, after = norm.forward(params, state, jnp.asarray(unseen), EVALUATE)
    assert after is state
    scale = np.sqrt(spread + norm.eps) if norm.deviation == "l2" else spread + norm.eps
    u = (unseen - mean) / scale
    np.testing.assert_allclose(y, params["gain"][None] * u + params["shift"][None], rtol=1e-4)


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_statistics_run_and_an_evaluation_uses_them(deviation):
    assert_statistics(BatchNorm(deviation, eps=1e-2, momentum=0.7))


class Unbiased(BatchNorm):
    def _measure(self, centred):
        variance, _ = super()._measure(centred)
        return variance * len(centred) / (len(centred) - 1), None


class OtherMomentum(BatchNorm):
    def forward(self, params, state, x, run):
        return BatchNorm(momentum=1 - self.momentum).forward(params, state, x, run)


@pytest.mark.parametrize("mutant", [Unbiased(), OtherMomentum()], ids=["unbiased", "momentum"])
def test_other_statistics_are_seen(mutant):
    with pytest.raises(AssertionError):
        assert_statistics(mutant)


@pytest.mark.parametrize("norm", NORMS[:3], ids=str)
def test_a_lone_example_gives_the_shift_and_teaches_nothing(norm):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3)), jnp.float32)
    params, state = moved(norm.init(None, x), dtype=np.float32)
    y, saved, after = norm.forward(params, state, x, TRAIN)
    np.testing.assert_array_equal(y, params["shift"][None])
    assert after is state
    _, dx = norm.reverse(params, saved, jnp.ones_like(y))
    np.testing.assert_array_equal(dx, 0)


@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_an_image_is_so_many_rows(norm):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 3, 4)), jnp.float32)
    params, state = moved(norm.init(None, x), dtype=np.float32)
    y, _, after = norm.forward(params, state, x, TRAIN)
    rows, _, of_rows = norm.forward(params, state, x.reshape(6, 4), TRAIN)
    np.testing.assert_array_equal(y.reshape(6, 4), rows)
    jax.tree.map(np.testing.assert_array_equal, after, of_rows)


def float32_errors(norm: Map, x) -> tuple[float, float]:
    """How far float32 is from float64 for the same x: outputs, and cotangents by their largest."""

    @jax.jit
    def both(params, state, x, dy):
        y, saved, _ = norm.forward(params, state, x, TRAIN)
        return y, norm.reverse(params, saved, dy)[1]

    draw = np.random.default_rng(1)
    arrays = (moved(norm.init(None, x), dtype=np.float32), x, draw.normal(size=x.shape))
    (params, state), x, dy = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), arrays)
    narrow = jax.device_get(both(params, state, x, dy))
    with jax.enable_x64(True):
        exact = jax.tree.map(
            lambda a: jnp.asarray(np.asarray(a, np.float64)), (params, state, x, dy)
        )
        wide = jax.device_get(both(*exact))
    y, dx = (abs(a - b).max() / max(1, abs(b).max()) for a, b in zip(narrow, wide, strict=True))
    return float(y), float(dx)


@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize(("mean", "deviation"), [(1e4, 1), (1e4, 100), (0, 1e4), (0, 1e-3)])
def test_float32_far_from_zero(norm, mean, deviation):
    shape = (200, 5) if isinstance(norm, BatchNorm) else (5, 200)
    x = np.random.default_rng(0).normal(mean, deviation, shape).astype(np.float32)
    assert max(float32_errors(norm, x)) < 1e-5


@pytest.mark.parametrize("norm", NORMS[:3], ids=str)
def test_float32_where_the_first_entry_is_far_from_all_others(norm):
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    x[0] = 1e4
    assert max(float32_errors(norm, x)) < 1e-5


def test_the_plain_mean_would_not_do(monkeypatch):
    def plain(x, axis):
        mean = jnp.mean(x, axis, keepdims=True)
        return mean, x - mean

    monkeypatch.setattr("pullback.maps.norm._centre", plain)
    x = np.random.default_rng(0).normal(1e4, 1, (200, 5)).astype(np.float32)
    assert float32_errors(BatchNorm(), x)[0] > 1e-4


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            # No such deviation: the wrong word is the point.
            lambda: BatchNorm("l3"),  # pyright: ignore[reportArgumentType]
            "must be 'l2', 'l1' or 'linf', got 'l3'",
        ),
        (lambda: BatchNorm(eps=0.0), "BatchNorm's eps must be a positive number, got 0.0"),
        (lambda: BatchNorm(momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: LayerNorm(float("nan")), "LayerNorm's eps must be a positive number, got nan"),
    ],
)
def test_constructors_refuse_what_makes_no_sense(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()


@pytest.mark.parametrize("norm", [BatchNorm(), LayerNorm()], ids=str)
def test_a_vector_is_no_batch(norm):
    with pytest.raises(ShapeError, match=r"shape \(n, ..., k\).* got \(3,\), in node '\w+norm1'"):
        chain(norm).init(jax.random.key(0), jnp.zeros(3))


def test_a_single_feature_has_no_layer_norm():
    with pytest.raises(ShapeError, match=r"k of at least 2, got \(8, 1\); .* use BatchNorm"):
        LayerNorm().init(None, jnp.zeros((8, 1)))


@dataclass(frozen=True)
class FoldCase:
    name: str
    net: Net
    left: int  # how many batch normalisations remain
    shape: tuple[int, ...] = (20, 6)


def shared(*nodes: tuple[str, Map, Any, str]) -> Net:
    return Net(tuple(Node(*node) for node in nodes))


NORM, WIDE = BatchNorm(), Affine(4, bias=False)
FOLDS = [
    FoldCase("chain", chain(WIDE, NORM, Relu(), Affine(5), BatchNorm("l1"), Tanh(), Affine(3)), 0),
    FoldCase("last", chain(Affine(5), BatchNorm("linf")), 0),
    FoldCase("skip", chain(skip(Affine(6), NORM, Relu()), Affine(2)), 0),
    FoldCase("towers", towers(chain(WIDE, NORM, Tanh()), Subtract()), 0),
    FoldCase("conv", chain(Conv(4), NORM, Relu(), Flatten(), Affine(3)), 0, (5, 5, 5, 2)),
    FoldCase("not after an affine map", chain(NORM, Affine(4), Relu(), NORM, Affine(2)), 2),
    FoldCase("nothing to fold", chain(Affine(4), LayerNorm(), Relu()), 0),
    FoldCase(
        "another reads the affine map's wire",
        shared(
            ("a", WIDE, "x", "a"), ("n", NORM, "a", "n"), ("s", Subtract(), ("a", "n"), "s")
        ),
        1,
    ),
    FoldCase(
        "one affine map, two normalisations",
        shared(
            ("a1", WIDE, "x", "a"), ("n1", NORM, "a1", "n1"),
            ("a2", WIDE, "x", "a"), ("n2", NORM, "a2", "n2"),
            ("s", Subtract(), ("n1", "n2"), "s"),
        ),
        2,
    ),
    FoldCase(
        "one of two towers is not normalised",
        shared(
            ("a1", WIDE, "x", "a"), ("n1", NORM, "a1", "n"),
            ("a2", WIDE, "x", "a"), ("s", Subtract(), ("n1", "a2"), "s"),
        ),
        1,
    ),
    FoldCase(
        "one normalisation, two affine maps",
        shared(
            ("a1", WIDE, "x", "a1"), ("n1", NORM, "a1", "n"),
            ("a2", WIDE, "x", "a2"), ("n2", NORM, "a2", "n"),
            ("s", Subtract(), ("n1", "n2"), "s"),
        ),
        2,
    ),
]  # fmt: skip


def predictions(case: FoldCase, dtype: Any):
    """What the network and the folded one give on unseen inputs, and the folded one."""
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(1, 2, case.shape), dtype)
    params, state = case.net.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + 0.3 * draw.normal(size=p.shape).astype(dtype), params)
    forward = jax.jit(case.net.forward)
    for _ in range(10):
        _, _, state = forward(
            params, state, jnp.asarray(draw.normal(1, 2, case.shape), dtype), TRAIN
        )
    net, *held = fold(case.net, params, state)
    whole = forward(params, state, x, EVALUATE)[0]
    return np.asarray(whole), np.asarray(jax.jit(net.forward)(*held, x, EVALUATE)[0]), net


@pytest.mark.parametrize("case", FOLDS, ids=lambda case: case.name)
def test_a_folded_network_predicts_the_same(case):
    whole, folded, net = predictions(case, np.float32)
    scale = max(1, abs(whole).max())
    np.testing.assert_allclose(folded / scale, whole / scale, atol=1e-6)
    assert sum(isinstance(node.map, BatchNorm) for node in net.nodes) == case.left


@pytest.mark.parametrize("case", [FOLDS[3], FOLDS[4]], ids=lambda case: case.name)
def test_folding_is_exact_but_for_rounding(case):
    with jax.enable_x64(True):
        whole, folded, _ = predictions(case, np.float64)
    np.testing.assert_allclose(folded, whole, rtol=1e-11, atol=1e-12)


def test_folding_drops_the_parameters_and_the_state_of_what_it_folds():
    net = towers(chain(Affine(4), BatchNorm(), Relu()), Subtract())
    params, state = net.init(jax.random.key(0), jnp.zeros((3, 6)))
    folded, few, none = fold(net, params, state)
    assert set(params) - set(few) == {"tower/batchnorm1"}
    assert not jax.tree.leaves(none)
    assert {node.owner for node in folded.nodes} == set(few) == set(none)
    assert "tower/batchnorm1" in params  # what it was given is left as it is
    fresh = folded.init(jax.random.key(0), jnp.zeros((3, 6)))
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, (few, none))


EPOCHS = 8
DIGITS = [
    f"train.epochs={EPOCHS}", "check.entries=4", "check.directions=2", "check.examples=8",
    "network.hidden=[32]", "network.normalization=batch-norm", "network.dropout=0.2",
    "network.input_dropout=0.1", "rule.learning_rate=0.5", "record.layers=2", "checkpoint.steps=10",
    # 1077 training examples: 16 steps of 67, and a last one of 5.
    "train.batch_size=67",
]  # fmt: skip


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "run"
    return path, experiment.train(config.read(None, DIGITS), path)


def test_digits_train_with_batch_norm_and_dropout(digits_run):
    path, outcome = digits_run
    assert outcome.result["status"] == "done"
    assert outcome.result["final"]["test"]["accuracy"] > 0.9
    assert outcome.result["check"]["ok"]
    assert [type(node.map).__name__ for node in model.load_model(path).task.net.nodes] == [
        "Dropout", "Affine", "BatchNorm", "Relu", "Dropout", "Affine",
    ]  # fmt: skip


def test_it_is_evaluated_with_its_running_statistics(digits_run):
    path, outcome = digits_run
    assert experiment.evaluate(path)["test"] == outcome.result["final"]["test"]
    trained = model.load_model(path)
    task, net = trained.task, trained.task.net
    norm = trained.state["batchnorm1"]
    assert float(abs(norm["mean"]).max()) > 0.1  # it has moved from where it began
    x = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (9, 64)), jnp.float32)
    together, _, _ = net.forward(trained.params, trained.state, x, EVALUATE)
    alone, _, _ = net.forward(trained.params, trained.state, x[:1], EVALUATE)
    np.testing.assert_allclose(alone, together[:1], rtol=1e-4, atol=1e-5)
    folded = fold(net, trained.params, trained.state)
    whole, served = (
        task.loss.link(each[0].forward(*each[1:], x, EVALUATE)[0])
        for each in ((net, trained.params, trained.state), folded)
    )
    np.testing.assert_allclose(served, whole, atol=1e-6)


def test_stopped_and_resumed_it_has_the_same_bits(tmp_path, digits_run):
    path, steps = tmp_path / "run", []
    outcome = experiment.train(
        config.read(None, DIGITS),
        path,
        listen=lambda tick: steps.append(tick.progress.step),
        interrupted=lambda: bool(steps) and steps[-1] >= 25,
    )
    assert outcome.result["status"] == "interrupted"
    assert 25 <= outcome.result["steps"] < 17 * EPOCHS
    assert experiment.resume(path).result["status"] == "done"
    assert_same_run(path, digits_run[0])


def test_the_last_batch_of_an_epoch_may_be_a_single_example(tmp_path):
    # 60 training examples: 59 and 1.
    words = [
        "data.source=circles", "data.n=100", "train.batch_size=59", "train.epochs=3",
        "network.hidden=[8]", "network.normalization=batch-norm", "check.enabled=false",
    ]  # fmt: skip
    outcome = experiment.train(config.read(None, words), tmp_path / "run")
    assert outcome.result["status"] == "done"
    assert outcome.result["steps"] == 6


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["network.normalization=relu"], "unknown name 'relu' for network.normalization"),
        (["network.dropout=1.0"], "network.dropout: should be less than 1, got 1.0"),
        (["network.input_dropout=-0.1"], "network.input_dropout: should be greater than or equal"),
        (["network.hidden=[]", "network.dropout=0.5"], "dropout wants a hidden layer"),
        (["network.hidden=[]", "network.normalization=layer-norm"], "normalization wants a hidden"),
        (
            ["network.normalization={name='batch-norm', deviation='l3'}"],
            "network.normalization.deviation: should be 'l2', 'l1' or 'linf', got 'l3'",
        ),
        (["network.layers=['relu']", "network.dropout=0.5"], "either layers or dropout, not both"),
    ],
)
def test_the_section_network_is_refused_in_one_sentence(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config.read(None, words)


def test_steps_of_one_example_are_refused_before_training(tmp_path):
    plan = config.read(None, ["network.normalization=batch-norm", "train.batch_size=1"])
    with pytest.raises(ConfigError, match=r"at least 2 examples.* node 'batchnorm1'; .*layer-norm"):
        experiment.train(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_affine_map_before_a_batch_norm_has_no_bias():
    def biases(*words):
        net = config.read(None, list(words)).network.build(10)
        return [node.map.bias for node in net.nodes if isinstance(node.map, Affine)]

    assert biases() == [True, True]
    assert biases("network.normalization=batch-norm") == [False, True]
    assert biases("network.normalization=layer-norm") == [True, True]
