"""Dropout: the same mask both ways, another in each layer and step, and none in evaluation."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.check import check_map
from pullback.errors import ConfigError
from pullback.maps import (
    Affine,
    BatchNorm,
    DropConnect,
    Dropout,
    GaussianDropout,
    Map,
    Net,
    Relu,
    Run,
    Tanh,
    chain,
    fold,
)

RATES = [0.0, 0.3, 0.9]


def training(seed: int = 0) -> Run:
    return Run(jax.random.key(seed), train=True)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    "make",
    [Dropout, GaussianDropout, lambda rate: DropConnect(3, rate=rate)],
    ids=["Dropout", "GaussianDropout", "DropConnect"],
)
def test_reverse_has_the_mask_of_forward(make, rate):
    errors = check_map(make(rate), np.random.default_rng(0).normal(size=(5, 4)), training())
    assert max(errors.differences.values()) < 1e-9
    assert max(errors.autodiff.values()) < 1e-13


class Unscaled(Dropout):
    """The cotangent without 1/(1 − rate)."""

    def reverse(self, params, saved, dy):
        return {}, jnp.where(saved, dy, jnp.zeros_like(dy))


class OtherMask(Dropout):
    """A mask of its own in the reverse pass."""

    def reverse(self, params, saved, dy):
        return super().reverse(params, jnp.flip(saved), dy)


class AlwaysNoise(GaussianDropout):
    """The variance of the noise, for its values."""

    def reverse(self, params, saved, dy):
        return {}, dy * (saved - 1)


class AllWeightsLearn(DropConnect):
    """A cotangent for weights that were dropped."""

    def reverse(self, params, saved, dy):
        _, dx = super().reverse(params, saved, dy)
        return Affine.reverse(self, params, saved[0], dy)[0], dx


class WholeWeight(DropConnect):
    """The cotangent of x through all weights."""

    def reverse(self, params, saved, dy):
        dparams, _ = super().reverse(params, saved, dy)
        return dparams, Affine.reverse(self, params, saved[0], dy)[1]


@pytest.mark.parametrize(
    "mutant", [Unscaled(), OtherMask(), AlwaysNoise(), AllWeightsLearn(3), WholeWeight(3)], ids=repr
)
def test_the_oracles_reject_a_wrong_reverse(mutant):
    errors = check_map(mutant, np.random.default_rng(0).normal(size=(5, 4)), training())
    assert max(errors.differences.values()) > 1e-7
    assert max(errors.autodiff.values()) > 1e-7


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_what_is_dropped_and_what_is_kept(rate):
    n = 40_000
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, n), jnp.float32)
    y, _, _ = Dropout(rate).forward({}, {}, x, training())
    kept = np.asarray(y) != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-6)
    # Five standard deviations of a binomial share.
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_gaussian_noise_has_the_mean_and_the_variance_of_dropout(rate):
    n, variance = 40_000, rate / (1 - rate)
    y, _, _ = GaussianDropout(rate).forward({}, {}, jnp.ones(n), training())
    assert abs(float(y.mean()) - 1) < 5 * np.sqrt(variance / n)
    assert float(y.var()) == pytest.approx(variance, rel=5 * np.sqrt(2 / n))
    masked, _, _ = Dropout(rate).forward({}, {}, jnp.ones(n), training())
    assert float(masked.var()) == pytest.approx(variance, rel=0.05)


def test_a_dropped_weight_is_dropped_for_the_whole_batch():
    map, x = DropConnect(50, rate=0.25), jnp.ones((2, 40))
    params, _ = map.init(jax.random.key(0), x)
    params = params | {"bias": params["bias"] + 7}
    y, (_, mask), _ = map.forward(params, {}, x, training())
    np.testing.assert_array_equal(y[0], y[1])
    assert mask is not None
    kept = np.where(mask, params["weight"], 0) / 0.75
    np.testing.assert_allclose(y[0], kept.sum(axis=0) + 7, rtol=1e-5)
    assert abs(mask.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / mask.size)


@pytest.mark.parametrize("map", [Dropout(0.9), GaussianDropout(0.9), DropConnect(3, rate=0.9)])
def test_an_evaluation_drops_nothing(map):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    params, state = map.init(jax.random.key(0), x)
    plain = Affine(3).forward(params, state, x, Run())[0] if params else x
    for run in (Run(), Run(jax.random.key(0), train=False)):
        np.testing.assert_array_equal(map.forward(params, state, x, run)[0], plain)


def masks(net: Net, run: Run) -> dict[str, np.ndarray]:
    """What each dropout of a network saved, by the name of its node."""
    x = jnp.ones((6, 8))
    params, state = net.init(jax.random.key(0), x)
    _, saved, _ = net.forward(params, state, x, run)
    return {
        node.name: np.asarray(jax.tree.leaves(saved[node.name])[-1])
        for node in net.nodes
        if isinstance(node.map, Dropout | GaussianDropout | DropConnect)
    }


NET = chain(Dropout(0.5), Affine(8), Relu(), Dropout(0.5), GaussianDropout(), DropConnect(8))


def test_two_layers_and_two_steps_have_different_masks():
    # The notes seed every mask with the same number.
    first, second, again = (masks(NET, training(seed)) for seed in (0, 1, 0))
    assert (first["dropout1"] != first["dropout2"]).any()
    for name, mask in first.items():
        assert (mask != second[name]).any(), name
        np.testing.assert_array_equal(mask, again[name])


def test_a_layer_elsewhere_moves_no_mask():
    before = masks(NET, training())
    after = masks(chain(Tanh(), *(node.map for node in NET.nodes), Affine(2), Relu()), training())
    assert before.keys() == after.keys()
    for name, mask in before.items():
        np.testing.assert_array_equal(mask, after[name])


@pytest.mark.parametrize("map", [Dropout(), GaussianDropout(), DropConnect(2)], ids=str)
def test_a_training_pass_without_a_key_is_refused(map):
    x = jnp.ones((3, 4))
    params, state = map.init(jax.random.key(0), x)
    sentence = r"draws at random in training, and the pass has no key; .*Run\(jax.random.key\(0\)"
    for forward in (map.forward, jax.jit(map.forward)):
        with pytest.raises(ConfigError, match=sentence):
            forward(params, state, x, Run(train=True))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("map", [Dropout(), GaussianDropout(), DropConnect(2)], ids=str)
def test_a_rate_must_be_that_of_dropping(map: Map, rate):
    with pytest.raises(ConfigError, match=r"rate must be in \[0, 1\), got .* of being dropped"):
        replace(map, rate=rate)


def test_dropped_weights_serve_folded_too():
    net, x = chain(DropConnect(3, bias=False), BatchNorm()), jnp.ones((2, 4))
    params, state = net.init(jax.random.key(0), x)
    folded, few, none = fold(net, params, state)
    assert [node.name for node in folded.nodes] == ["dropconnect1"]
    whole = net.forward(params, state, x, Run())[0]
    np.testing.assert_allclose(folded.forward(few, none, x, Run())[0], whole, rtol=1e-5)
