"""An experiment with its data: the network built to fit them, or a sentence why it cannot be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from . import config, tree
from .config import Experiment
from .data import Batches, Examples, Loaded, load
from .errors import ConfigError, ShapeError
from .maps import Net
from .penalty import Sum
from .train import Plan, Task

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Prepared:
    """An experiment with its data: all that training takes."""

    experiment: Experiment
    loaded: Loaded
    task: Task

    def examples(self) -> dict[str, Examples]:
        """The parts that there are, by name."""
        found = {name: getattr(self.loaded, name) for name in PARTS}
        return {name: part for name, part in found.items() if part is not None}

    def batches(self, part: Examples) -> Batches:
        """A part in mini-batches; what does not fit below the limit is streamed."""
        return Batches(
            part.x,
            part.targets(self.dtype, self.outputs),
            part.weight,
            min(self.experiment.train.batch_size, len(part)),
            self.experiment.seed,
            limit_bytes=self.experiment.data.stream_above_mb * 10**6
            if part.streamed
            else float("inf"),
        )

    @property
    def dtype(self) -> np.dtype:
        """Of all arrays."""
        return np.dtype(self.experiment.precision)

    @property
    def outputs(self) -> int:
        """How many outputs the data ask of the network."""
        return output_width(self.experiment, self.loaded)

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """The shape and type of one example, as a batch of one."""
        return _one(self.experiment, self.loaded)

    @property
    def plan(self) -> Plan:
        """How long to train, and when to look."""
        e = self.experiment
        return Plan(
            epochs=e.train.epochs,
            seed=e.seed,
            evaluate_epochs=e.evaluate.epochs,
            evaluate_steps=e.evaluate.steps,
            watch_epochs=e.record.layers,
            record_steps=e.record.steps,
            checkpoint_epochs=e.checkpoint.epochs,
            checkpoint_steps=e.checkpoint.steps,
        )


def _one(experiment: Experiment, loaded: Loaded) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *loaded.train.x.shape[1:]), np.dtype(experiment.precision))


def output_width(experiment: Experiment, loaded: Loaded) -> int:
    """How many outputs the data ask of the network.

    One for each class or number, and one for two classes under a sigmoid.
    """
    train = loaded.train
    if train.classes is None:
        return train.y.shape[1]
    single = experiment.loss is not None and experiment.loss.name == "sigmoid-cross-entropy"
    return 1 if single and len(train.classes) == 2 else len(train.classes)


def prepare(experiment: Experiment, data_dir: Path | None = None) -> Prepared:
    """Load the data, and build the network to fit them.

    Raises:
        DataError: the data are missing or broken.
        ShapeError, ConfigError: network, loss and data do not fit together.
    """
    loaded = load(experiment.data_spec(), data_dir, np.dtype(experiment.precision))
    classes = loaded.train.classes
    if experiment.loss is None:
        name = "squared-error" if classes is None else "softmax-cross-entropy"
        experiment = experiment.model_copy(update={"loss": config.TABLES[name](name=name)})
    assert experiment.loss is not None
    if classes is None:
        _refuse_numbers(experiment.loss.name, loaded.train.y)
    width = output_width(experiment, loaded)
    net = experiment.network.build(width)
    x = _one(experiment, loaded)
    output = net.shapes(x)[net.nodes[-1].name].shape
    if output != (1, width):
        raise ShapeError(
            f"the network gives {output[1:]} for each example, the data want ({width},)",
            where="the section [network]",
            next="change the width of the last affine layer",
        )
    _refuse_what_cannot_fit(net, x)
    penalty = Sum(tuple(each.build() for each in experiment.penalty))
    task = Task(
        net,
        experiment.loss.build(),
        experiment.rule.build(),
        penalty,
        classifies=classes is not None,
    )
    return Prepared(experiment, loaded, task)


def _refuse_what_cannot_fit(net: Net, x) -> None:
    """Refuse a network whose weights and gradients alone are larger than the machine's memory."""
    params, _ = jax.eval_shape(net.init, jax.random.key(0), x)
    wanted = 2 * tree.nbytes(params)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > there:
        raise ConfigError(
            f"the network has {tree.count(params):,} parameters: with their gradients they take "
            f"{wanted / 1e9:,.0f} GB, and this machine has {there / 1e9:,.0f} GB",
            where="the section [network]",
            next="make its layers narrower",
        )


def _refuse_numbers(loss: str, targets: np.ndarray) -> None:
    """Refuse a cross-entropy on targets that are neither classes nor probabilities.

    It would be minimised, and mean nothing.
    """
    probabilities = targets.min() >= 0 and targets.max() <= 1
    if loss == "softmax-cross-entropy":
        probabilities = probabilities and np.allclose(targets.sum(axis=1), 1)
    if loss != "squared-error" and not probabilities:
        raise ConfigError(
            f"{loss} wants classes or probabilities, the targets are other numbers",
            where="the key 'loss'",
            next="set loss = 'squared-error', or data.task = 'classification'",
        )
