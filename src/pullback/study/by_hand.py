"""One hidden layer written out by hand in NumPy: example by example, and in matrices.

It is the network of IFT6390, and the readable reference for the batched maps of this package, of
which nothing is used here. Parameters have the names that `chain(Affine(h), Relu(), Affine(m))`
gives them, so that the gradients can be laid beside each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Params = dict[str, dict[str, np.ndarray]]


class Found(NamedTuple):
    """The mean loss of a batch, its gradient by the parameters, and by the inputs."""

    value: float
    gradient: Params
    by_input: np.ndarray


def by_example(params: Params, x: Float[np.ndarray, "n d"], t: Float[np.ndarray, "n m"]) -> Found:
    """Take one example after another, and the mean of what each gives.

    Forward:  ha = xᵢ W₁ + b₁,  hs = max(0, ha),  oa = hs W₂ + b₂,  os = softmax(oa),
              Lᵢ = −Σ_k tᵢ_k log os_k
    Reverse:  doa = os − tᵢ,  dW₂ = hsᵀ doa,  db₂ = doa,  dhs = W₂ doa,  dha = 1{ha > 0} dhs,
              dW₁ = xᵢᵀ dha,  db₁ = dha,  dxᵢ = W₁ dha
    Shapes:   xᵢ (d,); ha, hs (h,); oa, os, tᵢ (m,); W₁ (d, h); W₂ (h, m)
    Source:   IFT6390 homework 3, theoretical part, eq. (2.1)–(2.67); practical part, §3.1.4, §3.1.5
    """
    w1, b1 = params["affine1"]["weight"], params["affine1"]["bias"]
    w2, b2 = params["affine2"]["weight"], params["affine2"]["bias"]
    n, value, dx = len(x), 0.0, np.zeros_like(x)
    dw1, db1, dw2, db2 = (np.zeros_like(each) for each in (w1, b1, w2, b2))
    for i in range(n):
        ha = x[i] @ w1 + b1
        hs = np.maximum(0, ha)
        oa = hs @ w2 + b2
        shifted = oa - oa.max()
        os = np.exp(shifted) / np.exp(shifted).sum()
        value -= float(t[i] @ (shifted - np.log(np.exp(shifted).sum())))

        doa = os - t[i]
        dw2 += np.outer(hs, doa)
        db2 += doa
        dhs = w2 @ doa
        dha = (ha > 0) * dhs
        dw1 += np.outer(x[i], dha)
        db1 += dha
        dx[i] = w1 @ dha
    gradient = {
        "affine1": {"weight": dw1 / n, "bias": db1 / n},
        "affine2": {"weight": dw2 / n, "bias": db2 / n},
    }
    return Found(value / n, gradient, dx / n)


def by_matrix(params: Params, x: Float[np.ndarray, "n d"], t: Float[np.ndarray, "n m"]) -> Found:
    """Take the examples together: a row each, and a product sums over them.

    Forward:  Ha = X W₁ + b₁,  Hs = max(0, Ha),  Oa = Hs W₂ + b₂,  Os = softmax of each row,
              L = −1/n Σ_ik T_ik log Os_ik
    Reverse:  dOa = (Os − T)/n,  dW₂ = Hsᵀ dOa,  db₂ = Σᵢ dOaᵢ,  dHs = dOa W₂ᵀ,
              dHa = 1{Ha > 0} dHs,  dW₁ = Xᵀ dHa,  db₁ = Σᵢ dHaᵢ,  dX = dHa W₁ᵀ
    Shapes:   X (n, d); Ha, Hs (n, h); Oa, Os, T (n, m)
    Source:   the same, §2.8–2.17 and §3.4
    """
    w1, b1 = params["affine1"]["weight"], params["affine1"]["bias"]
    w2, b2 = params["affine2"]["weight"], params["affine2"]["bias"]
    ha = x @ w1 + b1
    hs = np.maximum(0, ha)
    oa = hs @ w2 + b2
    shifted = oa - oa.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    value = -float(np.sum(t * (shifted - np.log(total)))) / len(x)

    doa = (np.exp(shifted) / total - t) / len(x)
    dha = (ha > 0) * (doa @ w2.T)
    gradient = {
        "affine1": {"weight": x.T @ dha, "bias": dha.sum(axis=0)},
        "affine2": {"weight": hs.T @ doa, "bias": doa.sum(axis=0)},
    }
    return Found(value, gradient, dha @ w1.T)


def elastic_net(weight: np.ndarray, l1: float, l2: float) -> np.ndarray:
    """The gradient of l1 Σ |w| + l2 Σ w², which IFT6390 does not halve: l1 sign(w) + 2 l2 w.

    Source: IFT6390 homework 3, theoretical part, eq. (2.70)

    >>> elastic_net(np.array([-3.0, 0.0]), 0.5, 0.25).tolist()
    [-2.0, 0.0]
    """
    return l1 * np.sign(weight) + 2 * l2 * weight
