"""The paths that rules and methods take over surfaces, and how long their steps are."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path as File
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import tree
from .arithmetic import full_precision
from .config import RULES, spelled
from .curvature import Objective
from .errors import ConfigError, nearest
from .model import load_model, precision
from .optim import (
    LBFGS,
    SGD,
    AdaGrad,
    Adam,
    Method,
    Momentum,
    Newton,
    NewtonCG,
    RMSProp,
    Rule,
    minimise,
)
from .prepared import prepare
from .surfaces import SURFACES, Plane, Surface

METHODS: dict[str, type] = {spelled(kind): kind for kind in (Newton, NewtonCG, LBFGS)}
# Those that take a step by themselves and need no other rule inside.
WALKERS = METHODS | {
    name: kind
    for name, kind in RULES.items()
    if "learning_rate" in {field.name for field in dataclasses.fields(kind)}
}
USUAL = ("sgd", "momentum", "adagrad", "rmsprop", "adam", "lbfgs", "newton")

# Where no rate is given, the best of these: 1, 2 and 5 in every power of ten.
RATES = tuple(float(f"{digit}e{power}") for power in range(-4, 1) for digit in (1, 2, 5))


_EXAMPLES = 1000


@dataclass(frozen=True)
class Path:
    """One way over a surface.

    Attributes:
        label: what walked.
        rate: its learning rate; None for a method, which finds the length of its steps.
        points: where it was, before the first step and after each (n + 1, 2).
        values: f there.
    """

    label: str
    rate: float | None
    points: np.ndarray
    values: np.ndarray

    @property
    def updates(self) -> np.ndarray:
        """How long each step was."""
        return np.linalg.norm(np.diff(self.points, axis=0), axis=1)


@dataclass(frozen=True)
class Picture:
    """A surface with the paths over it.

    Attributes:
        name: of the surface.
        surface: the function.
        x: the grid of the map, across.
        y: and up.
        field: f on it, field[i][j] at (x[j], y[i]).
        paths: what walked.
    """

    name: str
    surface: Surface
    x: np.ndarray
    y: np.ndarray
    field: np.ndarray
    paths: tuple[Path, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Where each path ended, as plain data."""
        return [
            {
                "surface": self.name,
                "rule": path.label,
                "learning_rate": path.rate,
                "steps": len(path.updates),
                "point": path.points[-1].tolist(),
                "value": float(path.values[-1]),
                "updates": path.updates.tolist(),
            }
            for path in self.paths
        ]


@dataclass(frozen=True)
class Walker:
    """What walks: a rule or a method, and whether its rate is to be chosen for each surface."""

    label: str
    walks: Rule | Method
    choose: bool = False


def walker(text: str, rate: float | None = None) -> Walker:
    """Read what walks: a name as in an experiment file, and its settings after a colon.

    Args:
        text: such as "adam" or "momentum:momentum=0.8,nesterov=true".
        rate: the learning rate of a rule that has none in the text; None: chosen for each surface.

    Raises:
        ConfigError: no such name, no such setting, or a value of another type.

    >>> walker("momentum:momentum=0.8", 0.1).walks.momentum
    0.8
    """
    name, _, settings = text.partition(":")
    if name not in WALKERS:
        raise ConfigError(f"nothing called '{name}' walks", next=nearest(name, WALKERS))
    kind = WALKERS[name]
    known = {field.name: field for field in dataclasses.fields(kind)}
    values = _settings(settings, text)
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigError(
            f"{name} has no setting '{unknown[0]}'",
            where=f"'{text}'",
            next=nearest(unknown[0], known),
        )
    choose = "learning_rate" in known and "learning_rate" not in values and rate is None
    if "learning_rate" in known:
        values = {"learning_rate": RATES[0] if rate is None else rate, **values}
    for key, value in values.items():
        wanted = float if key == "learning_rate" else type(known[key].default)
        if wanted is float and type(value) is int:
            values[key] = value = float(value)
        if type(value) is not wanted:
            raise ConfigError(
                f"{key} must be of type {wanted.__name__}, got {value!r}", where=f"'{text}'"
            )
    return Walker(text, kind(**values), choose)


def _settings(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.replace(",", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"settings have the form key=value,key=value: {error}", where=f"'{where}'"
        ) from None


def surface_of(name: str) -> Surface:
    """The surface of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SURFACES:
        raise ConfigError(f"there is no surface '{name}'", next=nearest(name, SURFACES))
    return SURFACES[name]


def plane_of(run: File, data_dir: File | None = None) -> Plane:
    """What training minimised in a run, along two random directions from its model's weights.

    It is that of the first 1,000 examples of the training part, in float64.

    Raises:
        CheckpointError: the run has no model.
        DataError: its data are missing.
    """
    model = load_model(run)
    with precision(model.experiment):
        prepared = prepare(model.experiment, data_dir)
        train = prepared.loaded.train
        few = train.take(np.arange(min(len(train), _EXAMPLES)))
        held = prepared.batches(few)
    with jax.enable_x64(True):
        task, batch = prepared.task, (few.x[:], held.targets, held.weight)
        wide = jax.tree.map(jnp.asarray, (model.params, model.state, batch))
        params, state, batch = tree.cast(wide, jnp.float64)
        objective = Objective(task.net, task.loss, task.penalty, state, batch)
        return Plane.random(objective, params, jax.random.key(model.experiment.seed))


def picture(name: str, surface: Surface, walkers: Sequence[Walker], steps: int = 100) -> Picture:
    """Map a surface, and let each walk over it from the surface's start.

    Args:
        name: of the surface.
        surface: the function.
        walkers: what walks.
        steps: how many steps each takes; a method may end before.

    Raises:
        ConfigError: steps is not positive.
    """
    if steps < 1:
        raise ConfigError(f"paths want at least 1 step, got {steps}")
    with jax.enable_x64(True):
        cells = surface.cells
        x, y = (np.linspace(*ends, cells) for ends in surface.window)
        grid = jnp.stack([g.ravel() for g in np.meshgrid(x, y)], axis=1)
        field = np.asarray(_values(surface, grid)).reshape(cells, cells)
        paths = tuple(_path(surface, each, steps) for each in walkers)
    return Picture(name, surface, x, y, field, paths)


def _path(surface: Surface, walker: Walker, steps: int) -> Path:
    start = jnp.array(surface.start)
    walks: Any = walker.walks
    if type(walks) in METHODS.values():
        trace = minimise(walks, surface, start, steps, 1e-9, watch=_where)
        return Path(walker.label, None, trace.watched, trace.values)
    if not walker.choose:
        points, values = _walk(surface, walks, steps, start)
        return Path(walker.label, walks.learning_rate, np.asarray(points), np.asarray(values))
    points, values = map(np.asarray, _walks(surface, walks, steps, start, jnp.array(RATES)))
    best = _best(surface, points, values)
    return Path(walker.label, RATES[best], points[best], values[best])


def _best(surface: Surface, points: np.ndarray, values: np.ndarray) -> int:
    """Which walk ends lowest, of those that never leave the window; the first, if all leave it."""
    low, high = np.array(surface.window).T
    inside = np.all((low <= points) & (points <= high), axis=(1, 2))
    ends = np.where(inside & np.isfinite(values[:, -1]), values[:, -1], np.inf)
    return int(np.argmin(ends))


def _where(params):
    return params


@jax.jit
@full_precision()
def _values(surface: Surface, grid):
    return jax.lax.map(surface.value, grid, batch_size=256)


@partial(jax.jit, static_argnums=(1, 2))
@full_precision()
def _walk(surface: Surface, rule: Rule, steps: int, start):
    return _steps(surface, rule, steps, start)


@partial(jax.jit, static_argnums=(1, 2))
@full_precision()
def _walks(surface: Surface, rule: Any, steps: int, start, rates):
    """The same rule with every rate: one compiled program."""

    def one(rate):
        return _steps(surface, dataclasses.replace(rule, learning_rate=rate), steps, start)

    return jax.vmap(one)(rates)


def _steps(surface: Surface, rule: Rule, steps: int, start):
    def step(at, _):
        params, state = at
        updates, state = rule.update(surface.gradient(params), state, params)
        return (params + updates, state), params + updates

    _, points = jax.lax.scan(step, (start, rule.init(start)), length=steps)
    points = jnp.concatenate([start[None], points])
    return points, jax.lax.map(surface.value, points)


@dataclass(frozen=True)
class Magnitudes:
    """How long the steps of several rules are when all see the same gradients.

    Attributes:
        title: the situation.
        flat: the step, counted from 0, from which on the gradient is small.
        updates: of each rule, by its name.
    """

    title: str
    flat: int
    updates: dict[str, np.ndarray]

    def order(self, after: int) -> tuple[str, ...]:
        """The rules by the length of their step, the longest first, `after` steps on the flat."""
        return tuple(sorted(self.updates, key=lambda name: -self.updates[name][self.flat + after]))


# The sheets' orders of update magnitudes, the longest first. What they put first of all, Newton's
# step, follows from the curvature and not from gradients, and is looked at on a surface.
CLAIMED_ON_A_PLATEAU = ("momentum", "adam", "adagrad")
CLAIMED_WHERE_GRADIENTS_VANISH = (
    "adam",
    "adam, not corrected",
    "nesterov",
    "momentum",
    "rmsprop, momentum",
    "sgd",
    "rmsprop",
    "adagrad",
)


def plateau_magnitudes(
    rate: float = 0.01, steep: float = 4.0, flat: float = 1e-3, steps: int = 200
) -> tuple[Magnitudes, Magnitudes]:
    """Compare rules on a plateau: one on which they begin, and one after a steep slope.

    The sheets give the orders above for a plateau. Neither is right of every plateau: which step is
    long is decided by what came before. A rule that divides by past gradients takes long steps on a
    plateau where it begins, and hardly moves on one that it reaches down a slope, where momentum
    still carries the others.

    Args:
        rate: the learning rate of all.
        steep: the gradient on the slope, of 20 steps.
        flat: the gradient on the plateau.
        steps: on the plateau.
    """
    rules: dict[str, Rule] = {
        "adam": Adam(rate),
        "adam, not corrected": Adam(rate, bias_correction=False),
        "nesterov": Momentum(rate, nesterov=True),
        "momentum": Momentum(rate),
        "rmsprop, momentum": RMSProp(rate, momentum=0.9),
        "sgd": SGD(rate),
        "rmsprop": RMSProp(rate),
        "adagrad": AdaGrad(rate),
    }
    slope, plateau = np.full(20, steep), np.full(steps, flat)
    with jax.enable_x64(True):
        found = [
            {name: np.asarray(_updates(rule, jnp.asarray(seen))) for name, rule in rules.items()}
            for seen in (plateau, np.concatenate([slope, plateau]))
        ]
    begun, reached = found
    return (
        Magnitudes("a plateau from the first step on", 0, begun),
        Magnitudes("20 steps down a steep slope, then a plateau", len(slope), reached),
    )


@partial(jax.jit, static_argnums=0)
def _updates(rule: Rule, gradients):
    """How long the steps are for these gradients of one number, wherever they lead."""
    at = jnp.zeros(())

    def step(state, grad):
        update, state = rule.update(grad, state, at)
        return state, jnp.abs(update)

    return jax.lax.scan(step, rule.init(at), gradients)[1]
