"""Rules: their path against Optax's and PyTorch's, steps by hand, and mutants that are rejected."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pullback import checkpoint, tree
from pullback.errors import ConfigError
from pullback.optim import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    AMSGrad,
    Chain,
    ClipByLayer,
    ClipByNorm,
    ClipByValue,
    Cosine,
    ExponentialAverage,
    Frozen,
    InverseTime,
    IterateAverage,
    Lion,
    Momentum,
    NAdam,
    Plateau,
    RMSProp,
    Split,
    Warmup,
    WeightDecay,
    has_rate,
    rate_of,
    resolve,
)

STEPS = 10
TINY = 1e-300  # an eps that is none, so that its place does not matter


def beginning(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    # Leaves of one shape: what is not compiled as a whole is compiled once for each shape.
    return {
        "affine1": {"weight": rng.standard_normal(6), "bias": rng.standard_normal(6)},
        "affine2": {"weight": rng.standard_normal(6)},
    }


def gradients(seed: int = 1) -> list[Any]:
    """Random gradients of changing size, one entry of which is always zero."""
    rng = np.random.default_rng(seed)
    path = []
    for _ in range(STEPS):
        grads = jax.tree.map(
            lambda w: rng.standard_normal(w.shape) * 10 ** rng.uniform(-2, 1), beginning()
        )
        grads["affine1"]["bias"][0] = 0.0
        path.append(grads)
    return path


def walk(rule, dtype=np.float64, path=None):
    """The points that a rule visits, stacked, and its last state."""
    with jax.enable_x64(dtype == np.float64), jax.numpy_dtype_promotion("standard"):
        params = tree.cast(jax.tree.map(jnp.asarray, beginning()), dtype)
        state, points = rule.init(params), []
        for grads in gradients() if path is None else path:
            updates, state = rule.update(
                tree.cast(jax.tree.map(jnp.asarray, grads), dtype), state, params
            )
            params = tree.add(params, updates)
            points.append(jax.device_get(params))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *points), jax.device_get(state)


def apart(a: Any, b: Any) -> float:
    """The largest difference between two paths, relative to the larger of 1 and the entry."""
    differences = jax.tree.map(lambda x, y: np.max(np.abs(x - y) / np.maximum(np.abs(y), 1)), a, b)
    return float(max(jax.tree.leaves(differences)))


DECAYS = {"affine1": {"weight": True, "bias": False}, "affine2": {"weight": True}}
LAYERWISE = optax.partition(
    {"one": optax.clip_by_global_norm(0.5), "two": optax.clip_by_global_norm(0.5)},
    {"affine1": {"weight": "one", "bias": "one"}, "affine2": {"weight": "two"}},
)
WARM = Warmup(4, Cosine(0.3, length=6))


def warm(count):
    """The same of Optax, which would compute it in float32 for a count in int32."""
    return optax.warmup_cosine_decay_schedule(0.06, 0.3, 4, 10)(jnp.asarray(count, float))


OPTAX = [
    (SGD(0.3), optax.sgd(0.3)),
    (SGD(WARM), optax.sgd(warm)),
    (Momentum(0.1, 0.8), optax.sgd(0.1, 0.8)),
    (Momentum(WARM, 0.8), optax.sgd(warm, 0.8)),
    (Momentum(0.1, 0.8, nesterov=True), optax.sgd(0.1, 0.8, nesterov=True)),
    (Momentum(0.1, 0.8, "average"), optax.chain(optax.ema(0.8, False), optax.scale(-0.1))),
    (AdaGrad(0.1, eps=TINY), optax.adagrad(0.1, 0.0, eps=TINY)),
    (
        AdaGrad(0.1, eps=TINY, momentum=0.7),
        optax.chain(optax.adagrad(0.1, 0.0, eps=TINY), optax.trace(0.7)),
    ),
    (RMSProp(0.1, 0.8, 1e-3), optax.rmsprop(0.1, 0.8, 1e-3, eps_in_sqrt=False)),
    (
        RMSProp(0.1, 0.8, 1e-3, momentum=0.7),
        optax.rmsprop(0.1, 0.8, 1e-3, eps_in_sqrt=False, momentum=0.7),
    ),
    (Adadelta(0.7, 0.8, 1e-3), optax.adadelta(0.7, 0.8, 1e-3)),
    (Adam(0.1, eps=1e-3), optax.adam(0.1, eps=1e-3)),
    (Adam(WARM, 0.8, 0.95), optax.adam(warm, 0.8, 0.95)),
    (
        AdamW(0.1, eps=1e-3, decay=0.05),
        optax.adamw(0.1, eps=1e-3, weight_decay=0.05, mask=DECAYS),
    ),
    (AMSGrad(0.1, b2=0.5, eps=1e-3), optax.amsgrad(0.1, b2=0.5, eps=1e-3)),
    (
        AMSGrad(0.1, b2=0.5, bias_correction=False),
        optax.chain(
            optax.scale_by_amsgrad(b2=0.5, bias_correction_mu=False, bias_correction_nu=False),
            optax.scale(-0.1),
        ),
    ),
    (NAdam(0.1, eps=1e-3), optax.nadam(0.1, eps=1e-3)),
    (AdaMax(0.1, b2=0.5, eps=1e-3), optax.adamax(0.1, b2=0.5, eps=1e-3)),
    (Lion(0.1), optax.lion(0.1, weight_decay=0.0)),
    (
        WeightDecay(Lion(0.1), 0.05),
        optax.lion(0.1, weight_decay=0.05, mask=DECAYS),
    ),
    (ClipByValue(0.5), optax.clip(0.5)),
    (ClipByNorm(0.5), optax.clip_by_global_norm(0.5)),
    (ClipByLayer(0.5), LAYERWISE),
    (
        Chain((ClipByNorm(0.5), Adam(0.1))),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)),
    ),
    (Chain((ClipByNorm(0.5), optax.adam(0.1))), Chain((ClipByNorm(0.5), Adam(0.1)))),
    (Frozen(), optax.set_to_zero()),
    (
        Split(("affine1/weight",), Momentum(0.2), Split(("bias",), Frozen(), Adam(0.1))),
        optax.partition(
            {"a": optax.sgd(0.2, 0.9), "b": optax.set_to_zero(), "c": optax.adam(0.1)},
            {"affine1": {"weight": "a", "bias": "b"}, "affine2": {"weight": "c"}},
        ),
    ),
    (Plateau(Adam(0.1)), optax.adam(0.1)),
    (ExponentialAverage(Adam(0.1), 0.9), optax.adam(0.1)),
    (IterateAverage(Adam(0.1), start=2, every=3), optax.adam(0.1)),
]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    OPTAX,
    ids=[f"{i}-{type(ours).__name__}" for i, (ours, _) in enumerate(OPTAX)],
)
def test_ten_steps_against_optax(ours, theirs):
    assert apart(walk(ours)[0], walk(theirs)[0]) < 1e-12


def torch_path(make) -> Any:
    """The points that a rule of PyTorch visits, in float64."""
    torch = pytest.importorskip("torch", reason="PyTorch is not here to compare with")
    leaves, structure = jax.tree.flatten(beginning())
    tensors = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
    rule, points = make(torch.optim)(tensors), []
    for grads in gradients():
        for tensor, grad in zip(tensors, jax.tree.leaves(grads), strict=True):
            tensor.grad = torch.tensor(grad)
        rule.step()
        now = [tensor.detach().numpy().copy() for tensor in tensors]
        points.append(jax.tree.unflatten(structure, now))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *points)


TORCH = [
    (Momentum(0.1, 0.8), lambda o: partial(o.SGD, lr=0.1, momentum=0.8)),
    (
        Momentum(0.1, 0.8, nesterov=True),
        lambda o: partial(o.SGD, lr=0.1, momentum=0.8, nesterov=True),
    ),
    (AdaGrad(0.1, eps=1e-3), lambda o: partial(o.Adagrad, lr=0.1, eps=1e-3)),
    (RMSProp(0.1, 0.8, 1e-3), lambda o: partial(o.RMSprop, lr=0.1, alpha=0.8, eps=1e-3)),
    (
        RMSProp(0.1, 0.8, 1e-3, momentum=0.7),
        lambda o: partial(o.RMSprop, lr=0.1, alpha=0.8, eps=1e-3, momentum=0.7),
    ),
    (Adadelta(0.7, 0.8, 1e-3), lambda o: partial(o.Adadelta, lr=0.7, rho=0.8, eps=1e-3)),
    (Adam(0.1, eps=1e-3), lambda o: partial(o.Adam, lr=0.1, eps=1e-3)),
    (
        AdamW(0.1, decay=0.05, on=("affine1", "affine2")),
        lambda o: partial(o.AdamW, lr=0.1, weight_decay=0.05),
    ),
    (
        AdaMax(0.1, b2=0.5, eps=1e-3),
        lambda o: partial(o.Adamax, lr=0.1, betas=(0.9, 0.5), eps=1e-3),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), TORCH, ids=[type(o).__name__ for o, _ in TORCH])
def test_ten_steps_against_pytorch(ours, theirs):
    assert apart(walk(ours)[0], torch_path(theirs)) < 1e-12


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (NAdam(0.1), lambda o: partial(o.NAdam, lr=0.1)),
        (AMSGrad(0.1, b2=0.5), lambda o: partial(o.Adam, lr=0.1, betas=(0.9, 0.5), amsgrad=True)),
    ],
    ids=["nadam", "amsgrad"],
)
def test_where_pytorch_has_another_variant_the_paths_part(ours, theirs):
    # Each of ours is worked by hand below.
    assert apart(walk(ours)[0], torch_path(theirs)) > 1e-3


class EpsInside(Adam):
    """A mutant: eps inside the root."""

    def update(self, grads, state, params):
        _, after = super().update(grads, state, params)
        t = after.steps.astype(float)
        mean = tree.scale(1 / (1 - self.b1**t), after.mean)
        square = tree.scale(1 / (1 - self.b2**t), after.square)
        direction = jax.tree.map(lambda m, s: m / jnp.sqrt(s + self.eps), mean, square)
        return tree.scale(-self.rate(state), direction), after


class StoredBack(Adam):
    """A mutant, the notes' slip: the corrected moments are what is remembered."""

    def update(self, grads, state, params):
        updates, after = super().update(grads, state, params)
        t = after.steps.astype(float)
        mean = tree.scale(1 / (1 - self.b1**t), after.mean)
        square = tree.scale(1 / (1 - self.b2**t), after.square)
        return updates, after._replace(mean=mean, square=square)


class CountsLate(Adam):
    """A mutant: the correction of the step before."""

    def init(self, params):
        start = super().init(params)
        return start._replace(steps=start.steps + 1)


class RateInside(Momentum):
    """A mutant: the velocity holds the learning rate, so a schedule acts otherwise."""

    def update(self, grads, state, params):
        scaled = tree.scale(self.rate(state), grads)
        velocity = jax.tree.map(lambda v, g: self.momentum * v + g, state.velocity, scaled)
        return tree.scale(-1.0, velocity), type(state)(state.steps + 1, velocity)


class Coupled(AdamW):
    """A mutant: the decay goes through the gradients, as an L2 penalty does."""

    def update(self, grads, state, params):
        return Adam.update(self, tree.add(grads, tree.scale(self.decay, params)), state, params)


@pytest.mark.parametrize(
    ("mutant", "right"),
    [
        (EpsInside(0.1, eps=1e-3), Adam(0.1, eps=1e-3)),
        (Adam(0.1, bias_correction=False), Adam(0.1)),
        (StoredBack(0.1), Adam(0.1)),
        (CountsLate(0.1), Adam(0.1)),
        (RateInside(WARM, 0.8), Momentum(WARM, 0.8)),
        (Coupled(0.1, decay=0.05), AdamW(0.1, decay=0.05)),
        (Momentum(0.1, nesterov=True), Momentum(0.1)),
        (AdaGrad(0.1, "mean"), AdaGrad(0.1)),
        (AMSGrad(0.1, b2=0.5), Adam(0.1, b2=0.5)),
        (NAdam(0.1), Adam(0.1)),
        (ClipByLayer(0.5), ClipByNorm(0.5)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_mutants_are_seen(mutant, right):
    assert apart(walk(mutant)[0], walk(right)[0]) > 1e-6


def moves(rule, *grads) -> list[float]:
    """The updates of one number, called "weight" and beginning at 1, by these gradients."""
    with jax.enable_x64(True):
        params, found = {"weight": jnp.ones(())}, []
        state = rule.init(params)
        for g in grads:
            updates, state = rule.update({"weight": jnp.asarray(float(g))}, state, params)
            params = tree.add(params, updates)
            found.append(float(updates["weight"]))
        return found


ROOT = math.sqrt


@pytest.mark.parametrize(
    ("rule", "grads", "wanted"),
    [
        (SGD(0.25), (4, -2), (-1, 0.5)),
        (SGD(InverseTime(1.0, 1.0)), (4, 4), (-4, -2)),
        (Momentum(0.5, 0.5), (4, 1), (-2, -(2 + 1) / 2)),
        (Momentum(0.5, 0.5, "average"), (4, 1), (-1, -(1 + 0.5) / 2)),
        (Momentum(0.5, 0.5, nesterov=True), (4, 1), (-(2 + 4) / 2, -(1.5 + 1) / 2)),
        (Momentum(0.5, 0.5, "average", nesterov=True), (4,), (-(1 + 2) / 2,)),
        (AdaGrad(0.5, eps=1.0), (3, 4), (-0.5 * 3 / 4, -0.5 * 4 / 6)),
        (AdaGrad(0.5, "mean", eps=1.0), (3, 4), (-0.5 * 3 / 4, -2 / (5 / ROOT(2) + 1))),
        (AdaGrad(0.5, eps=1.0, momentum=0.5), (3, 4), (-0.375, -0.5 * (0.375 + 4 / 6))),
        (RMSProp(0.5, 0.75, 1.0), (4, 0), (-0.5 * 4 / 3, 0)),
        (RMSProp(0.5, 0.75, 1.0, momentum=0.5), (4, 0), (-2 / 3, -1 / 3)),
        (Adadelta(1.0, 0.75, 1.0), (ROOT(12),), (-ROOT(12) / 2,)),
        (
            Adam(0.5, 0.5, 0.75, 1.0),
            (4, 0),
            (-0.5 * 4 / 5, -0.5 * (1 / 0.75) / (ROOT(3 / 0.4375) + 1)),
        ),
        (Adam(0.5, 0.5, 0.75, 1.0, bias_correction=False), (4,), (-0.5 * 2 / 3,)),
        (AdamW(0.5, 0.5, 0.75, 1.0, decay=0.1), (4,), (-0.5 * (4 / 5 + 0.1),)),
        # ŝ is 16, then 3/0.4375 < 16: the largest stays.
        (AMSGrad(0.5, 0.5, 0.75, 1.0), (4, 0), (-0.4, -0.5 * (1 / 0.75) / 5)),
        # Reddi's: 4, then 3.
        (AMSGrad(0.5, 0.5, 0.75, 1.0, bias_correction=False), (4, 0), (-1 / 3, -0.5 / 3)),
        (NAdam(0.5, 0.5, 0.75, 1.0), (4,), (-0.5 * (0.5 * 2 / 0.75 + 4) / 5,)),
        (NAdam(0.5, 0.5, 0.75, 1.0, bias_correction=False), (4,), (-0.5 * (1 + 2) / 3,)),
        (AdaMax(0.5, 0.5, 0.75, 1.0), (4, 0), (-0.5 * 4 / 5, -0.5 * (1 / 0.75) / 3.75)),
        (Lion(0.5, 0.5, 0.75), (4, -0.5, -2), (-0.5, -0.5, 0.5)),
        (WeightDecay(SGD(0.5), 0.1), (4,), (-2.05,)),
        (Chain((ClipByValue(1.0), SGD(0.5))), (4, -0.5), (-0.5, 0.25)),
    ],
    ids=lambda each: str(each)[:60],
)
def test_steps_by_hand(rule, grads, wanted):
    assert moves(rule, *grads) == pytest.approx(wanted, rel=1e-14)


def test_both_forms_of_nesterov_are_one_walk():
    """The sheets' v' = μv − ε∇L(θ + μv), θ' = θ + v', and the form whose parameters are ahead."""
    curvature, rate, momentum = np.array([0.1, 1.0, 5.0]), 0.1, 0.8
    with jax.enable_x64(True):
        plain, rewritten = Momentum(rate, momentum), Momentum(rate, momentum, nesterov=True)
        theta: Any = {"w": jnp.array([1.0, -2.0, 3.0])}
        phi, sheet, v = theta, np.asarray(theta["w"]), np.zeros(3)
        of_plain, of_rewritten = plain.init(theta), rewritten.init(phi)
        for _ in range(STEPS):
            ahead = plain.ahead(of_plain, theta)
            np.testing.assert_allclose(phi["w"], ahead["w"], rtol=1e-12)
            v = momentum * v - rate * curvature * (sheet + momentum * v)
            sheet = sheet + v
            updates, of_plain = plain.update({"w": curvature * ahead["w"]}, of_plain, theta)
            theta = tree.add(theta, updates)
            np.testing.assert_allclose(theta["w"], sheet, rtol=1e-12)
            updates, of_rewritten = rewritten.update({"w": curvature * phi["w"]}, of_rewritten, phi)
            phi = tree.add(phi, updates)
        heavy = Momentum(rate, momentum)
        updates, _ = heavy.update({"w": curvature * theta["w"]}, of_plain, theta)
        assert not np.allclose(tree.add(theta, updates)["w"], sheet)


def test_the_correction_is_exact_in_float32():
    # 1 − 0.9999 taken in float32 is wrong by 2e-4.
    rule, params = Adam(0.1, b2=0.9999), jnp.ones(())
    updates, _ = rule.update(jnp.array(3.0), rule.init(params), params)
    assert float(updates) == pytest.approx(-0.1, rel=5e-7)


def test_the_mean_of_ca6_is_the_sum_with_a_rate_that_grows():
    mean, total = walk(AdaGrad(0.1, "mean", TINY))[0], walk(AdaGrad(0.1, "sum", TINY))[0]
    moved, start = (
        jax.tree.map(lambda a, w: np.diff(a, axis=0, prepend=w[None]), mean, beginning()),
        1,
    )
    against = jax.tree.map(lambda a, w: np.diff(a, axis=0, prepend=w[None]), total, beginning())
    growing = np.sqrt(np.arange(start, STEPS + 1))
    grown = jax.tree.map(lambda u: u * growing.reshape(-1, *[1] * (u.ndim - 1)), against)
    assert apart(moved, grown) < 1e-12


def test_amsgrad_never_divides_by_less():
    one, other = (
        moves(AMSGrad(0.1, 0.0, 0.9), 10, *[1] * 20),
        moves(Adam(0.1, 0.0, 0.9), 10, *[1] * 20),
    )
    assert one[1:] == pytest.approx([-0.01] * 20)
    assert np.all(np.diff(np.abs(other[1:])) > 0)
    # PyTorch corrects the largest anew, so it divides by 10 √(0.1/0.19) at its second step.
    assert abs(one[1]) < 1 / (10 * ROOT(0.1 / 0.19)) * 0.1


@pytest.mark.parametrize("rule", cases.RULES, ids=str)
def test_every_rule_compiles_keeps_types_and_goes_through_the_disk(rule, tmp_path):
    """float32 stays float32 under strict promotion, and steps cut in two are the same steps."""

    @jax.jit
    def step(params, state, grads):
        updates, state = rule.update(grads, state, params)
        return tree.add(params, updates), state

    params = tree.cast(beginning(), np.float32)
    path = [tree.cast(grads, np.float32) for grads in gradients()[:4]]
    start = state = rule.init(params)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(state)}
    assert kinds <= {np.dtype(np.float32), np.dtype(np.int32)}
    for grads in path:
        params, state = step(params, state, grads)
    assert tree.all_finite((start, state))
    for leaf, first in zip(jax.tree.leaves(state), jax.tree.leaves(start), strict=True):
        assert (leaf.dtype, leaf.shape) == (first.dtype, first.shape)
    assert jax.tree.structure(state) == jax.tree.structure(start)

    resumed, again = tree.cast(beginning(), np.float32), start
    for number, grads in enumerate(path):
        if number == 2:
            named = tree.named((resumed, again))
            arrays = {name: np.asarray(leaf) for name, leaf in named.items()}
            checkpoint.save(tmp_path, arrays, {"step": number})
            loaded = checkpoint.load_latest(tmp_path)
            assert loaded is not None
            resumed, again = tree.restore((params, rule.init(params)), loaded[0])
        resumed, again = step(resumed, again, grads)
    for a, b in zip(
        jax.tree.leaves((params, state)), jax.tree.leaves((resumed, again)), strict=True
    ):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    wide = jax.tree.map(lambda a: a[-1], walk(rule, path=gradients()[:4])[0])
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(wide))
    assert apart(jax.device_get(params), wide) < 1e-5


@pytest.mark.parametrize("rule", [SGD(WARM), NAdam(WARM), ExponentialAverage(Adam(WARM))], ids=str)
def test_narrow_parameters_stay_narrow_where_wide_ones_are_enabled(rule):
    with jax.enable_x64(True):
        params = tree.cast(jax.tree.map(jnp.asarray, beginning()), np.float32)
        updates, state = rule.update(params, rule.init(params), params)
    kinds = {leaf.dtype for leaf in jax.tree.leaves((updates, state))}
    assert kinds == {np.dtype(np.float32), np.dtype(np.int32)}


def test_a_rule_in_a_loop_of_unknown_length():
    rule = IterateAverage(Plateau(Split(("bias",), RMSProp(WARM, momentum=0.5), AdamW(WARM))))
    params = tree.cast(beginning(), np.float32)
    state = rule.init(params)

    def one(carry):
        i, params, state = carry
        updates, state = rule.update(params, state, params)
        return i + 1, tree.add(params, updates), state

    @jax.jit
    def walked(params, state, steps):
        return jax.lax.while_loop(lambda carry: carry[0] < steps, one, (0, params, state))

    _, last, _ = walked(params, state, 3)
    carry = (0, params, state)
    for _ in range(3):
        carry = one(carry)
    assert apart(jax.device_get(last), jax.device_get(carry[1])) < 1e-6


def test_workers_on_a_leading_axis_do_not_meet():
    rule = ExponentialAverage(Chain((ClipByLayer(0.5), AMSGrad(WARM))))
    both = [(beginning(seed), gradients(seed + 1)[0]) for seed in (0, 7)]
    params, grads = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) for each in zip(*both, strict=True)
    )
    updates, state = jax.jit(jax.vmap(rule.update))(grads, jax.vmap(rule.init)(params), params)
    for i, (own, grad) in enumerate(both):
        own, grad = jax.tree.map(jnp.asarray, (own, grad))
        alone, _ = rule.update(grad, rule.init(own), own)
        mine = jax.device_get(jax.tree.map(lambda a, i=i: a[i], updates))
        assert apart(mine, jax.device_get(alone)) < 1e-6
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {2}


def test_rates_can_be_mapped_over():
    """One program for several learning rates: a rule may be made of what is traced."""

    def first(rate, b1):
        rule, params = Adam(rate, b1=b1), jnp.ones(3)
        return rule.update(2 * params, rule.init(params), params)[0]

    updates = jax.vmap(first)(jnp.array([0.1, 0.2]), jnp.array([0.5, 0.9]))
    np.testing.assert_allclose(updates, [[-0.1] * 3, [-0.2] * 3], rtol=1e-5)


DECAYING = (AdamW, WeightDecay)


@pytest.mark.parametrize("rule", cases.RULES, ids=str)
def test_without_gradients_nothing_moves_but_by_decay(rule):
    zeros = [jax.tree.map(np.zeros_like, beginning())] * 2
    points, state = walk(rule, np.float64, zeros)
    start = jax.tree.map(lambda w: np.stack([w, w]), beginning())
    assert (apart(points, start) == 0) == (not isinstance(rule, DECAYING))
    assert all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves((points, state)) if leaf.size > 1
    )


@pytest.mark.parametrize(
    "rule", [each for each in cases.RULES if hasattr(each, "learning_rate")], ids=str
)
def test_a_rule_tells_the_rate_of_its_next_update(rule):
    grads, params = jax.tree.map(jnp.asarray, (gradients()[0], beginning()))
    _, state = rule.update(grads, rule.init(params), params)
    updates, after = rule.update(grads, state, params)
    unit, _ = dataclasses.replace(rule, learning_rate=1.0).update(grads, state, params)
    told = tree.scale(rate_of(rule, state), unit)
    assert apart(jax.device_get(told), jax.device_get(updates)) < 1e-6
    if isinstance(rule.learning_rate, Warmup):
        assert rate_of(rule, after) > rate_of(rule, state)


@pytest.mark.parametrize(
    ("rule", "rate"),
    [
        (WeightDecay(Adam(WARM), 0.1), 0.12),
        (Chain((ClipByNorm(1.0), SGD(WARM))), 0.12),
        (Split(("bias",), SGD(0.7), SGD(WARM)), 0.12),
        (Split(("bias",), SGD(WARM), Frozen()), 0.12),
        (ExponentialAverage(Plateau(SGD(WARM))), 0.12),
        (IterateAverage(Chain((ClipByNorm(1.0), Lion(WARM)))), 0.12),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_rule_around_others_tells_the_rate_of_the_one_inside(rule, rate):
    params = jax.tree.map(jnp.asarray, beginning())
    _, state = rule.update(params, rule.init(params), params)
    assert has_rate(rule)
    assert float(rate_of(rule, state)) == pytest.approx(rate)


def test_rules_of_optax_and_links_tell_no_rate():
    assert not any(map(has_rate, (optax.sgd(0.1), Frozen(), ClipByNorm(1.0))))
    assert not has_rate(Chain((ClipByNorm(1.0), optax.sgd(0.1))))


@pytest.mark.parametrize("huge", [1e30, np.inf, np.nan])
def test_clipping_of_what_is_huge_or_no_number(huge):
    grads = {"a": {"w": jnp.array([huge, 1.0])}, "b": {"w": jnp.array([3.0, 4.0])}}
    by_norm = ClipByNorm(1.0).update(grads, (), grads)[0]
    by_layer = ClipByLayer(1.0).update(grads, (), grads)[0]
    by_value = ClipByValue(1.0).update(grads, (), grads)[0]
    if huge == 1e30:
        np.testing.assert_allclose(by_norm["a"]["w"], [1, 0], atol=1e-6)
        np.testing.assert_allclose(by_layer["a"]["w"], [1, 0], atol=1e-6)
    else:
        assert np.isnan(by_norm["a"]["w"][0])
        assert np.isnan(by_layer["a"]["w"][0])
    assert by_layer["b"]["w"].tolist() == pytest.approx([0.6, 0.8])
    assert by_value["a"]["w"].tolist() == pytest.approx([min(huge, 1.0), 1.0], nan_ok=True)


def test_short_gradients_are_not_touched_by_clipping():
    grads = {"w": jnp.array([0.3, 0.4])}
    for rule in (ClipByNorm(0.5001), ClipByLayer(0.5001), ClipByValue(0.4001)):
        assert rule.update(grads, (), grads)[0]["w"].tolist() == grads["w"].tolist()


def test_a_layer_is_all_of_a_name_but_its_last_part():
    grads = {
        f"skip1/affine{n}": {"weight": jnp.full(4, n), "bias": jnp.zeros(1)} for n in (1.0, 2.0)
    }
    cut = ClipByLayer(1.0).update(grads, (), grads)[0]
    assert [leaf.tolist() for leaf in jax.tree.leaves(cut)] == [[0.0], [0.5] * 4] * 2


def test_decay_is_by_name():
    rule, params = WeightDecay(SGD(0.5), 0.1, on=("affine2",)), beginning()
    zeros = jax.tree.map(np.zeros_like, params)
    with jax.enable_x64(True):
        updates, _ = rule.update(zeros, rule.init(params), params)
    np.testing.assert_allclose(updates["affine2"]["weight"], -0.05 * params["affine2"]["weight"])
    assert not np.any(updates["affine1"]["weight"])


def test_decay_beside_adam_is_adamw():
    assert apart(walk(AdamW(WARM, decay=0.1))[0], walk(WeightDecay(Adam(WARM), 0.1))[0]) == 0


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (ExponentialAverage(Adam(0.1), 0.8), optax.ema(0.8)),
        (IterateAverage(Adam(0.1)), lambda points: np.mean(points, axis=0)),
        (
            IterateAverage(Adam(0.1), start=3, every=2),
            lambda points: np.mean(points[4:10:2], axis=0),
        ),
        (IterateAverage(Adam(0.1), start=2, unit=4), lambda points: np.zeros(0)),
    ],
    ids=["exponential", "polyak", "swa", "none-yet"],
)
def test_averages_of_iterates(rule, wanted):
    points, state = walk(rule)
    with jax.enable_x64(True):
        last = expected = jax.tree.map(lambda a: a[-1], points)
        average = jax.device_get(rule.averaged(state, last))
        start = rule.init(beginning())
        assert apart(jax.device_get(rule.averaged(start, beginning())), beginning()) == 0
        if isinstance(rule, ExponentialAverage):
            inner = wanted.init(last)
            with jax.numpy_dtype_promotion("standard"):
                for i in range(STEPS):
                    expected, inner = wanted.update(
                        jax.tree.map(lambda a, i=i: a[i], points), inner
                    )
        elif state.iterates > 0:
            expected = jax.tree.map(wanted, points)
    assert apart(average, jax.device_get(expected)) < 1e-12


@pytest.mark.parametrize("kind", [ExponentialAverage, IterateAverage])
def test_the_average_of_one_iterate_is_that_iterate(kind):
    rule, params = kind(SGD(0.5)), {"w": jnp.array([1.0, -2.0])}
    updates, state = rule.update(params, rule.init(params), params)
    after = tree.add(params, updates)
    assert apart(jax.device_get(rule.averaged(state, after)), jax.device_get(after)) < 1e-6


def test_an_average_steadies_a_walk_that_jumps_about():
    """SGD with noise around a minimum at 0: the mean is far nearer to it than the last point."""
    rng = np.random.default_rng(0)
    rule, params = IterateAverage(SGD(0.5), start=10), {"w": jnp.full(200, 3.0)}
    state = rule.init(params)
    noise = jnp.asarray(rng.standard_normal((200, 200)), jnp.float32)

    def one(carry, n):
        params, state = carry
        updates, state = rule.update({"w": params["w"] + n}, state, params)
        return (tree.add(params, updates), state), None

    (params, state), _ = jax.lax.scan(one, (params, state), noise)
    assert 5 * tree.norm(rule.averaged(state, params)) < tree.norm(params)


PLATEAUS = [
    ((3, 2, 2, 1.95, 1.8, 2, 2, 2, 2), (1, 1, 1, 0.25, 0.25, 0.25, 0.0625, 0.0625, 0.015625)),
    ((1, math.nan, 2, 3, 0.5, 4), (1, 1, 0.25, 0.25, 0.25, 0.25)),
]


@pytest.mark.parametrize(("values", "factors"), PLATEAUS, ids=["flat", "nan"])
def test_a_plateau_cuts_after_so_many_evaluations(values, factors):
    rule = Plateau(SGD(0.5), cut=0.25, patience=2, min_delta=0.1)
    state = rule.init({"w": jnp.zeros(1)})
    for value, factor in zip(values, factors, strict=True):
        state = rule.observed(state, value)
        assert float(rule.rate(state)) == 0.5 * factor
        updates, _ = rule.update({"w": jnp.ones(1)}, state, {"w": jnp.zeros(1)})
        assert updates["w"].tolist() == [-0.5 * factor]


@pytest.mark.parametrize(("values", "factors"), PLATEAUS, ids=["flat", "nan"])
def test_a_plateau_cuts_where_pytorch_does(values, factors):
    torch = pytest.importorskip("torch", reason="PyTorch is not here to compare with")
    theirs = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    # Theirs waits for more than `patience` evaluations, ours for `patience` of them.
    watch = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, factor=0.25, patience=1, threshold=0.1, threshold_mode="abs"
    )
    for value, factor in zip(values, factors, strict=True):
        watch.step(value)
        assert theirs.param_groups[0]["lr"] == 0.5 * factor


def test_a_plateau_has_a_floor_and_is_told_through_an_average():
    rule = ExponentialAverage(Plateau(SGD(0.5), cut=0.5, patience=1, least=0.2))
    state = rule.init({"w": jnp.zeros(1)})
    rates = []
    for _ in range(5):
        state = rule.observed(state, 1.0)
        rates.append(float(rule.rate(state)))
    assert rates == pytest.approx([0.5, 0.25, 0.125, 0.1, 0.1])
    plain = ExponentialAverage(SGD(0.5))
    start = plain.init({"w": jnp.zeros(1)})
    assert plain.observed(start, 1.0) is start


def test_our_rule_serves_inside_optax():
    # Optax calls its rules by position, its types ask for its own names of the arguments.
    ours: Any = SGD(0.5)
    chained = optax.chain(optax.clip(1.0), optax.GradientTransformation(ours.init, ours.update))
    params: Any = {"w": jnp.array([1.0])}
    updates: Any
    updates, _ = chained.update({"w": jnp.array([4.0])}, chained.init(params), params)
    assert updates["w"].tolist() == [-0.5]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [SGD, Momentum, Adam, Lion, AdaMax, Adadelta])
def test_a_learning_rate_must_be_positive(kind, rate):
    with pytest.raises(ConfigError, match=f"{kind.__name__}'s learning_rate must be a positive"):
        kind(rate)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Momentum(0.1, 1.0), r"Momentum's momentum must be in \[0, 1\), got 1.0"),
        (lambda: Momentum(0.1, 0.9, "heavy"), "must be 'heavy-ball' or 'average', got 'heavy'"),  # type: ignore
        (lambda: Lion(0.1, b2=-0.1), r"Lion's b2 must be in \[0, 1\)"),
        (lambda: AdaGrad(0.1, "max"), "accumulate must be 'sum' or 'mean', got 'max'"),  # type: ignore
        (lambda: AdaGrad(0.1, eps=0.0), "eps must be a positive number, got 0.0"),
        (lambda: AdaGrad(0.1, momentum=1.5), r"momentum must be in \[0, 1\)"),
        (lambda: RMSProp(0.1, decay=float("nan")), r"decay must be in \[0, 1\), got nan"),
        (lambda: Adadelta(decay=1.0), "Adadelta's decay must be in"),
        (lambda: Adadelta(eps=-1.0), "eps must be a positive"),
        (lambda: Adam(0.1, b1=1.0), r"Adam's b1 must be in \[0, 1\), got 1.0"),
        (lambda: NAdam(0.1, eps=0.0), "NAdam's eps must be a positive number"),
        (lambda: AdaMax(0.1, b2=1.0), "AdaMax's b2 must be in"),
        (lambda: AdamW(0.1, decay=-1.0), "AdamW's decay must be a number of at least 0, got -1.0"),
        (
            lambda: AdamW(0.1, on=("w",)).init(beginning()),
            r"names 'w', which is no .* affine1/bias",
        ),
        (lambda: AdamW(0.1, on=()).init(beginning()), "AdamW's `on` names no parameter"),
        (lambda: WeightDecay(SGD(0.1), -1.0), "strength must be a number of at least 0"),
        (
            lambda: WeightDecay(Frozen(), 1.0),
            "WeightDecay wants a rule that tells its learning rate",
        ),
        (lambda: WeightDecay(SGD(0.1), 1.0, ("w",)).init(beginning()), "which is no parameter"),
        (lambda: ClipByNorm(0.0), "ClipByNorm's limit must be a positive number"),
        (lambda: ClipByValue(-1.0), "ClipByValue's limit must be a positive number"),
        (lambda: ClipByLayer(math.inf), "ClipByLayer's limit must be a positive number"),
        (lambda: Chain(()), "a chain wants a rule that takes steps"),
        (lambda: Chain((ClipByNorm(1.0),)), r"takes steps, got .*ClipByNorm.*end it with one"),
        (
            lambda: Chain((SGD(0.1), Adam(0.1))),
            r"takes one rule with a learning rate, got SGD.*Adam",
        ),
        (lambda: Chain((ExponentialAverage(SGD(0.1)),)), "put ExponentialAverage outside"),
        (
            lambda: Split(("affine3",), Frozen(), SGD(1.0)).init(beginning()),
            "'affine3', which is no",
        ),
        (lambda: Split(("bias",), ClipByNorm(1.0), SGD(1.0)), "put it in a chain, before a rule"),
        (lambda: Split(("bias",), SGD(1.0), Plateau(SGD(1.0))), "put Plateau outside"),
        (lambda: Plateau(ExponentialAverage(SGD(0.1))), "put ExponentialAverage outside"),
        (lambda: Plateau(ClipByNorm(1.0)), "Plateau wants a rule that takes steps"),
        (lambda: Plateau(SGD(0.1), cut=1.0), r"cut must be in \(0, 1\), got 1.0"),
        (lambda: Plateau(SGD(0.1), patience=0), "patience must be a whole number of at least 1"),
        (lambda: Plateau(SGD(0.1), min_delta=-1.0), "min_delta must be a number of at least 0"),
        (lambda: Plateau(SGD(0.1), least=1.0), r"least must be in \[0, 1\)"),
        (lambda: ExponentialAverage(SGD(0.1), 1.0), r"decay must be in \[0, 1\)"),
        (lambda: IterateAverage(SGD(0.1), start=-1), "start must be a whole number of at least 0"),
        (lambda: IterateAverage(SGD(0.1), every=0), "every must be a whole number of at least 1"),
        (lambda: IterateAverage(IterateAverage(SGD(0.1))), "put IterateAverage outside"),
        (lambda: WeightDecay(Plateau(SGD(0.1)), 0.1), "put Plateau outside"),
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


def test_resolving_a_table_of_rules_changes_no_rule_whose_times_are_steps():
    assert all(resolve(rule, 5, 50) == rule for rule in cases.RULES)
