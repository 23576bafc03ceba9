"""What a report shows of a trained network, as plain rows: no picture is drawn here."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import tree
from .data import Examples
from .maps import Run, key_for
from .train import Learner, Task, predictions
from .tree import shortest

BINS = 40
WORST = 40
GRID = 120
SHOWN, DRAWN = 10, 4


def network_row(task: Task, params, state, x) -> dict[str, Any]:
    """The network by nodes: what each is, reads, gives, holds and saves for one example."""
    shapes = task.net.shapes(x)
    saved = jax.eval_shape(lambda p, s, v: task.net.forward(p, s, v, Run())[1], params, state, x)
    layers = []
    for node in task.net.nodes:
        held = params[node.owner]
        layers.append(
            {
                "name": node.name,
                "map": type(node.map).__name__,
                "reads": list(node.inputs),
                "shape": list(shapes[node.name].shape[1:]),
                "parameters": tree.count(held),
                "bytes": tree.nbytes(held),
                "saved_bytes": tree.nbytes(saved[node.name]) // x.shape[0],
                "owner": node.owner,
                "text": str(node.map),
            }
        )
    return {
        "layers": layers,
        "input": list(x.shape[1:]),
        "parameters": tree.count(params),
        "bytes": tree.nbytes(params),
        "loss": str(task.loss),
        "predicts": "probability" if task.loss.probabilities else "score",
        "penalty": " + ".join(map(str, getattr(task.penalty, "terms", (task.penalty,)))) or "none",
        "rule": str(task.rule),
    }


def weights_row(params) -> dict[str, Any]:
    """A histogram of each array of parameters."""
    layers = {}
    for name, values in tree.named(params).items():
        counts, edges = np.histogram(np.asarray(values), BINS, _reach(np.asarray(values)))
        layers[name] = {"edges": shortest(edges.astype(np.float32)), "counts": counts.tolist()}
    return {"layers": layers}


def _reach(values: np.ndarray) -> tuple[float, float] | None:
    """Ends for values that only rounding parts, between which no bins fit; None for all others.

    They are those that NumPy takes for equal values.
    """
    low, high = values.min(), values.max()
    if 0 < high - low <= BINS * np.spacing(max(abs(low), abs(high))):
        return float(low) - 0.5, float(high) + 0.5
    return None


def augmented_row(task: Task, examples: Examples, columns: int, seed: int) -> dict[str, Any]:
    """Pictures of some examples in the first line, and beneath it what training makes of them."""
    assert examples.image is not None
    chosen = np.linspace(0, len(examples) - 1, min(SHOWN, len(examples))).astype(int)
    few = examples.take(chosen)
    x = jnp.asarray(few.x[:])
    batch = x, jnp.asarray(few.targets(x.dtype, columns)), jnp.ones(len(few), x.dtype)
    key: Any = key_for(jax.random.key(seed), "augmented")
    changed = jax.jit(jax.vmap(lambda key: task.augment(key, *batch)[0]))(
        jax.random.split(key, DRAWN)
    )
    low, high = float(x.min()), float(x.max())
    shades = 255 * (np.concatenate([x[None], changed]) - low) / ((high - low) or 1)
    return {
        "image": list(examples.image),
        "examples": chosen.tolist(),
        "labels": [None if examples.classes is None else int(label) for label in few.y],
        "pixels": np.clip(np.round(shades), 0, 255).astype(int).reshape(*shades.shape[:2], -1),
    }


def class_rows(
    task: Task, learner: Learner, part: str, examples: Examples
) -> list[tuple[str, dict[str, Any]]]:
    """The confusion matrix of one part, and its most wrong examples: (kind, row) each."""
    assert examples.classes is not None
    found = predictions(task, learner.params, learner.state, examples.x)
    true = np.asarray(examples.y)
    probability = np.concatenate([1 - found, found], axis=1) if found.shape[1] == 1 else found
    guess = (found[:, 0] > 0.5).astype(int) if found.shape[1] == 1 else found.argmax(axis=1)
    counts = np.zeros((len(examples.classes), len(examples.classes)), int)
    np.add.at(counts, (true, guess), 1)
    rows: list[tuple[str, dict[str, Any]]] = [
        ("confusion", {"part": part, "counts": counts.tolist()})
    ]
    given = probability[np.arange(len(true)), true]
    worst = [i for i in np.argsort(given, kind="stable") if guess[i] != true[i]][:WORST]
    if worst:
        few = examples.take(np.asarray(worst))
        z, _, _ = task.net.forward(learner.params, learner.state, few.x[:], Run())
        targets = jnp.asarray(few.targets(z.dtype, z.shape[1]))
        losses = np.asarray(task.loss.terms(z, targets)).sum(axis=1)
        shown = [
            _wrong(examples, i, true, guess, probability, loss)
            for i, loss in zip(worst, losses, strict=True)
        ]
        rows.append(("wrong", {"part": part, "examples": shown}))
    return rows


def _wrong(examples: Examples, i: int, true, guess, probability, loss) -> dict[str, Any]:
    x = np.asarray(examples.x[i], np.float64).ravel()
    row = {
        "index": int(i),
        "true": int(true[i]),
        "predicted": int(guess[i]),
        "probability": shortest(np.float32(probability[i, true[i]])),
        "loss": shortest(loss),
        "pixels": None,
        "features": None,
    }
    if examples.image is not None:
        low, high = float(x.min()), float(x.max())
        row["pixels"] = np.round(255 * (x - low) / ((high - low) or 1)).astype(int).tolist()
    else:
        row["features"] = shortest(x[:20].astype(np.float32))
    return row


def boundary_row(task: Task, learner: Learner, examples: Examples) -> dict[str, Any]:
    """The decision over the plane of two features, with up to 500 training examples on it."""
    assert examples.classes is not None
    x = np.asarray(examples.x)
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.1 * np.maximum(high - low, 1e-3)
    axes = [
        np.linspace(a, b, GRID, dtype=x.dtype)
        for a, b in zip(low - margin, high + margin, strict=True)
    ]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes)], axis=1)
    found = predictions(task, learner.params, learner.state, grid)
    if len(examples.classes) == 2:
        field = np.clip(found[:, -1], 0, 1)
    else:
        field = found.argmax(axis=1).astype(np.float32)
    shown = np.linspace(0, len(x) - 1, min(len(x), 500)).astype(int)
    names = examples.features or ("x1", "x2")
    return {
        "x": shortest(axes[0]),
        "y": shortest(axes[1]),
        "field": [shortest(row) for row in np.round(field.reshape(GRID, GRID), 3)],
        "classes": len(examples.classes),
        "points": [[*shortest(x[i]), int(examples.y[i])] for i in shown],
        "labels": list(names),
    }
