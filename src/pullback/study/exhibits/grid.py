"""IFT6390, practical part, §3.3: the grid of hyper-parameters and its decision boundaries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ... import config
from ...maps import Run
from ...prepared import Prepared, prepare
from ...tune.together import Together, Trial, groups
from ..chart import Chart, Curve, Panel, Plane
from .core import Given, Shown

_EDGE = 1.6
_CELLS = 41


@dataclass(frozen=True)
class Cell:
    """One combination: the width, the learning rate, and both penalties as the source counts."""

    hidden: int
    rate: float
    l1: float
    l2: float

    @property
    def penalties(self) -> str:
        """Those that there are, in words."""
        found = [f"{name} {v:g}" for name, v in (("L1", self.l1), ("L2", self.l2)) if v]
        return ", ".join(found) or "no penalty"

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.hidden} units, rate {self.rate:g}, {self.penalties}"


def boundary_grid(
    given: Given,
    *,
    hidden: tuple[int, ...] = (5, 100),
    rates: tuple[float, ...] = (0.05, 0.005),
    l1: tuple[float, ...] = (0.0, 0.01),
    l2: tuple[float, ...] = (0.0, 0.01),
    epochs: tuple[int, ...] = (25, 100),
    points: int = 500,
    noise: float = 0.05,
    batch: int = 10,
) -> Shown:
    """Train every combination on circles, one width as one program, and draw what each says.

    The source's penalty l2 Σ w² is `L2` with twice that strength.

    Source:  IFT6390 homework 3, practical part, §3.3 and figures 3–5

    Numbers: the greatest accuracy on the training part: "best-5", "best-100" and so on by width,
    "free-100" without penalties after the last epoch, "penalised-100" with them, if any; "early",
    of any after the fewest epochs; "constant", how many of all say the same of the whole plane.
    """
    cells = [Cell(*each) for each in itertools.product(hidden, rates, l1, l2)]
    prepared = [prepare(_experiment(given, cell, points, noise, batch, epochs)) for cell in cells]
    # One split and one order of the data for all: a program then holds them once.
    part = prepared[0].batches(prepared[0].loaded.train)
    trials = [Trial(p.task, part, {"train": part}, given.seed, epochs[-1]) for p in prepared]
    accuracy = np.zeros((len(epochs), len(cells)))
    side = np.linspace(-_EDGE, _EDGE, _CELLS)
    fields = np.zeros((len(epochs), len(cells), _CELLS, _CELLS))
    for members in groups(trials):
        together = Together([trials[i] for i in members])
        for j, count in enumerate(epochs):
            found = together.advance(count * together.steps_per_epoch)
            accuracy[j, members] = [each["train"]["accuracy"] for each in found]
            fields[j, members] = _fields(prepared[members[0]], together, side)
    numbers = {f"best-{width}": _best(accuracy, cells, hidden=width) for width in hidden}
    numbers |= {f"free-{width}": _best(accuracy[-1:], cells, width, False) for width in hidden}
    if any(l1) or any(l2):
        numbers |= {f"penalised-{w}": _best(accuracy, cells, w, True) for w in hidden}
    numbers["early"] = float(accuracy[0].max())
    flat = [(field > 0.5).all() or (field < 0.5).all() for row in fields for field in row]
    numbers["constant"] = float(sum(flat))
    return Shown(
        numbers,
        tuple(
            _chart(cells, count, batch, accuracy[j], fields[j], side, prepared[0])
            for j, count in reversed(list(enumerate(epochs)))
        ),
    )


def _experiment(given: Given, cell: Cell, points: int, noise: float, batch: int, epochs):
    table = {
        "name": "grid",
        "seed": given.seed,
        "loss": "softmax-cross-entropy",
        "penalty": [
            {"name": "l1", "strength": cell.l1},
            {"name": "l2", "strength": 2 * cell.l2},
        ],
        "data": {"source": "circles", "n": points, "noise": noise},
        "network": {"hidden": [cell.hidden], "initializer": "fan-in-uniform"},
        "rule": {"name": "sgd", "learning_rate": cell.rate},
        "train": {"epochs": epochs[-1], "batch_size": batch},
    }
    return config.parse(table, f"the grid, {cell}")


def _fields(prepared: Prepared, together: Together, side: np.ndarray) -> np.ndarray:
    """The probability of the second class over the plane, for every lane."""
    net, loss = prepared.task.net, prepared.task.loss
    grid = np.stack([each.ravel() for each in np.meshgrid(side, side)], axis=1)
    x = jnp.asarray(grid, prepared.dtype)

    @jax.jit
    @jax.vmap
    def said(params, state):
        return loss.link(net.forward(params, state, x, Run())[0])[:, 1]

    learners = together.learners
    return np.asarray(said(learners.params, learners.state)).reshape(-1, _CELLS, _CELLS)


def _best(
    accuracy: np.ndarray, cells: Sequence[Cell], hidden: int, penalised: bool | None = None
) -> float:
    """The greatest of a width; of those with penalties or without, if that is asked."""
    chosen = [
        cell.hidden == hidden and penalised in (None, bool(cell.l1 or cell.l2)) for cell in cells
    ]
    return float(accuracy[:, chosen].max())


def _chart(
    cells: Sequence[Cell],
    epochs: int,
    batch: int,
    accuracy: np.ndarray,
    fields: np.ndarray,
    side: np.ndarray,
    prepared: Prepared,
) -> Chart:
    train = prepared.loaded.train
    x, y, names = np.asarray(train.x[:120]), np.asarray(train.y[:120]), train.classes
    assert names is not None
    points = tuple(
        Curve(name=names[c], x=x[y == c, 0].round(3), y=x[y == c, 1].round(3), dots=True)
        for c in (0, 1)
    )
    return Chart(
        id=f"boundaries-{epochs}-by-{batch}",
        title=f"Decision boundaries after {epochs} epochs in batches of {batch}",
        caption="In the title of each panel: hidden units, learning rate, penalties, and the "
        "accuracy on the training part, of which 120 points are drawn. The line is where both "
        "classes are as probable.",
        x="x1",
        y="x2",
        panels=tuple(
            Panel(
                title=f"{cell.hidden} units, rate {cell.rate:g}\n"
                f"{cell.penalties}: {100 * share:.1f} %",
                curves=points,
                plane=Plane(
                    x=side, y=side, values=tuple(np.round(row, 3) for row in field), lines="half"
                ),
            )
            for cell, share, field in zip(cells, accuracy, fields, strict=True)
        ),
        equal=True,
    )
