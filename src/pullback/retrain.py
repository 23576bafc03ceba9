"""Training again with the validation data, once early stopping has told how long.

The validation part is not trained on, and is in a sense wasted. Training Deep Nets names two ways
to use it after all, both heuristic; each is a new run, made from a finished one:

- "steps": begin anew, and take as many steps as led to the best weights, on both parts;
- "error": go on from the best weights, on both parts, until the error on the validation part is
  as low as that on the training part was then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from . import config
from .config import Experiment
from .errors import CheckpointError, ConfigError
from .experiment import Outcome, train
from .files import read_json
from .runs import RunFolder

Strategy = Literal["steps", "error"]


def retrain(path: Path, strategy: Strategy, out: Path | None = None, **how: Any) -> Outcome:
    """Train again, on the training and the validation part together.

    Source: Training Deep Nets, early stopping; Goodfellow et al. 2016, Algorithms 7.2 and 7.3.

    Args:
        path: a finished run with a validation part.
        strategy: "steps" or "error".
        out: the folder of the new run; ``runs/NAME-STRATEGY`` if not given.
        how: as in `train`.

    Raises:
        CheckpointError: it is no run, or not finished.
        ConfigError: it was not judged by its validation part, or what it asks cannot be met.
    """
    folder = RunFolder.open(path)
    experiment = config.read(folder.config)
    experiment.refuse_peers("training again")
    if not folder.finished:
        raise CheckpointError(f"{path} is not finished", next=f"run `pullback resume {path}` first")
    best = read_json(folder.result)["best"]
    if best is None or "validation" not in best:
        raise ConfigError(
            f"{path} has no validation part that judged its weights",
            next="train it with a validation part, and selection.keep = 'best' or a patience",
        )
    return train(_again(experiment, folder, best, strategy), out, **how)


def _again(
    experiment: Experiment, folder: RunFolder, best: dict[str, Any], strategy: Strategy
) -> Experiment:
    selection, training = {"keep": "last", "patience": 0}, {}
    if strategy == "steps":
        if best["step"] == 0:
            raise ConfigError(
                f"the best weights of {folder.path} are those before the first step",
                next="see why its training made nothing better",
            )
        training = {"steps": best["step"]}
    else:
        if not experiment.chosen().keeps_best:
            raise ConfigError(
                f"the model of {folder.path} has the last weights, not the best",
                next="train with selection.keep = 'best', or take --strategy steps",
            )
        metric = experiment.chosen().metric
        training = {"start": str(folder.path.resolve())}
        selection |= {"part": "validation", "metric": metric, "target": best["train"][metric]}
    return experiment.model_copy(
        update={
            "name": f"{experiment.name}-{strategy}",
            "data": experiment.data.model_copy(update={"join_validation": True}),
            "train": experiment.train.model_copy(update=training),
            "selection": experiment.selection.model_copy(update=selection),
        }
    )
