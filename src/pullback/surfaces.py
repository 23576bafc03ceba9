"""Functions of two numbers on which methods can be watched, each with its gradient by hand.

Two numbers are an array (2,), here called θ = (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import tree
from .curvature import Objective
from .errors import ConfigError
from .tree import Tree

Pair = Float[Array, "2"]


@dataclass(frozen=True)
class Surface:
    """A function of two numbers, with what a picture of it needs.

    Attributes:
        start: from where methods are watched.
        window: what is drawn: (left, right), (below, above).
        minimum: where the lowest point in the window is; None where there is no single one.
        cells: how many points of its map lie on a side.
    """

    start: ClassVar[tuple[float, float]]
    window: ClassVar[tuple[tuple[float, float], tuple[float, float]]]
    minimum: ClassVar[tuple[float, float] | None] = None
    cells: ClassVar[int] = 101

    def value(self, params: Pair) -> Float[Array, ""]:
        """f(θ)."""
        raise NotImplementedError

    def gradient(self, params: Pair) -> Pair:
        """∇f(θ)."""
        raise NotImplementedError

    def hessian_vector_product(self, params: Pair, v: Pair) -> Pair:
        """H v: the tangent of our gradient."""
        return jax.jvp(self.gradient, (params,), (v,))[1]

    def hessian(self, params: Pair, limit: int = 2**28) -> Float[Array, "2 2"]:
        """H; it always fits."""
        return jax.jacfwd(self.gradient)(params)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Bowl(Surface):
    """A quadratic: the steepest direction is y, the flattest is x.

    Forward:  f = ½ (x²/condition + y²)
    Source:   Nocedal & Wright 2006, §3.3

    Args:
        condition: the ratio of the two curvatures, at least 1.

    Raises:
        ConfigError: condition is below 1 or not finite.

    >>> Bowl(4.0).gradient(jnp.array([8.0, 3.0])).tolist()
    [2.0, 3.0]
    """

    condition: float = 20.0
    start = (-8.0, 1.5)
    window = ((-10.0, 4.0), (-2.5, 2.5))
    minimum = (0.0, 0.0)

    def __post_init__(self):
        if not 1 <= self.condition < float("inf"):
            raise ConfigError(f"a bowl's condition must be at least 1, got {self.condition}")

    def value(self, params):
        x, y = params
        return 0.5 * (x**2 / self.condition + y**2)

    def gradient(self, params):
        x, y = params
        return jnp.stack([x / self.condition, y])


@jax.tree_util.register_static
@dataclass(frozen=True)
class Rosenbrock(Surface):
    """A curved valley with steep walls and a floor that hardly falls.

    Forward:  f = (1 − x)² + 100 (y − x²)²
    Source:   Rosenbrock 1960
    """

    start = (-1.2, 1.0)
    window = ((-2.0, 2.0), (-1.0, 3.0))
    minimum = (1.0, 1.0)

    def value(self, params):
        x, y = params
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    def gradient(self, params):
        x, y = params
        off = y - x**2
        return jnp.stack([-2 * (1 - x) - 400 * x * off, 200 * off])


@jax.tree_util.register_static
@dataclass(frozen=True)
class Beale(Surface):
    """Flat ground, four steep corners, and one minimum.

    Forward:  f = Σ_i (c_i − x + x yⁱ)², i = 1, 2, 3,  c = (1.5, 2.25, 2.625)
    Source:   Beale 1958
    """

    start = (1.0, 1.5)
    window = ((-1.0, 4.5), (-2.0, 2.0))
    minimum = (3.0, 0.5)

    def value(self, params):
        return jnp.sum(self._off(*params) ** 2)

    def gradient(self, params):
        x, y = params
        off = self._off(x, y)
        by_x = jnp.stack([y - 1, y**2 - 1, y**3 - 1])
        by_y = jnp.stack([x, 2 * x * y, 3 * x * y**2])
        return jnp.stack([2 * off @ by_x, 2 * off @ by_y])

    def _off(self, x, y):
        return jnp.stack([1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3])


@jax.tree_util.register_static
@dataclass(frozen=True)
class Saddle(Surface):
    """A pass between two hollows: at the origin the gradient is 0, and y leads down both ways.

    Forward:  f = ½ x² − ½ y² + ¼ y⁴, lowest at (0, ±1)

    It starts so near the ridge that the gradient leads to the saddle first.
    """

    start = (-1.6, 0.02)
    window = ((-2.0, 1.2), (-1.5, 1.5))

    def value(self, params):
        x, y = params
        return 0.5 * x**2 - 0.5 * y**2 + 0.25 * y**4

    def gradient(self, params):
        x, y = params
        return jnp.stack([x, y**3 - y])


@jax.tree_util.register_static
@dataclass(frozen=True)
class Plateau(Surface):
    """A stair: a slope, a plateau where gradients vanish, a slope down to the floor.

    Forward:  f = −½ tanh(x + 3) − ½ tanh(x − 3) + ½ pull · y²

    It starts up the first slope, on the left. In the middle of the plateau ∂f/∂x is −0.0099.

    Args:
        pull: the curvature across.
    """

    pull: float = 0.2
    start = (-4.0, 1.0)
    window = ((-5.5, 10.0), (-1.8, 1.8))

    def value(self, params):
        x, y = params
        return -0.5 * (jnp.tanh(x + 3) + jnp.tanh(x - 3)) + 0.5 * self.pull * y**2

    def gradient(self, params):
        x, y = params
        fall = (1 - jnp.tanh(x + 3) ** 2) + (1 - jnp.tanh(x - 3) ** 2)
        return jnp.stack([-0.5 * fall, self.pull * y])


@jax.tree_util.register_static
@dataclass(frozen=True)
class SteepThenFlat(Surface):
    """A steep slope that ends in a wide, nearly flat bowl.

    Forward:  f = steep · softplus(−4x)/4 + ½ flat · (x − 6)² + ½ y²

    So ∂f/∂x is about −steep on the left, and from −6 flat to 0 on the ground.

    Args:
        steep: how fast the slope falls.
        flat: the curvature of the bowl.
    """

    steep: float = 4.0
    flat: float = 0.01
    start = (-2.0, 0.7)
    window = ((-2.5, 9.0), (-1.4, 1.4))
    minimum = (6.0, 0.0)

    def value(self, params):
        x, y = params
        slope = self.steep * jax.nn.softplus(-4 * x) / 4
        return slope + 0.5 * self.flat * (x - 6) ** 2 + 0.5 * y**2

    def gradient(self, params):
        x, y = params
        return jnp.stack([-self.steep * jax.nn.sigmoid(-4 * x) + self.flat * (x - 6), y])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Plane(Surface):
    """What training minimises, along two directions from given weights.

    Forward:  f(x, y) = J(θ + x · across + y · up)
    Reverse:  ∇f = (∇J · across, ∇J · up), from one reverse pass of the network
    Source:   Li et al. 2018, arXiv:1712.09913, §4

    Attributes:
        objective: J.
        params: θ, the weights at (0, 0).
        across: the direction of x, a tree like the parameters.
        up: the direction of y.
    """

    objective: Objective
    params: Tree
    across: Tree
    up: Tree
    start = (-0.9, 0.7)
    window = ((-1.2, 1.2), (-1.2, 1.2))
    cells = 41  # a point of this map is a pass of a network

    @classmethod
    def random(cls, objective: Objective, params: Tree, key: Any) -> Plane:
        """A plane along random directions, each array of which is as long as that of the weights.

        So a step of 1 changes every array by its own length, large or small.
        """
        leaves, structure = jax.tree.flatten(params)
        directions = []
        for each in jax.random.split(key, 2):
            drawn = [
                jax.random.normal(k, leaf.shape, leaf.dtype)
                for k, leaf in zip(jax.random.split(each, len(leaves)), leaves, strict=True)
            ]
            lengths = [
                tree.norm(leaf) / tree.norm(d) for leaf, d in zip(leaves, drawn, strict=True)
            ]
            scaled = [tree.scale(n, d) for n, d in zip(lengths, drawn, strict=True)]
            directions.append(jax.tree.unflatten(structure, scaled))
        return cls(objective, params, *directions)

    def value(self, params):
        return self.objective.value(self._at(params))

    def gradient(self, params):
        grads = self.objective.gradient(self._at(params))
        return jnp.stack([_dot(grads, self.across), _dot(grads, self.up)])

    def _at(self, pair: Pair) -> Tree:
        x, y = pair
        return jax.tree.map(lambda w, a, b: w + x * a + y * b, self.params, self.across, self.up)


def _dot(a: Tree, b: Tree) -> Float[Array, ""]:
    return sum(
        (jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)),
        jnp.zeros(()),
    )


SURFACES: dict[str, Surface] = {
    "bowl": Bowl(),
    "narrow-bowl": Bowl(100.0),
    "rosenbrock": Rosenbrock(),
    "beale": Beale(),
    "saddle": Saddle(),
    "plateau": Plateau(),
    "steep-then-flat": SteepThenFlat(),
}
