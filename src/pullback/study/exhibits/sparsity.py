"""What zeros among the weights are good for: pruning by magnitude, bytes on disk, time."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ... import tensors, tree
from ...config import Experiment
from ...data import Batches
from ...maps import Run
from ...model import Model, load_model, precision
from ...optim import SGD, Cosine
from ...prepared import prepare
from ...train import Batch, Learner, Part, Task, predictions, step
from ...train.step import stream
from ..chart import Chart, Curve, Panel, chart
from .core import Given, Shown

Layers = list[dict[str, np.ndarray]]
"""The affine layers of a network, from the input on: "weight", and "bias" where there is one."""


def cut(params: Any, share: float) -> Any:
    """Set the share of all weights to 0 that are smallest in magnitude, whatever their layer.

    Biases and scales, the arrays of one dimension, stay.

    >>> cut({"affine1": {"weight": np.array([[3.0, -1.0], [2.0, -4.0]])}}, 0.5)
    {'affine1': {'weight': array([[ 3.,  0.],
           [ 0., -4.]])}}
    """
    sizes = np.concatenate([np.abs(a).ravel() for a in jax.tree.leaves(params) if a.ndim > 1])
    count = round(share * len(sizes))
    least = np.sort(sizes)[count] if count < len(sizes) else np.inf
    return jax.tree.map(lambda a: np.where(np.abs(a) < least, 0, a) if a.ndim > 1 else a, params)


def pruning(
    given: Given,
    *,
    shares: tuple[float, ...] = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99),
    again: tuple[float, ...] = (0.9, 0.95, 0.98),
    passes: int = 1,
    learning_rate: float = 0.1,
) -> Shown:
    """Prune a trained network by magnitude, and train what is left again.

    Source:  Han et al. 2015, Learning both weights and connections for efficient neural networks

    Numbers, of each share: "accuracy-SHARE" on the test part, "lost-SHARE" against the reference as
    it was trained, and "bytes-SHARE" of the arrays as a model is saved; "again-SHARE" and
    "again-lost-SHARE", the same two after training again; "share-at-half-a-point", the largest
    share at which half a point of accuracy is lost at most without that, 0 if there is none.

    Args:
        given: the trained network, and perhaps a second arm: the reference, else itself.
        shares: of the weights that are set to 0; the first must be 0.
        again: at which of them the network is trained again.
        passes: for how many passes over the training part, without any penalty.
        learning_rate: the first of a cosine that falls to 0.
    """
    name, *others = given.runs
    experiment, model = given.experiments[name], load_model(given.runs[name])
    params = jax.tree.map(np.asarray, model.params)
    with precision(experiment):
        prepared = prepare(experiment, given.data_dir)
        test = Part(prepared.batches(prepared.examples()["test"]), model.task.classifies)
        training = prepared.batches(prepared.loaded.train)
        accuracy, size = [], []
        for share in shares:
            pruned = cut(params, share)
            accuracy.append(_accuracy(test, model.task, pruned, model.state))
            size.append(len(tensors.encode(tree.named(pruned))))
        mended = {}
        for share in again:
            pruned = cut(params, share)
            learner = _again(model, pruned, training, passes, learning_rate, given.seed)
            mended[share] = _accuracy(test, model.task, learner.params, learner.state)
        reference = accuracy[0]
        if others:
            other = load_model(given.runs[others[0]])
            reference = _accuracy(test, other.task, other.params, other.state)
    lost = reference - np.array(accuracy)
    numbers = {"share-at-half-a-point": float(max([0.0, *np.array(shares)[lost <= 0.005]]))}
    for share, *row in zip(shares, accuracy, lost, size, strict=True):
        of = zip(("accuracy", "lost", "bytes"), row, strict=True)
        numbers |= {f"{what}-{share:g}": float(each) for what, each in of}
    for share, found in mended.items():
        numbers |= {f"again-{share:g}": found, f"again-lost-{share:g}": reference - found}
    return Shown(
        numbers,
        (
            chart(
                f"pruned-{name}",
                f"Accuracy after pruning: {name}",
                "Accuracy on the test part when the smallest weights of the trained network are "
                f"set to 0; and when the others train for {passes} more pass{'es' * (passes > 1)}.",
                "share of the weights that is 0",
                "accuracy",
                [
                    Curve(name="cut", x=shares, y=accuracy),
                    Curve(name="trained again", x=list(mended), y=list(mended.values()), dots=True),
                ],
                percent=True,
            ),
        ),
    )


def _again(
    model: Model, pruned: Any, training: Batches, passes: int, learning_rate: float, seed: int
) -> Learner:
    """The network after more training, whose weights that are 0 stay so after each step."""
    steps = passes * training.steps_per_epoch
    task = Task(model.task.net, model.task.loss, SGD(Cosine(learning_rate, length=steps)))
    kept = jax.tree.map(lambda w: w != 0 if w.ndim > 1 else np.ones(w.shape, bool), pruned)
    learner: Any = Learner(pruned, model.state, task.rule.init(pruned))
    key: Any = stream(seed, "masks")

    @jax.jit
    def take(learner, kept, data, rows, first):
        def one(learner, at):
            row, i = at
            run = Run(jax.random.fold_in(key, first + i), True)
            learner, _ = step(task, learner, Batch(*(a[row] for a in data)), run)
            params = jax.tree.map(
                lambda w, m: jnp.where(m, w, jnp.zeros_like(w)), learner.params, kept
            )
            return learner._replace(params=params), None

        return jax.lax.scan(one, learner, (rows, jnp.arange(len(rows))))[0]

    for epoch in range(passes):
        for chunk in training.epoch(epoch):  # the smaller last batch of an epoch is left out
            data = Batch(chunk.x, chunk.y, chunk.weight)
            first = epoch * training.steps_per_epoch + chunk.first
            learner = take(learner, kept, data, chunk.order[: chunk.full], first)
    return learner


class Compact(NamedTuple):
    """A network without the units that nobody hears.

    Attributes:
        layers: its affine layers.
        inputs: which inputs are left.
        units: how many hidden units of each layer are left.
    """

    layers: Layers
    inputs: np.ndarray
    units: list[int]


def without_dead_units(layers: Layers) -> Compact:
    """Drop each unit whose outgoing weights are all 0, and each such input; nothing else changes.

    A unit that is dropped takes its incoming weights and its bias with it, so that it is gone on
    with from the output to the input. At least one of each layer stays.

    Shapes: weight (d_in, d_out), bias (d_out,)
    """
    kept: Layers = []
    heard = np.arange(layers[-1]["weight"].shape[1])
    counts: list[int] = []
    for layer in reversed(layers):
        weight = layer["weight"][:, heard]
        alive = np.flatnonzero((weight != 0).any(axis=1))
        alive = alive if len(alive) else np.arange(1)
        left = {"weight": weight[alive]}
        if "bias" in layer:
            left["bias"] = layer["bias"][heard]
        kept.insert(0, left)
        counts.insert(0, len(alive))
        heard = alive
    return Compact(kept, heard, counts[1:])


def sizes(given: Given, *, repeats: int = 9, examples: int = 2000) -> Shown:
    """Weigh trained networks: zeros, units, bytes on disk, and the time of an inference.

    Numbers, of each arm: "ARM.zeros", the share of its weights that is exactly 0; "ARM.units", of
    its hidden units that are heard by any other; "ARM.inputs", of the inputs that are; "ARM.bytes",
    of its arrays as a model is saved, where what is mostly zeros is packed; "ARM.bytes-ratio", that
    over the same of the first arm; "ARM.compact-bytes", without dead units; "ARM.milliseconds", of
    an inference of so many examples, the least of some; "ARM.compact-milliseconds", without dead
    units; "ARM.time-ratio", the second over the first; "ARM.difference", the greatest between both
    predictions: dead units are dropped, not changed.

    Args:
        given: the arms, networks of `network.hidden` without normalisation.
        repeats: how often each inference is timed.
        examples: how many are predicted at once.
    """
    numbers: dict[str, float] = {}
    for arm, run in given.runs.items():
        model, experiment = load_model(run), given.experiments[arm]
        with precision(experiment):
            x = prepare(experiment, given.data_dir).examples()["test"].x[:examples]
            found = _weigh(model, experiment, np.asarray(x), repeats)
        numbers |= {f"{arm}.{name}": value for name, value in found.items()}
    first = next(iter(given.runs))
    for arm in given.runs:
        numbers[f"{arm}.bytes-ratio"] = numbers[f"{arm}.bytes"] / numbers[f"{first}.bytes"]
    return Shown(numbers, _charts(list(given.runs), numbers))


def _weigh(model: Model, experiment: Experiment, x: np.ndarray, repeats: int) -> dict[str, float]:
    names = [f"affine{n}" for n in range(1, len(experiment.network.hidden) + 2)]
    layers = [jax.tree.map(np.asarray, model.params[name]) for name in names]
    compact = without_dead_units(layers)
    small = experiment.network.model_copy(update={"hidden": tuple(compact.units)})
    outputs = layers[-1]["weight"].shape[1]
    task = Task(small.build(outputs), model.task.loss, model.task.rule)
    params = model.params | dict(zip(names, compact.layers, strict=True))
    few = np.ascontiguousarray(x[:, compact.inputs])
    whole, seconds = _timed(model.task, model.params, model.state, x, repeats)
    less, seconds_less = _timed(task, params, model.state, few, repeats)
    weights = [layer["weight"] for layer in layers]
    entries = sum(w.size for w in weights)
    return {
        "zeros": sum(int((w == 0).sum()) for w in weights) / entries,
        "units": sum(compact.units) / sum(experiment.network.hidden),
        "inputs": len(compact.inputs) / len(weights[0]),
        "bytes": float(len(tensors.encode(tree.named(dict(zip(names, layers, strict=True)))))),
        "compact-bytes": float(
            len(tensors.encode(tree.named(dict(zip(names, compact.layers, strict=True)))))
        ),
        "milliseconds": 1000 * seconds,
        "compact-milliseconds": 1000 * seconds_less,
        "time-ratio": seconds_less / seconds,
        "difference": float(np.abs(whole - less).max()),
    }


def _timed(task: Task, params: Any, state: Any, x: np.ndarray, repeats: int):
    """What is predicted, and the least seconds of some; the first call compiles."""
    params = jax.device_put(params)
    found, least = predictions(task, params, state, x), np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        predictions(task, params, state, x)
        least = min(least, time.perf_counter() - began)
    return found, least


def _accuracy(part: Part, task: Task, params: Any, state: Any) -> float:
    return part.evaluate(task, Learner(params, state, ()))["accuracy"]


def _charts(arms: list[str], numbers: dict[str, float]) -> tuple[Chart, ...]:
    def bars(id: str, title: str, caption: str, y: str, values: dict[str, str], scale: float):
        curves = tuple(
            Curve(
                name=name,
                x=range(len(arms)),
                y=[numbers[f"{arm}.{value}"] / scale for arm in arms],
            )
            for name, value in values.items()
        )
        return Chart(
            id=id,
            title=title,
            caption=caption,
            x="network",
            y=y,
            panels=(Panel(curves=curves),),
            bars=True,
            ticks=tuple(arms),
        )

    return (
        bars(
            "bytes",
            "Size on disk",
            "The arrays of each model as they are saved; one that is mostly zeros is packed.",
            "kilobytes",
            {"as trained": "bytes", "without dead units": "compact-bytes"},
            1000,
        ),
        bars(
            "time",
            "Time of an inference",
            "The least of some, on this machine. Zeros alone save nothing in dense arithmetic; "
            "units that are dropped do.",
            "milliseconds",
            {"as trained": "milliseconds", "without dead units": "compact-milliseconds"},
            1,
        ),
    )
