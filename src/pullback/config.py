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

from . import initializer, loss, maps, optim, penalty
from .data import DataSpec
from .errors import ConfigError, PullbackError, nearest

# Names that the rule of `spelled` would part.
_SPELLED = {
    "AdaGrad": "adagrad",
    "AdaMax": "adamax",
    "AdamW": "adamw",
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
_JOINS = (maps.Add, maps.Subtract)
_NO_LAYERS = (maps.Elementwise, maps.Net, maps.Skip, maps.Towers, maps.Part)

INITIALIZERS = _public(initializer, initializer.Initializer)
LAYERS = _public(maps, maps.Map, (*_JOINS, *_NO_LAYERS))
JOINS = {spelled(kind): kind for kind in _JOINS}
LOSSES = _public(loss, loss.Loss)
PENALTIES = _public(penalty, penalty.Penalty, (penalty.Sum,))
RULES = {spelled(kind): kind for kind in (optim.SGD,)}


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
        return self.kind(
            **{key: _built(getattr(self, key)) for key in type(self).model_fields if key != "name"}
        )


def _built(value: Any) -> Any:
    if isinstance(value, Table):
        return value.build()
    return tuple(map(_built, value)) if isinstance(value, tuple) else value


TABLES: dict[str, type[Table]] = {}


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
        fields[each.name] = (hint, default)
    model = pydantic.create_model(
        f"{kind.__name__}Table", __base__=Table, __doc__=kind.__doc__, **fields
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


def _usual(name: str, **values: Any) -> Any:
    """The default of a field: the table of this name."""
    return Field(default_factory=lambda: TABLES[name](name=name, **values))


if TYPE_CHECKING:
    # The registries make these types at run time; a checker can know what they have in common.
    Initializer: TypeAlias = Table
    Join: TypeAlias = Table
    Layer: TypeAlias = Table
    Loss: TypeAlias = Table
    Penalty: TypeAlias = Table
    Rule: TypeAlias = Table
else:
    Initializer = _one_of(_registered(INITIALIZERS))
    Join = _one_of(_registered(JOINS))
    Loss = _one_of(_registered(LOSSES))
    Penalty = _one_of(_registered(PENALTIES))
    Rule = _one_of(_registered(RULES), usual="sgd")


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


TABLES |= {"skip": SkipTable, "towers": TowersTable}
if not TYPE_CHECKING:
    Layer = _one_of([*_registered(LAYERS), SkipTable, TowersTable])
SkipTable.model_rebuild()
TowersTable.model_rebuild()


def name_of(value: Any) -> str:
    """The registered name of an object.

    >>> name_of(maps.LeakyRelu(0.2))
    'leaky-relu'
    """
    for registry in (INITIALIZERS, LAYERS, JOINS, LOSSES, PENALTIES, RULES):
        for name, kind in registry.items():
            if type(value) is kind:
                return name
    raise ConfigError(f"{value!r} has no name in an experiment file")


def plain(value: Any) -> Any:
    """An object as the table that stands for it: the inverse of `build`.

    >>> plain(optim.SGD(0.5))
    {'name': 'sgd', 'learning_rate': 0.5}
    """
    if dataclasses.is_dataclass(value):
        return {"name": name_of(value)} | {
            f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    return value


class Network(Section):
    """The network: either hidden widths with one activation, or a list of layers.

    hidden: the widths of the hidden layers; none for a linear model.
    activation: after each hidden layer.
    output: a map after the last affine one, for losses that do not take logits.
    bias, initializer: of every affine map.
    layers: instead of all these, the layers one by one; the last must give as many outputs as the
        targets have.
    """

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64,)
    activation: Layer = _usual("relu")
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
        return self

    def build(self, outputs: int) -> maps.Net:
        """Make the network, ending in `outputs` outputs."""
        if self.layers is not None:
            return maps.chain(*_built(self.layers))

        def affine(width):
            return maps.Affine(width, self.bias, self.initializer.build())

        parts = [part for width in self.hidden for part in (affine(width), self.activation.build())]
        last = [] if self.output is None else [self.output.build()]
        return maps.chain(*parts, affine(outputs), *last)


class Train(Section):
    """epochs: passes over the training part. batch_size: examples a step."""

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=32, ge=1)


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


def _data_section() -> type[Section]:
    hints = typing.get_type_hints(DataSpec)
    fields: dict[str, Any] = {
        f.name: (hints[f.name], f.default) for f in dataclasses.fields(DataSpec) if f.name != "seed"
    }
    return pydantic.create_model("Data", __base__=Section, __doc__=DataSpec.__doc__, **fields)


Data = _data_section()


class Experiment(Section):
    """One experiment: data, network, loss, rule, penalty, and how long and how closely to train.

    name: names the run's folder. seed: of everything random. precision: of the arithmetic.
    loss: if not given, softmax-cross-entropy for classes and squared-error for numbers.
    """

    name: str = Field(default="digits", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["float32", "float64"] = "float32"
    # A checker cannot know a model that is made at run time.
    data: Data = Field(default_factory=Data)  # pyright: ignore[reportInvalidTypeForm]
    network: Network = Field(default_factory=Network)
    loss: Loss | None = None
    rule: Rule = _usual("sgd", learning_rate=0.1)
    penalty: tuple[Penalty, ...] = ()
    train: Train = Field(default_factory=Train)
    evaluate: Evaluate = Field(default_factory=Evaluate)
    record: Recording = Field(default_factory=Recording)
    checkpoint: Checkpoint = Field(default_factory=Checkpoint)
    check: Check = Field(default_factory=Check)

    def data_spec(self) -> DataSpec:
        """The data section with the experiment's seed."""
        return DataSpec(
            **{key: getattr(self.data, key) for key in type(self.data).model_fields}, seed=self.seed
        )

    def toml(self) -> str:
        """The whole experiment as a file, every default written out."""
        table = self.model_dump()
        if self.network.layers is not None:
            table["network"] = {"layers": table["network"]["layers"]}
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
        experiment.network.build(1)
        _built((experiment.rule, *experiment.penalty))
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
    reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    reason = reason.replace("a valid tuple", "a list").replace("String should", "should")
    got_text = "" if kind == "value_error" else f", got {got!r}"
    return ConfigError(f"{place or 'the experiment'}: {reason}{got_text}", where=where)


def _place(loc: tuple[int | str, ...], table: Any) -> tuple[str, type[BaseModel]]:
    """Write a place as in ``network.layers[0].width``, and find the model in force there."""
    place, model = "", Experiment
    for i, part in enumerate(loc):
        is_key = isinstance(table, dict) and part in table
        if isinstance(part, str) and part in TABLES and not is_key:
            model = TABLES[part]
            continue
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
