"""The gradient check itself: it passes what is right, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass

import jax
import numpy as np
import pytest

from pullback.check import Differences, check_gradients, relative_error
from pullback.loss import SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError
from pullback.maps import Affine, Relu, Selu, Softmax, Tanh, chain
from pullback.penalty import L2, Sum


def checked(net, loss=None, penalty=None, k=3, **options):
    loss, penalty = loss or SoftmaxCrossEntropy(), penalty or Sum()
    rng = np.random.default_rng(0)
    x = rng.random((8, 6), np.float32)
    y = (
        np.eye(k, dtype=np.float32)[rng.integers(0, k, 8)]
        if k > 1
        else rng.integers(0, 2, (8, 1)).astype(np.float32)
    )
    params, state = net.init(jax.random.key(0), x)
    return check_gradients(
        net, loss, penalty, params, state, (x, y, np.ones(8, np.float32)), **options
    )


@pytest.mark.parametrize(
    ("net", "loss", "penalty", "k"),
    [
        (chain(Affine(5, bias=False), Selu(), Affine(3)), None, L2(0.01), 3),
        (chain(Affine(5), Relu(), Affine(3), Softmax()), SquaredError(), None, 3),
        (chain(Affine(1)), SigmoidCrossEntropy(), L2(0.1, on=("weight", "bias")), 1),
    ],
)
def test_right_derivatives_pass_with_room(net, loss, penalty, k):
    report = checked(net, loss, penalty, k)
    assert report.ok
    assert report.worst < 1e-9
    assert {block.name for block in report.blocks} == {block.name for block in report.along}


@dataclass(frozen=True)
class Wrong(Affine):
    """An affine map whose weight gradient is off by a part in a million."""

    def reverse(self, params, saved, dy):
        dparams, dx = super().reverse(params, saved, dy)
        return dparams | {"weight": dparams["weight"] * (1 + 1e-6)}, dx


@dataclass(frozen=True)
class WrongPenalty(L2):
    """A penalty with the gradient of λ Σ w² for the value λ/2 Σ w²."""

    def reverse(self, params):
        return jax.tree.map(lambda w: 2 * w, super().reverse(params))


def test_wrong_derivatives_fail_and_are_named():
    report = checked(chain(Affine(5), Tanh(), Wrong(3)))
    assert not report.ok
    bad = [block.name for block in report.blocks if block.error >= report.threshold]
    assert bad == ["wrong1/weight"]
    assert "WRONG" in str(report)
    row = report.row()
    assert json.loads(json.dumps(row))["ok"] is False
    assert [block["ok"] for block in row["blocks"]] == [True, True, True, False]


def test_a_wrong_penalty_fails():
    assert not checked(chain(Affine(3)), penalty=WrongPenalty(0.01)).ok


def test_a_block_in_which_only_unsampled_entries_are_wrong_fails_along_directions():
    @dataclass(frozen=True)
    class Corner(Affine):
        def reverse(self, params, saved, dy):
            dparams, dx = super().reverse(params, saved, dy)
            return dparams | {"weight": dparams["weight"].at[0].multiply(1.01)}, dx

    report = checked(chain(Corner(40), Tanh(), Affine(3)), entries=1)
    assert report.blocks[3].error < report.threshold
    assert report.along[3].error > report.threshold
    assert not report.ok


def test_a_difference_does_not_stumble_over_a_near_kink():
    with jax.enable_x64(True):
        numeric = Differences(lambda x: jax.numpy.sum(jax.numpy.maximum(x, 0)))
        for gap in (2e-3, 2e-4, 5e-5):
            assert numeric.at(jax.numpy.array([gap, -gap]), [0, 1]) == pytest.approx(
                [1, 0], abs=1e-9
            )


def test_nan_is_not_ok():
    assert relative_error(np.array([np.nan]), np.array([1.0])) != relative_error(
        np.array([1.0]), np.array([1.0])
    )
    params_error = relative_error(np.array([np.nan]), np.array([np.nan]))
    assert not params_error < 1e-7


def test_a_difference_does_not_believe_a_small_step_that_agrees_by_chance():
    # Beside 1e8, rounding leaves nothing of a step of 1e-5, yet its two estimates may agree.
    with jax.enable_x64(True):
        x = jax.numpy.asarray(np.linspace(-1, 1, 200))
        numeric = Differences(lambda x: 1e8 + jax.numpy.sum(jax.numpy.sin(x))).at(x, range(200))
        np.testing.assert_allclose(numeric, np.cos(x), atol=1e-4)
