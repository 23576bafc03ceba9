"""Penalties: derivatives, kinks, proximal steps, what they cover, and training under them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import PENALTIES

from pullback import config, tree
from pullback.catalogue.cases import parameters
from pullback.check import check_gradient, check_gradients
from pullback.errors import ConfigError
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Relu, Run, chain
from pullback.optim import SGD, Cosine, Rule
from pullback.penalty import (
    L1,
    L2,
    ElasticNet,
    GroupLasso,
    Linf,
    LogSumExp,
    MaxNorm,
    Orthogonality,
    Proximal,
    Sum,
    Tie,
)
from pullback.penalty.core import Proximable
from pullback.prepared import prepare
from pullback.train import Batch, Task, begin, step

EACH = pytest.mark.parametrize("penalty", PENALTIES, ids=str)


def one(*rows):
    """Parameters of one layer without bias."""
    return {"affine1": {"weight": jnp.array(rows, jnp.float32)}}


def only(params):
    return np.asarray(params["affine1"]["weight"])


# Derivatives


def errors_of(penalty):
    errors = check_gradient(
        lambda at: penalty.value(at["params"]),
        lambda at: {"params": penalty.reverse(at["params"])},
        {"params": parameters()},
    )
    return errors.differences["params"], errors.autodiff["params"]


@EACH
def test_the_derivative_against_differences_and_autodiff(penalty):
    differences, autodiff = errors_of(penalty.differentiated)
    assert differences < 1e-9
    assert autodiff < 1e-12


class Unhalved(L2):
    def slope(self, w):
        return 2 * w


class Everywhere(L1):
    def reverse(self, params):
        return jax.tree.map(lambda w: self.strength * jnp.sign(w), params)


class SharedPeak(Linf):
    def slope(self, w):
        return jnp.sign(w) / w.size


class RootForgotten(GroupLasso):
    def slope(self, w):
        return super().slope(w) / self._root(w)


class ColumnsOnly(LogSumExp):
    def slope(self, w):
        return jax.nn.softmax(w, axis=0)


class OneSided(Tie):
    def reverse(self, params):
        found = super().reverse(params)
        return found | {"affine3": tree.zeros_like(found["affine3"])}


class WrongGram(Orthogonality):
    def slope(self, w):
        return w @ (w.T @ w)


@pytest.mark.parametrize(
    "mutant",
    [
        Unhalved(0.3),
        Everywhere(0.3),
        SharedPeak(0.3),
        RootForgotten(0.3),
        ColumnsOnly(0.3),
        OneSided("affine1/weight", "affine3/weight", 0.3),
        WrongGram(0.3),
    ],
    ids=lambda mutant: type(mutant).__name__,
)
def test_a_wrong_derivative_is_rejected(mutant):
    assert min(errors_of(mutant)) > 1e-3


@EACH
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_float32_agrees_with_float64_up_to_ten_thousand(penalty, size):
    single = jax.tree.map(lambda w: np.float32(size) * w, parameters(dtype=np.float32))

    def passed(dtype):
        params = jax.tree.map(lambda w: jnp.asarray(w, dtype), single)
        found = jax.tree.leaves((penalty.value(params), penalty.reverse(params)))
        assert {leaf.dtype for leaf in found} == {np.dtype(dtype)}
        return map(np.asarray, found)

    narrow = passed(np.float32)
    with jax.enable_x64(True):
        wide = passed(np.float64)
    for a, b in zip(narrow, wide, strict=True):
        assert np.max(np.abs(a - b)) <= 1e-5 * max(1, np.max(np.abs(b)))


def test_what_the_penalties_cost_by_hand():
    p = {"affine1": {"weight": jnp.array([[3.0, -4.0]]), "bias": jnp.array([7.0, 7.0])}}
    assert float(L2(0.1).value(p)) == pytest.approx(0.5 * 0.1 * 25)
    assert float(L2(0.1, on=("bias",)).value(p)) == pytest.approx(0.5 * 0.1 * 98)
    assert tree.named(L2(0.1).reverse(p))["affine1/bias"].tolist() == [0.0, 0.0]
    assert float(L1(0.1).value(p)) == pytest.approx(0.7)
    assert float(Linf(0.1).value(p)) == pytest.approx(0.4)
    assert float(LogSumExp(0.1).value(p)) == pytest.approx(0.1 * np.log(np.exp(3) + np.exp(-4)))
    assert float(GroupLasso(0.1).value(p)) == pytest.approx(0.1 * np.sqrt(2) * 5)
    assert float(GroupLasso(0.1, by="outputs").value(p)) == pytest.approx(0.1 * 7)
    assert float(Orthogonality(0.4).value(p)) == pytest.approx(0.1 * (25 - 1) ** 2)


def test_an_orthogonal_layer_costs_nothing_whether_it_widens_or_narrows():
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 3)))[0]
    for w in (q, q.T):
        p = one(*w)
        assert float(Orthogonality(1.0).value(p)) == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(only(Orthogonality(1.0).reverse(p)), 0, atol=1e-6)


def test_the_elastic_net_of_ift6390():
    """λ₁₁ ‖W1‖₁ + λ₁₂ ‖W1‖² + λ₂₁ ‖W2‖₁ + λ₂₂ ‖W2‖², by per-layer terms and by two elastic nets."""
    l11, l12, l21, l22 = 0.1, 0.2, 0.3, 0.4
    p = parameters()
    w1, w2 = p["affine1"]["weight"], p["affine2"]["weight"]
    value = l11 * abs(w1).sum() + l12 * (w1**2).sum() + l21 * abs(w2).sum() + l22 * (w2**2).sum()
    first, second = ("affine1/weight",), ("affine2/weight",)
    terms = Sum((L1(l11, first), L2(2 * l12, first), L1(l21, second), L2(2 * l22, second)))
    nets = Sum((ElasticNet(l11, 2 * l12, first), ElasticNet(l21, 2 * l22, second)))
    with jax.enable_x64(True):
        for penalty in (terms, nets):
            assert float(penalty.value(p)) == pytest.approx(value, rel=1e-12)
            slopes = penalty.reverse(p)
            np.testing.assert_allclose(
                slopes["affine1"]["weight"], l11 * np.sign(w1) + 2 * l12 * w1, rtol=1e-12
            )
            np.testing.assert_allclose(
                slopes["affine2"]["weight"], l21 * np.sign(w2) + 2 * l22 * w2, rtol=1e-12
            )
            assert not slopes["affine3"]["weight"].any()
            assert not slopes["affine1"]["bias"].any()


# Kinks


def test_subgradients_at_the_kinks():
    assert only(L1(1.0).reverse(one([0.0, -2.0]))).tolist() == [[0.0, -1.0]]
    assert only(ElasticNet(1.0, 1.0).reverse(one([0.0, -2.0]))).tolist() == [[0.0, -3.0]]
    assert only(Linf(1.0).reverse(one([1.0, -3.0], [3.0, -3.0]))).tolist() == [[0, -1], [0, 0]]
    assert not only(Linf(1.0).reverse(one([0.0, 0.0]))).any()
    slopes = only(GroupLasso(1.0).reverse(one([0.0, 0.0], [3.0, 4.0])))
    np.testing.assert_allclose(slopes, np.sqrt(2) * np.array([[0, 0], [0.6, 0.8]]), rtol=1e-6)


# Proximal steps

PROXIMABLE = [penalty for penalty in PENALTIES if isinstance(penalty, Proximable)]


@pytest.mark.parametrize("penalty", PROXIMABLE, ids=str)
@pytest.mark.parametrize("step", [0.1, 2.0, 20.0])
def test_no_point_near_or_far_is_better_than_the_proximal_step(penalty, step):
    """The function ½ ‖p − p₀‖² + step · value(p) is strongly convex: it must grow like ½ ‖p − p*‖².

    This is the optimality of p* itself, at kinks as elsewhere; it needs no derivative.
    """
    start = parameters(1)
    with jax.enable_x64(True):
        best = jax.tree.map(np.asarray, penalty.prox(start, step))

        def cost(p):
            gaps = jax.tree.leaves(jax.tree.map(lambda a, b: np.sum((a - b) ** 2), p, start))
            return 0.5 * sum(gaps) + step * float(penalty.value(p))

        least, rng = cost(best), np.random.default_rng(2)
        for size in (1e-3, 1e-1, 1.0):
            for _ in range(20):
                away = jax.tree.map(
                    lambda w, size=size: (
                        size * rng.standard_normal(w.shape) * (rng.random(w.shape) < 0.3)
                    ),
                    best,
                )
                growth = 0.5 * sum(np.sum(d**2) for d in jax.tree.leaves(away))
                assert cost(tree.add(best, away)) >= least + growth * (1 - 1e-6) - 1e-12


def test_proximal_steps_by_hand():
    assert only(L1(0.5).prox(one([2.0, -0.5, -3.0]), 1.0)).tolist() == [[1.5, 0.0, -2.5]]
    assert only(L2(1.0).prox(one([2.0, -3.0]), 1.0)).tolist() == [[1.0, -1.5]]
    assert only(ElasticNet(0.5, 1.0).prox(one([2.5, -0.5]), 1.0)).tolist() == [[1.0, 0.0]]
    assert only(Linf(1.0).prox(one([3.0, -1.0, 2.5]), 1.5)).tolist() == [[2.0, -1.0, 2.0]]
    assert only(Linf(1.0).prox(one([0.5, -0.5]), 3.0)).tolist() == [[0.0, 0.0]]
    p = {"a": {"weight": jnp.array([[1.0]])}, "b": {"weight": jnp.array([[5.0]])}}
    p = Tie("a/weight", "b/weight", 0.5).prox(p, 1.0)
    assert (float(p["a"]["weight"][0, 0]), float(p["b"]["weight"][0, 0])) == (2.0, 4.0)


def test_only_what_is_named_is_moved():
    p = jax.tree.map(jnp.asarray, parameters(dtype=np.float32))
    for penalty in (L1(9.0), GroupLasso(9.0), Linf(99.0)):
        on = dataclasses.replace(penalty, on=("affine2/weight",))
        moved = on.prox(p, 1.0)
        assert not moved["affine2"]["weight"].any()
        for name, leaf in tree.named(p).items():
            if name != "affine2/weight":
                assert tree.named(moved)[name] is leaf


def test_a_penalty_without_a_closed_form_is_refused():
    for penalty in (LogSumExp(1.0), Orthogonality(1.0), MaxNorm(1.0), Sum((L1(1.0),))):
        with pytest.raises(ConfigError, match="has no proximal step in closed form"):
            Proximal(penalty)


def test_max_norm_cuts_long_columns_and_leaves_the_bits_of_others():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((6, 50)).astype(np.float32)
    held = only(MaxNorm(2.0).after_step(one(*w), None))
    lengths = np.linalg.norm(w, axis=0)
    short = lengths < 1.999
    assert 0 < short.sum() < 50
    assert np.array_equal(held[:, short], w[:, short])
    long = held[:, ~short]
    np.testing.assert_allclose(np.linalg.norm(long, axis=0), 2, rtol=1e-6)
    np.testing.assert_allclose(long / 2, (w / lengths)[:, ~short], rtol=1e-5)


# Names


def test_names_that_are_no_parameters_are_refused_with_those_there_are():
    p = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, parameters(dtype=np.float32)))
    for on in (("weight",), ("affine2",), ("affine2/weight", "bias")):
        L1(1.0, on).check(p)
    sentence = (
        r"L1's `on` names 'affine4', which is no parameter, in the network; there are affine1"
    )
    with pytest.raises(ConfigError, match=sentence):
        Sum((L2(1.0), L1(1.0, ("weight", "affine4")))).check(p)
    with pytest.raises(ConfigError, match="at least 2 axes, got 'affine1/bias' of shape"):
        GroupLasso(1.0, ("bias",)).check(p)
    with pytest.raises(ConfigError, match=r"Tie names 'affine1/wieght'.*did you mean"):
        Tie("affine1/wieght", "affine2/weight", 1.0).check(p)
    with pytest.raises(ConfigError, match=r"wants equal shapes, got \(4, 3\) .* and \(3, 4\)"):
        Tie("affine1/weight", "affine2/weight", 1.0).check(p)
    with pytest.raises(ConfigError, match=r"names 'wight'.*in the network; there are affine1/bias"):
        prepare(config.parse({"penalty": [{"name": "l1", "strength": 1.0, "on": ["wight"]}]}, "t"))


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_a_strength_must_be_a_number_of_at_least_zero(strength):
    builds = (L2, L1, Linf, LogSumExp, GroupLasso, Orthogonality, lambda s: ElasticNet(s, 0.0))
    for build in (*builds, lambda s: ElasticNet(0.0, s), lambda s: Tie("a", "b", s)):
        with pytest.raises(ConfigError, match="must be a number of at least 0"):
            build(strength)
    with pytest.raises(ConfigError, match="must be a positive number"):
        MaxNorm(strength)


def test_a_choice_of_nothing_is_refused():
    for build in (
        lambda: L2(1.0, on=()),
        lambda: ElasticNet(1.0, 1.0, ()),
        lambda: MaxNorm(1.0, ()),
    ):
        with pytest.raises(ConfigError, match="names no parameter"):
            build()
    with pytest.raises(ConfigError, match="two parameters, got 'a' twice"):
        Tie("a", "a", 1.0)


# Training


def examples():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[np.argmax(x[:, :3], axis=1)]  # the last three inputs are noise
    return Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(40))


LINEAR, RULE = chain(Affine(3)), SGD(0.2)


def trained(penalty, steps=150, rule: Rule = RULE, net=LINEAR):
    """The weight of the first layer after full-batch steps."""
    task, batch = Task(net, SoftmaxCrossEntropy(), rule, penalty), examples()
    learner = begin(task, 0, batch.x)
    go = jax.jit(lambda learner: step(task, learner, batch, Run(jax.random.key(0), True))[0])
    for _ in range(steps):
        learner = go(learner)
    return only(learner.params)


def test_proximal_l1_makes_exact_zeros_and_the_subgradient_makes_none():
    exact, hovering = trained(Proximal(L1(0.05))), trained(L1(0.05))
    assert (exact[3:] == 0).mean() > 0.8
    assert (exact != 0).any(axis=0).all()
    assert (hovering != 0).all()
    np.testing.assert_allclose(exact, hovering, atol=0.03)


def test_proximal_group_lasso_drops_whole_inputs():
    w = trained(Proximal(GroupLasso(0.05)))
    gone = (w == 0).all(axis=1)
    assert gone[3:].all()
    assert not gone[:3].any()
    assert (w[:3] != 0).all()


def test_a_step_is_the_gradient_step_of_the_loss_and_then_the_proximal_one():
    batch, net = examples(), chain(Affine(3))
    task = Task(net, SoftmaxCrossEntropy(), SGD(0.5), Sum((Proximal(L1(0.1)), MaxNorm(0.5))))
    learner = begin(task, 0, batch.x)
    after, _ = step(task, learner, batch, Run(jax.random.key(0), True))

    def loss(params):
        z = net.forward(params, learner.state, batch.x, Run())[0]
        return task.loss.forward(z, batch.y, batch.weight)[0]

    moved = only(learner.params) - 0.5 * only(jax.grad(loss)(learner.params))
    soft = np.sign(moved) * np.maximum(np.abs(moved) - 0.5 * 0.1, 0)
    expected = soft * np.minimum(1, 0.5 / np.linalg.norm(soft, axis=0))
    np.testing.assert_allclose(only(after.params), expected, rtol=1e-5, atol=1e-7)


def test_max_norm_holds_under_any_rule():
    with jax.numpy_dtype_promotion("standard"):
        w = trained(MaxNorm(0.3), 20, optax.adam(0.1), chain(Affine(4), Relu(), Affine(3)))
    assert np.linalg.norm(w, axis=0).max() <= 0.3 * (1 + 1e-6)


def test_zeros_are_exact_under_a_rate_that_falls():
    w = trained(Proximal(L1(0.05)), 100, SGD(Cosine(0.5, length=150)))
    assert (w[3:] == 0).mean() > 0.7
    assert (w != 0).any(axis=0).all()


def test_a_proximal_step_wants_a_rule_that_tells_its_rate():
    with pytest.raises(ConfigError, match="a proximal step is as long as the learning rate"):
        Task(chain(Affine(3)), SoftmaxCrossEntropy(), optax.adam(0.1), Proximal(L1(0.1)))


def test_the_gradient_check_leaves_out_what_acts_after_the_step():
    batch, net = examples(), chain(Affine(3))
    params, state = net.init(jax.random.key(0), batch.x)
    penalty = Sum((L2(0.1), Proximal(L1(0.1)), MaxNorm(1.0)))
    assert check_gradients(net, SoftmaxCrossEntropy(), penalty, params, state, batch).ok


def test_an_experiment_may_ask_for_the_proximal_step():
    table = {"penalty": [{"name": "l1", "strength": 0.1, "proximal": True}]}
    experiment = config.parse(table, "test")
    (built,) = (each.build() for each in experiment.penalty)
    assert built == Proximal(L1(0.1))
    assert config.TABLES["l1"].model_validate(config.plain(built)).build() == built
    assert config.parse({"penalty": [config.plain(built)]}, "test").penalty == experiment.penalty
    with pytest.raises(ConfigError, match=r"unknown key 'penalty\[0\].proximal'"):
        config.parse(
            {"penalty": [{"name": "log-sum-exp", "strength": 0.1, "proximal": True}]}, "test"
        )
