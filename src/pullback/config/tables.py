"""Registries of names, and the table of a file that stands for an object of each."""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import typing
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from .. import augment, initializer, loss, maps, optim, peers, penalty
from ..errors import ConfigError

# Names that the rule of `spelled` would part.
_SPELLED = {
    "AdaGrad": "adagrad",
    "AdaMax": "adamax",
    "AdamW": "adamw",
    "FedAvg": "fedavg",
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
TOPOLOGIES = _public(peers, peers.Topology)
MIXINGS = _public(peers, peers.Mixing)
ALGORITHMS = _public(peers, peers.Algorithm)
CODECS = _public(peers, peers.Codec)
PARTITIONS = _public(peers, peers.Partition)

_NETWORKS = (INITIALIZERS, LAYERS, JOINS, LOSSES, PENALTIES)
_TRAINING = (AUGMENTATIONS, RULES, METHODS, SCHEDULES)
REGISTRIES = (*_NETWORKS, *_TRAINING, TOPOLOGIES, MIXINGS, ALGORITHMS, CODECS, PARTITIONS)


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

    def maps(self) -> int:
        """How many maps a network has from it, counted without making them."""
        return 1

    def build(self) -> Any:
        """Make the object. Its own checks may still refuse a value."""
        fields = {field.name for field in dataclasses.fields(self.kind)}
        return self.kind(**{key: built(getattr(self, key)) for key in fields})


class ProximableTable(Table):
    """A penalty that may act by its proximal step after each update, instead of its derivative."""

    proximal: bool = False

    def build(self) -> penalty.Penalty:
        """Make the penalty."""
        built = super().build()
        return penalty.Proximal(built) if self.proximal else built


def built(value: Any) -> Any:
    """Make what tables stand for, in tuples too."""
    if isinstance(value, Table):
        return value.build()
    return tuple(map(built, value)) if isinstance(value, tuple) else value


TABLES: dict[str, type[Table]] = {}

# Fields that hold tables of the very registries that are still being made.
_LATER: dict[Any, str] = {
    optim.Rule: "Rule",
    tuple[optim.Rule, ...]: "tuple[Rule, ...]",
    float | optim.Schedule: "LearningRate",
    peers.Mixing: "Mixing",
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
            hint = Initializer
        if dataclasses.is_dataclass(default):
            default = Field(
                default_factory=lambda value=default: TABLES[name_of(value)](**plain(value))
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


def section(name: str, kind: type, without: str = "") -> type[Section]:
    """Make the section that has a key for each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {
        f.name: (hints[f.name], f.default) for f in dataclasses.fields(kind) if f.name != without
    }
    return pydantic.create_model(name, __base__=Section, __doc__=kind.__doc__, **fields)


def usual(name: str, **values: Any) -> Any:
    """Return the default of a field: the table of this name."""
    return Field(default_factory=lambda: TABLES[name](name=name, **values))


if TYPE_CHECKING:
    # The registries make these types at run time; a checker can know what they have in common.
    Algorithm: TypeAlias = Table
    Augmentation: TypeAlias = Table
    Codec: TypeAlias = Table
    Initializer: TypeAlias = Table
    Join: TypeAlias = Table
    Layer: TypeAlias = Table
    Loss: TypeAlias = Table
    Mixing: TypeAlias = Table
    Normalization: TypeAlias = Table
    Partition: TypeAlias = Table
    Penalty: TypeAlias = Table
    Rule: TypeAlias = Table
    AnyRule: TypeAlias = Table
    Topology: TypeAlias = Table
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
    Mixing = _one_of(_registered(MIXINGS))
    Algorithm = _one_of(_registered(ALGORITHMS))
    Codec = _one_of(_registered(CODECS))
    Partition = _one_of(_registered(PARTITIONS))
    Topology = _one_of(_registered(TOPOLOGIES))
    for name in (*SCHEDULES, *RULES, *MIXINGS):
        TABLES[name].model_rebuild()


class SkipTable(Table):
    """A residual block: the input, plus what its layers make of it."""

    name: Literal["skip"]
    layers: tuple[Layer, ...]

    def build(self) -> maps.Map:
        """Make the block."""
        return maps.skip(*built(self.layers))

    def maps(self) -> int:
        """Those of its layers, and the sum."""
        return sum(layer.maps() for layer in self.layers) + 1


class TowersTable(Table):
    """Equal towers with shared parameters over equal parts of the input, joined at the end."""

    name: Literal["towers"]
    layers: tuple[Layer, ...]
    join: Join = usual("subtract")
    count: int = 2

    def build(self) -> maps.Map:
        """Make the towers."""
        return maps.towers(maps.chain(*built(self.layers)), self.join.build(), self.count)

    def maps(self) -> int:
        """For each tower those of its layers and its part of the input, and the join."""
        return self.count * (sum(layer.maps() for layer in self.layers) + 1) + 1


class RecomputeTable(Table):
    """Layers of which only the input is kept; the reverse pass runs them forward again."""

    name: Literal["recompute"]
    layers: tuple[Layer, ...]

    def build(self) -> maps.Map:
        """Make the block."""
        return maps.Recompute(maps.chain(*built(self.layers)))

    def maps(self) -> int:
        """Those of its layers, and itself."""
        return sum(layer.maps() for layer in self.layers) + 1


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
    for registry in REGISTRIES:
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
