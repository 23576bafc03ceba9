"""The catalogue page: everything there is, from the docstrings, with pictures drawn by our code."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import config
from ..catalogue import curves
from ..catalogue.cases import INITIALIZERS, LOSSES, PENALTIES
from ..catalogue.document import Document, document
from ..catalogue.map_cases import MAPS
from ..catalogue.rule_cases import SCHEDULES
from ..catalogue.slips import SLIPS
from ..catalogue.variance import signals
from ..catalogue.verification import Verification
from ..files import write_bytes, write_json, write_text, writing
from .figures import Figure
from .figures.curve import function
from .figures.rate import learning_rate
from .figures.variance import initializer_variance
from .figures.verification import verification, verification_png
from .page import render

# The families of maps, in the order in which the page shows them; the heading of each.
_FAMILIES = {
    "activation": "Activations",
    "affine": "Affine maps",
    "norm": "Normalisation",
    "dropout": "Dropout",
    "conv": "Convolution",
    "pool": "Pooling",
    "shape": "Shape",
    "compose": "Structure",
    "core": "Networks",
    "recompute": "Memory",
}


@dataclass(frozen=True)
class Entry:
    """One class of the catalogue.

    Attributes:
        kind: the class.
        name: its name in an experiment file; None where it has none.
        about: its docstring, taken apart.
        figure: its curve and derivative, where it is a function of one number.
    """

    kind: type
    name: str | None
    about: Document
    figure: Figure | None

    @property
    def id(self) -> str:
        """The anchor on the page: the family tells two classes of one name apart."""
        return f"{self.kind.__module__.split('.')[1]}-{self.kind.__name__}"

    @property
    def call(self) -> str:
        """How it is made: the class with its arguments and their defaults."""
        return self.kind.__name__ + _shown(inspect.signature(self.kind))


@dataclass(frozen=True)
class Chapter:
    """A part of the page: a heading, its entries, and a figure about them all."""

    id: str
    title: str
    entries: list[Entry]
    figure: Figure | None = None


def write_catalogue(out: Path) -> Path:
    """Write the catalogue as one self-contained page, and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    chapters = [chapter for chapter in _chapters() if chapter.entries]
    count = sum(len(chapter.entries) for chapter in chapters)
    page = render("catalogue.html", title="Catalogue", chapters=chapters, slips=SLIPS, count=count)
    write_text(out, page)
    return out


def write_verification(outcome: Verification, out: Path) -> None:
    """Write a check of the catalogue as check.json, check.svg and check.png into a folder.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / "check.json", outcome.row())
    write_bytes(out / "check.svg", verification(outcome).image)
    write_bytes(out / "check.png", verification_png(outcome))


def _chapters() -> Iterator[Chapter]:
    map_kinds = _kinds(case.map for case in MAPS)
    for family, title in _FAMILIES.items():
        kinds = [kind for kind in map_kinds if kind.__module__.split(".")[2] == family]
        yield Chapter(family, title, [_entry(kind) for kind in kinds])
    yield Chapter("loss", "Losses", [_entry(kind) for kind in _kinds(c.loss for c in LOSSES)])
    yield Chapter("penalty", "Penalties", [_entry(kind) for kind in _kinds(PENALTIES)])
    yield Chapter(
        "initializer",
        "Initialisers",
        [_entry(kind) for kind in _kinds(INITIALIZERS)],
        initializer_variance(signals()),
    )
    yield Chapter("optim", "Rules", [_entry(kind) for kind in config.RULES.values()])
    kinds = config.METHODS.values()
    yield Chapter("second-order", "Second-order methods", [_entry(kind) for kind in kinds])
    kinds = config.SCHEDULES.values()
    yield Chapter("schedule", "Schedules", [_entry(kind) for kind in kinds])


def _kinds(objects: Iterable[object]) -> list[type]:
    """The classes of objects, each once, in their order."""
    return list(dict.fromkeys(map(type, objects)))


def _entry(kind: type) -> Entry:
    return Entry(kind, _names().get(kind), document(kind), _curve(kind))


def _names() -> dict[type, str]:
    registries = (
        config.LAYERS,
        config.JOINS,
        config.LOSSES,
        config.PENALTIES,
        config.INITIALIZERS,
        config.RULES,
        config.METHODS,
        config.SCHEDULES,
    )
    return {kind: name for registry in registries for name, kind in registry.items()}


def _curve(kind: type) -> Figure | None:
    """The picture of a function of one number: of the first case of its class."""
    id, title = f"curve-{kind.__name__.lower()}", kind.__name__
    for case in MAPS:
        if type(case.map) is kind and ".activation." in kind.__module__:
            plot = curves.of_map(case.map)
            return None if plot is None else function(id, title, plot)
    for case in LOSSES:
        if type(case.loss) is kind:
            return function(id, title, curves.of_loss(case))
    for schedule in SCHEDULES:
        if type(schedule) is kind:
            return learning_rate(schedule, steps_per_epoch=12, epochs=10)
    return None


def _shown(signature: inspect.Signature) -> str:
    """A signature without its types, which the sections tell in words."""
    empty = inspect.Signature.empty
    bare = [each.replace(annotation=empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=empty))
