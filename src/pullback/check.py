"""Gradient checks: is every derivative the derivative of its own function?

A derivative is compared with central differences in float64: see `tangent` for how they are taken,
which never looks at the analytic value. The error of a block is the relative norm
‖a − n‖ / (‖a‖ + ‖n‖); a ratio of single entries, as in IFT6390's checker, fails where a derivative
is zero.

First the differences are those of the whole loss. A block that does not agree with them is compared
with differences taken node by node, which no kink can spoil, and those count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from . import tree
from .errors import ConfigError, ShapeError
from .loss import Loss
from .maps import Map, Net, Run
from .penalty import Penalty
from .tangent import Pushed, difference, push, pushing

# A gradient smaller than this, relative to the value of the function, is compared absolutely: below
# it the rounding of the difference itself, about 1e-16/h, would be all that is measured.
FLOOR = 1e-4


@dataclass(frozen=True)
class Entry:
    """One derivative, twice: `analytic` from our reverse, `numeric` by differences.

    A direction has no index.
    """

    analytic: float
    numeric: float
    index: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Block:
    """The checked derivatives of one array of parameters, and their relative error."""

    name: str
    error: float
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Report:
    """The outcome of a check.

    Attributes:
        blocks: one for each array of parameters, entry by entry, the worst entries first.
        along: one for each array again, along random directions, in which every entry takes part.
        threshold: the error from which on a block fails.
        examples: how many examples the loss was averaged over.
        notes: what else a reader must know, such as layers that cannot learn; see `symmetry`.
    """

    blocks: tuple[Block, ...]
    along: tuple[Block, ...]
    threshold: float
    examples: int
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> float:
        """The largest error of any block."""
        return max((block.error for block in (*self.blocks, *self.along)), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether every block is below the threshold; nan is not."""
        return all(block.error < self.threshold for block in (*self.blocks, *self.along))

    def __str__(self) -> str:
        """A line for each array, the worst entries of those that fail, the verdict, the notes."""
        width = max((len(block.name) for block in self.blocks), default=0)
        lines = []
        for block, along in zip(self.blocks, self.along, strict=True):
            right = max(block.error, along.error) < self.threshold
            lines.append(
                f"{block.name:<{width}}  {len(block.entries):3d} entries {block.error:.1e}  "
                f"{len(along.entries)} directions {along.error:.1e}  {'ok' if right else 'WRONG'}"
            )
            if not right:
                lines += [
                    f"  {e.index}: analytic {e.analytic:.10g}, numeric {e.numeric:.10g}"
                    for e in block.entries[:5]
                ]
        verdict = "every derivative is right" if self.ok else "a derivative is wrong"
        lines.append(
            f"{verdict}: worst relative error {self.worst:.1e}, "
            f"threshold {self.threshold:.0e}, {self.examples} examples"
        )
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def row(self) -> dict[str, Any]:
        """The report as plain data, for a record."""
        blocks = [
            {
                "name": block.name,
                "error": block.error,
                "along_error": along.error,
                "ok": max(block.error, along.error) < self.threshold,
                "entries": [
                    vars(entry) | {"index": list(entry.index or ())} for entry in block.entries
                ],
            }
            for block, along in zip(self.blocks, self.along, strict=True)
        ]
        directions = [
            {"name": block.name, "analytic": entry.analytic, "numeric": entry.numeric}
            for block in self.along
            for entry in block.entries
        ]
        return {
            "ok": self.ok,
            "threshold": self.threshold,
            "worst": self.worst,
            "examples": self.examples,
            "blocks": blocks,
            "directions": directions,
            "notes": list(self.notes),
        }


def relative_error(a, b, floor: float = 0.0) -> float:
    """The relative norm ‖a − b‖ / max(‖a‖ + ‖b‖, floor); 0 where both are 0.

    >>> relative_error(np.zeros(2), np.zeros(2)), relative_error(np.ones(1), -np.ones(1))
    (0.0, 1.0)
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    gap, size = (
        float(np.linalg.norm(a - b)),
        max(float(np.linalg.norm(a) + np.linalg.norm(b)), floor),
    )
    return gap / size if gap else 0.0


def check_gradients(
    net: Net,
    loss: Loss,
    penalty: Penalty,
    params,
    state,
    batch,
    *,
    seed: int = 0,
    entries: int = 20,
    directions: int = 4,
    threshold: float = 1e-7,
) -> Report:
    """Check the derivative of loss + penalty by every array of parameters, in float64.

    The pass is a training pass with one fixed key, so that masks are the same in every evaluation.

    Args:
        net: the network whose `sweep` is checked.
        loss: its loss; and with it
        penalty: its penalty; what acts after each update instead of through a derivative has none.
        params: where the derivative is taken, of any precision; it is cast to float64.
        state: the state that goes with them.
        batch: x, y (targets) and weight.
        seed: of the choice of entries and directions.
        entries: for each array: half of them those of the largest derivative, half drawn at random;
            all if it has no more.
        directions: random directions for each array.
        threshold: the relative error from which on a block fails.

    Raises:
        ConfigError: the reverse of a map is an estimate, which no difference can confirm.
    """
    refuse_estimates(net)
    penalty = penalty.differentiated
    with jax.enable_x64(True):
        params, state, batch = jax.tree.map(
            jnp.asarray, tree.cast(_on_host((params, state, tuple(batch))), np.float64)
        )
        x, y, weight = batch
        run = Run(jax.random.key(seed), True)
        flat, unravel = ravel_pytree(params)

        def value(theta):
            params = unravel(theta)
            z, _, _ = net.forward(params, state, x, run)
            return loss.forward(z, y, weight)[0] + penalty.value(params)

        @jax.jit
        def gradient(params):
            z, saved, _ = net.forward(params, state, x, run)
            grads, _ = net.reverse(params, saved, loss.reverse(loss.forward(z, y, weight)[1]))
            return tree.add(grads, penalty.reverse(params))

        @jax.jit
        def node_by_node(direction):
            at = jax.tree.map(Pushed, params, unravel(direction))
            z, _, _ = pushing(net).forward(at, state, Pushed(x, jnp.zeros_like(x)), run)
            cost = push(lambda z: loss.forward(z, y, weight)[0], z)
            return cost.tangent + push(penalty.value, at).tangent

        def counted(a, numeric, directions) -> np.ndarray:
            """The differences with which derivatives along these directions are compared."""
            if relative_error(a, numeric, floor) < threshold:
                return numeric
            return np.asarray([float(node_by_node(jnp.asarray(v))) for v in directions])

        grads = tree.named(jax.device_get(gradient(params)))
        floor = FLOOR * max(1.0, abs(float(value(flat))))
        rng, numeric_of = np.random.default_rng(seed), Differences(value)
        blocks, along, offset = [], [], 0
        for name, grad in grads.items():
            a = grad.ravel()
            chosen = _choose(rng, a, entries)
            units = (_embed(np.ones(1), offset + i, flat.size) for i in chosen)
            numeric = counted(a[chosen], numeric_of.at(flat, offset + chosen), units)
            found = [
                Entry(float(a[i]), float(n), tuple(int(k) for k in np.unravel_index(i, grad.shape)))
                for i, n in zip(chosen, numeric, strict=True)
            ]
            found.sort(key=lambda entry: -abs(entry.analytic - entry.numeric))
            blocks.append(Block(name, relative_error(a[chosen], numeric, floor), tuple(found)))
            v = rng.standard_normal((directions, a.size)) / np.sqrt(a.size)
            lines = [_embed(row, offset, flat.size) for row in v]
            numeric = counted(v @ a, numeric_of.along(flat, lines), lines)
            found = tuple(Entry(float(s), float(n)) for s, n in zip(v @ a, numeric, strict=True))
            along.append(Block(name, relative_error(v @ a, numeric, floor), found))
            offset += a.size
        return Report(tuple(blocks), tuple(along), threshold, len(x))


def refuse_estimates(net: Net) -> None:
    """Refuse to check a network with a map whose reverse is declared an estimate.

    Raises:
        ConfigError: there is one.
    """
    for node in net.nodes:
        if node.map.estimated:
            raise ConfigError(
                f"the derivative of {node.map} is an estimate, which no difference can confirm",
                where=f"node '{node.name}'",
                next="train without the gradient check: set check.enabled = false",
            )


def _on_host(a):
    return jax.tree.map(np.asarray, a)


def _embed(v: np.ndarray, offset: int, size: int) -> np.ndarray:
    whole = np.zeros(size)
    whole[offset : offset + v.size] = v
    return whole


def _choose(rng, a: np.ndarray, entries: int) -> np.ndarray:
    if a.size <= entries:
        return np.arange(a.size)
    largest = np.argsort(-np.abs(a), kind="stable")[: entries // 2]
    others = np.setdiff1d(np.arange(a.size), largest)
    return np.concatenate([largest, rng.choice(others, entries - len(largest), replace=False)])


class Differences:
    """Central differences of one function of a flat vector, compiled once for all places."""

    def __init__(self, value: Callable):
        self._one = jax.jit(partial(_entry, value))
        self._line = jax.jit(partial(_line, value))

    def at(self, flat, index) -> np.ndarray:
        """The derivatives at `flat` with respect to each entry in `index`."""
        return np.asarray([float(self._one(flat, jnp.asarray(i))) for i in index])

    def along(self, flat, directions) -> np.ndarray:
        """The derivatives at `flat` along each of the directions, vectors like `flat`."""
        return np.asarray([float(self._line(flat, jnp.asarray(v))) for v in directions])


def _entry(value, flat, i):
    unit = jnp.maximum(1, jnp.abs(flat[i]))
    return difference(lambda h: value(flat.at[i].add(h * unit))) / unit


def _line(value, flat, direction):
    return difference(lambda h: value(flat + h * direction))


@dataclass(frozen=True)
class Errors:
    """How far a gradient is from two independent oracles, by what it is the derivative of.

    Attributes:
        differences: the relative error against central differences.
        autodiff: the relative error against `jax.grad` of the same function.
        entries: how many derivatives were compared.
    """

    differences: dict[str, float]
    autodiff: dict[str, float]
    entries: int


def check_gradient(value: Callable, gradient: Callable, at: dict[str, Any]) -> Errors:
    """Compare a gradient with central differences and `jax.grad`, entry by entry, in float64.

    All three are one compiled function, so that a check of a small function costs little more than
    its compilation.

    Args:
        value: a function of `at` that returns a number.
        gradient: what should be its gradient: a function of `at` that returns a tree like it.
        at: where both are taken: trees by name, of any precision.
    """

    @jax.jit
    def compute(at):
        flat, unravel = ravel_pytree(at)
        units = jnp.maximum(1, jnp.abs(flat))

        def moved(h):
            return jax.vmap(lambda move: value(unravel(flat + h * move)))(jnp.diag(units))

        return gradient(at), jax.grad(value)(at), unravel(difference(moved) / units)

    with jax.enable_x64(True):
        at = jax.tree.map(jnp.asarray, tree.cast(_on_host(at), np.float64))
        ours, theirs, numeric = jax.device_get(compute(at))
    errors = Errors({}, {}, sum(leaf.size for leaf in jax.tree.leaves(numeric)))
    for name, exact in theirs.items():
        if jax.tree.leaves(exact):
            a, b, c = (_in_one(each[name], exact) for each in (ours, theirs, numeric))
            errors.differences[name] = relative_error(a, c, FLOOR)
            errors.autodiff[name] = relative_error(a, b)
    return errors


def _in_one(gradient, like) -> np.ndarray:
    """A gradient as one vector; one that is not shaped like the parameters is no gradient."""
    shapes, wanted = (jax.tree.map(np.shape, each) for each in (gradient, like))
    if shapes != wanted:
        raise ShapeError(f"the gradient has the shapes {shapes}, wanted {wanted}")
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])


def check_map(
    map: Map,
    x,
    run: Run | None = None,
    *,
    seed: int = 0,
    params=None,
    state=None,
    surrogate: Map | None = None,
) -> Errors:
    """Compare a map's `reverse` with central differences and autodiff of `forward`, in float64.

    The cotangent is random, not uniform: a sum of outputs would hide what cancels in it (the
    reverse of a softmax, say). Every entry of the parameters and of x is checked; use small shapes.

    Args:
        map: the map.
        x: its input: an array, or a tuple of arrays for a map of several wires.
        run: an evaluation unless given.
        seed: of the parameters, where they are not given, and of the cotangent.
        params: where the derivative is taken.
        state: the state that goes with them.
        surrogate: the map whose derivative the reverse is, where it is declared an estimate.

    Raises:
        ConfigError: the reverse is an estimate and no surrogate is given, or the other way round.
    """
    if map.estimated != (surrogate is not None):
        raise ConfigError(
            f"{map} has the reverse of {'another' if map.estimated else 'its own'} map",
            next="give the surrogate" if map.estimated else "give no surrogate",
        )
    valued = map if surrogate is None else surrogate
    run = Run() if run is None else run
    with jax.enable_x64(True):
        x = jax.tree.map(jnp.asarray, tree.cast(_on_host(x), np.float64))
        if params is None:
            params, state = map.init(jax.random.key(seed), x)
        y = jax.eval_shape(lambda p, s, v: map.forward(p, s, v, run)[0], params, state, x)
        # Not the draw of an x of this seed: a normalisation maps the cotangent x to 0.
        dy = jnp.asarray(np.random.default_rng((seed, 1)).standard_normal(y.shape))

        def value(at):
            return jnp.sum(dy * valued.forward(at["params"], state, at["x"], run)[0])

        def gradient(at):
            _, saved, _ = map.forward(at["params"], state, at["x"], run)
            dparams, dx = map.reverse(at["params"], saved, dy)
            return {"params": dparams, "x": dx}

        return check_gradient(value, gradient, {"params": params, "x": x})
