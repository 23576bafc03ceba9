"""A trained network out of its run: loaded, and asked for predictions."""

from __future__ import annotations

import csv
import io
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import config, tensors, tree
from .config import Experiment
from .data import Preparation, read_inputs
from .data.table import Table
from .errors import CheckpointError
from .maps import Net, Run
from .runs import RunFolder
from .train import Learner, Task, predictions


def precision(experiment: Experiment) -> AbstractContextManager:
    """The context in which arrays may have the experiment's precision."""
    return jax.enable_x64(True) if experiment.precision == "float64" else nullcontext()


@dataclass(frozen=True)
class Model:
    """A trained network that has left its training: what predicting takes, and nothing else."""

    experiment: Experiment
    task: Task
    preparation: Preparation
    params: Any
    state: Any

    @property
    def single(self) -> bool:
        """Whether one output tells of two classes: that of the second, and so of the first."""
        classes = self.preparation.classes
        return classes is not None and self.task.loss.columns(len(classes)) == 1

    def prepare(self, raw: Table | np.ndarray) -> np.ndarray:
        """Prepare new inputs as the training part was prepared.

        Raises:
            DataError: they are not like those of the training.
        """
        return self.preparation.apply(raw, self.experiment.dtype)

    def predict(self, x: np.ndarray) -> Predictions:
        """Predict for prepared inputs."""
        with precision(self.experiment):
            values = predictions(self.task, self.params, self.state, x)
        if self.single:
            values = np.concatenate([1 - values, values], axis=1)
        return Predictions(values, self.preparation.classes, self.task.loss.probabilities)


_FORMAT = 1

_MOST_DOTS = 64


def save_model(
    folder: RunFolder,
    experiment: Experiment,
    outputs: int,
    preparation: Preparation,
    learner: Learner,
) -> None:
    """Write a model into its run: the arrays, and all else that is needed to use it.

    Args:
        folder: the run.
        experiment: what was trained.
        outputs: how many outputs the data asked of the network.
        preparation: how inputs are prepared.
        learner: the trained weights and state.
    """
    arrays = tree.named({"params": learner.params, "state": learner.state})
    description = {
        "format": _FORMAT,
        "experiment": experiment.toml(),
        "outputs": outputs,
        "preparation": preparation.to_json(),
    }
    folder.save_model({name: np.asarray(leaf) for name, leaf in arrays.items()}, description)


def load_model(path: Path) -> Model:
    """Load the model of a run.

    Raises:
        CheckpointError: there is none, or it is broken, or a weight is not finite.
        ConfigError, ShapeError: its experiment is none, or its network does not fit its inputs.
    """
    arrays, description = RunFolder.open(path).load_model()
    experiment, outputs, preparation = _described(description, f"the model of {path}")
    assert experiment.loss is not None
    net, loss = experiment.network.build(outputs), experiment.loss.build()
    with precision(experiment):
        params, state = _shapes(net, outputs, preparation, experiment)
        held = tree.restore({"params": params, "state": state}, arrays)
    tensors.require_finite(arrays, f"the model of {path}")
    task = Task(net, loss, experiment.rule.build(), classifies=preparation.classes is not None)
    return Model(experiment, task, preparation, held["params"], held["state"])


def _described(description: Any, where: str) -> tuple[Experiment, int, Preparation]:
    """What a model's description says, checked: the experiment, the outputs, the preparation.

    Raises:
        CheckpointError, ConfigError: it is not what `save_model` writes.
    """
    if not isinstance(description, dict) or "format" not in description:
        raise CheckpointError("it has no description with a format", where=where)
    if description["format"] != _FORMAT:
        raise CheckpointError(
            f"the model has format {str(description['format'])[:100]!r}, wanted {_FORMAT}",
            where=where,
            next="use the version of pullback that wrote it",
        )
    text, outputs = description.get("experiment"), description.get("outputs")
    if not isinstance(text, str) or type(outputs) is not int or outputs < 1:
        raise CheckpointError("its experiment is no text, or its outputs no number", where=where)
    # Reading a key of n parts takes n² steps and n² of memory. We write a value on each line.
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
        raise CheckpointError("its experiment has a line that we never write", where=where)
    experiment = config.parse(config.decode(text, where), where)
    if experiment.loss is None:
        raise CheckpointError("its experiment names no loss", where=where)
    preparation = Preparation.from_json(description.get("preparation"))
    classes, loss = preparation.classes, experiment.loss.build()
    if classes is not None and outputs != loss.width(loss.columns(len(classes))):
        raise CheckpointError(f"{outputs} outputs do not tell {len(classes)} classes", where=where)
    return experiment, outputs, preparation


def _shapes(net: Net, outputs: int, preparation: Preparation, experiment: Experiment) -> Any:
    """Parameters and state as shapes: nothing is allocated, however large they are said to be.

    Raises:
        ShapeError, CheckpointError: a map cannot take its input, or the network has other outputs.
    """
    x = jax.ShapeDtypeStruct((1, *preparation.shape), experiment.dtype)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)
    y = jax.eval_shape(lambda p, s, x: net.forward(p, s, x, Run())[0], params, state, x)
    if y.shape != (1, outputs):
        raise CheckpointError(
            f"its network gives {y.shape[1:]} for each example, told are {outputs} outputs"
        )
    return params, state


@dataclass(frozen=True)
class Predictions:
    """What a model says of each row: the class and its probabilities, or the numbers.

    Attributes:
        values: (n, k), a column for each class or number.
        classes: the names of the classes; None means numbers.
        probabilities: whether the values of classes are probabilities; otherwise they are scores.
    """

    values: np.ndarray
    classes: tuple[str, ...] | None
    probabilities: bool

    def __len__(self) -> int:
        return len(self.values)

    def labels(self) -> list[str]:
        """The class of each row with the greatest value."""
        assert self.classes is not None
        return [self.classes[i] for i in self.values.argmax(axis=1)]

    def csv(self) -> str:
        """As CSV: a column `prediction` and one for each class, or one for each target."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        rows = self.values.astype(str).tolist()
        if self.classes is None:
            writer.writerow(
                ["prediction"]
                if self.values.shape[1] == 1
                else [f"prediction {i}" for i in range(self.values.shape[1])]
            )
            writer.writerows(rows)
        else:
            value = "probability" if self.probabilities else "score"
            writer.writerow(["prediction", *(f"{value} of {name}" for name in self.classes)])
            writer.writerows([label, *row] for label, row in zip(self.labels(), rows, strict=True))
        return text.getvalue()

    def json(self) -> dict[str, Any]:
        """As plain data."""
        if self.classes is None:
            return {"predictions": self.values.tolist()}
        return {
            "classes": list(self.classes),
            "predictions": self.labels(),
            "probabilities" if self.probabilities else "scores": self.values.tolist(),
        }


def predict(path: Path, source: Path) -> Predictions:
    """Predict for new inputs, prepared as the training part was.

    Raises:
        DataError: the inputs are missing, broken, or not like those of the training.
    """
    model = load_model(path)
    return model.predict(model.prepare(read_inputs(source, model.preparation)))
