"""Every activation against a table written from the sources, not from the code."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from functools import partial
from math import exp, inf, pi, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import MAPS
from points import GRID, both, evaluate, parameters, slope, value

from pullback import maps
from pullback.maps import Map, Run


@dataclass(frozen=True)
class Fact:
    """What is known of an activation of one entry.

    Attributes:
        map: which.
        low: the infimum of its values, and with it
        high: the supremum.
        at_zero: its value at 0.
        kinks: where its slope jumps, and the slope that we take there.
        joints: where its pieces meet otherwise.
        smooth: how many derivatives are continuous at all of these.
        rises: where it is monotone: an interval, or None.
    """

    map: Map
    low: float
    high: float
    at_zero: float
    kinks: dict[float, float] = field(default_factory=dict)
    joints: tuple[float, ...] = ()
    smooth: float = inf
    rises: tuple[float, float] | None = (-inf, inf)


SELU = 1.0507009873554805, 1.6732632423543772
FACTS = [
    Fact(maps.Identity(), -inf, inf, 0),
    Fact(maps.BentIdentity(), -inf, inf, 0),
    Fact(maps.Sigmoid(), 0, 1, 0.5),
    Fact(maps.Tanh(), -1, 1, 0),
    Fact(maps.Arctan(), -pi / 2, pi / 2, 0),
    Fact(maps.Softsign(), -1, 1, 0, joints=(0.0,), smooth=1),
    Fact(maps.InverseSquareRootUnit(), -1, 1, 0),
    Fact(maps.InverseSquareRootUnit(4.0), -0.5, 0.5, 0),
    Fact(maps.SquareNonlinearity(), -1, 1, 0, joints=(-2.0, 0.0, 2.0), smooth=1),
    Fact(maps.HardTanh(), -1, 1, 0, {-1.0: 0, 1.0: 0}, smooth=0),
    Fact(maps.SoftClipping(), 0, 1, np.log(2) - np.log1p(exp(-1))),
    Fact(maps.SoftClipping(20.0), 0, 1, (np.log(2) - np.log1p(exp(-20))) / 20),
    Fact(maps.Relu(), 0, inf, 0, {0.0: 0}, smooth=0),
    Fact(maps.LeakyRelu(0.2), -inf, inf, 0, {0.0: 0.2}, smooth=0),
    Fact(maps.Prelu(0.3), -inf, inf, 0, {0.0: 0.3}, smooth=0),
    Fact(maps.RandomizedLeakyRelu(0.1, 0.3), -inf, inf, 0, {0.0: 0.2}, smooth=0),
    Fact(maps.Elu(), -1, inf, 0, joints=(0.0,), smooth=1),
    Fact(maps.Elu(0.5), -0.5, inf, 0, {0.0: 0.5}, smooth=0),
    Fact(maps.Selu(), -SELU[0] * SELU[1], inf, 0, {0.0: SELU[0] * SELU[1]}, smooth=0),
    Fact(maps.InverseSquareRootLinearUnit(4.0), -0.5, inf, 0, joints=(0.0,), smooth=2),
    Fact(maps.Gelu(), -0.169971, inf, 0, rises=(-0.751791, inf)),
    Fact(maps.Gelu(approximate=True), -0.170041, inf, 0, rises=(-0.752461, inf)),
    Fact(maps.Silu(), -0.278465, inf, 0, rises=(-1.278465, inf)),
    Fact(maps.Softplus(), 0, inf, np.log(2)),
    Fact(maps.SoftExponential(), -inf, inf, 0),
    Fact(maps.SoftExponential(0.5), -1.5, inf, 0.5, joints=(np.log(64) / 0.5,), smooth=1),
    Fact(
        maps.SoftExponential(-0.5),
        -inf,
        inf,
        -np.log(0.75) / -0.5,
        joints=((1 - 1 / 64) / -0.5 + 0.5,),
        smooth=1,
    ),
    Fact(maps.Sinusoid(), -1, 1, 0, rises=None),
    Fact(maps.Sinusoid(2.0), -1, 1, 0, rises=None),
    Fact(maps.Sinc(), -0.217234, 1, 1, rises=None),
    Fact(maps.Gaussian(), 0, 1, 1, rises=None),
    Fact(maps.SquaredExponential(2.0), 0, 1, 1, rises=None),
]
every_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: str(fact.map))


def test_the_table_is_complete():
    of_rows = {maps.Softmax, maps.LogSoftmax, maps.Maxout}
    public = {
        kind
        for kind in vars(maps).values()
        if inspect.isclass(kind) and kind.__module__.startswith("pullback.maps.activation")
    }
    stepwise = {maps.Elementwise, maps.BinaryStep}
    assert public - of_rows - stepwise == {type(fact.map) for fact in FACTS}


@every_fact
def test_range_and_value_at_zero(fact):
    far = np.concatenate([GRID, [-1e8, 1e8]])
    y = value(fact.map, far)
    slack = 1e-6  # of the bounds that the table gives in six digits
    assert fact.low - slack <= y.min()
    assert y.max() <= fact.high + slack
    # Bounds are nearly reached; where there are none, even a logarithm is beyond 15 at 1e8.
    assert y.min() < (fact.low + 2e-3 if np.isfinite(fact.low) else -15)
    assert y.max() > (fact.high - 2e-3 if np.isfinite(fact.high) else 15)
    assert y[far == 0] == pytest.approx(fact.at_zero, abs=1e-15)


@every_fact
def test_where_it_is_monotone(fact):
    x = np.linspace(-12, 12, 4801)
    steps = np.diff(value(fact.map, x))
    low, high = fact.rises or (inf, -inf)
    inside = (x[:-1] >= low) & (x[1:] <= high)
    assert (steps[inside] >= 0).all()
    if fact.rises != (-inf, inf):
        assert (steps[~inside] < 0).any()


@every_fact
def test_the_slope_jumps_at_the_stated_kinks_only_and_is_what_we_decided_there(fact):
    x, h = np.linspace(-12, 12, 4801), 1e-9
    slopes = slope(fact.map, np.stack([x - h, x, x + h]).ravel()).reshape(3, -1)
    jumps = np.abs(slopes[2] - slopes[0]) > 1e-3
    assert x[jumps] == pytest.approx(sorted(fact.kinks))
    assert slopes[1][jumps] == pytest.approx([fact.kinks[k] for k in sorted(fact.kinks)])


@every_fact
def test_how_smooth_it_is_where_pieces_meet(fact):
    """Derivatives of the value, by autodiff, on both sides of each joint."""

    def scalar(x):
        x = x.reshape(1, 1)
        return fact.map.forward(parameters(fact.map, x), {}, x, Run())[0].sum()

    at = [[k - 1e-9, k + 1e-9] for k in (*fact.kinks, *fact.joints)]
    with jax.enable_x64(True):
        for order in range(int(min(fact.smooth, 2)) + 2 if at else 0):
            jump = np.ptp(jax.jit(jax.vmap(jax.vmap(scalar)))(jnp.asarray(at)), axis=1)
            if order <= fact.smooth:
                assert max(jump) < 1e-4, f"derivative {order} jumps"
            else:
                assert max(jump) > 1e-2, f"derivative {order} does not jump"
            scalar = jax.grad(scalar)


@every_fact
def test_values_and_slopes_hold_in_float32(fact):
    x = GRID.astype(np.float32)
    narrow, wide = both(evaluate, fact.map, x), both(evaluate, fact.map, x.astype(float))
    for what, a, b in zip(("value", "slope"), narrow, wide, strict=True):
        assert np.isfinite(a).all()
        error = np.abs(a - b) / np.maximum(1, np.abs(b))
        assert error.max() < 1e-5, f"{what} at {x[error.argmax()]}"


@every_fact
def test_autodiff_through_value_and_slope_is_finite(fact):
    """Second derivatives differentiate our reverse: a branch not taken must not make it nan."""
    x = jnp.asarray(GRID, jnp.float32)
    both_ways = partial(evaluate, fact.map)
    y, tangents = jax.jvp(both_ways, (x,), (jnp.ones_like(x),))
    assert all(jnp.isfinite(each).all() for each in tangents)
    assert jnp.isfinite(jax.vjp(both_ways, x)[1](jax.tree.map(jnp.ones_like, y))[0]).all()


def test_huge_inputs_and_branches_not_taken_make_no_nan():
    x = np.array([-1e30, -1e20, 1e20, 1e30], np.float32)
    for fact in FACTS:
        if isinstance(fact.map, maps.SoftExponential | maps.Gelu | maps.BentIdentity):
            continue  # these subtract or divide squares, which exceed float32 there
        assert not np.isnan(value(fact.map, x)).any(), fact.map
        assert not np.isnan(slope(fact.map, x)).any(), fact.map


# Values and slopes as the sources write them, for what no identity or limit pins.
FORMULAS = [
    (maps.BentIdentity(), lambda x: (np.sqrt(x * x + 1) - 1) / 2 + x),
    (maps.Arctan(), np.arctan),
    (maps.Softsign(), lambda x: x / (1 + np.abs(x))),
    (maps.InverseSquareRootUnit(3.0), lambda x: x / np.sqrt(1 + 3 * x * x)),
    (
        maps.InverseSquareRootLinearUnit(3.0),
        lambda x: np.where(x < 0, x / np.sqrt(1 + 3 * x * x), x),
    ),
    (
        maps.SquareNonlinearity(),
        lambda x: np.select(
            [x > 2, x >= 0, x >= -2], [np.ones_like(x), x - x * x / 4, x + x * x / 4], -1
        ),
    ),
    (maps.Elu(0.5), lambda x: np.where(x > 0, x, 0.5 * (np.exp(np.minimum(x, 0)) - 1))),
    (
        maps.Gelu(approximate=True),
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / pi) * (x + 0.044715 * x**3))),
    ),
    (maps.Silu(), lambda x: x / (1 + np.exp(-x))),
    (maps.Softplus(), lambda x: np.log(1 + np.exp(x))),
    (
        maps.SoftClipping(3.0),
        lambda x: np.log((1 + np.exp(3 * x)) / (1 + np.exp(3 * (x - 1)))) / 3,
    ),
    (maps.SoftExponential(0.5), lambda x: (np.exp(0.5 * x) - 1) / 0.5 + 0.5),
    (maps.SoftExponential(-0.2), lambda x: -np.log(1 + 0.2 * (x - 0.2)) / -0.2),
    (maps.Sinusoid(3.0), lambda x: np.sin(3 * x)),
    (maps.Sinc(), lambda x: np.sin(x) / x),
    (maps.Gaussian(), lambda x: np.exp(-x * x)),
    (maps.SquaredExponential(0.05), lambda x: np.exp(-x * x / 0.1)),
]


@pytest.mark.parametrize(("map", "formula"), FORMULAS, ids=[str(map) for map, _ in FORMULAS])
def test_values_are_those_of_the_sources(map, formula):
    x = np.linspace(-4.0, 4.0, 400)  # an even number of points leaves out 0
    np.testing.assert_allclose(value(map, x), formula(x), rtol=1e-12, atol=1e-14)


def test_the_derivative_of_soft_clipping_is_the_one_of_the_sheets():
    p, x = 3.0, np.linspace(-3, 4, 50)
    sheet = np.sinh(p / 2) / (2 * np.cosh(p * x / 2) * np.cosh(p * (1 - x) / 2))
    np.testing.assert_allclose(slope(maps.SoftClipping(p), x), sheet, rtol=1e-10)


def test_the_exact_gelu_is_x_times_the_normal_distribution_function():
    x = np.linspace(-6, 6, 101)
    phi = np.array([exp(-t * t / 2) / sqrt(2 * pi) for t in np.linspace(-12, 6, 180_001)])
    cdf = np.concatenate([[0], np.cumsum((phi[1:] + phi[:-1]) / 2 * 1e-4)])[60_000::1200]
    np.testing.assert_allclose(value(maps.Gelu(), x), x * cdf, atol=1e-9)


def test_the_approximate_gelu_is_close_to_the_exact_one_and_is_not_that_of_the_sheets():
    x = np.linspace(-6, 6, 1001)
    exact = value(maps.Gelu(), x)
    ours = np.abs(value(maps.Gelu(approximate=True), x) - exact).max()
    sheet = 0.5 * x * (1 + np.tanh(np.sqrt(2 / pi) * (x + 0.045 * x**3)))
    assert ours < 5e-4
    assert np.abs(value(maps.Gelu(approximate=True), x) - sheet).max() > 1e-5


ACTIVATIONS = sorted(
    {
        type(case.map)
        for case in MAPS
        if type(case.map).__module__.startswith("pullback.maps.activation")
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_every_docstring_says_the_same_things_in_the_same_order(kind):
    labels = re.findall(r"^    (\w+): {2,}\S", kind.__doc__, re.MULTILINE)
    assert labels == ["Forward", "Reverse", "Range", "Smooth", "Kink", "Shapes", "Source"]
    fact = next((fact for fact in FACTS if type(fact.map) is kind), None)
    if fact:
        kinked = any(each.kinks for each in FACTS if type(each.map) is kind)
        assert bool(re.search(r"Kink: +none", kind.__doc__)) != kinked
