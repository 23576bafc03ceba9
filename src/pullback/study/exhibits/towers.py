"""Two towers with shared weights, joined by their difference: the network of the sheets."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ... import tree
from ...check import relative_error
from ...curvature import Objective
from ...data import Batches
from ...data.generated import digits
from ...loss import SigmoidCrossEntropy
from ...maps import Affine, Net, Run, Softplus, Subtract, chain, towers
from ...optim import Adam
from ...penalty import Linf, LogSumExp, Sum
from ...train import Task
from ...tune.together import Together, Trial
from ..chart import Chart, Curve, chart
from .core import Given, Shown


class Gradients(NamedTuple):
    """What the sheets derive, in the order of their letters: by W₂, b₃, b₁ and W₁."""

    w2: np.ndarray
    b3: np.ndarray
    b1: np.ndarray
    w1: np.ndarray


def by_hand(w1, b1, w2, b3, p, q, y) -> Gradients:
    """The gradients of the mean cross-entropy, as the sheets derive them, with its minus.

    Forward:  z = softplus(p W₁ + b₁) − softplus(q W₁ + b₁),  ŷ = σ(z W₂ + b₃)
    Reverse:  δ₃ = (ŷ − y)/n,  dW₂ = zᵀ δ₃,  db₃ = Σ δ₃,  δz = δ₃ W₂ᵀ,
              δp = σ(p W₁ + b₁) δz,  δq = −σ(q W₁ + b₁) δz,
              db₁ = Σ δp + δq,  dW₁ = pᵀ δp + qᵀ δq
    Shapes:   p, q (n, d); y, ŷ (n, 1); W₁ (d, h); W₂ (h, 1)
    Source:   the sheets, two-tower network, a)–h), where δq has no minus of its own
    """
    hp, hq = p @ w1 + b1, q @ w1 + b1
    z = np.logaddexp(0, hp) - np.logaddexp(0, hq)
    d3 = (1 / (1 + np.exp(-(z @ w2 + b3))) - y) / len(y)
    dz = d3 @ w2.T
    dp, dq = dz / (1 + np.exp(-hp)), -dz / (1 + np.exp(-hq))
    return Gradients(z.T @ d3, d3.sum(axis=0), (dp + dq).sum(axis=0), p.T @ dp + q.T @ dq)


def network(hidden: int, shared: bool = True) -> Net:
    """The network of the sheets; or one as wide that sees both inputs with weights of its own."""
    if shared:
        tower = chain(Affine(hidden), Softplus())
        return chain(towers(tower, Subtract()), Affine(1))
    return chain(Affine(2 * hidden), Softplus(), Affine(1))


def comparison_by_difference(
    given: Given,
    *,
    hidden: int = 32,
    pairs: tuple[int, ...] = (100, 300, 1000, 3000),
    seeds: int = 3,
    steps: int = 1500,
    learning_rate: float = 0.003,
    strength: float = 0.1,
) -> Shown:
    """Check the sheets' gradients, and learn which of two digits is the greater.

    The towers see one digit each. Beside them trains a network of as many hidden units that sees
    both digits, and shares nothing. The digits of the pairs that test are none of those that train.

    Source:  the sheets, two-tower network, with ‖W₁‖∞ and ln Σ e^{W₂} as penalties

    Numbers: the relative norm between our gradients and those of the sheets, by hand, "W1", "b1",
    "W2", "b3", and "W1-penalised", "W2-penalised" with the penalties; "swapped", how far from
    the negative the difference is when both inputs change places; "shared-300" and so on, the test
    accuracy for each number of pairs, the mean of some seeds, and "apart-300", of the network that
    shares nothing.
    """
    numbers = _gradients(given.seed, strength)
    seen: dict[bool, list[float]] = {True: [], False: []}
    for shared, scores in seen.items():
        for count in pairs:
            scores.append(_trained(given.seed, shared, hidden, count, seeds, steps, learning_rate))
            numbers[f"{'shared' if shared else 'apart'}-{count}"] = scores[-1]
    return Shown(numbers, (_chart(pairs, seen, hidden, seeds),))


def _chart(pairs: tuple[int, ...], seen: dict[bool, list[float]], hidden: int, seeds: int) -> Chart:
    return chart(
        "pairs",
        "Which of two digits is the greater",
        f"Test accuracy against the number of pairs to learn from, the mean of {seeds} seeds; both "
        f"networks have {2 * hidden} hidden units, of which the towers share the weights.",
        "pairs",
        "test accuracy",
        [
            Curve(name="two towers, shared weights", x=pairs, y=seen[True]),
            Curve(name="one network, nothing shared", x=pairs, y=seen[False]),
        ],
        log="x",
        percent=True,
    )


def _gradients(seed: int, strength: float) -> dict[str, float]:
    """Our gradients of a small network of the sheets against those by hand, in float64."""
    n, d, hidden = 9, 5, 4
    rng = np.random.default_rng(seed)
    p, q = rng.standard_normal((2, n, d))
    y = rng.integers(2, size=(n, 1)).astype(float)
    net, owner = network(hidden), "towers1/tower/affine1"
    # By their whole paths: the layer after the towers has the same name as the one in them.
    penalty = Sum((Linf(strength, (f"{owner}/weight",)), LogSumExp(strength, ("affine1/weight",))))
    with jax.enable_x64(True):
        x = jnp.asarray(np.concatenate([p, q], axis=1))
        params, state = net.init(jax.random.key(seed), x)
        batch = (x, jnp.asarray(y), jnp.ones(n))
        gradient = jax.jit(Objective.gradient)
        plain, whole = (
            gradient(Objective(net, SigmoidCrossEntropy(), each, state, batch), params)
            for each in (Sum(), penalty)
        )
        difference = jax.jit(lambda x: net.trace(params, state, x, Run())[0]["towers1/subtract1"])
        other = jnp.asarray(np.concatenate([q, p], axis=1))
        ahead, behind = (np.asarray(difference(each)) for each in (x, other))
    at, plain, whole = (tree.named(jax.device_get(each)) for each in (params, plain, whole))
    w1, b1 = at[f"{owner}/weight"], at[f"{owner}/bias"]
    w2, b3 = at["affine1/weight"], at["affine1/bias"]
    hand = by_hand(w1, b1, w2, b3, p, q, y)
    top = np.abs(w1) == np.abs(w1).max()
    smooth = np.exp(w2) / np.exp(w2).sum()
    return {
        "W1": relative_error(plain[f"{owner}/weight"], hand.w1),
        "b1": relative_error(plain[f"{owner}/bias"], hand.b1),
        "W2": relative_error(plain["affine1/weight"], hand.w2),
        "b3": relative_error(plain["affine1/bias"], hand.b3),
        "W1-penalised": relative_error(
            whole[f"{owner}/weight"], hand.w1 + strength * top * np.sign(w1)
        ),
        "W2-penalised": relative_error(whole["affine1/weight"], hand.w2 + strength * smooth),
        "swapped": float(np.abs(ahead + behind).max()),
    }


def _pairs(seed: int, count: int, test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of unlike digits side by side, and whether the first is the greater."""
    data = digits()
    assert data.y is not None
    rng = np.random.default_rng((seed, int(test)))
    half = len(data) * 2 // 3
    rows = np.arange(half, len(data)) if test else np.arange(half)
    found = rng.choice(rows, (3 * count, 2))
    unlike = data.y[found[:, 0]] != data.y[found[:, 1]]
    found = found[unlike][:count]
    x = np.concatenate([data.x[found[:, 0]], data.x[found[:, 1]]], axis=1).astype(np.float32)
    return x, (data.y[found[:, 0]] > data.y[found[:, 1]])[:, None].astype(np.float32)


def _trained(
    seed: int, shared: bool, hidden: int, count: int, seeds: int, steps: int, rate: float
) -> float:
    """The mean test accuracy of some seeds, all trained as one program."""
    endless, batch = float("inf"), 50
    x, y = _pairs(seed, count, test=False)
    measured = Batches(*_pairs(seed, 2000, test=True), None, batch, seed, endless)
    train = Batches(x, y, None, batch, seed, endless)
    task = Task(network(hidden, shared), SigmoidCrossEntropy(), Adam(rate))
    epochs = -(-steps // train.steps_per_epoch)
    trials = [
        Trial(task, train, {"test": measured}, 1000 * seed + k, epochs, steps) for k in range(seeds)
    ]
    ends = Together(trials).advance(steps)
    return float(np.mean([each["test"]["accuracy"] for each in ends]))
