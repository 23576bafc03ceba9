"""What is written of a run before its training and after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import examine
from ..check import Report, check_gradients
from ..config import Experiment
from ..curvature import Objective
from ..errors import ConfigError, PullbackError
from ..maps import Run
from ..model import precision, save_model
from ..peers import describe, partition_report
from ..peers.local import Flat
from ..prepared import PARTS, Prepared, prepare
from ..record import Record
from ..runs import RunFolder
from ..symmetry import stuck_layers
from ..train import Learner, begin
from ..tree import Tree


def write_beginning(prepared: Prepared, record: Record, learner: Learner) -> None:
    """Write what is known before the first step: network, data, gradient check, first weights."""
    loaded, task = prepared.loaded, prepared.task
    row = examine.network_row(task, learner.params, learner.state, prepared.like)
    record.add("network", **row)
    record.add(
        "data",
        name=loaded.name,
        classes=loaded.train.classes,
        features=loaded.train.features,
        image=loaded.train.image,
        standardize=prepared.experiment.data.standardize,
        **{name: len(part) for name, part in prepared.examples().items()},
    )
    if prepared.experiment.augment and loaded.train.image is not None:
        columns, seed = prepared.columns, prepared.experiment.seed
        record.add("augmented", **examine.augmented_row(task, loaded.train, columns, seed))
    if prepared.experiment.check.enabled:
        record.add("check", **_check(prepared, learner).row())
    record.add("weights", epoch=0, step=0, **examine.weights_row(learner.params))


def write_peers(prepared: Prepared, record: Record, learner: Learner) -> None:
    """Write what is known of a network of workers before its first round."""
    record.add("peers", **peers_row(prepared, learner.params))
    record.add("partition", **partition_row(prepared))


def peers_row(prepared: Prepared, params: Tree) -> dict[str, Any]:
    """Return the network of an experiment over peers: its settings, cost and promises."""
    dealt, peers = prepared.dealt, prepared.experiment.peers
    assert dealt is not None
    assert peers is not None
    network, table = dealt.network, peers.model_dump()
    keys = ("topology", "mixing", "algorithm", "codec", "partition", "local", "faults", "clock")
    settings = {key: table[key] for key in keys}
    settings["local"]["batch_size"] = dealt.local.batch_size
    described = describe(
        network.topology,
        network.mixing,
        dealt.amounts,
        network.algorithm,
        network.codec,
        Flat.of_tree(params).shapes,
        prepared.dtype,
        network.clock,
    )
    return settings | {"engine": peers.engine, "rounds": peers.rounds} | described


def partition_row(prepared: Prepared) -> dict[str, Any]:
    """Return how the training part is dealt to the workers."""
    assert prepared.dealt is not None
    classes = prepared.loaded.train.classes
    return {"classes": classes, **partition_report(prepared.dealt.parts, prepared.dealt.labels)}


def survey_network(
    experiment: Experiment, data_dir: Path | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what can be said of a network of workers before it trains, and how data are dealt.

    Raises:
        ConfigError: there is no section [peers], or something in it does not fit.
        DataError: the data are missing or broken.
    """
    if experiment.peers is None:
        raise ConfigError(
            "the experiment trains one network, and has no section [peers]",
            next="add one, such as [peers] with topology = 'stars'",
        )
    with precision(experiment):
        prepared = prepare(experiment, data_dir)
        params, _ = jax.eval_shape(prepared.task.net.init, jax.random.key(0), prepared.like)
        return peers_row(prepared, params), partition_row(prepared)


def write_model(
    prepared: Prepared,
    folder: RunFolder,
    record: Record,
    learner: Learner,
    error: PullbackError | None,
) -> None:
    """Write the trained model, and the rows that only it can give, unless training diverged."""
    preparation = prepared.loaded.preparation
    save_model(folder, prepared.experiment, prepared.outputs, preparation, learner)
    if error is None:
        write_end(prepared, record, learner)


def write_end(prepared: Prepared, record: Record, learner: Learner) -> None:
    """Write what only the trained network shows: confusions, wrong examples, its boundary."""
    parts = prepared.examples()
    if prepared.task.classifies:
        judged = next(name for name in reversed(PARTS) if name in parts)
        if not parts[judged].streamed:
            for kind, row in examine.class_rows(prepared.task, learner, judged, parts[judged]):
                record.add(kind, **row)
        if prepared.loaded.train.x.shape[1:] == (2,) and not prepared.loaded.train.streamed:
            record.add(
                "boundary", **examine.boundary_row(prepared.task, learner, prepared.loaded.train)
            )


def _check(prepared: Prepared, learner: Learner) -> Report:
    """Check near the weights, not at them.

    Zero biases under an input of zeros put a ReLU exactly on its kink, where no difference can
    tell. Whether units are stuck is asked of the weights themselves.
    """
    wanted, train = prepared.experiment.check, prepared.loaded.train
    few = train.take(np.unique(np.linspace(0, len(train) - 1, wanted.examples).astype(int)))
    x = few.x[:]
    weight = np.ones(len(few)) if few.weight is None or not few.weight.sum() else few.weight
    y = few.targets(np.float64, prepared.columns)
    task, batch, seed = prepared.task, (x, y, weight), prepared.experiment.seed
    report = check_gradients(
        task.net,
        task.loss,
        task.penalty,
        _nudged(learner.params, seed),
        learner.state,
        batch,
        seed=seed,
        entries=wanted.entries,
        directions=wanted.directions,
        threshold=wanted.threshold,
    )
    run = Run(jax.random.key(seed), True)
    at = Objective(task.net, task.loss, task.penalty, learner.state, batch, run)
    return replace(report, notes=stuck_layers(at, learner.params))


def _nudged(params, seed: int):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda w: np.asarray(w) + 0.01 * rng.standard_normal(w.shape), params)


def check(experiment: Experiment, data_dir: Path | None = None) -> Report:
    """Check the derivatives of an experiment's network, loss and penalty on real examples.

    They are taken near the first weights of its seed.
    """
    with precision(experiment):
        prepared = prepare(experiment, data_dir)
        return _check(prepared, begin(prepared.task, experiment.seed, prepared.like))
