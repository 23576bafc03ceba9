"""The sections of an experiment file, and the whole of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import tomli_w
from pydantic import Field

from .. import maps
from ..data import DataSpec
from ..errors import ConfigError
from ..train.selection import Selection
from .peers import SIMULATED, Peers
from .tables import (
    AnyRule,
    Augmentation,
    Initializer,
    Layer,
    Loss,
    Normalization,
    Penalty,
    Section,
    built,
    section,
    usual,
)

# Tracing so many takes half a minute; a network of a thousand layers has some three thousand.
_MOST_MAPS = 5000


class Network(Section):
    """The network: either hidden widths with one activation, or a list of layers.

    hidden: the widths of the hidden layers; none for a linear model.
    normalization: before the activation of each hidden layer.
    activation: after each hidden layer.
    dropout: the rate of dropout after each activation; 0 for none.
    input_dropout: the rate of dropout on the inputs; 0 for none.
    output: a map after the last affine one, for losses that do not take logits.
    bias, initializer: of every affine map; one before a batch-norm has no bias, since the shift
        of the batch-norm takes its place.
    layers: instead of all these, the layers one by one; the last must give as many outputs as the
        targets have.
    """

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64,)
    normalization: Normalization | None = None
    activation: Layer = usual("relu")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    output: Layer | None = None
    bias: bool = True
    initializer: Initializer = usual("he")
    layers: tuple[Layer, ...] | None = None

    @pydantic.model_validator(mode="after")
    def _one_way(self):
        given = self.model_fields_set - {"layers"}
        if self.layers is not None and given:
            raise ValueError(f"give either layers or {', '.join(sorted(given))}, not both")
        if self.layers is not None and not self.layers:
            raise ValueError("layers must hold at least one layer")
        if not self.hidden and (self.normalization is not None or self.dropout):
            idle = "dropout" if self.normalization is None else "normalization"
            raise ValueError(f"{idle} wants a hidden layer, and hidden is empty")
        count = self._maps()
        if count > _MOST_MAPS:
            raise ValueError(f"the network has {count:,} maps, at most {_MOST_MAPS:,} are made")
        return self

    def _maps(self) -> int:
        """How many maps it has, counted before any is made: towers of towers may be endless."""
        if self.layers is not None:
            return sum(layer.maps() for layer in self.layers)
        normalization = 0 if self.normalization is None else self.normalization.maps()
        last = 0 if self.output is None else self.output.maps()
        return len(self.hidden) * (2 + normalization + self.activation.maps()) + 2 + last

    def build(self, outputs: int) -> maps.Net:
        """Make the network, ending in `outputs` outputs."""
        if self.layers is not None:
            return maps.chain(*built(self.layers))

        def affine(width, bias):
            return maps.Affine(width, bias, self.initializer.build())

        def dropout(rate):
            return [maps.Dropout(rate)] if rate else []

        normalization = [] if self.normalization is None else [self.normalization.build()]
        # A batch-norm takes the bias away again with the mean; a layer-norm does not.
        bias = self.bias and not any(isinstance(map, maps.BatchNorm) for map in normalization)
        parts = dropout(self.input_dropout)
        for width in self.hidden:
            parts += [affine(width, bias), *normalization, self.activation.build()]
            parts += dropout(self.dropout)
        last = [] if self.output is None else [self.output.build()]
        return maps.chain(*parts, affine(outputs, self.bias), *last)


class Train(Section):
    """How long to train, and from where.

    epochs: passes over the training part. steps: end after so many, if that comes first; 0: do not.
    batch_size: examples a step; "all" for the whole training part. start: the run whose model
        training starts from.
    """

    epochs: int = Field(default=30, ge=1)
    steps: int = Field(default=0, ge=0)
    start: str | None = None
    batch_size: Annotated[int, Field(ge=1)] | Literal["all"] = 32

    def batch(self, examples: int) -> int:
        """How many of so many examples make a step."""
        return examples if self.batch_size == "all" else min(self.batch_size, examples)


class Evaluate(Section):
    """When the parts of the data are evaluated; 0 for never.

    epochs, steps: every part each so many epochs, and each so many steps. parts: those that are
        evaluated each so many steps, all if empty; at the beginning and the end all are.
    """

    epochs: int = Field(default=1, ge=0)
    steps: int = Field(default=0, ge=0)
    parts: tuple[Literal["train", "validation", "test"], ...] = ()


class Recording(Section):
    """What is written down while training runs; 0 for never.

    steps: the loss of each so-manieth mini-batch. layers: the norms of each layer, each so many
        epochs.
    """

    steps: int = Field(default=1, ge=0)
    layers: int = Field(default=1, ge=0)


class Checkpoint(Section):
    """epochs, steps: save each so many epochs, and steps; 0 for never. keep: how many to keep."""

    epochs: int = Field(default=1, ge=0)
    steps: int = Field(default=0, ge=0)
    keep: int = Field(default=1, ge=1)


class Check(Section):
    """The gradient check before training.

    enabled: whether it is made. examples: over how many. entries, directions: per array of
        parameters.
    threshold: the relative error from which on it fails.
    """

    enabled: bool = True
    examples: int = Field(default=16, ge=1)
    entries: int = Field(default=20, ge=1)
    directions: int = Field(default=4, ge=1)
    threshold: float = Field(default=1e-7, gt=0)


class Range(Section):
    """A range that is searched: whole numbers if both ends are.

    low, high: its ends. scale: in what the search is even; "log-one-minus" is the logarithm of 1
        minus the value, for a momentum near 1. step: between two values, on a linear scale.
    """

    low: int | float
    high: int | float
    scale: Literal["linear", "log", "log-one-minus"] = "linear"
    step: int | float | None = None

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"a log scale wants low above 0, got {self.low}")
        if self.scale == "log-one-minus" and self.high >= 1:
            raise ValueError(f"the scale log-one-minus wants high below 1, got {self.high}")
        if self.step is not None and (self.scale != "linear" or self.step <= 0):
            raise ValueError("a step is a positive number, on a linear scale")
        return self


class Choices(Section):
    """choices: the values that are tried."""

    choices: tuple[Any, ...] = Field(min_length=1)


def _range_or_choices(value: Any) -> str:
    given = isinstance(value, Choices) or (isinstance(value, Mapping) and "choices" in value)
    return "choices" if given else "range"


Searched = Annotated[
    Annotated[Range, pydantic.Tag("range")] | Annotated[Choices, pydantic.Tag("choices")],
    pydantic.Discriminator(_range_or_choices),
]


class Tune(Section):
    """What `pullback tune` searches; the section [selection] says by what a trial is judged.

    space: by the key of an experiment file, such as "rule.learning_rate", a range or choices.
    method: "grid", "random", or "tpe", which learns from the trials before. trials: how many.
    seed: of the search. seeds: train each trial from so many seeds, from that of the experiment on,
        and judge it by the mean.
    folds: cross-validate: train each trial, from each seed, once for each of so many folds of the
        training and validation part together, and judge it by the mean over all; 0: by the
        validation part alone.
    together: how many are asked for at once; those of one shape are trained as one program.
    pruning: give up a trial that is worse than the "median", by successive "halving", or "none".
    """

    space: dict[str, Searched] = Field(default_factory=dict)
    method: Literal["grid", "random", "tpe"] = "tpe"
    trials: int = Field(default=32, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    seeds: int = Field(default=1, ge=1)
    folds: int = Field(default=0, ge=0)
    together: int = Field(default=8, ge=1)
    pruning: Literal["none", "median", "halving"] = "none"

    @pydantic.field_validator("folds")
    @classmethod
    def _several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 0, for none, or at least 2, got 1")
        return folds


Data = section("Data", DataSpec, without="seed")
SelectionTable = section("SelectionTable", Selection)


# What has no use with the section [peers]: these keys of a section, or all.
_ALONE: dict[str, frozenset[str] | None] = {
    "train": frozenset({"epochs", "steps", "start"}),
    "evaluate": None,
    "record": None,
    "checkpoint": frozenset({"epochs", "steps"}),
    "selection": None,
    "tune": None,
}
_INSTEAD = {
    "train": "which trains new weights for peers.rounds",
    "evaluate": "which evaluates each peers.evaluate rounds",
    "record": "which records every round",
    "checkpoint": "which saves each peers.checkpoint rounds",
    "selection": "where the last weights count",
    "tune": "for which there is `pullback sweep`",
}


class Sweep(Section):
    """What `pullback sweep` tries: every combination of the axes, over networks of workers.

    axes: by the key of an experiment file, such as "peers.algorithm", the values that are tried.
    seeds: train each combination from so many seeds, from that of the experiment on.
    part: by what the cells are judged: its accuracy, or R². goal: what it must reach; the table
        tells after how many rounds, bytes and simulated seconds it did.
    """

    axes: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    seeds: int = Field(default=1, ge=1)
    part: Literal["train", "validation", "test"] = "validation"
    goal: float | None = None

    @pydantic.field_validator("axes")
    @classmethod
    def _whole(cls, axes: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for key, values in axes.items():
            if not values:
                raise ValueError(f"'{key}' has no values")
            if re.match(r"(data|seed|precision|name|sweep|check)\b", key):
                raise ValueError(f"'{key}' is the same in every cell of a sweep")
        return axes


class Experiment(Section):
    """One experiment: data, network, loss, rule, penalty, and how long and how closely to train.

    name: names the run's folder. seed: of everything random.
    precision: "float32", or "float64", in which all arrays are; "bfloat16" keeps arrays of float32,
        and rounds the factors of the products in a training step; "auto" tries some steps of the
        training in float32 and with rounded factors, and goes on with the faster.
    loss: if not given, softmax-cross-entropy for classes and squared-error for numbers.
    class_weight: how much the examples of each class count in the loss, in the order of the
        classes; "balanced" gives every class the same say.
    peers: where it is given, training is over a network of workers.
    """

    name: str = Field(default="digits", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["float32", "float64", "bfloat16", "auto"] = "float32"
    # A checker cannot know a model that is made at run time.
    data: Data = Field(default_factory=Data)  # pyright: ignore[reportInvalidTypeForm]
    network: Network = Field(default_factory=Network)
    loss: Loss | None = None
    class_weight: Literal["balanced"] | tuple[Annotated[float, Field(ge=0)], ...] | None = None
    rule: AnyRule = usual("sgd", learning_rate=0.1)
    penalty: tuple[Penalty, ...] = ()
    augment: tuple[Augmentation, ...] = ()
    train: Train = Field(default_factory=Train)
    # As with the data.
    selection: SelectionTable = Field(  # pyright: ignore[reportInvalidTypeForm]
        default_factory=SelectionTable
    )
    evaluate: Evaluate = Field(default_factory=Evaluate)
    record: Recording = Field(default_factory=Recording)
    checkpoint: Checkpoint = Field(default_factory=Checkpoint)
    check: Check = Field(default_factory=Check)
    tune: Tune = Field(default_factory=Tune)
    peers: Peers | None = None
    sweep: Sweep = Field(default_factory=Sweep)

    @pydantic.model_validator(mode="after")
    def _used(self):
        """Refuse keys that have no use over a network of workers."""
        if self.peers is None:
            return self
        for name, keys in _ALONE.items():
            given = getattr(self, name).model_fields_set
            if idle := sorted(given if keys is None else given & keys):
                raise ValueError(
                    f"{name}.{idle[0]} has no use with the section [peers], {_INSTEAD[name]}"
                )
        return self

    @property
    def dtype(self) -> np.dtype:
        """Of all arrays."""
        return np.dtype("float64" if self.precision == "float64" else "float32")

    def data_spec(self) -> DataSpec:
        """The data section with the experiment's seed."""
        return DataSpec(
            **{key: getattr(self.data, key) for key in type(self.data).model_fields}, seed=self.seed
        )

    def chosen(self) -> Selection:
        """What judges the evaluations."""
        return Selection(**self.selection.model_dump())

    def refuse_peers(self, what: str) -> None:
        """Refuse to do with a network of workers what is for one network.

        Raises:
            ConfigError: there is a section [peers].
        """
        if self.peers is not None:
            raise ConfigError(
                f"{what} is of one network, and the experiment trains a network of workers",
                where="the section [peers]",
                next="leave the section out",
            )

    def refuse_trial(self, what: str) -> None:
        """Refuse to settle the precision by a trial where many trainings must have the same.

        Raises:
            ConfigError: it is "auto".
        """
        if self.precision == "auto":
            raise ConfigError(
                f"the precision 'auto' is settled anew by each training, and {what} compares many",
                where="the key 'precision'",
                next="set 'float32' or 'bfloat16'; a run with 'auto' tells which is the faster",
            )

    def toml(self) -> str:
        """The whole experiment as a file, every default written out."""
        table = self.model_dump()
        if self.network.layers is not None:
            table["network"] = {"layers": table["network"]["layers"]}
        if not self.tune.space:
            del table["tune"]
        if not self.sweep.axes:
            del table["sweep"]
        if self.peers is not None:
            for name, keys in _ALONE.items():
                idle = table.get(name, {}) if keys is None else keys
                table[name] = {k: v for k, v in table.get(name, {}).items() if k not in idle}
            for key in SIMULATED if self.peers.engine == "cluster" else ("cluster",):
                del table["peers"][key]
        return tomli_w.dumps(_written({k: v for k, v in table.items() if v != {}}))


def _written(value):
    """A table as TOML has it: without what is None, lists for tuples."""
    if isinstance(value, dict):
        return {key: _written(each) for key, each in value.items() if each is not None}
    return [_written(each) for each in value] if isinstance(value, list | tuple) else value
