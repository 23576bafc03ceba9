"""Second derivatives: what training minimises as a function of the parameters, and its curvature.

A Hessian–vector product is the derivative of our own gradient along a direction: `jax.jvp` pushes a
tangent through forward, loss and reverse (Pearlmutter 1994). It costs about two gradients, and no
Hessian is ever held. Elsewhere the package differentiates nothing automatically; here only what is
already a derivative.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from . import tree
from .errors import ConfigError
from .loss import Loss
from .maps import Map, Run
from .penalty import Penalty
from .tree import Tree

STATIC: dict[str, Any] = {"static": True}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Objective:
    """Loss plus penalty as a function of the parameters alone; all else is held fixed.

    It can be an argument of a compiled function: network, loss and penalty are static, the rest is
    traced.

    Forward:  J(θ) = loss(net(x; θ), y) + penalty(θ)
    Reverse:  ∇J = reverse of the net at the loss's cotangent, + reverse of the penalty
    Shapes:   θ, a direction v, ∇J and the products are trees like the parameters

    Attributes:
        net: the network.
        loss: how wrong its output is.
        penalty: what the parameters cost by themselves. One that acts by a proximal step counts in
            the value alone, since it has no derivative here.
        state: the state of the network's maps.
        batch: x, y (targets) and weight.
        run: the key and the mode of every pass; the same key draws the same masks each time.

    >>> from pullback.loss import SquaredError
    >>> from pullback.maps import Affine
    >>> from pullback.penalty import Sum
    >>> batch = (jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1)), jnp.ones(2))
    >>> line = Objective(Affine(1, bias=False), SquaredError(), Sum(), {}, batch)
    >>> params = {"weight": jnp.array([[2.0]])}
    >>> float(line.value(params)), line.gradient(params)["weight"].tolist()
    (10.0, [[10.0]])
    >>> line.hessian(params).tolist()
    [[5.0]]
    """

    net: Map = field(metadata=STATIC)
    loss: Loss = field(metadata=STATIC)
    penalty: Penalty = field(metadata=STATIC)
    state: Tree
    batch: Any
    run: Run = field(default=Run())

    def value(self, params: Tree) -> Float[Array, ""]:
        """J(θ)."""
        x, t, weight = self.batch
        y, _, _ = self.net.forward(params, self.state, x, self.run)
        return self.loss.forward(y, t, weight)[0] + self.penalty.value(params)

    def gradient(self, params: Tree) -> Tree:
        """∇J(θ), by the maps' own reverses."""
        x, _, _ = self.batch
        y, saved, _ = self.net.forward(params, self.state, x, self.run)
        grads, _ = self.net.reverse(params, saved, self._cotangent(y))
        return tree.add(grads, self.penalty.reverse(params))

    def hessian_vector_product(self, params: Tree, v: Tree) -> Tree:
        """H v = d/dt ∇J(θ + t v) at t = 0: the tangent of our gradient, exact and without a step.

        Where the network has kinks H is that of the piece at hand: it knows nothing of how the
        gradient leaps between pieces.

        Source: Pearlmutter 1994, Fast exact multiplication by the Hessian.
        """
        return jax.jvp(self.gradient, (params,), (v,))[1]

    def gauss_newton_product(self, params: Tree, v: Tree) -> Tree:
        """G v = Jᵀ H_L J v + H_P v, with J = dy/dθ and the Hessians of loss and penalty.

        G leaves out the curvature of the network itself, so that it has no negative eigenvalue
        where loss and penalty are convex; for a network that is linear in θ it is H. The reverse is
        dy ↦ Jᵀ dy, so J v is had by transposing it: G is then symmetric even at a kink, where J is
        what our reverse decided and no other.

        Source: Schraudolph 2002, Fast curvature matrix-vector products; Martens 2010, §4.2.
        """
        x, _, _ = self.batch
        y, saved, _ = self.net.forward(params, self.state, x, self.run)

        def pull(dy):
            return self.net.reverse(params, saved, dy)[0]

        _, transposed = jax.vjp(pull, jnp.zeros_like(y))
        (dy,) = transposed(v)
        _, of_loss = jax.jvp(self._cotangent, (y,), (dy,))
        _, of_penalty = jax.jvp(self.penalty.reverse, (params,), (v,))
        return tree.add(pull(of_loss), of_penalty)

    def hessian(self, params: Tree, limit: int = 2**28) -> Float[Array, "p p"]:
        """H entry by entry, for a small network; rows and columns in the order of `tree.named`.

        Args:
            params: θ.
            limit: the most bytes that H may take.

        Raises:
            ConfigError: H takes more bytes than that.
        """
        theta, unravel = ravel_pytree(params)
        size = theta.size**2 * theta.dtype.itemsize
        if size > limit:
            raise ConfigError(
                f"the Hessian of {theta.size:,} parameters takes {size:,} bytes, "
                f"wanted at most {limit:,}",
                next="use hessian_vector_product, or raise the limit",
            )
        _, product = jax.linearize(self.gradient, params)

        def column(i):
            return ravel_pytree(product(unravel(jnp.zeros_like(theta).at[i].set(1))))[0]

        return jax.lax.map(column, jnp.arange(theta.size), batch_size=64).T

    def _cotangent(self, y):
        """The cotangent of the network's output, with which the reverse begins."""
        _, t, weight = self.batch
        return self.loss.reverse(self.loss.forward(y, t, weight)[1])
