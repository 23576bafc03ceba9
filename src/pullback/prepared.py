"""An experiment with its data: the network built to fit them, or a sentence why it cannot be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from . import config, tree
from .augment import Compose, Setting
from .check import refuse_estimates
from .config import Experiment
from .data import Batches, Examples, Loaded, Rows, load, packed
from .dealt import Dealt, deal
from .errors import ConfigError, ShapeError
from .loss import ClassWeighted, Loss, balanced
from .maps import BatchNorm, Net, Run
from .optim import Method, Rule, resolve
from .penalty import Sum
from .train import Part, Plan, Selection, Task, require_whole

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Prepared:
    """An experiment with its data: all that training takes.

    `dealt` is what belongs to a network of workers, for an experiment over peers; `data_dir` is
    where data sets lie, if it was said.
    """

    experiment: Experiment
    loaded: Loaded
    task: Task
    dealt: Dealt | None = None
    data_dir: Path | None = None

    def examples(self) -> dict[str, Examples]:
        """The parts that there are, by name."""
        found = {name: getattr(self.loaded, name) for name in PARTS}
        return {name: part for name, part in found.items() if part is not None}

    def batches(self, part: Examples) -> Batches:
        """A part in mini-batches; what does not fit below the limit is streamed."""
        return Batches(
            part.x if isinstance(part.x, Rows) else packed(part.x),
            part.targets(self.dtype, self.columns),
            part.weight,
            self.experiment.train.batch(len(part)),
            self.experiment.seed,
            limit_bytes=self.experiment.data.stream_above_mb * 10**6
            if part.streamed
            else float("inf"),
        )

    def measured(self) -> dict[str, Part]:
        """The parts that there are, by name, to be evaluated."""
        return {
            name: Part(self.batches(part), self.task.classifies)
            for name, part in self.examples().items()
        }

    @property
    def dtype(self) -> np.dtype:
        """Of all arrays."""
        return self.experiment.dtype

    @property
    def columns(self) -> int:
        """How many columns the targets have: numbers, or what the loss makes of the classes."""
        return _columns(self.task.loss, self.loaded)

    @property
    def outputs(self) -> int:
        """How many outputs the loss asks of the network for these targets."""
        return self.task.loss.width(self.columns)

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """The shape and type of one example, as a batch of one."""
        return _one(self.experiment, self.loaded)

    @property
    def selection(self) -> Selection:
        """What judges the evaluations, and what depends on it."""
        return self.experiment.chosen()

    @property
    def plan(self) -> Plan:
        """How long to train, and when to look."""
        e = self.experiment
        return Plan(
            epochs=e.train.epochs,
            steps=e.train.steps,
            seed=e.seed,
            evaluate_epochs=e.evaluate.epochs,
            evaluate_steps=e.evaluate.steps,
            step_parts=e.evaluate.parts,
            watch_epochs=e.record.layers,
            record_steps=e.record.steps,
            checkpoint_epochs=e.checkpoint.epochs,
            checkpoint_steps=e.checkpoint.steps,
        )


def _one(experiment: Experiment, loaded: Loaded) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *loaded.train.x.shape[1:]), experiment.dtype)


def _columns(loss: Loss, loaded: Loaded) -> int:
    train = loaded.train
    return train.y.shape[1] if train.classes is None else loss.columns(len(train.classes))


def prepare(
    experiment: Experiment, data_dir: Path | None = None, loaded: Loaded | None = None
) -> Prepared:
    """Load the data, unless they are loaded already, and build the network to fit them.

    Raises:
        DataError: the data are missing or broken.
        ShapeError, ConfigError: network, loss and data do not fit together.
    """
    if loaded is None:
        loaded = load(experiment.data_spec(), data_dir, experiment.dtype)
    classes = loaded.train.classes
    if experiment.loss is None:
        name = "squared-error" if classes is None else "softmax-cross-entropy"
        experiment = experiment.model_copy(update={"loss": config.TABLES[name](name=name)})
    loss = _loss(experiment, loaded.train)
    columns = _columns(loss, loaded)
    width = loss.width(columns)
    net = experiment.network.build(width)
    x = _one(experiment, loaded)
    shapes = net.shapes(x)
    output = shapes[net.nodes[-1].name].shape
    if output != (1, width):
        raise ShapeError(
            f"the network gives {output[1:]} for each example, data and loss want ({width},)",
            where="the section [network]",
            next="change the width of the last affine layer",
        )
    if experiment.train.batch(len(loaded.train)) == 1:
        _refuse_constant_norms(net, shapes)
    dealt = None if experiment.peers is None else deal(experiment, loaded.train)
    rule = _rule(experiment, len(loaded.train), dealt)
    _refuse_what_cannot_fit(net, rule, x)
    _refuse_what_cannot_train(net, x)
    if isinstance(rule, Method):
        _refuse_what_draws(net, rule, x)
    if experiment.check.enabled:
        refuse_estimates(net)
    penalty = Sum(tuple(each.build() for each in experiment.penalty))
    params = jax.eval_shape(net.init, jax.random.key(0), x)[0]
    penalty.check(params)
    if dealt is not None:
        dealt.check(params)
    task = Task(
        net,
        loss,
        rule,
        penalty,
        _augmentation(experiment, loaded.train, loss, columns),
        classifies=classes is not None,
        products="bfloat16" if experiment.precision == "bfloat16" else "full",
    )
    prepared = Prepared(experiment, loaded, task, dealt, data_dir)
    if dealt is not None:
        dealt.local.check(task)
    elif isinstance(rule, Method):
        require_whole(rule, prepared.batches(loaded.train))
    return prepared


def _loss(experiment: Experiment, train: Examples) -> Loss:
    """The loss, refused where it would mean nothing on the targets, with the classes' weights.

    Raises:
        ConfigError: the targets do not suit the loss or the weights.
    """
    assert experiment.loss is not None
    loss, wanted = experiment.loss.build(), experiment.class_weight
    try:
        loss.check(None if train.classes is not None else train.y)
    except ConfigError as error:
        raise error.at(f"loss = '{experiment.loss.name}'") from None
    if wanted is None:
        return loss
    where = "the key 'class_weight'"
    if train.classes is None:
        raise ConfigError(
            "weights of classes want classes, the targets are numbers",
            where=where,
            next="remove it, or set data.task = 'classification'",
        )
    if wanted != "balanced" and len(wanted) != len(train.classes):
        raise ConfigError(
            f"there are {len(train.classes)} classes, {', '.join(train.classes)}, "
            f"and {len(wanted)} weights",
            where=where,
            next="give one for each class, in this order",
        )
    try:
        if wanted == "balanced":
            wanted = balanced(train.y, len(train.classes), train.weight)
        return ClassWeighted(loss, wanted)
    except ConfigError as error:
        raise error.at(where) from None


def _rule(experiment: Experiment, examples: int, dealt: Dealt | None) -> Rule | Method:
    """The rule, its times in steps: those of an epoch, and of the whole run."""
    if dealt is not None:
        return resolve(experiment.rule.build(), dealt.steps_per_epoch, dealt.steps)
    train = experiment.train
    steps_per_epoch = -(-examples // train.batch(examples))
    steps = train.epochs * steps_per_epoch
    return resolve(
        experiment.rule.build(), steps_per_epoch, min(steps, train.steps) if train.steps else steps
    )


def _augmentation(experiment: Experiment, train: Examples, loss: Loss, columns: int) -> Compose:
    """What is done to the batches of training.

    Raises:
        ConfigError: it does not suit the data or the loss.
    """
    steps = tuple(each.build() for each in experiment.augment)
    picture = _picture(train)
    compose = Compose(steps, picture)
    if steps:
        setting = Setting(
            picture,
            experiment.data.source,
            experiment.data.standardize,
            loss,
            train.targets(np.float64, columns).mean(axis=0, keepdims=True),
            experiment.train.batch(len(train)),
        )
        try:
            compose.check(setting)
        except ConfigError as error:
            raise error.at("the key 'augment'") from None
    return compose


def _picture(examples: Examples) -> tuple[int, int, int] | None:
    """Height, width and channels of an example, if it is a picture."""
    if examples.x.ndim == 4:
        _, height, width, channels = examples.x.shape
        return height, width, channels
    return None if examples.image is None else (examples.image[0], examples.image[1], 1)


def _refuse_what_cannot_fit(net: Net, rule: Rule | Method, x) -> None:
    """Refuse a network whose weights and gradients alone are larger than the machine's memory.

    And a method of which what it holds is: of many parameters, a matrix of all pairs.
    """
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
    if isinstance(rule, Method):
        wanted += rule.memory(tree.count(params), np.dtype(x.dtype).itemsize)
        if wanted > there:
            raise ConfigError(
                f"{type(rule).__name__} for {tree.count(params):,} parameters holds "
                f"{wanted / 1e9:,.1f} GB, and this machine has {there / 1e9:,.0f} GB",
                where="the section [rule]",
                next="take lbfgs or newton-cg, which hold a few vectors, or narrower layers",
            )


def _refuse_what_draws(net: Net, method: Method, x) -> None:
    """Refuse a network of which two passes in training differ: a map that draws misses its key."""

    def forward(key, x):
        params, state = net.init(key, x)
        return net.forward(params, state, x, Run(None, True))[0]

    try:
        jax.eval_shape(forward, jax.random.key(0), x)
    except ConfigError as error:
        raise ConfigError(
            f"{type(method).__name__} wants the same function in every step; {error.what}",
            where="the section [network]",
            next="leave out what draws, or take a rule such as adam",
        ) from None


def _refuse_constant_norms(net: Net, shapes) -> None:
    """Refuse steps of one example where a batch-norm would see a single entry of each feature.

    Its output would be the same in every step, and nothing before it would learn.
    """
    for node in net.nodes:
        if isinstance(node.map, BatchNorm) and np.prod(shapes[node.reads].shape[:-1]) == 1:
            raise ConfigError(
                "a batch-norm wants steps of at least 2 examples, got batch_size = 1",
                where=f"node '{node.name}'",
                next="raise train.batch_size, or use layer-norm",
            )


def _refuse_what_cannot_train(net: Net, x) -> None:
    """Trace a pass forward and back, so that a map without a derivative says so before training."""

    def gradient(key, x):
        params, state = net.init(key, x)
        y, saved, _ = net.forward(params, state, x, Run(key, True))
        return net.reverse(params, saved, y)

    try:
        jax.eval_shape(gradient, jax.random.key(0), x)
    except ConfigError as error:
        raise error.at("the section [network]") from None
