"""A trained network out of its run: loaded, and asked for predictions."""

from __future__ import annotations

import csv
import io
import tomllib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import config, tree
from .config import Experiment
from .data import Preparation, read_inputs
from .errors import CheckpointError
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


_FORMAT = 1


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
        CheckpointError: there is none, or it is broken.
    """
    arrays, description = RunFolder.open(path).load_model()
    if description.get("format") != _FORMAT:
        raise CheckpointError(
            f"the model has format {description.get('format')!r}, wanted {_FORMAT}",
            where=str(path),
            next="use the version of pullback that wrote it",
        )
    experiment = config.parse(tomllib.loads(description["experiment"]), f"the model of {path}")
    preparation = Preparation.from_json(description["preparation"])
    assert experiment.loss is not None
    net = experiment.network.build(description["outputs"])
    task = Task(
        net,
        experiment.loss.build(),
        experiment.rule.build(),
        classifies=preparation.classes is not None,
    )
    with precision(experiment):
        x = jax.ShapeDtypeStruct((1, *preparation.shape), np.dtype(experiment.precision))
        params, state = jax.eval_shape(net.init, jax.random.key(0), x)
        held = tree.restore({"params": params, "state": state}, arrays)
    return Model(experiment, task, preparation, held["params"], held["state"])


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
    with precision(model.experiment):
        x = model.preparation.apply(
            read_inputs(source, model.preparation), np.dtype(model.experiment.precision)
        )
        values = predictions(model.task, model.params, model.state, x)
    if model.single:
        values = np.concatenate([1 - values, values], axis=1)
    return Predictions(values, model.preparation.classes, model.task.loss.probabilities)
