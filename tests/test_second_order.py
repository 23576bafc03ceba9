"""Second-order methods: the path of each, not only where it ends; against SciPy, and by hand."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree

from pullback.closed_form import ridge
from pullback.curvature import Objective
from pullback.errors import ConfigError
from pullback.loss import SquaredError
from pullback.maps import Affine, Tanh, chain
from pullback.optim import (
    LBFGS,
    LevenbergMarquardt,
    Newton,
    NewtonCG,
    minimise,
    second_order,
)
from pullback.optim.second_order.lbfgs import History, _inverse_hessian_times, _remember
from pullback.optim.second_order.method import OfVector
from pullback.optim.second_order.trace import _walk, unwatched
from pullback.optim.second_order.wolfe import DECREASE, FLATNESS, search
from pullback.penalty import L2, Sum
from pullback.surfaces import SURFACES, Bowl, Plane, Rosenbrock, Saddle, Surface

METHODS = [Newton(0.0), NewtonCG(), LBFGS()]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_every_method_is_tried():
    kinds = {kind for kind in vars(second_order).values() if hasattr(kind, "step")}
    assert kinds - {second_order.Method} == {*map(type, METHODS), LevenbergMarquardt}


def start_of(surface: Surface):
    return jnp.array(surface.start)


def identity(params):
    return params


@pytest.fixture(scope="module")
def network():
    """A small regression: its objective, and where it begins."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        x = jnp.asarray(rng.standard_normal((40, 3)))
        t = jnp.asarray(np.sin(np.asarray(x) @ rng.standard_normal((3, 1))))
        net = chain(Affine(4), Tanh(), Affine(1))
        params, state = net.init(jax.random.key(0), x)
        batch = (x, t, jnp.ones(40))
        return Objective(net, SquaredError(), L2(0.02), state, batch), params


@pytest.fixture(scope="module")
def line():
    """Linear regression with a penalty, whose minimum is known in closed form."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(4)
        x, t = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
        batch = (jnp.asarray(x), jnp.asarray(t), jnp.ones(30))
        params, state = Affine(2).init(jax.random.key(1), batch[0])
        objective = Objective(Affine(2), SquaredError(), L2(0.1), state, batch)
        return objective, params, ridge(x, t, 0.1)


@pytest.fixture(scope="module")
def scipys(network):
    """Where SciPy's BFGS ends on the network, from the same start and with our gradient."""
    objective, params = network
    with jax.enable_x64(True):
        theta, unravel = ravel_pytree(params)
        both = jax.jit(
            lambda v: (
                objective.value(unravel(v)),
                ravel_pytree(objective.gradient(unravel(v)))[0],
            )
        )
        return scipy.optimize.minimize(
            lambda v: tuple(map(np.asarray, both(v))),
            np.asarray(theta),
            jac=True,
            method="BFGS",
            options={"gtol": 1e-9},
        )


@pytest.mark.parametrize("condition", [1.0, 1e4])
def test_newton_reaches_the_minimum_of_a_quadratic_in_one_step(condition):
    bowl = Bowl(condition)
    trace = minimise(Newton(0.0), bowl, start_of(bowl), 5, 1e-10)
    assert (trace.ended, trace.steps) == ("tolerance", 1)
    np.testing.assert_allclose(trace.params, [0, 0], atol=1e-12)


def test_newton_solves_a_regression_in_one_step(line):
    objective, params, solution = line
    trace = minimise(Newton(0.0), objective, params, 5, 1e-10)
    assert (trace.ended, trace.steps) == ("tolerance", 1)
    for name in ("weight", "bias"):
        np.testing.assert_allclose(trace.params[name], solution[name], atol=1e-12)


def test_lbfgs_agrees_with_the_closed_form_and_with_scipy(line):
    objective, params, solution = line
    trace = minimise(LBFGS(), objective, params, 200, 1e-9)
    theta, unravel = ravel_pytree(params)
    scipys = scipy.optimize.minimize(
        lambda v: float(objective.value(unravel(jnp.asarray(v)))),
        np.asarray(theta),
        jac=lambda v: np.asarray(ravel_pytree(objective.gradient(unravel(jnp.asarray(v))))[0]),
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-9},
    )
    np.testing.assert_allclose(ravel_pytree(trace.params)[0], scipys.x, atol=1e-6)
    np.testing.assert_allclose(trace.params["weight"], solution["weight"], atol=1e-8)


def test_a_damped_step_by_hand():
    # H = diag(1/4, 1), g = (2, 3), so the step is −(2/(1/4 + 3/4), 3/(1 + 3/4)).
    trace = minimise(Newton(0.75), Bowl(4.0), jnp.array([8.0, 3.0]), 1)
    np.testing.assert_allclose(trace.params, [6.0, 3 - 3 / 1.75], rtol=1e-15)
    assert trace.ended == "steps"


def test_newton_is_drawn_to_a_saddle_and_newton_cg_is_not():
    saddle = Saddle()
    drawn = minimise(Newton(0.0), saddle, start_of(saddle), 50, 1e-9)
    np.testing.assert_allclose(drawn.params, [0, 0], atol=1e-8)
    down = minimise(NewtonCG(), saddle, start_of(saddle), 50, 1e-9)
    assert drawn.ended == down.ended == "tolerance"
    np.testing.assert_allclose(np.abs(down.params), [0, 1], atol=1e-8)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("name", ["rosenbrock", "narrow-bowl"])
def test_a_minimum_is_found(method, name):
    surface = SURFACES[name]
    trace = minimise(method, surface, start_of(surface), 100, 1e-9)
    assert trace.ended == "tolerance"
    assert surface.minimum is not None
    np.testing.assert_allclose(trace.params, surface.minimum, atol=1e-8)
    assert trace.values[-1] < 1e-15


@pytest.mark.parametrize(
    "method", [LBFGS(), NewtonCG(), LevenbergMarquardt()], ids=lambda m: type(m).__name__
)
def test_a_small_regression_agrees_with_scipy(method, network, scipys):
    objective, params = network
    trace = minimise(method, objective, params, 500, 1e-9)
    assert trace.ended == "tolerance"
    np.testing.assert_allclose(trace.values[-1], scipys.fun, rtol=1e-12)
    # Not the parameters: exchanging or turning hidden units changes no output.
    _, unravel = ravel_pytree(params)
    ours, theirs = (
        objective.net.forward(p, objective.state, objective.batch[0], objective.run)[0]
        for p in (trace.params, unravel(jnp.asarray(scipys.x)))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_levenberg_marquardt_by_hand(line):
    """G of a linear model is its Hessian, and the value falls just as foretold: the gain is 1."""
    objective, params, _ = line
    method = LevenbergMarquardt(0.5)
    h, (g, unravel) = objective.hessian(params), ravel_pytree(objective.gradient(params))
    theta, _ = ravel_pytree(params)
    damping = 0.5 * np.diag(h).max()
    first = minimise(method, objective, params, 1, 1e-12)
    expected = theta - np.linalg.solve(h + damping * np.eye(theta.size), g)
    np.testing.assert_allclose(ravel_pytree(first.params)[0], expected, atol=1e-13)
    # max(⅓, 1 − (2·1 − 1)³) = ⅓.
    g, _ = ravel_pytree(objective.gradient(unravel(expected)))
    second = minimise(method, objective, params, 2, 1e-12)
    expected = expected - np.linalg.solve(h + damping / 3 * np.eye(theta.size), g)
    np.testing.assert_allclose(ravel_pytree(second.params)[0], expected, atol=1e-12)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Trough(Surface):
    """f = log cosh(x) + ½ y²: far out its curvature vanishes, and a step of Newton overshoots."""

    def value(self, params):
        x, y = params
        return jnp.logaddexp(x, -x) + 0.5 * y**2

    def gradient(self, params):
        x, y = params
        return jnp.stack([jnp.tanh(x), y])

    def gauss_newton_product(self, params, v):
        return self.hessian_vector_product(params, v)


def test_a_rejected_step_goes_nowhere_and_raises_the_damping():
    method, start = LevenbergMarquardt(1e-6), jnp.array([2.0, 0.5])
    trace = minimise(method, Trough(), start, 60, 1e-10, watch=identity)
    rejected = np.flatnonzero(trace.updates == 0)
    assert len(rejected) > 1  # one alone would not show that the growth itself grows
    assert np.all(np.diff(trace.values) <= 0)
    # G is made anew, by a product for each parameter, unless the step before went nowhere.
    again = np.append(False, trace.updates[:-1] == 0)
    np.testing.assert_array_equal(trace.passes, np.where(again, 1, 3))
    np.testing.assert_array_equal(trace.watched[rejected], trace.watched[rejected + 1])
    assert trace.ended == "tolerance"
    flat = OfVector(Trough(), identity)
    once = method.step(flat, flat.at(start), method.begin(start))
    twice = method.step(flat, once.point, once.state)
    # The largest entry of G's diagonal is 1, along y.
    np.testing.assert_allclose(once.state.damping, 2 * 1e-6)
    np.testing.assert_allclose(twice.state.damping / once.state.damping, 4)


def test_the_two_loops_are_the_dense_update():
    """B from the recursion against BFGS's formula for the inverse, B' = VᵀBV + ρssᵀ."""
    rng = np.random.default_rng(0)
    p, m = 6, 3
    root = rng.standard_normal((p, p))
    curved = root @ root.T + np.eye(p)
    none = jnp.zeros((m, p))
    history, pairs = History(none, none, none[:, 0]), []
    for _ in range(5):  # more than are remembered
        s = rng.standard_normal(p)
        pairs.append((s, curved @ s))
        history = _remember(history, jnp.asarray(s), jnp.asarray(curved @ s))
    s, y = pairs[-1]
    dense = np.eye(p) * (s @ y) / (y @ y)
    for s, y in pairs[-m:]:
        v = np.eye(p) - np.outer(y, s) / (s @ y)
        dense = v.T @ dense @ v + np.outer(s, s) / (s @ y)
    g = rng.standard_normal(p)
    np.testing.assert_allclose(_inverse_hessian_times(jnp.asarray(g), history), dense @ g)


def test_a_step_without_curvature_is_not_remembered():
    none = jnp.zeros((2, 2))
    history = History(none, none, none[:, 0])
    after = _remember(history, jnp.array([1.0, 0.0]), jnp.array([-1.0, 0.0]))
    assert after.inverse.tolist() == [0, 0]


def wolfe(surface, before, after) -> tuple[bool, bool]:
    """Whether a step meets the two conditions; they do not depend on how it is parted in t · d."""
    d = after - before
    slope = surface.gradient(before) @ d
    low = surface.value(after) <= surface.value(before) + DECREASE * slope
    flat = abs(surface.gradient(after) @ d) <= FLATNESS * abs(slope)
    return bool(low), bool(flat)


@pytest.mark.parametrize("method", [LBFGS(), NewtonCG()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("name", ["rosenbrock", "beale", "saddle", "plateau"])
def test_every_accepted_step_meets_the_strong_wolfe_conditions(method, name):
    surface = SURFACES[name]
    trace = minimise(method, surface, start_of(surface), 60, 1e-6, watch=identity)
    taken = 0
    for before, after in zip(trace.watched[:-1], trace.watched[1:], strict=True):
        if np.any(before != after):
            assert wolfe(surface, jnp.asarray(before), jnp.asarray(after)) == (True, True)
            taken += 1
    assert taken >= 3


def test_a_fixed_step_breaks_the_conditions():
    """The oracle of the test above can fail, on either condition."""
    bowl, before = Bowl(1.0), jnp.array([1.0, 0.0])
    assert wolfe(bowl, before, -1.1 * before) == (False, False)
    assert wolfe(bowl, before, 0.99 * before) == (True, False)


@pytest.mark.parametrize("length", [1e-3, 1.0, 1.95, 1e3])
def test_the_search_doubles_and_shrinks(length):
    """On a parabola the minimum lies at 1/length of a direction so long.

    With 1.95 the first try is low enough, too steep, and past the minimum.
    """
    flat, bowl = OfVector(Bowl(1.0), identity), jnp.array([1.0, 0.0])
    found = search(flat, flat.at(bowl), -length * bowl)
    assert found.met
    assert wolfe(Bowl(1.0), bowl, found.point.theta) == (True, True)


def test_a_search_uphill_finds_nothing():
    flat, at = OfVector(Bowl(1.0), identity), jnp.array([1.0, 0.0])
    found = search(flat, flat.at(at), at)
    assert not found.met
    np.testing.assert_array_equal(found.point.theta, at)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Cliff(Surface):
    """f = −log(1 − x) + 5x + y²: not a number from x = 1 on, and steep before."""

    def value(self, params):
        x, y = params
        return -jnp.log(1 - x) - 5 * x + y**2

    def gradient(self, params):
        x, y = params
        return jnp.stack([1 / (1 - x) - 5, 2 * y])


def test_what_is_not_finite_is_too_high_for_a_search_and_ends_newton():
    start = jnp.array([-1.0, 0.5])
    trace = minimise(LBFGS(), Cliff(), start, 50, 1e-9)
    assert trace.ended == "tolerance"
    np.testing.assert_allclose(trace.params, [0.8, 0], atol=1e-8)
    fallen = minimise(Newton(0.0), Cliff(), start, 50, 1e-9)
    assert fallen.ended == "diverged"
    np.testing.assert_array_equal(fallen.params, start)  # Newton's step leads to x = 7


@jax.tree_util.register_static
@dataclass(frozen=True)
class Kink(Surface):
    """f = |x|: its slope nowhere flattens."""

    def value(self, params):
        return jnp.abs(params[0])

    def gradient(self, params):
        return jnp.stack([jnp.where(params[0] > 0, 1.0, -1.0), 0.0 * params[1]])


def test_no_step_at_a_kink():
    trace = minimise(LBFGS(), Kink(), jnp.array([0.3, 0.0]), 50, 1e-9)
    assert trace.ended == "stuck"


@pytest.mark.parametrize("method", [Newton(), LevenbergMarquardt()])
def test_what_would_not_fit_is_refused_with_its_size(method, network):
    objective, params = network
    p = sum(leaf.size for leaf in jax.tree.leaves(params))
    need = 3 * p**2 * 8
    with pytest.raises(ConfigError, match=f"would hold {need:,} bytes for {p} parameters"):
        minimise(method, objective, params, limit=need - 1)
    assert minimise(method, objective, params, 1, limit=need).steps == 1


@pytest.mark.parametrize("method", [Newton(), LevenbergMarquardt()], ids=lambda m: type(m).__name__)
def test_the_size_told_is_what_the_compiler_sets_aside(method):
    net = chain(Affine(20), Tanh(), Affine(10), Tanh(), Affine(1))
    x, t = jnp.ones((4, 20)), jnp.ones((4, 1))
    params, state = net.init(jax.random.key(0), x)
    objective = Objective(net, SquaredError(), L2(0.1), state, (x, t, jnp.ones(4)))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    compiled = _walk.lower(method, 2, unwatched, objective, params, 1e-6).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    assert 0.7 < analysis.temp_size_in_bytes / method.memory(size, 8) < 1.3


def test_few_vectors_are_refused_too(network):
    objective, params = network
    for method in (LBFGS(), NewtonCG()):
        with pytest.raises(ConfigError, match="raise the limit"):
            minimise(method, objective, params, limit=100)


def test_the_default_limit_refuses_newton_for_mnist_without_making_anything():
    params = {"weight": jnp.zeros((784, 500)), "bias": jnp.zeros(500)}
    with pytest.raises(ConfigError, match=r"3,697,350,000,000 bytes for 392,500 parameters"):
        minimise(Newton(), Rosenbrock(), params)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Newton(-1.0),
        lambda: LevenbergMarquardt(0.0),
        lambda: LBFGS(0),
        lambda: NewtonCG(0),
        lambda: minimise(LBFGS(), Rosenbrock(), jnp.zeros(2), 0),
        lambda: minimise(LBFGS(), Rosenbrock(), jnp.zeros(2), 1, 0.0),
    ],
)
def test_senseless_settings_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_a_second_run_of_the_same_shapes_compiles_nothing(network, caplog):
    objective, params = network
    x, t, weight = objective.batch
    other = replace(objective, batch=(x + 1, t, weight))
    minimise(LBFGS(), objective, params, 500, 1e-9)
    with caplog.at_level(logging.WARNING, "jax"), jax.log_compiles():
        minimise(LBFGS(), other, params, 500, 1e-8)
        assert not [m for m in caplog.messages if "_walk" in m and m.startswith("Compiling ")]
        minimise(LBFGS(3), other, params, 500, 1e-8)
    assert [m for m in caplog.messages if "_walk" in m and m.startswith("Compiling ")]


def test_float32_reaches_the_rounding_of_the_value():
    with jax.enable_x64(False):
        trace = minimise(LBFGS(), Rosenbrock(), jnp.array([-1.2, 1.0]), 200, 1e-12)
        assert trace.params.dtype == jnp.float32
        assert trace.ended in ("stuck", "tolerance")
        np.testing.assert_allclose(trace.params, [1, 1], atol=1e-3)


@pytest.fixture
def plane(network):
    objective, params = network
    return Plane.random(objective, params, jax.random.key(7))


@pytest.mark.parametrize("name", [*SURFACES, "plane"])
def test_the_gradient_of_a_surface(name, plane):
    surface = plane if name == "plane" else SURFACES[name]
    at = jnp.array([0.3, -0.7])
    expected = jax.grad(surface.value)(at)
    np.testing.assert_allclose(surface.gradient(at), expected, rtol=1e-12, atol=1e-14)
    v = jnp.array([0.5, 2.0])
    product = surface.hessian_vector_product(at, v)
    np.testing.assert_allclose(surface.hessian(at) @ v, product, rtol=1e-12)


def test_the_minima_of_surfaces_are_theirs():
    for surface in SURFACES.values():
        if surface.minimum is not None:
            np.testing.assert_allclose(surface.gradient(jnp.array(surface.minimum)), 0, atol=1e-9)


def test_directions_of_a_plane_are_as_long_as_the_weights(network, plane):
    objective, params = network
    np.testing.assert_allclose(plane.value(jnp.zeros(2)), objective.value(params), rtol=1e-15)
    for direction in (plane.across, plane.up):
        for leaf, along in zip(jax.tree.leaves(params), jax.tree.leaves(direction), strict=True):
            np.testing.assert_allclose(jnp.linalg.norm(along), jnp.linalg.norm(leaf), rtol=1e-12)


def test_no_penalty_and_no_curvature_make_newton_diverge_not_hang():
    flat = Objective(
        Affine(1), SquaredError(), Sum(), {}, (jnp.zeros((2, 1)), jnp.ones((2, 1)), jnp.ones(2))
    )
    params = {"weight": jnp.ones((1, 1)), "bias": jnp.zeros(1)}
    assert minimise(Newton(0.0), flat, params, 5).ended == "diverged"
    assert minimise(Newton(1e-3), flat, params, 50, 1e-3).ended == "tolerance"
