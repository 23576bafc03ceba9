"""Batch normalisation's reverse against the notes' differential, written out as a matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ...maps import BatchNorm, Run
from ..chart import Curve, chart
from .core import Given, Shown


def batch_norm_reverse(given: Given, *, batch: int = 12, features: int = 5) -> Shown:
    """Hold our reverse of batch normalisation against its whole Jacobian, and against a part of it.

    Of one feature with x̂ = (x − μ)/√(σ² + ε) over N examples the whole Jacobian is

        ∂x̂_α/∂x_β = (δ_αβ − 1/N − x̂_α x̂_β/N) / √(σ² + ε)

    which the notes derive in §9.4–9.6. Their §9.1 takes the diagonal α = β alone, as if another
    example's output did not move with this one's input; what that leaves out is "only-diagonal".

    Source:  Neural Networks, §9.1 (Corollary 9.2), §9.4; Ioffe & Szegedy 2015

    Numbers: "whole", the relative error of our reverse against the whole Jacobian; "only-diagonal",
    that of the diagonal alone; "gain", "shift", of the derivatives by γ and β; "inference", the
    largest difference between evaluation with the running statistics of one batch and training on
    it, when nothing of the old is kept.
    """
    rng = np.random.default_rng(given.seed)
    x = rng.standard_normal((batch, features)) * rng.uniform(0.5, 2, features) + 1
    dy, gain = rng.standard_normal((batch, features)), rng.uniform(0.5, 2, features)
    norm = BatchNorm(momentum=0.0)
    with jax.enable_x64(True):
        params = {"gain": jnp.asarray(gain), "shift": jnp.full(features, 0.3)}
        _, state = norm.init(None, jnp.asarray(x))
        y, saved, state = norm.forward(params, state, jnp.asarray(x), Run(train=True))
        grads, dx = norm.reverse(params, saved, jnp.asarray(dy))
        again, _, _ = norm.forward(params, state, jnp.asarray(x), Run())
        ours = np.asarray(dx)
    spread = np.sqrt(x.var(axis=0) + norm.eps)
    u = (x - x.mean(axis=0)) / spread
    jacobians = (np.eye(batch)[None] - 1 / batch - np.einsum("ak,bk->kab", u, u) / batch) / spread[
        :, None, None
    ]
    whole = np.einsum("kab,ak->bk", jacobians, gain * dy)
    diagonal = np.einsum("kaa,ak->ak", jacobians, gain * dy)
    rows = [Curve(name=name, x=whole.ravel(), y=each.ravel(), dots=True) for name, each in (
        ("our reverse", ours), ("the diagonal alone", diagonal)
    )]  # fmt: skip
    return Shown(
        {
            "whole": _relative(ours, whole),
            "only-diagonal": _relative(diagonal, whole),
            "gain": _relative(np.asarray(grads["gain"]), (dy * u).sum(axis=0)),
            "shift": _relative(np.asarray(grads["shift"]), dy.sum(axis=0)),
            "inference": float(np.abs(np.asarray(again) - np.asarray(y)).max()),
        },
        (
            chart(
                "reverse",
                "Cotangents of the inputs",
                "Each dot is one entry; what is right lies on the diagonal of the picture.",
                "by the whole Jacobian",
                "by the formula",
                rows,
                equal=True,
            ),
        ),
    )


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
