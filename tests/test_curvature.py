"""Second derivatives against `jax.hessian`, differences of our gradient, and what they promise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import LOSSES, MAPS, PENALTIES
from jax.flatten_util import ravel_pytree

from pullback import maps
from pullback.catalogue.cases import parameters
from pullback.check import relative_error
from pullback.curvature import Objective
from pullback.errors import ConfigError
from pullback.loss import SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError
from pullback.maps import Affine, Relu, Run, Selu, Softmax, Tanh, chain
from pullback.penalty import L2, Penalty, Sum

D, K, N = 3, 2, 5
NO_PENALTY, EVALUATION = Sum(), Run()

hessian = jax.jit(Objective.hessian)
product = jax.jit(Objective.hessian_vector_product)
gradient = jax.jit(Objective.gradient)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def objective(net, loss, penalty: Penalty = NO_PENALTY, run=EVALUATION, seed=0):
    """An objective on random data, where its parameters are, and their number."""
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((N, D)))
    t = jnp.asarray(np.eye(K)[rng.integers(0, K, N)])
    weight = jnp.asarray(rng.uniform(0, 2, N))
    params, state = net.init(jax.random.key(seed), x)
    moved = jax.tree.map(lambda w: w + jnp.asarray(0.3 * rng.standard_normal(w.shape)), params)
    return Objective(net, loss, penalty, state, (x, t, weight), run), moved


def direction(params, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda w: jnp.asarray(rng.standard_normal(w.shape)), params)


def dot(a, b):
    return float(jnp.vdot(ravel_pytree(a)[0], ravel_pytree(b)[0]))


NETS = {
    "tanh, cross-entropy": (chain(Affine(4), Tanh(), Affine(K)), SoftmaxCrossEntropy(), NO_PENALTY),
    "selu, sigmoids, L2": (chain(Affine(4), Selu(), Affine(K)), SigmoidCrossEntropy(), L2(0.3)),
    "softmax, squared error": (chain(Affine(K), Softmax()), SquaredError(), L2(0.1)),
    "skip": (
        chain(maps.skip(Affine(D), Tanh()), Affine(K)),
        SoftmaxCrossEntropy(),
        L2(0.2, on=("bias",)),
    ),
}


@pytest.fixture(params=NETS.values(), ids=list(NETS))
def smooth(request):
    return objective(*request.param)


def loss_of(at: Objective, y):
    _, t, weight = at.batch
    return at.loss.forward(y, t, weight)[0]


def test_value_and_gradient(smooth):
    at, params = smooth
    x, _, _ = at.batch
    y = at.net.forward(params, at.state, x, at.run)[0]
    assert float(at.value(params)) == float(loss_of(at, y) + at.penalty.value(params))
    theirs = jax.jit(jax.grad(at.value))(params)
    ours, theirs = (ravel_pytree(grads)[0] for grads in (gradient(at, params), theirs))
    assert relative_error(ours, theirs) < 1e-13


def dense(at: Objective, params):
    """jax.hessian of the value, in the order of `ravel_pytree`."""
    theta, unravel = ravel_pytree(params)
    return jax.jit(jax.hessian(lambda theta: at.value(unravel(theta))))(theta)


def test_the_hessian_entry_by_entry_against_autodiff(smooth):
    at, params = smooth
    assert relative_error(hessian(at, params), dense(at, params)) < 1e-13


def test_a_product_against_the_hessian_and_against_differences_of_the_gradient(smooth):
    at, params = smooth
    v, h = direction(params, 1), 1e-3
    ours = ravel_pytree(product(at, params, v))[0]
    assert relative_error(ours, dense(at, params) @ ravel_pytree(v)[0]) < 1e-13

    def moved(step):
        there = jax.tree.map(lambda w, d: w + step * d, params, v)
        return ravel_pytree(gradient(at, there))[0]

    near, far = moved(h) - moved(-h), moved(2 * h) - moved(-2 * h)
    assert relative_error(ours, (8 * near - far) / (12 * h)) < 1e-9


def test_products_are_symmetric(smooth):
    at, params = smooth
    u, v = direction(params, 1), direction(params, 2)
    for times in (product, jax.jit(Objective.gauss_newton_product)):
        there, back = dot(u, times(at, params, v)), dot(v, times(at, params, u))
        assert there == pytest.approx(back, rel=1e-12)


def gauss_newton(at: Objective, params):
    """G entry by entry, from our products, and as Jᵀ H_L J + H_P by autodiff."""
    theta, unravel = ravel_pytree(params)
    x, _, _ = at.batch

    def outputs(theta):
        return at.net.forward(unravel(theta), at.state, x, at.run)[0].ravel()

    def of_loss(y):
        return loss_of(at, y.reshape(N, K))

    def ours(e):
        return ravel_pytree(at.gauss_newton_product(params, unravel(e)))[0]

    def theirs(theta):
        j, of_y = jax.jacobian(outputs)(theta), jax.hessian(of_loss)(outputs(theta))
        return j.T @ of_y @ j + jax.hessian(lambda theta: at.penalty.value(unravel(theta)))(theta)

    both = jax.jit(jax.vmap(ours))(jnp.eye(theta.size)), jax.jit(theirs)(theta)
    return tuple(map(np.asarray, both))


def test_the_gauss_newton_product_against_its_definition(smooth):
    at, params = smooth
    ours, theirs = gauss_newton(at, params)
    assert relative_error(ours, theirs) < 1e-13
    assert np.linalg.eigvalsh(ours).min() > -1e-13 * np.abs(ours).max()  # these losses are convex


def test_gauss_newton_is_the_hessian_of_a_linear_network_and_only_of_that():
    at, params = objective(Affine(K), SquaredError(), L2(0.3, on=("weight", "bias")))
    assert relative_error(gauss_newton(at, params)[0], hessian(at, params)) < 1e-13
    at, params = objective(chain(Affine(4), Tanh(), Affine(K)), SquaredError())
    assert relative_error(gauss_newton(at, params)[0], hessian(at, params)) > 0.01
    assert np.linalg.eigvalsh(hessian(at, params)).min() < -1e-3  # where G has none below 0


def test_gauss_newton_is_symmetric_at_a_kink():
    # Every unit of zero weights lies on ReLU's kink, where ours is 0 and autodiff's forward ½.
    net = chain(Affine(4), Relu(), Affine(K))
    at, params = objective(net, SoftmaxCrossEntropy())
    params = params | {"affine1": jax.tree.map(jnp.zeros_like, params["affine1"])}
    ours, theirs = gauss_newton(at, params)
    assert relative_error(ours, ours.T) < 1e-15
    assert relative_error(ours, theirs) > 0.01


def test_masks_are_those_of_the_run_and_statistics_of_the_batch():
    net = chain(Affine(4), maps.BatchNorm(), Tanh(), maps.Dropout(0.5), Affine(K))
    at, params = objective(net, SoftmaxCrossEntropy(), run=Run(jax.random.key(3), True))
    assert relative_error(hessian(at, params), dense(at, params)) < 1e-12
    ours, theirs = gauss_newton(at, params)
    assert relative_error(ours, theirs) < 1e-12
    other = replace(at, run=Run(jax.random.key(4), True))
    assert relative_error(hessian(at, params), hessian(other, params)) > 0.01


def test_an_objective_is_an_argument_of_a_compiled_function():
    at, params = objective(*NETS["tanh, cross-entropy"])
    v, traces = direction(params, 1), []

    @jax.jit
    def compiled(at, params, v):
        traces.append(at)
        return at.hessian_vector_product(params, v)

    for weight in (at.batch[2], 2 * at.batch[2] + 1):
        here = replace(at, batch=(*at.batch[:2], weight))
        ours = ravel_pytree(compiled(here, params, v))[0]
        plain = ravel_pytree(here.hessian_vector_product(params, v))[0]
        assert relative_error(ours, plain) < 1e-14
    assert len(traces) == 1


def test_a_hessian_that_does_not_fit_is_refused_with_its_size():
    at, params = objective(Affine(K), SquaredError())
    assert at.hessian(params, limit=512).shape == (8, 8)
    sentence = "the Hessian of 8 parameters takes 512 bytes, wanted at most 511; use hessian_vector"
    with pytest.raises(ConfigError, match=sentence):
        at.hessian(params, limit=511)


@dataclass(frozen=True)
class Frozen(Tanh):
    """Right in its derivative; but what it saved carries no tangent."""

    def reverse(self, params, saved, dy):
        return super().reverse(params, jax.lax.stop_gradient(saved), dy)


@dataclass(frozen=True)
class HalfWeight(Affine):
    """A weight that gets half its gradient."""

    def reverse(self, params, saved, dy):
        dparams, dx = super().reverse(params, saved, dy)
        return dparams | {"weight": 0.5 * dparams["weight"]}, dx


def test_the_oracles_reject_a_reverse_that_is_wrong_or_has_a_wrong_derivative():
    for mutant, symmetric in ((Frozen(), True), (HalfWeight(4), False)):
        at, params = objective(chain(Affine(4), Tanh(), mutant, Affine(K)), SoftmaxCrossEntropy())
        ours = hessian(at, params)
        assert relative_error(ours, dense(at, params)) > 0.01
        assert (relative_error(ours, ours.T) < 1e-13) is symmetric  # which is not enough


DIFFERENTIABLE = [case for case in MAPS if not case.map.estimated]


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda case: case.name)
def test_the_second_derivative_of_every_map(case):
    """The tangent of its reverse, and its reverse transposed, against autodiff's."""
    x = jax.tree.map(jnp.asarray, case.input())
    params, state = case.map.init(jax.random.key(0), x)
    params = jax.tree.map(jnp.add, params, jax.tree.map(lambda w: 0.1 * w, direction(params, 3)))
    run = Run(jax.random.key(1), True)

    def forward(params, x):
        return case.map.forward(params, state, x, run)[0]

    @jax.jit
    def both(params, x, dy, tangents):
        def ours(params, x):
            return case.map.reverse(params, case.map.forward(params, state, x, run)[1], dy)

        def theirs(params, x):
            return jax.vjp(forward, params, x)[1](dy)

        saved = case.map.forward(params, state, x, run)[1]
        pull = partial(case.map.reverse, params, saved)
        (pushed,) = jax.vjp(pull, jnp.zeros_like(dy))[1](tangents)
        curved = [jax.jvp(f, (params, x), tangents)[1] for f in (ours, theirs)]
        return curved, [pushed, jax.jvp(forward, (params, x), tangents)[1]]

    dy = direction(jax.eval_shape(forward, params, x), 1)
    for pair in both(params, x, dy, direction((params, x), 2)):
        assert relative_error(*(ravel_pytree(each)[0] for each in pair), floor=1e-3) < 1e-12


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_the_second_derivative_of_every_loss(case):
    z, t = (jnp.asarray(each) for each in case.sample())
    weight = jnp.asarray(np.random.default_rng(1).uniform(0, 2, len(z)))

    def ours(z):
        return case.loss.reverse(case.loss.forward(z, t, weight)[1])

    theirs = jax.grad(lambda z: case.loss.forward(z, t, weight)[0])
    assert_same_tangent(ours, theirs, z)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_the_second_derivative_of_every_penalty(penalty):
    params = jax.tree.map(jnp.asarray, parameters())
    assert_same_tangent(penalty.reverse, jax.grad(penalty.differentiated.value), params)


def assert_same_tangent(ours, theirs, at):
    @jax.jit
    def both(at, v):
        return [jax.jvp(gradient, (at,), (v,))[1] for gradient in (ours, theirs)]

    pair = (ravel_pytree(each)[0] for each in both(at, direction(at, 1)))
    assert relative_error(*pair, floor=1e-3) < 1e-12
