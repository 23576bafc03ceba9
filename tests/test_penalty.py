"""Penalties: derivatives, and what they cover."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import PENALTIES

from pullback import tree
from pullback.errors import ConfigError
from pullback.maps import Affine, chain
from pullback.penalty import L2


def params():
    values, _ = chain(Affine(3), Affine(2)).init(jax.random.key(0), jnp.zeros((1, 4)))
    return jax.tree.map(lambda w: w + 0.5, values)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_reverse_against_autodiff(penalty):
    p = params()
    ours, theirs = penalty.reverse(p), jax.grad(penalty.value)(p)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)


def test_l2_by_hand_and_only_on_what_it_names():
    p = {"affine1": {"weight": jnp.array([[3.0, 4.0]]), "bias": jnp.array([7.0, 7.0])}}
    assert float(L2(0.1).value(p)) == pytest.approx(0.5 * 0.1 * 25)
    assert tree.named(L2(0.1).reverse(p))["affine1/bias"].tolist() == [0.0, 0.0]
    assert float(L2(0.1, on=("bias",)).value(p)) == pytest.approx(0.5 * 0.1 * 98)


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_a_strength_must_be_a_number_of_at_least_zero(strength):
    with pytest.raises(ConfigError, match="strength"):
        L2(strength)
    with pytest.raises(ConfigError, match="names no parameter"):
        L2(1.0, on=())
