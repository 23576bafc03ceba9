"""Exhibits of IFT6390, the slides and the sheets, each against what is known without them."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.examine import weights_row
from pullback.study import by_hand
from pullback.study.exhibits import KINDS, Given, Shown
from pullback.study.exhibits import one_hidden_layer as layer
from pullback.study.exhibits.norms import l1_share, l2_share
from pullback.study.exhibits.towers import by_hand as towers_by_hand
from pullback.study.exhibits.towers import network as two_towers


def shown(kind: str, seed: int = 0, **settings) -> Shown:
    return KINDS[kind](Given(seed, {}, {}), **settings)


def parameters(d: int = 3, h: int = 4, m: int = 2) -> by_hand.Params:
    rng = np.random.default_rng(1)
    return {
        "affine1": {"weight": rng.standard_normal((d, h)), "bias": rng.standard_normal(h)},
        "affine2": {"weight": rng.standard_normal((h, m)), "bias": rng.standard_normal(m)},
    }


def nll(params, x, t):
    """The mean cross-entropy, to be differentiated by JAX itself."""
    first, second = params["affine1"], params["affine2"]
    hs = jax.nn.relu(x @ first["weight"] + first["bias"][None])
    oa = hs @ second["weight"] + second["bias"][None]
    return -jnp.mean(jnp.sum(t * jax.nn.log_softmax(oa), axis=1))


@pytest.mark.parametrize("form", [by_hand.by_example, by_hand.by_matrix])
def test_both_forms_by_hand_are_the_derivative(form):
    rng, params = np.random.default_rng(0), parameters()
    x, t = rng.standard_normal((6, 3)), np.eye(2)[rng.integers(2, size=6)]
    found = form(params, x, t)
    with jax.enable_x64(True):
        value, (grads, dx) = jax.value_and_grad(nll, (0, 1))(
            *jax.tree.map(jnp.asarray, (params, x)), jnp.asarray(t)
        )
    assert found.value == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(found.by_input, dx, atol=1e-14)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), found.gradient, grads)


def test_identities():
    numbers = shown("identities", points=41).numbers
    printed, overflow = numbers.pop("log-sigmoid-as-printed"), numbers.pop("overflow")
    assert max(numbers.values()) < 1e-9
    # A softmax of one number is 1: the greatest distance of −1 from ln σ is at −8.
    assert printed == pytest.approx(math.log(1 + math.exp(8)) - 1)
    # e⁻ˣ is infinite in float32 from here on.
    assert -overflow == pytest.approx(math.log(np.finfo(np.float32).max), abs=0.5)
    with pytest.raises(ValueError, match="odd number"):
        shown("identities", points=40)


def test_formulas():
    numbers = shown("formulas", inputs=3, hidden=2, classes=2, examples=4).numbers
    assert numbers.pop("parameters") == numbers.pop("parameters-by-formula") == 14
    assert numbers.pop("rows-as-printed") > 0.9
    assert max(numbers.values()) < 1e-12


def test_formulas_notice_a_wrong_one(monkeypatch):
    right = by_hand.by_matrix

    def wrong(params, x, t):
        found = right(params, x, t)
        first = found.gradient["affine1"]
        gradient = found.gradient | {"affine1": first | {"bias": first["bias"] / 2}}
        return found._replace(gradient=gradient)

    monkeypatch.setattr(layer.by_hand, "by_matrix", wrong)
    numbers = shown("formulas", inputs=3, hidden=2, classes=2, examples=4).numbers
    assert numbers["b1"] == pytest.approx(1 / 3)


def test_gradient_check():
    found = shown("gradient-check", batches=(3,))
    numbers = found.numbers
    for form, k in itertools.product(("loop", "matrix"), (3,)):
        assert numbers[f"{form}-{k}-central"] < 1e-8
        # A forward difference is off by about half a step times the curvature, or by a kink.
        assert 1e-9 < numbers[f"{form}-{k}-forward"] < 0.1
    assert len(found.charts[0].panels) == 2
    assert len(found.charts[0].panels[0].curves[0].x) == 2 * 2 + 2 + 2 * 2 + 2


def test_the_loop_the_matrices_and_ours_train_alike():
    numbers = shown("loop-matrix", examples=60, inputs=12, hidden=5, batch=25, passes=1).numbers
    assert numbers["apart"] < 1e-12
    assert numbers["trained-apart"] < 1e-12
    assert numbers["matrix-gain"] == numbers["loop-seconds"] / numbers["matrix-seconds"]


def test_the_grid_trains_every_cell():
    found = shown(
        "boundary-grid", hidden=(3,), rates=(0.05, 1e-9), l1=(0.0, 0.01), l2=(0.0,),
        epochs=(1, 12), points=60,
    )  # fmt: skip
    assert [len(chart.panels) for chart in found.charts] == [4, 4]
    last, first = found.charts
    titles = [panel.title.split("\n") for panel in last.panels]
    assert [title[0] for title in titles] == ["3 units, rate 0.05"] * 2 + [
        "3 units, rate 1e-09"
    ] * 2
    assert [title[1].split(":")[0] for title in titles] == ["no penalty", "L1 0.01"] * 2
    # A rate of 10⁻⁹ moves nothing that is seen, 0.05 does.
    planes = [
        [np.array(panel.plane.values) for panel in chart.panels if panel.plane is not None]
        for chart in (last, first)
    ]
    moved = [np.abs(a - b).max() for a, b in zip(*planes, strict=True)]
    assert min(moved[:2]) > 0.01 > 1e-3 >= max(moved[2:])
    shares = [float(title[1].split(":")[1].removesuffix(" %")) / 100 for title in titles]
    assert found.numbers["best-3"] >= max(shares) - 1e-3
    assert found.numbers["free-3"] == pytest.approx(max(shares[0], shares[2]), abs=1e-3)


def test_exclusive_or():
    numbers = shown("xor", widths=(1, 8), starts=6, steps=1500).numbers
    assert numbers["by-hand"] == numbers["by-hand-gradient"] == 0
    assert (numbers["linear-bias"], numbers["linear-loss"]) == pytest.approx((0.5, 0.25))
    assert numbers["linear-weight"] < 1e-12
    # One rectifier is monotone along its weight, and exclusive or is not along any direction.
    assert numbers["solved-1"] == 0
    assert numbers["solved-8"] >= 0.5


def test_output_units():
    numbers = shown("output-units", points=60, hidden=3, steps=5).numbers
    sigmoid = 1 / (1 + math.exp(10))
    assert numbers["wrong-cross-entropy"] == pytest.approx(1 - sigmoid)
    assert numbers["wrong-squared-error"] == pytest.approx((1 - sigmoid) ** 2 * sigmoid)
    assert numbers["right-cross-entropy"] == pytest.approx(sigmoid)
    p = np.exp([-10, 0, 0]) / np.exp([-10, 0, 0]).sum()
    assert numbers["wrong-softmax-cross-entropy"] == pytest.approx(1 - p[0])
    jacobian = np.diag(p) - np.outer(p, p)
    assert numbers["wrong-softmax-squared-error"] == pytest.approx(
        abs(jacobian[0] @ (p - np.eye(3)[0]))
    )
    z, steps = -8.0, 0
    while z <= 0:
        z, steps = z + 1 - 1 / (1 + math.exp(-z)), steps + 1
    assert numbers["steps-cross-entropy"] == steps
    assert max(numbers[f"{name}-apart"] for name in ("mean", "variance", "frequencies")) < 1e-5


def test_closed_forms_of_norms_are_minima():
    h, top, grid = np.array([2.0, 0.4]), np.array([-1.2, 1.0]), np.linspace(-2, 2, 40001)
    for form, cost in ((l1_share, np.abs), (l2_share, lambda w: w**2 / 2)):
        least = [
            grid[np.argmin(0.5 * a * (grid - b) ** 2 + 0.6 * cost(grid))]
            for a, b in zip(h, top, strict=True)
        ]
        np.testing.assert_allclose(form(h, top, 0.6), least, atol=1e-4)


def test_norms():
    found = shown("l1-and-l2", strengths=5, steps=1500)
    numbers = found.numbers
    assert max(numbers["l1-apart"], numbers["l2-apart"], numbers["mended-gradient"]) < 1e-9
    assert numbers["printed-gradient"] > 1e-3
    assert numbers["l1-zeros"] == numbers["l1-zeros-by-formula"] == 2
    assert numbers["l2-zeros"] == numbers["subgradient-zeros"] == 0
    for panel, size in zip(found.charts[0].panels, (1, 2), strict=True):
        ball, _, _, end = panel.curves
        radius = np.linalg.norm([end.x[0], end.y[0]], size)
        for x, y in zip(ball.x, ball.y, strict=True):
            assert x is None or np.linalg.norm([x, y], size) == pytest.approx(radius)


def test_activations():
    found = shown("activation-curves", width=60, depth=4, examples=32)
    numbers = found.numbers
    assert (numbers["sigmoid-steepest"], numbers["tanh-steepest"]) == (0.25, 1)
    # Each layer keeps at most 1/16 of the variance: σ′ ≤ ¼, and Glorot's weights keep what comes.
    assert numbers["sigmoid-left"] < 1.5 * 16.0**-3
    assert 0.2 < numbers["relu-left"] < 5
    assert numbers["gelu-right"] < numbers["gelu-printed"]
    assert numbers["slopes-apart"] < 1e-3
    tanh = next(panel for panel in found.charts[0].panels if panel.title == "tanh")
    x = np.array(tanh.curves[0].x)
    np.testing.assert_allclose(tanh.curves[0].y, np.tanh(x), atol=1e-12)
    np.testing.assert_allclose(tanh.curves[1].y, 1 - np.tanh(x) ** 2, atol=1e-12)


def test_optimisers():
    found = shown(
        "optimiser-paths", surfaces=("bowl",), walkers=("sgd:learning_rate=0.5",), steps=3
    )
    numbers = found.numbers
    # On ½ (x²/20 + y²) from (−8, 1.5), a step leaves (1 − 0.5/20) of x and a half of y.
    x, y = -8 * (1 - 0.5 / 20) ** 3, 1.5 * 0.5**3
    assert numbers["bowl.sgd:learning_rate=0.5"] == pytest.approx(0.5 * (x**2 / 20 + y**2))
    # After a slope all three pairs are as claimed; from the start Adam and AdaGrad lead momentum.
    assert numbers["three-after-a-slope"] == 1
    assert numbers["three-from-the-start"] == pytest.approx(1 / 3)
    assert max(numbers["eight-after-a-slope"], numbers["eight-from-the-start"]) < 1
    path = found.charts[0].panels[0].curves[0]
    assert (path.x[-1], path.y[-1]) == pytest.approx((x, y))


def test_first_weights():
    draws = ("normal, 0.01", "He")
    numbers = shown("initial-signals", draws=draws, width=50, depth=3, examples=64).numbers
    assert numbers["stuck-he"] == 0 < numbers["stuck-zeros"]
    assert numbers["stuck-constant"] > 0
    assert numbers["units-apart"] < 1e-12 < 0.01 < numbers["inputs-apart"]
    # Two layers each leave 50 · 0.01² of the mean square, and the rectifier half of that.
    assert 0.5 < numbers["values-ReLU-normal-0.01"] / (50 * 1e-4 / 2) ** 2 < 2
    assert 0.2 < numbers["cotangents-ReLU-He"] < 5
    # tanh is above 0.99 beyond 2.647; its input has deviation √50.
    beyond = math.erfc(math.atanh(0.99) / math.sqrt(2 * 50))
    assert numbers["saturated-large"] == pytest.approx(beyond, abs=0.05)


def test_towers_by_hand_are_the_derivative():
    rng = np.random.default_rng(0)
    w1, b1, w2, b3 = (rng.standard_normal(s) for s in ((3, 4), (4,), (4, 1), (1,)))
    p, q, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 3)), np.ones((6, 1))
    y[::2] = 0

    def loss(w1, b1, w2, b3):
        z = jax.nn.softplus(p @ w1 + b1[None]) - jax.nn.softplus(q @ w1 + b1[None])
        logit = z @ w2 + b3[None]
        return -jnp.mean(y * jax.nn.log_sigmoid(logit) + (1 - y) * jax.nn.log_sigmoid(-logit))

    with jax.enable_x64(True):
        want = jax.grad(loss, (0, 1, 2, 3))(*map(jnp.asarray, (w1, b1, w2, b3)))
    found = towers_by_hand(w1, b1, w2, b3, p, q, y)
    for a, b in zip((found.w1, found.b1, found.w2, found.b3), want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


def test_towers():
    numbers = shown("comparison-by-difference", hidden=4, pairs=(60,), seeds=1, steps=20).numbers
    gradients = [numbers[n] for n in ("W1", "b1", "W2", "b3", "W1-penalised", "W2-penalised")]
    assert max(gradients) < 1e-12
    assert numbers["swapped"] == 0
    assert all(0.3 < numbers[f"{each}-60"] <= 1 for each in ("shared", "apart"))
    x = jax.ShapeDtypeStruct((1, 6), jnp.float32)
    shared, _ = two_towers(4).init(jax.random.key(0), x)
    apart, _ = two_towers(4, shared=False).init(jax.random.key(0), x)
    sizes = [sum(a.size for a in jax.tree.leaves(each)) for each in (shared, apart)]
    assert sizes == [3 * 4 + 4 + 4 + 1, 6 * 8 + 8 + 8 + 1]


def test_weights_that_only_rounding_parts_have_a_histogram():
    near = np.full((4, 3), 0.05, np.float32)
    near[0] = np.nextafter(np.float32(0.05), np.float32(1))
    for weights, ends in ((near, (-0.45, 0.55)), (np.arange(5.0), (0, 4))):
        row = weights_row({"w": weights})["layers"]["w"]
        assert sum(row["counts"]) == weights.size
        assert (row["edges"][0], row["edges"][-1]) == pytest.approx(ends)
