"""Linear models whose minimum is known without a network: what gradient descent must reach."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .errors import ConfigError, DataError, ShapeError
from .loss import Hinge


def ridge(
    x: Float[np.ndarray, "n d"],
    t: Float[np.ndarray, "n k"],
    strength: float,
    weight: Float[np.ndarray, " n"] | None = None,
) -> dict[str, np.ndarray]:
    """Ridge regression: the affine map that minimises `SquaredError` and `L2` on its weight.

    Minimum:  of Σ_i share_i ½ ‖x_i W + b − t_i‖² + strength/2 · ‖W‖²,  share = weight / Σ weight
    Solution: W = V diag(s/(s² + strength)) Uᵀ T,  b = mean t − mean x · W,
              with U diag(s) Vᵀ = X, and X, T centred, each row times √share
    Source:   the sheets, (XᵀX + λI)⁻¹ Xᵀy, which sums over the examples where this is their mean,
              so that their λ is n · strength, and penalises the bias with the weights

    The singular values are those of X itself: no XᵀX is formed, which would square its condition.
    Without a strength, the solution of least norm is returned where there are many.

    Args:
        x: inputs.
        t: targets.
        strength: λ, not negative.
        weight: of the examples; None counts all alike.

    Returns:
        The parameters of an `Affine`: weight (d, k) and bias (k,), computed in float64 and returned
        in the type of x.

    Raises:
        ConfigError: strength is negative or not finite.
        ShapeError: the arrays do not fit together.
        DataError: all weights are 0.

    >>> line = ridge(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]]), 0.0)
    >>> line["weight"].round(6).tolist(), line["bias"].round(6).tolist()
    ([[2.0]], [1.0])
    """
    share = _share(x, t, weight)
    if not 0 <= strength < math.inf:
        raise ConfigError(f"ridge's strength must be a number of at least 0, got {strength}")
    wide, targets = x.astype(np.float64), t.astype(np.float64)
    root = np.sqrt(share)[:, None]
    centred = root * (wide - share @ wide)
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    rounding = max(x.shape) * np.finfo(np.float64).eps * s.max(initial=0)
    solid = np.where(s > rounding, s, 0)
    damped = np.divide(solid, solid**2 + strength, out=np.zeros_like(s), where=solid > 0)
    w = v.T @ (damped[:, None] * (u.T @ (root * (targets - share @ targets))))
    return {
        "weight": w.astype(x.dtype),
        "bias": (share @ targets - share @ wide @ w).astype(x.dtype),
    }


def linear_svm(
    x: Float[np.ndarray, "n d"],
    t: Float[np.ndarray, "n 1"],
    strength: float,
    weight: Float[np.ndarray, " n"] | None = None,
    steps: int = 20_000,
) -> dict[str, np.ndarray]:
    """A linear support vector machine, by subgradient descent on `Hinge` and `L2` on its weight.

    Minimum:  of Σ_i share_i max(0, 1 − y_i (x_i w + b)) + strength/2 · ‖w‖²,  y = 2 t − 1
    Update:   w ← w − subgradient/(strength · step + max ‖x‖²),  b ← b − subgradient/√step
    Result:   the mean of all iterates, each weighted by its step
    Source:   the sheets, soft-margin classifier, with λ ‖w‖² for strength/2 · ‖w‖²; the rate of w
              is that of Pegasos (Shalev-Shwartz et al. 2007), held back at first; the mean that of
              Lacoste-Julien et al. 2012, arXiv:1212.2002

    Inputs are centred, which only moves b. The value is not curved along b, which nothing
    penalises, so b has a rate of its own that falls more slowly.

    scikit-learn's C is 1/(n · strength). The excess over the minimum falls about like
    1/(strength · steps).

    Args:
        x: inputs; on one scale, or the rate suits few of them.
        t: targets, 0 or 1.
        strength: λ, positive.
        weight: of the examples; None counts all alike.
        steps: how many, each over all examples.

    Returns:
        The parameters of an `Affine` of width 1: weight (d, 1) and bias (1,), computed in float64
        and returned in the type of x.

    Raises:
        ConfigError: strength is not positive; a target is neither 0 nor 1; steps is below 1.
        ShapeError: the arrays do not fit together.
        DataError: all weights are 0.

    >>> x, t = np.array([[-1.0], [1.0]]), np.array([[0.0], [1.0]])
    >>> line = linear_svm(x, t, 0.1, steps=500)
    >>> round(float(line["weight"][0, 0]), 1), round(float(line["bias"][0]), 1)
    (1.0, 0.0)
    """
    share = _share(x, t, weight)
    if not 0 < strength < math.inf or steps < 1:
        raise ConfigError(
            f"a support vector machine wants a positive strength and steps, got {strength} and "
            f"{steps}",
            next="with no strength its weights may have no minimum",
        )
    Hinge().check(t)
    with jax.enable_x64(True):
        wide, labels, shares = (jnp.asarray(a, np.float64) for a in (x, t, share))
        middle = shares @ wide
        w, b = _descend(strength, steps, wide - middle[None], labels, shares)
        b = b - middle @ w
        return {"weight": np.asarray(w, x.dtype), "bias": np.asarray(b, x.dtype)}


def _share(x, t, weight) -> np.ndarray:
    weight = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64)
    if x.ndim != 2 or t.ndim != 2 or not len(x) == len(t) == len(weight):
        raise ShapeError(
            f"wanted inputs (n, d), targets (n, k) and weights (n,), got {x.shape}, {t.shape} and "
            f"{weight.shape}"
        )
    if not weight.sum() > 0:
        raise DataError("all weights are zero", next="weigh some example")
    return weight / weight.sum()


def _descend(strength: float, steps: int, x, t, share) -> tuple[Any, Any]:
    loss, held_back = Hinge(), jnp.max(jnp.sum(x * x, axis=1))

    def step(i, carry):
        (w, b), mean = carry
        count = i + 1.0
        _, saved = loss.forward(x @ w + b[None], t, share)
        dz = loss.reverse(saved)
        w = w - (x.T @ dz + strength * w) / (strength * count + held_back)
        b = b - jnp.sum(dz, axis=0) / jnp.sqrt(count)
        newest = 2 / (count + 1)  # the share of `count` in 1 + 2 + … + count
        mean = jax.tree.map(lambda m, now: m + newest * (now - m), mean, (w, b))
        return (w, b), mean

    start = jnp.zeros((x.shape[1], 1)), jnp.zeros(1)
    return jax.jit(lambda: jax.lax.fori_loop(0, steps, step, (start, start))[1])()
