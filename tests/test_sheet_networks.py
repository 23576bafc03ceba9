"""The two networks of the sheets: every cotangent by name, against the sheets' own formulas.

The formulas are written out here in NumPy, for the mean over m examples, with the sheets' slips put
right: their cross-entropy lacks its minus, and the cotangent of h_q lacks the minus of z = z₁ − z₂.
Each wire is checked a second time by autodiff of the loss as a function of a shift of that wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.loss import Hinge, Loss, SigmoidCrossEntropy
from pullback.maps import (
    Affine,
    Net,
    Relu,
    Run,
    Sigmoid,
    Softplus,
    Subtract,
    chain,
    towers,
)
from pullback.penalty import Linf, LogSumExp, Sum

M = 5


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def drawn(net: Net, x) -> dict[str, Any]:
    """Parameters of the network, biases away from zero too."""
    params, _ = net.init(jax.random.key(0), jnp.asarray(x))
    leaves, structure = jax.tree.flatten(params)
    moved = [w + 0.3 * normal(*w.shape, seed=i) for i, w in enumerate(leaves)]
    return jax.tree.unflatten(structure, moved)


def no_state(net: Net):
    return {node.owner: {} for node in net.nodes}


def swept(net: Net, params, x, dy):
    """All cotangents by name, from that of the output, and the values of all wires."""
    wires, saved, _ = net.trace(params, no_state(net), jnp.asarray(x), Run())
    dparams, cotangents = net.sweep(params, saved, jnp.asarray(dy))
    return dparams, cotangents, jax.tree.map(np.asarray, wires)


def shifted(net: Net, loss: Loss, params, x, t):
    """The loss as a function of a shift of every wire."""

    def value(shifts):
        wires = {"x": jnp.asarray(x) + shifts["x"]}
        for node in net.nodes:
            inputs = tuple(wires[wire] for wire in node.inputs)
            at = inputs[0] if isinstance(node.reads, str) else inputs
            y, _, _ = node.map.forward(params[node.owner], {}, at, Run())
            wires[node.name] = y + shifts[node.name]
        z = wires[net.nodes[-1].name]
        return loss.forward(z, jnp.asarray(t), jnp.ones(len(x)))[0]

    return value


def assert_close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def assert_every_wire_agrees_with_autodiff(net, loss, params, x, t, cotangents):
    assert set(cotangents) == {"x", *(node.name for node in net.nodes)}
    still = jax.tree.map(jnp.zeros_like, cotangents)
    theirs = jax.grad(shifted(net, loss, params, x, t))(still)
    for wire in cotangents:
        assert_close(cotangents[wire], theirs[wire])


def logistic(a):
    return 1 / (1 + np.exp(-a))


# --- two towers: ŷ = σ(W₂ (softplus(W₁ x_p + b₁) − softplus(W₁ x_q + b₁)) + b₃) ---

TOWER = chain(Affine(3), Softplus())
TWO_TOWERS = chain(towers(TOWER, Subtract()), Affine(1))
PENALTY = Sum(
    (
        Linf(1.0, on=("towers1/tower/affine1/weight",)),
        LogSumExp(1.0, on=("affine1/weight",)),
    )
)


@dataclass(frozen=True)
class Towers:
    """The towers' inputs, parameters, and what the sheets derive."""

    params: dict[str, Any]
    x: np.ndarray
    y: np.ndarray

    @classmethod
    def draw(cls):
        x = normal(M, 8, seed=1)
        return cls(drawn(TWO_TOWERS, x), x, np.array([[1.0], [0], [1], [1], [0]]))

    def by_hand(self):
        """Sheet 2, (a) to (h): cotangents of the wires by our names, and of the parameters."""
        inner, outer = self.params["towers1/tower/affine1"], self.params["affine1"]
        w1, b1, w2, b3 = (np.asarray(p[k]) for p in (inner, outer) for k in ("weight", "bias"))
        xp, xq = self.x[:, :4], self.x[:, 4:]
        hp, hq = xp @ w1 + b1, xq @ w1 + b1
        z = np.log1p(np.exp(hp)) - np.log1p(np.exp(hq))
        guess = logistic(z @ w2 + b3)
        d_guess = -(self.y / guess - (1 - self.y) / (1 - guess)) / M  # (a)
        d_z3 = guess * (1 - guess) * d_guess  # (b)
        d_w2 = z.T @ d_z3  # (c)
        d_z = d_z3 @ w2.T  # (d)
        d_hq = -np.exp(hq) / (1 + np.exp(hq)) * d_z  # (e), with its minus
        d_hp = np.exp(hp) / (1 + np.exp(hp)) * d_z  # (f)
        wires = {
            "affine1": d_z3,
            "towers1/subtract1": d_z,
            "towers1/tower1/softplus1": d_z,
            "towers1/tower2/softplus1": -d_z,
            "towers1/tower1/affine1": d_hp,
            "towers1/tower2/affine1": d_hq,
            "towers1/part1": d_hp @ w1.T,
            "towers1/part2": d_hq @ w1.T,
            "x": np.concatenate([d_hp @ w1.T, d_hq @ w1.T], axis=1),
        }
        parameters = {
            "towers1/tower/affine1": {
                "weight": xp.T @ d_hp + xq.T @ d_hq,  # (h)
                "bias": (d_hp + d_hq).sum(axis=0),  # (g)
            },
            "affine1": {"weight": d_w2, "bias": d_z3.sum(axis=0)},
        }
        return d_guess, guess, wires, parameters


@pytest.fixture
def two():
    return Towers.draw()


def start(net: Net, params, x, y):
    """The cotangents of parameters and wires, from the cross-entropy of the network's logits."""
    loss = SigmoidCrossEntropy()
    z = net.forward(params, no_state(net), jnp.asarray(x), Run())[0]
    _, saved = loss.forward(z, jnp.asarray(y), jnp.ones(M))
    dparams, cotangents, _ = swept(net, params, x, loss.reverse(saved))
    return dparams, cotangents


def test_two_towers_every_cotangent_by_name(two):
    dparams, cotangents = start(TWO_TOWERS, two.params, two.x, two.y)
    _, _, wires, parameters = two.by_hand()
    assert set(cotangents) == set(wires)
    for wire, expected in wires.items():
        assert_close(cotangents[wire], expected)
    for owner, arrays in parameters.items():
        for name, expected in arrays.items():
            assert_close(dparams[owner][name], expected)


def test_two_towers_every_wire_against_autodiff(two):
    _, cotangents = start(TWO_TOWERS, two.params, two.x, two.y)
    loss = SigmoidCrossEntropy()
    assert_every_wire_agrees_with_autodiff(TWO_TOWERS, loss, two.params, two.x, two.y, cotangents)


def test_two_towers_from_the_cotangent_of_the_prediction(two):
    # (a) and (b): in the sheets the sigmoid is a layer; from δ_ŷ it gives the same cotangents.
    net = chain(towers(TOWER, Subtract()), Affine(1), Sigmoid())
    d_guess, guess, wires, _ = two.by_hand()
    _, cotangents, values = swept(net, two.params | {"sigmoid1": {}}, two.x, d_guess)
    assert_close(values["sigmoid1"], guess)
    assert_close(cotangents["sigmoid1"], d_guess)
    for wire, expected in wires.items():
        assert_close(cotangents[wire], expected)


@dataclass(frozen=True)
class Unsigned(Subtract):
    """The sheets' (e) as it stands: the cotangent of h_q without its minus."""

    def reverse(self, params, saved, dy):
        return {}, (dy, dy)


def test_two_towers_without_the_minus_of_the_difference_are_wrong(two):
    net = chain(towers(TOWER, Unsigned()), Affine(1))
    params = {key.replace("subtract", "unsigned"): value for key, value in two.params.items()}
    _, cotangents = start(net, params, two.x, two.y)
    with pytest.raises(AssertionError, match="Mismatched"):
        assert_every_wire_agrees_with_autodiff(
            net, SigmoidCrossEntropy(), params, two.x, two.y, cotangents
        )


def test_two_towers_with_their_penalties(two):
    dparams, _ = start(TWO_TOWERS, two.params, two.x, two.y)
    w1 = np.asarray(two.params["towers1/tower/affine1"]["weight"])
    w2 = np.asarray(two.params["affine1"]["weight"])
    cost = float(PENALTY.value(two.params))
    assert cost == pytest.approx(np.abs(w1).max() + np.log(np.exp(w2).sum()), rel=1e-12)
    ours = jax.tree.map(jnp.add, dparams, PENALTY.reverse(two.params))
    top = np.unravel_index(np.abs(w1).argmax(), w1.shape)
    _, _, _, parameters = two.by_hand()
    expected = parameters["towers1/tower/affine1"]["weight"].copy()
    expected[top] += np.sign(w1[top])
    assert_close(ours["towers1/tower/affine1"]["weight"], expected)
    expected = parameters["affine1"]["weight"] + np.exp(w2) / np.exp(w2).sum()
    assert_close(ours["affine1"]["weight"], expected)
    assert_close(ours["affine1"]["bias"], parameters["affine1"]["bias"])

    def whole(params):
        z = TWO_TOWERS.forward(params, no_state(TWO_TOWERS), jnp.asarray(two.x), Run())[0]
        loss, _ = SigmoidCrossEntropy().forward(z, jnp.asarray(two.y), jnp.ones(M))
        return loss + PENALTY.value(params)

    jax.tree.map(assert_close, ours, jax.grad(whole)(two.params))


# --- ŷ = σ(W₂ ReLU(W₁ x + b₁) + b₂), L = Σ_i max(0, 1 − y_i ŷ_i) ---

HINGED = chain(Affine(6), Relu(), Affine(3), Sigmoid())


def hinged():
    """Parameters, inputs, and labels of 0 and 1 as the sheets have them, all kinds of rows."""
    x = normal(M, 4, seed=2)
    y = np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0], [1, 0, 0]])
    return drawn(HINGED, x), x, y


def test_relu_sigmoid_hinge_every_cotangent_by_name():
    params, x, y = hinged()
    w1, b1 = (np.asarray(params["affine1"][key]) for key in ("weight", "bias"))
    w2, b2 = (np.asarray(params["affine2"][key]) for key in ("weight", "bias"))
    h1 = x @ w1 + b1
    a1 = np.maximum(h1, 0)
    guess = logistic(a1 @ w2 + b2)
    d_guess = -y / M
    d_h2 = guess * (1 - guess) * d_guess
    d_a1 = d_h2 @ w2.T
    d_h1 = (h1 > 0) * d_a1

    # Their label y is what stands before ŷ in 1 − y ŷ: our Hinge has 2 t − 1 there.
    t = (1 + y) / 2
    loss = Hinge()
    value, saved = loss.forward(jnp.asarray(guess), jnp.asarray(t), jnp.ones(M))
    assert float(value) == pytest.approx(np.maximum(0, 1 - y * guess).sum() / M, rel=1e-12)
    dparams, cotangents, _ = swept(HINGED, params, x, loss.reverse(saved))
    expected = {
        "sigmoid1": d_guess,
        "affine2": d_h2,
        "relu1": d_a1,
        "affine1": d_h1,
        "x": d_h1 @ w1.T,
    }
    assert set(cotangents) == set(expected)
    for wire, cotangent in expected.items():
        assert_close(cotangents[wire], cotangent)
    assert_close(dparams["affine2"]["weight"], a1.T @ d_h2)
    assert_close(dparams["affine2"]["bias"], d_h2.sum(axis=0))
    assert_close(dparams["affine1"]["weight"], x.T @ d_h1)
    assert_close(dparams["affine1"]["bias"], d_h1.sum(axis=0))
    assert_every_wire_agrees_with_autodiff(HINGED, loss, params, x, t, cotangents)
