"""Gradient checks: is every derivative the derivative of its own function?

A derivative is compared with central differences in float64. A difference has two errors: cutting
off the series, which falls with the step h, and rounding, which grows as h falls; and it is
meaningless where the line crosses a kink. So each is taken at several h with the five-point rule,
which is exact up to h⁴,

    D(h) = (8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h,

and the h whose own two estimates (five points, and three) agree best is believed. That choice never
looks at the analytic value. The error of a block is the relative norm ‖a − n‖ / (‖a‖ + ‖n‖); a
ratio of single entries, as in IFT6390's checker, fails where a derivative is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from . import tree
from .loss import Loss
from .maps import Map, Net, Run
from .penalty import Penalty

STEPS = (1e-3, 1e-4, 1e-5)

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
    """

    blocks: tuple[Block, ...]
    along: tuple[Block, ...]
    threshold: float
    examples: int

    @property
    def worst(self) -> float:
        """The largest error of any block."""
        return max((block.error for block in (*self.blocks, *self.along)), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether every block is below the threshold; nan is not."""
        return all(block.error < self.threshold for block in (*self.blocks, *self.along))

    def __str__(self) -> str:
        """A line for each array, the worst entries of those that fail, and the verdict."""
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
        penalty: its penalty.
        params: where the derivative is taken, of any precision; it is cast to float64.
        state: the state that goes with them.
        batch: x, y (targets) and weight.
        seed: of the choice of entries and directions.
        entries: for each array: half of them those of the largest derivative, half drawn at random;
            all if it has no more.
        directions: random directions for each array.
        threshold: the relative error from which on a block fails.
    """
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

        grads = tree.named(jax.device_get(gradient(params)))
        floor = FLOOR * max(1.0, abs(float(value(flat))))
        rng, numeric_of = np.random.default_rng(seed), Differences(value)
        blocks, along, offset = [], [], 0
        for name, grad in grads.items():
            a = grad.ravel()
            chosen = _choose(rng, a, entries)
            numeric = numeric_of.at(flat, offset + chosen)
            found = [
                Entry(float(a[i]), float(n), tuple(int(k) for k in np.unravel_index(i, grad.shape)))
                for i, n in zip(chosen, numeric, strict=True)
            ]
            found.sort(key=lambda entry: -abs(entry.analytic - entry.numeric))
            blocks.append(Block(name, relative_error(a[chosen], numeric, floor), tuple(found)))
            v = rng.standard_normal((directions, a.size)) / np.sqrt(a.size)
            numeric = numeric_of.along(flat, [_embed(row, offset, flat.size) for row in v])
            found = tuple(Entry(float(s), float(n)) for s, n in zip(v @ a, numeric, strict=True))
            along.append(Block(name, relative_error(v @ a, numeric, floor), found))
            offset += a.size
        return Report(tuple(blocks), tuple(along), threshold, len(x))


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
    return _difference(lambda h: value(flat.at[i].add(h * unit))) / unit


def _line(value, flat, direction):
    return _difference(lambda h: value(flat + h * direction))


def _difference(f):
    """The derivative of f at 0, at the step where five points and three agree best."""
    h = jnp.asarray(STEPS)
    offsets = jnp.concatenate([h, -h, 2 * h, -2 * h])
    near_up, near_down, far_up, far_down = jax.lax.map(f, offsets).reshape(4, len(STEPS))
    three = (near_up - near_down) / (2 * h)
    five = (8 * (near_up - near_down) - (far_up - far_down)) / (12 * h)
    noise = jnp.finfo(h.dtype).eps * (jnp.abs(near_up) + jnp.abs(near_down)) / h
    return five[jnp.argmin(jnp.abs(five - three) + noise)]


@dataclass(frozen=True)
class MapErrors:
    """How far a map's reverse is from two independent oracles, by what it is the cotangent of."""

    differences: dict[str, float] = field(default_factory=dict)
    autodiff: dict[str, float] = field(default_factory=dict)


def check_map(
    map: Map, x, run: Run | None = None, *, seed: int = 0, params=None, state=None
) -> MapErrors:
    """Compare a map's `reverse` with central differences and `jax.vjp` of `forward`, in float64.

    The cotangent is random, not uniform: a sum of outputs would hide what cancels in it (the
    reverse of a softmax, say). Every entry of the parameters and of x is checked; use small shapes.

    Args:
        map: the map.
        x: its input: an array, or a tuple of arrays for a map of several wires.
        run: an evaluation unless given.
        seed: of the parameters, where they are not given, and of the cotangent.
        params: where the derivative is taken.
        state: the state that goes with them.
    """
    run = Run() if run is None else run
    with jax.enable_x64(True):
        x = jax.tree.map(jnp.asarray, tree.cast(_on_host(x), np.float64))
        if params is None:
            params, state = map.init(jax.random.key(seed), x)
        y, saved, _ = map.forward(params, state, x, run)
        dy = jnp.asarray(np.random.default_rng(seed).standard_normal(y.shape))
        ours = dict(zip(("params", "x"), map.reverse(params, saved, dy), strict=True))
        theirs = dict(
            zip(
                ("params", "x"),
                jax.vjp(lambda p, v: map.forward(p, state, v, run)[0], params, x)[1](dy),
                strict=True,
            )
        )
        at = {"params": params, "x": x}
        errors = MapErrors()
        for side in ("params", "x"):
            a, b = ravel_pytree(ours[side])[0], ravel_pytree(theirs[side])[0]
            flat, unravel = ravel_pytree(at[side])

            def value(theta, side=side, unravel=unravel):
                moved = at | {side: unravel(theta)}
                return jnp.sum(dy * map.forward(moved["params"], state, moved["x"], run)[0])

            errors.autodiff[side] = relative_error(a, b)
            if flat.size:
                errors.differences[side] = relative_error(
                    a, Differences(value).at(flat, np.arange(flat.size)), FLOOR
                )
        return errors
