"""Activations that learn, draw, estimate or take whole rows; what all save and refuse."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal, localcontext
from math import inf, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from points import GRID, along_alpha, both, parameters, slope, value

from pullback import config, maps
from pullback.check import check_gradients, check_map
from pullback.errors import ConfigError, ShapeError
from pullback.loss import SquaredError
from pullback.maps import Affine, Run, chain, skip
from pullback.penalty import Sum
from pullback.prepared import prepare


def reversed_with(map, x, dy, params=None, run=None):
    params = parameters(map, x) if params is None else params
    _, saved, _ = map.forward(params, {}, x, run or Run())
    return map.reverse(params, saved, dy)


@pytest.mark.parametrize(("shared", "shape"), [(False, (3,)), (True, ())])
def test_a_learned_parameter_is_one_for_each_feature_or_one_for_all(shared, shape):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 3)), jnp.float32)
    dparams, dx = reversed_with(maps.Prelu(shared=shared), x, jnp.ones_like(x))
    assert dparams["slope"].shape == shape
    below = np.minimum(x, 0)
    np.testing.assert_allclose(dparams["slope"], below.sum(None if shared else (0, 1)), rtol=1e-6)
    np.testing.assert_allclose(dx, np.where(x > 0, 1, 0.25))


def test_a_vector_has_no_features():
    with pytest.raises(ShapeError, match=r"Prelu wants x of shape \(n, ..., d\), got \(5,\); set"):
        maps.Prelu().init(None, jnp.ones(5))
    assert maps.Prelu(shared=True).init(None, jnp.ones(5))[0]["slope"].shape == ()


def test_slopes_are_drawn_for_each_entry_in_training_and_are_their_mean_in_evaluation():
    map, x = maps.RandomizedLeakyRelu(0.1, 0.3), -jnp.ones((200, 100), jnp.float32)
    drawn = -np.asarray(map.forward({}, {}, x, Run(jax.random.key(0), True))[0])
    assert 0.1 <= drawn.min() < 0.101
    assert 0.299 < drawn.max() <= 0.3
    assert drawn.mean() == pytest.approx(0.2, abs=1e-3)
    assert drawn.std() == pytest.approx(0.2 / sqrt(12), rel=0.02)
    assert len(np.unique(drawn)) > 19_000
    np.testing.assert_allclose(map.forward({}, {}, x, Run(jax.random.key(0)))[0], -0.2, rtol=1e-6)
    other = map.forward({}, {}, x, Run(jax.random.key(1), True))[0]
    assert not np.allclose(other, -drawn)
    with pytest.raises(ConfigError, match="key"):
        map.forward({}, {}, x, Run(train=True))


def test_soft_exponentials_of_opposite_alpha_are_inverse_to_each_other():
    x = np.linspace(-1.0, 3.0, 41)
    there = value(maps.SoftExponential(0.6), x)
    np.testing.assert_allclose(value(maps.SoftExponential(-0.6), there), x, atol=1e-13)


def published(alpha: Decimal, x: Decimal) -> Decimal:
    """The soft exponential as its authors write it."""
    if alpha < 0:
        return -(1 - alpha * (x + alpha)).ln() / alpha
    return x if alpha == 0 else ((alpha * x).exp() - 1) / alpha + alpha


@pytest.mark.parametrize("alpha", [-1.3, -0.2, -1e-3, -1e-9, 0.0, 1e-30, 1e-9, 1e-3, 0.2, 1.3])
def test_soft_exponential_and_its_slope_in_alpha_against_120_digits(alpha):
    x = np.linspace(-3, 3, 25)
    x = x[x > 0.98 / alpha - alpha] if alpha < 0 else x  # short of the tangent
    with localcontext(prec=120):
        a, h, points = Decimal(alpha), Decimal("1e-40"), [Decimal(float(each)) for each in x]
        exact = [float(published(a, each)) for each in points]
        slopes = [float((published(a + h, v) - published(a - h, v)) / (2 * h)) for v in points]
    ours = both(along_alpha, maps.SoftExponential(), alpha, x)
    np.testing.assert_allclose(ours[0], exact, rtol=1e-12)
    np.testing.assert_allclose(ours[1], slopes, rtol=1e-12)


def test_value_and_slope_in_alpha_hold_in_float32():
    x = GRID.astype(np.float32)
    for alpha in (-2, -1, -0.5, -(2**-7), -(2**-20), 0, 2**-20, 2**-7, 0.5, 1, 2):
        narrow = both(along_alpha, maps.SoftExponential(), alpha, x)
        wide = both(along_alpha, maps.SoftExponential(), alpha, x.astype(float))
        for a, b in zip(narrow, wide, strict=True):
            assert np.isfinite(a).all()
            assert (np.abs(a - b) / np.maximum(1, np.abs(b))).max() < 1e-5, alpha


@pytest.mark.parametrize(("alpha", "begin"), [(0.5, np.log(64) / 0.5), (-0.5, -0.5 - 63 / 32 + 1)])
def test_beyond_the_steepest_slope_the_soft_exponential_goes_straight_on(alpha, begin):
    map, beyond = maps.SoftExponential(alpha), np.sign(alpha) * np.array([1e-3, 1.0, 100.0])
    x = begin + beyond
    assert slope(map, x) == pytest.approx([64.0] * 3, rel=1e-9)
    at = value(map, np.array([begin]))
    np.testing.assert_allclose(value(map, x), at + 64 * beyond, rtol=1e-9)
    assert slope(map, begin - beyond[:1]) < 64


def test_a_binary_step_has_no_derivative_and_says_so_when_it_is_traced():
    net = chain(Affine(3), maps.BinaryStep(), Affine(1))
    x = jnp.ones((2, 4))
    params, state = net.init(jax.random.key(0), x)

    def gradient(params):
        y, saved, _ = net.forward(params, state, x, Run())
        return net.reverse(params, saved, y)

    with pytest.raises(ConfigError, match=r"cannot be trained through: .*; set straight_through"):
        jax.eval_shape(gradient, params)


def test_a_straight_through_estimate_passes_where_x_is_at_most_one():
    x = jnp.asarray([-2.0, -1.0, -0.5, 0.0, 1.0, 1.5])
    _, dx = reversed_with(maps.BinaryStep(straight_through=True), x, jnp.full(6, 3.0))
    assert dx.tolist() == [0, 3, 3, 3, 3, 0]


def test_an_estimate_is_checked_against_its_surrogate_only():
    step, x = maps.BinaryStep(straight_through=True), np.linspace(-2, 2, 8).reshape(4, 2)
    errors = check_map(step, x, surrogate=maps.HardTanh())
    assert max(*errors.differences.values(), *errors.autodiff.values()) < 1e-9
    assert check_map(step, x, surrogate=maps.Tanh()).autodiff["x"] > 0.1
    with pytest.raises(ConfigError, match="give the surrogate"):
        check_map(step, x)
    with pytest.raises(ConfigError, match="give no surrogate"):
        check_map(maps.Tanh(), x, surrogate=maps.HardTanh())


def test_a_gradient_check_refuses_an_estimate_instead_of_calling_it_wrong():
    net = chain(Affine(3), skip(maps.BinaryStep(straight_through=True)), Affine(1))
    assert net.estimated
    assert not chain(Affine(3), maps.HardTanh()).estimated
    x = np.ones((2, 4), np.float32)
    params, state = net.init(jax.random.key(0), x)
    with pytest.raises(
        ConfigError, match=r"estimate.*'skip1/binarystep1'; .*check.enabled = false"
    ):
        check_gradients(net, SquaredError(), Sum(), params, state, (x, np.ones((2, 1)), np.ones(2)))


@pytest.mark.parametrize(
    ("straight_through", "checked", "sentence"),
    [
        (
            False,
            False,
            r"cannot be trained through.*, in the section \[network\]; set straight_thr",
        ),
        (True, True, r"an estimate.*, in node 'binarystep1'; .*check.enabled = false"),
        (True, False, None),
    ],
)
def test_an_experiment_with_a_step_is_refused_before_anything_is_written(
    straight_through, checked, sentence
):
    step = {"name": "binary-step", "straight_through": straight_through}
    table = {
        "data": {"source": "xor", "n": 20},
        "network": {"hidden": [3], "activation": step},
        "check": {"enabled": checked},
    }
    experiment = config.parse(table, "a test")
    with nullcontext() if sentence is None else pytest.raises(ConfigError, match=sentence):
        prepare(experiment)


def test_maxout_takes_the_first_of_equals():
    x = jnp.asarray([[1.0, 1.0, 0.0, 2.0, 5.0, 5.0]])
    y, saved, _ = maps.Maxout(3).forward({}, {}, x, Run())
    assert y.tolist() == [[1.0, 5.0]]
    assert maps.Maxout(3).reverse({}, saved, jnp.asarray([[7.0, 8.0]]))[1].tolist() == [
        [7, 0, 0, 0, 8, 0]
    ]
    with pytest.raises(ShapeError, match=r"axis that 3 divides, got shape \(2, 4\)"):
        maps.Maxout(3).init(None, jnp.ones((2, 4)))


def test_the_logarithm_of_softmax_is_that_and_stays_finite():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5)), jnp.float32)
    y = maps.LogSoftmax().forward({}, {}, x, Run())[0]
    np.testing.assert_allclose(jnp.exp(y), maps.Softmax().forward({}, {}, x, Run())[0], rtol=1e-5)
    y = maps.LogSoftmax().forward({}, {}, jnp.asarray([[1e4, -1e4]]), Run())[0]
    assert y.tolist() == [[0.0, -2e4]]


@pytest.mark.parametrize(
    ("map", "kept"),
    [
        (maps.Identity(), 0),
        (maps.Sigmoid(), 4),
        (maps.Arctan(), 4),
        (maps.Gaussian(), 4),
        (maps.SquaredExponential(), 4),
        (maps.Sinc(), 4),
        (maps.Gelu(), 4),
        (maps.SoftExponential(), 4),
        (maps.BinaryStep(straight_through=True), 1),
        (maps.Maxout(2), 2),
    ],
    ids=str,
)
def test_no_activation_saves_more_than_one_array(map, kept):
    x = jnp.ones((3, 4), jnp.float32)
    _, saved, _ = map.forward(parameters(map, x), {}, x, Run())
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(saved)) == kept * x.size


@pytest.mark.parametrize(
    "make",
    [
        lambda: maps.LeakyRelu(0),
        lambda: maps.LeakyRelu(2),
        lambda: maps.SquaredExponential(0),
        lambda: maps.SquaredExponential(float("nan")),
        lambda: maps.InverseSquareRootUnit(0),
        lambda: maps.InverseSquareRootLinearUnit(-1),
        lambda: maps.SoftClipping(inf),
        lambda: maps.Sinusoid(0),
        lambda: maps.Elu(0),
        lambda: maps.Prelu(float("nan")),
        lambda: maps.RandomizedLeakyRelu(0.3, 0.2),
        lambda: maps.RandomizedLeakyRelu(-0.1, 0.2),
        lambda: maps.SoftExponential(inf),
        lambda: maps.SoftExponential(max_slope=1),
        lambda: maps.Maxout(1),
    ],
)
def test_constructors_refuse_what_makes_no_sense(make):
    with pytest.raises(ConfigError):
        make()


@dataclass(frozen=True)
class CuspedSoftsign(maps.Softsign):
    """The sheets' derivative of softsign, without the bars."""

    def kept(self, x, y):
        return x

    def slope(self, kept):
        return 1 / (1 + kept) ** 2


@dataclass(frozen=True)
class RoundBent(maps.BentIdentity):
    """The sheets' bent identity: the value lacks the division by 2 that the derivative has."""

    def value(self, x):
        return jnp.sqrt(x * x + 1) - 1 + x


@dataclass(frozen=True)
class LooseExponential(maps.SoftExponential):
    """The soft exponential of the sheets, without its + α."""

    def value(self, p, x):
        return super().value(p, x) - jnp.maximum(p, 0)


@dataclass(frozen=True)
class EndlessExponential(maps.SoftExponential):
    """A slope in α that forgets that the tangent begins where α says."""

    def slopes(self, p, x):
        dp, dx = super().slopes(p, x)
        return jnp.where(dx < self.max_slope, dp, jnp.zeros_like(dp)), dx


@dataclass(frozen=True)
class UnsummedPrelu(maps.Prelu):
    """The mean over the batch instead of the sum."""

    def reverse(self, params, saved, dy):
        dparams, dx = super().reverse(params, saved, dy)
        return {"slope": dparams["slope"] / dy.shape[0]}, dx


@dataclass(frozen=True)
class LastMaxout(maps.Maxout):
    """A cotangent for the least instead of the greatest."""

    def reverse(self, params, saved, dy):
        return super().reverse(params, self.pieces - 1 - saved, dy)


@dataclass(frozen=True)
class DiagonalLogSoftmax(maps.LogSoftmax):
    """The diagonal of the Jacobian only."""

    def reverse(self, params, saved, dy):
        return {}, dy * (1 - jnp.exp(saved))


@pytest.mark.parametrize(
    "mutant",
    [
        CuspedSoftsign(),
        RoundBent(),
        LooseExponential(0.5),
        EndlessExponential(-1.5),
        UnsummedPrelu(),
        LastMaxout(),
        DiagonalLogSoftmax(),
    ],
    ids=lambda map: type(map).__name__,
)
def test_the_oracles_reject_what_the_sources_get_wrong_and_other_mutants(mutant):
    errors = check_map(mutant, np.random.default_rng(0).standard_normal((5, 4)))
    assert max(errors.differences.values()) > 1e-3
    assert max(errors.autodiff.values()) > 1e-3
