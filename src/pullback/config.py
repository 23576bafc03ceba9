"""One experiment file in TOML ⇄ typed objects.

Whatever has a name in the file comes from the closed registries below: nothing is imported by name.
Precedence is defaults, then the file, then settings given one by one (``-s
rule.learning_rate=0.1``).
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from . import augment, initializer, loss, maps, optim, penalty
from .data import DataSpec
from .errors import ConfigError, PullbackError, nearest
from .train.selection import Selection

# Names that the rule of `spelled` would part.
_SPELLED = {
    "AdaGrad": "adagrad",
    "AdaMax": "adamax",
    "AdamW": "adamw",
    "LBFGS": "lbfgs",
    "LeCun": "lecun",
    "NAdam": "nadam",
}


def spelled(kind: type) -> str:
    """The name of a class in an experiment file.

    >>> spelled(maps.LeakyRelu), spelled(optim.SGD)
    ('leaky-relu', 'sgd')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.__name__)
    return _SPELLED.get(kind.__name__, words.lower())


def _public(room: ModuleType, base: type, without: Iterable[type] = ()) -> dict[str, type]:
    """What a room exports of one kind, by name: to export a class is to register it."""
    kinds = [k for k in vars(room).values() if isinstance(k, type) and issubclass(k, base)]
    return {spelled(kind): kind for kind in kinds if kind not in {base, *without}}


# Maps of several wires end towers; those of the second line have a table of their own or are parts.
_JOINS = (maps.Add, maps.Concatenate, maps.Subtract)
_NO_LAYERS = (maps.Elementwise, maps.Net, maps.Skip, maps.Towers, maps.Part, maps.Recompute)

# Those layers that the section [network] may put before each activation.
NORMALIZATIONS = ("batch-norm", "layer-norm")

INITIALIZERS = _public(initializer, initializer.Initializer)
LAYERS = _public(maps, maps.Map, (*_JOINS, *_NO_LAYERS))
JOINS = {spelled(kind): kind for kind in _JOINS}
# The list of penalties is their sum; `proximal` and the key class_weight say the others.
LOSSES = _public(loss, loss.Loss, (loss.ClassWeighted,))
PENALTIES = _public(penalty, penalty.Penalty, (penalty.Sum, penalty.Proximable, penalty.Proximal))
AUGMENTATIONS = _public(augment, augment.Augmentation, (augment.Compose,))
RULES = _public(optim, optim.Rule)
METHODS = _public(optim, optim.Method)
SCHEDULES = _public(optim, optim.Schedule)


class Section(BaseModel):
    """A table of the file.

    Unknown keys are refused, and so are values of another type: no "5" for 5, no true for 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class Table(Section):
    """A table that stands for one object: a name, and the fields of the class that it names."""

    kind: ClassVar[Any]
    # A checker lets no subclass narrow a str to the one name that its tables have.
    name: Any

    def build(self) -> Any:
        """Make the object. Its own checks may still refuse a value."""
        fields = {field.name for field in dataclasses.fields(self.kind)}
        return self.kind(**{key: _built(getattr(self, key)) for key in fields})


class ProximableTable(Table):
    """A penalty that may act by its proximal step after each update, instead of its derivative."""

    proximal: bool = False

    def build(self) -> penalty.Penalty:
        """Make the penalty."""
        built = super().build()
        return penalty.Proximal(built) if self.proximal else built


def _built(value: Any) -> Any:
    if isinstance(value, Table):
        return value.build()
    return tuple(map(_built, value)) if isinstance(value, tuple) else value


TABLES: dict[str, type[Table]] = {}

# Fields that hold tables of the very registries that are still being made.
_LATER: dict[Any, str] = {
    optim.Rule: "Rule",
    tuple[optim.Rule, ...]: "tuple[Rule, ...]",
    float | optim.Schedule: "LearningRate",
}


def _table(name: str, kind: type) -> type[Table]:
    """The table of one class: a field for each of the dataclass's."""
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {"name": (Literal[name], ...)}
    for each in dataclasses.fields(kind):
        hint, default = (
            hints[each.name],
            ... if each.default is dataclasses.MISSING else each.default,
        )
        if hint is initializer.Initializer:
            hint, default = (
                Initializer,
                Field(default_factory=lambda value=default: TABLES[name_of(value)](**plain(value))),
            )
        fields[each.name] = (_LATER.get(hint, hint), default)
    base = ProximableTable if issubclass(kind, penalty.Proximable) else Table
    model = pydantic.create_model(
        f"{kind.__name__}Table", __base__=base, __doc__=kind.__doc__, **fields
    )
    model.kind = kind
    TABLES[name] = model
    return model


def _one_of(tables: Iterable[type[Table]], usual: str | None = None) -> Any:
    """The type of a field that holds one of these tables.

    A name alone is short for a table of that name; `usual` is the name where none is given.
    """
    tables = tuple(tables)

    def named(value):
        if isinstance(value, str):
            return {"name": value}
        if usual is not None and isinstance(value, Mapping) and "name" not in value:
            return {"name": usual, **value}
        return value

    union: Any = functools.reduce(operator.or_, tables)
    if len(tables) > 1:
        union = Annotated[union, Field(discriminator="name")]
    return Annotated[union, pydantic.BeforeValidator(named)]


def _registered(registry: Mapping[str, type]) -> list[type[Table]]:
    return [_table(name, kind) for name, kind in registry.items()]


def _number_or(tables: Any, kind: str) -> Any:
    """The type of a field that holds a number, or one of these tables."""

    def which(value):
        return "number" if isinstance(value, int | float) else kind

    number = Annotated[float, pydantic.Tag("number")]
    return Annotated[number | Annotated[tables, pydantic.Tag(kind)], pydantic.Discriminator(which)]


def _usual(name: str, **values: Any) -> Any:
    """The default of a field: the table of this name."""
    return Field(default_factory=lambda: TABLES[name](name=name, **values))


if TYPE_CHECKING:
    # The registries make these types at run time; a checker can know what they have in common.
    Augmentation: TypeAlias = Table
    Initializer: TypeAlias = Table
    Join: TypeAlias = Table
    Layer: TypeAlias = Table
    Loss: TypeAlias = Table
    Normalization: TypeAlias = Table
    Penalty: TypeAlias = Table
    Rule: TypeAlias = Table
    AnyRule: TypeAlias = Table
else:
    Augmentation = _one_of(_registered(AUGMENTATIONS))
    Initializer = _one_of(_registered(INITIALIZERS))
    Join = _one_of(_registered(JOINS))
    Loss = _one_of(_registered(LOSSES))
    Penalty = _one_of(_registered(PENALTIES))
    LearningRate = _number_or(_one_of(_registered(SCHEDULES)), "schedule")
    _rules = _registered(RULES)
    Rule = _one_of(_rules, usual="sgd")
    # A method is no part of another rule.
    AnyRule = _one_of([*_rules, *_registered(METHODS)], usual="sgd")
    for name in (*SCHEDULES, *RULES):
        TABLES[name].model_rebuild()


class SkipTable(Table):
    """A residual block: the input, plus what its layers make of it."""

    name: Literal["skip"]
    layers: tuple[Layer, ...]

    def build(self) -> maps.Map:
        """Make the block."""
        return maps.skip(*_built(self.layers))


class TowersTable(Table):
    """Equal towers with shared parameters over equal parts of the input, joined at the end."""

    name: Literal["towers"]
    layers: tuple[Layer, ...]
    join: Join = _usual("subtract")
    count: int = 2

    def build(self) -> maps.Map:
        """Make the towers."""
        return maps.towers(maps.chain(*_built(self.layers)), self.join.build(), self.count)


class RecomputeTable(Table):
    """Layers of which only the input is kept; the reverse pass runs them forward again."""

    name: Literal["recompute"]
    layers: tuple[Layer, ...]

    def build(self) -> maps.Map:
        """Make the block."""
        return maps.Recompute(maps.chain(*_built(self.layers)))


TABLES |= {"skip": SkipTable, "towers": TowersTable, "recompute": RecomputeTable}
if not TYPE_CHECKING:
    Layer = _one_of([*_registered(LAYERS), SkipTable, TowersTable, RecomputeTable])
    Normalization = _one_of(TABLES[name] for name in NORMALIZATIONS)
SkipTable.model_rebuild()
TowersTable.model_rebuild()
RecomputeTable.model_rebuild()


def name_of(value: Any) -> str:
    """The registered name of an object.

    >>> name_of(maps.LeakyRelu(0.2))
    'leaky-relu'
    """
    objectives = (LOSSES, PENALTIES, AUGMENTATIONS, RULES, METHODS, SCHEDULES)
    for registry in (INITIALIZERS, LAYERS, JOINS, *objectives):
        for name, kind in registry.items():
            if type(value) is kind:
                return name
    raise ConfigError(f"{value!r} has no name in an experiment file")


def plain(value: Any) -> Any:
    """An object as the table that stands for it: the inverse of `build`.

    >>> plain(optim.SGD(0.5))
    {'name': 'sgd', 'learning_rate': 0.5}
    """
    if isinstance(value, penalty.Proximal):
        return plain(value.penalty) | {"proximal": True}
    if dataclasses.is_dataclass(value):
        return {"name": name_of(value)} | {
            f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


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
    activation: Layer = _usual("relu")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    output: Layer | None = None
    bias: bool = True
    initializer: Initializer = _usual("he")
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
        return self

    def build(self, outputs: int) -> maps.Net:
        """Make the network, ending in `outputs` outputs."""
        if self.layers is not None:
            return maps.chain(*_built(self.layers))

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
    """epochs, steps: evaluate every part each so many epochs, and each so many steps; 0: never."""

    epochs: int = Field(default=1, ge=0)
    steps: int = Field(default=0, ge=0)


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


def _section(name: str, kind: type, without: str = "") -> type[Section]:
    """The section that has a key for each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {
        f.name: (hints[f.name], f.default) for f in dataclasses.fields(kind) if f.name != without
    }
    return pydantic.create_model(name, __base__=Section, __doc__=kind.__doc__, **fields)


Data = _section("Data", DataSpec, without="seed")
SelectionTable = _section("SelectionTable", Selection)


class Experiment(Section):
    """One experiment: data, network, loss, rule, penalty, and how long and how closely to train.

    name: names the run's folder. seed: of everything random. precision: of the arithmetic.
    loss: if not given, softmax-cross-entropy for classes and squared-error for numbers.
    class_weight: how much the examples of each class count in the loss, in the order of the
        classes; "balanced" gives every class the same say.
    """

    name: str = Field(default="digits", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["float32", "float64"] = "float32"
    # A checker cannot know a model that is made at run time.
    data: Data = Field(default_factory=Data)  # pyright: ignore[reportInvalidTypeForm]
    network: Network = Field(default_factory=Network)
    loss: Loss | None = None
    class_weight: Literal["balanced"] | tuple[Annotated[float, Field(ge=0)], ...] | None = None
    rule: AnyRule = _usual("sgd", learning_rate=0.1)
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

    def data_spec(self) -> DataSpec:
        """The data section with the experiment's seed."""
        return DataSpec(
            **{key: getattr(self.data, key) for key in type(self.data).model_fields}, seed=self.seed
        )

    def chosen(self) -> Selection:
        """What judges the evaluations."""
        return Selection(**self.selection.model_dump())

    def toml(self) -> str:
        """The whole experiment as a file, every default written out."""
        table = self.model_dump()
        if self.network.layers is not None:
            table["network"] = {"layers": table["network"]["layers"]}
        if not self.tune.space:
            del table["tune"]
        return tomli_w.dumps(_without_none(table))


def _without_none(value):
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list | tuple) else value


def read(path: Path | None, settings: Iterable[str] = ()) -> Experiment:
    """Read an experiment file, or the defaults if there is none, and put the settings over it.

    A setting has the form ``key=value``.

    Raises:
        ConfigError: the file is missing or not TOML; a key is unknown; a value does not fit.
    """
    table = {} if path is None else _parse_file(Path(path))
    for setting in settings:
        _override(table, setting)
    experiment = parse(table, "the settings" if path is None else str(path))
    return experiment


def parse(table: Mapping[str, Any], where: str) -> Experiment:
    """Turn a table into an experiment, and try to build what can be built without data.

    Raises:
        ConfigError: as `read`.
    """
    try:
        experiment = Experiment.model_validate(_with_tuples(table))
    except pydantic.ValidationError as error:
        raise _explain(error, table, where) from None
    try:
        experiment.data_spec()
        experiment.chosen()
        experiment.network.build(1)
        _built((experiment.loss, experiment.rule, *experiment.penalty, *experiment.augment))
    except PullbackError as error:
        raise error.at(where) from None
    return experiment


def _with_tuples(value: Any) -> Any:
    """Lists as tuples, which strict fields want and which cannot change."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(each) for key, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _parse_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no experiment file '{path}'", next="`pullback init` writes one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the experiment file '{path}' cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the experiment file is not TOML: {error}", where=str(path)) from None


def _override(table: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(
            f"a setting has the form key=value, got '{setting}'",
            next="such as -s rule.learning_rate=0.1",
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if not re.fullmatch(r"[\w./~-]+", text.strip()):
            raise ConfigError(
                f"'{text}' is not a TOML value",
                where=f"the setting '{key}'",
                next="quote strings, as in -s 'name=\"my run\"'",
            ) from None
        value = text.strip()
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if isinstance(inner, str):
            inner = table[part] = {"name": inner}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"'{part}' is not a table",
                where=f"the setting '{setting}'",
                next=f"set all of {part} at once",
            )
        table = inner
    table[path[-1]] = value


def _explain(error: pydantic.ValidationError, table: Mapping[str, Any], where: str) -> ConfigError:
    """Turn the first fault that pydantic found into one sentence."""
    # An unknown key explains itself best, whatever else is wrong.
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    place, model = _place(fault["loc"], table)
    kind, got, context = fault["type"], fault.get("input"), fault.get("ctx", {})
    if kind == "extra_forbidden":
        known = [key for key in model.model_fields if key != "name" or issubclass(model, Table)]
        return ConfigError(
            f"unknown key '{place}'", where=where, next=nearest(str(fault["loc"][-1]), known)
        )
    if kind == "union_tag_invalid":
        known = re.findall(r"'([^']+)'", context["expected_tags"])
        return ConfigError(
            f"unknown name '{context['tag']}' for {place}",
            where=where,
            next=nearest(context["tag"], known),
        )
    if kind == "literal_error" and fault["loc"][-1] == "name":
        known = re.findall(r"'([^']+)'", context["expected"])
        return ConfigError(
            f"unknown name '{got}' for {place}", where=where, next=nearest(str(got), known)
        )
    if kind == "union_tag_not_found":
        return ConfigError(f"{place} has no name", where=where, next=f"set {place}.name")
    if kind == "missing":
        return ConfigError(f"the key '{place}' is missing", where=where, next="give it a value")
    # A field of several types has a fault for each of them: all are told, or the innermost one.
    rivals = [each for each in faults if _place(each["loc"], table)[0].startswith(place)]
    if len(rivals) > 1 and place:
        deepest = max(len(each["loc"]) for each in rivals)
        rivals = [each for each in rivals if len(each["loc"]) == deepest]
        place, got = _place(rivals[0]["loc"], table)[0], rivals[0]["input"]
    reason = " or ".join(map(_reason, rivals)).replace(" or should", " or")
    got_text = "" if kind == "value_error" else f", got {got!r}"
    return ConfigError(f"{place or 'the experiment'}: {reason}{got_text}", where=where)


def _reason(fault: Any) -> str:
    text = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    text = text.replace("a valid tuple", "a list").replace("Tuple", "List")
    return re.sub("^(String|List) should", "should", text)


def _place(loc: tuple[int | str, ...], table: Any) -> tuple[str, type[BaseModel]]:
    """Write a place as in ``network.layers[0].width``, and find the model in force there."""
    place, model, entered = "", Experiment, False
    for i, part in enumerate(loc):
        is_key = isinstance(table, dict) and part in table
        # The name of a table comes once, where it is entered; after it the same word is a key.
        is_name = not entered and isinstance(table, dict) and table.get("name") == part
        if isinstance(part, str) and part in TABLES and (is_name or not is_key):
            model, entered = TABLES[part], True
            continue
        entered = False
        if isinstance(part, str) and re.match(
            r"(int|float|number|schedule|range|choices)$|(tuple|literal)\[", part
        ):
            continue  # one of the types that the value of a field may have
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
        table = _inside(table, part)
        section = Experiment.model_fields.get(part) if i == 0 and isinstance(part, str) else None
        if (
            section is not None
            and isinstance(section.annotation, type)
            and issubclass(section.annotation, Section)
        ):
            model = section.annotation
        elif isinstance(table, dict) and table.get("name") in TABLES:
            model = TABLES[table["name"]]
    return place, model


def _inside(table: Any, part: int | str) -> Any:
    """What a table or a list holds at this key or index; None if it holds nothing there."""
    if isinstance(table, dict):
        return table.get(part)
    if isinstance(table, list) and isinstance(part, int) and part < len(table):
        return table[part]
    return None


def schema() -> dict[str, Any]:
    """The JSON Schema of an experiment file, for editors."""
    return Experiment.model_json_schema()
