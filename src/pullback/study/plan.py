"""A study as data: `studies/NAME/study.toml`, with the experiment files that it names.

What training an experiment shows is an arm; what it does not show is an exhibit, a function of
`pullback.study.exhibits` with its settings. Claims hold numbers of both against the source.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from .. import config
from ..config import Experiment
from ..errors import ConfigError, nearest
from . import exhibits

STUDIES = Path(__file__).parents[1] / "studies"
_FILE = "study.toml"

Form = Literal["quick", "full"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Part):
    """Where a number must lie. least, most: its ends; a missing one is open."""

    least: float | None = None
    most: float | None = None

    @pydantic.model_validator(mode="after")
    def _has_an_end(self):
        if self.least is None and self.most is None:
            raise ValueError("a band wants least or most")
        return self

    def holds(self, value: float) -> bool:
        """Whether a number lies in it; nan does not."""
        above = self.least is None or value >= self.least
        below = self.most is None or value <= self.most
        return above and below and value == value

    def __str__(self) -> str:
        """Return it in words.

        >>> print(Band(least=0.5), Band(least=0, most=0.2), Band(least=19210, most=19210), sep="; ")
        at least 0.5; at least 0 and at most 0.2; exactly 19210
        """
        if self.least == self.most:
            return f"exactly {self.least:.10g}"
        ends = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{word} {end:.4g}" for word, end in ends if end is not None)


_NAME = r"^[a-z0-9][a-z0-9-]*$"


class Arm(_Part):
    """One experiment of a study, trained from several seeds.

    name: in the tables and figures. file: the experiment, beside the study's file. settings: put
    over it. quick: put over these in the quick form, after what all arms have there. Or, instead of
    these three, study: another study with an arm of this name, which is trained once for both.
    """

    name: str = Field(pattern=_NAME)
    file: str | None = None
    settings: dict[str, Any] = {}
    quick: dict[str, Any] = {}
    study: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_here_or_there(self):
        if (self.file is None) == (self.study is None):
            raise ValueError(f"the arm '{self.name}' wants either a file or a study")
        if self.study is not None and (self.settings or self.quick):
            raise ValueError(f"the arm '{self.name}' is of another study, and as it is there")
        return self


class Exhibit(_Part):
    """What a study computes beside its trainings.

    name: in the tables. kind: which of `pullback.study.exhibits`. arms: those that it is given.
    settings: its own. quick: put over these in the quick form.
    """

    name: str = Field(pattern=_NAME)
    kind: str
    arms: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    quick: dict[str, Any] = {}

    @pydantic.model_validator(mode="after")
    def _is_there(self):
        for form in ("full", "quick"):
            exhibits.check(self.kind, self.of_form(form))
        return self

    def of_form(self, form: Form) -> dict[str, Any]:
        """Its settings in one form."""
        return self.settings | (self.quick if form == "quick" else {})


class Series(_Part):
    """Numbers of several arms, as one curve or as bars of one colour.

    name: in the legend. arms: in order. value: of each, as in a claim.
    """

    name: str
    arms: tuple[str, ...] = Field(min_length=1)
    value: str


class Across(_Part):
    """A figure of numbers across arms.

    at: where each arm of a series lies on the axis x, or, if they are words, what its bars are
    called. The rest is as in `pullback.study.chart.Chart`.
    """

    id: str = Field(pattern=_NAME)
    title: str
    caption: str
    x: str
    y: str
    at: tuple[float, ...] | tuple[str, ...]
    series: tuple[Series, ...] = Field(min_length=1)
    log: Literal["", "x", "y", "xy"] = ""
    percent: bool = False

    @pydantic.model_validator(mode="after")
    def _fits(self):
        for series in self.series:
            if len(series.arms) != len(self.at):
                raise ValueError(f"the series '{series.name}' of '{self.id}' does not fit `at`")
        return self


Picture = Literal[
    "output-loss",
    "output-steps",
    "step-loss",
    "metrics",
    "delta-flow",
    "update-ratio",
    "weights",
    "confusion",
    "boundary",
    "workers",
]
"""Figures of a run that a study may put on its page."""


class Claim(_Part):
    """A number that the study is about.

    what: it is, in words. arm: whose, or which exhibit's. value: of an arm the part and the measure
    at the end, such as "test.accuracy", or what `pullback.study.measure` knows; of an exhibit one
    of its numbers. minus: another arm, from whose number it is counted; over: one by whose number
    it is divided. published: by the source. full, quick: the band that the mean over seeds must lie
    in, in each form; without one the number is shown, and nothing is judged.
    """

    what: str
    arm: str
    value: str = "test.accuracy"
    minus: str | None = None
    over: str | None = None
    published: float | None = None
    full: Band | None = None
    quick: Band | None = None


class Study(_Part):
    """What a source asked, and how it is answered.

    title: in a few words. source: where it stands. asked: what for. left_open: what the source does
    not say, and what was taken. conclusion: what to learn from the full form. quick: settings of
    all arms in the quick form. arm, exhibit: what is run, at least one in all. curves: groups of
    arms whose curves are drawn together; without any, all are. chart: figures across arms. show:
    figures of the first run of each arm. claim: at least one.
    """

    name: str
    title: str
    source: str
    asked: str
    left_open: str = ""
    conclusion: str
    quick: dict[str, Any] = {}
    arm: tuple[Arm, ...] = ()
    exhibit: tuple[Exhibit, ...] = ()
    curves: tuple[tuple[str, ...], ...] = ()
    chart: tuple[Across, ...] = ()
    show: tuple[Picture, ...] = ()
    claim: tuple[Claim, ...] = Field(min_length=1)

    @pydantic.model_validator(mode="after")
    def _names_are_there(self):
        arms = [arm.name for arm in self.arm]
        names = [*arms, *(exhibit.name for exhibit in self.exhibit)]
        if not names:
            raise ValueError("a study wants an arm or an exhibit")
        if len(set(names)) < len(names):
            raise ValueError("two arms or exhibits have one name")
        asked = [("a claim", names, (c.arm, c.minus, c.over)) for c in self.claim]
        asked += [("a chart", arms, s.arms) for chart in self.chart for s in chart.series]
        asked += [("an exhibit", arms, each.arms) for each in self.exhibit]
        asked += [("a group of curves", arms, group) for group in self.curves]
        for what, there, wanted in asked:
            for name in wanted:
                if name is not None and name not in there:
                    raise ValueError(f"{what} is of '{name}', there are {there}")
        return self

    @cached_property
    def folder(self) -> Path:
        """Where its files lie."""
        return STUDIES / self.name

    def arm_named(self, name: str) -> Arm:
        """The arm of a name.

        Raises:
            ConfigError: there is none.
        """
        for arm in self.arm:
            if arm.name == name:
                return arm
        raise ConfigError(f"the study {self.name} has no arm '{name}'")

    def experiment(self, arm: Arm, form: Form, seed: int) -> Experiment:
        """The experiment of one arm and seed.

        Raises:
            ConfigError: the file is missing, or a setting does not fit.
        """
        if arm.study is not None:
            lender = open_study(arm.study)
            return lender.experiment(lender.arm_named(arm.name), form, seed)
        assert arm.file is not None
        path = (self.folder / arm.file).resolve()
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise ConfigError(f"the study {self.name} has no file {arm.file}: {error}") from error
        table, settings = config.decode(text, str(path)), dict(arm.settings)
        if form == "quick":
            settings |= self.quick | arm.quick
        for key, value in settings.items():
            _put(table, key, value)
        table |= {"name": arm.name, "seed": seed}
        return config.parse(table, f"the arm {arm.name} of the study {self.name}")


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a value, in tables that are made where there are none."""
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"'{key}' cannot be set: '{part}' is no table")
    table[last] = value


def names() -> list[str]:
    """The names of all studies."""
    return sorted(path.parent.name for path in STUDIES.glob(f"*/{_FILE}"))


def open_study(name: str) -> Study:
    """Read a study.

    Raises:
        ConfigError: there is none of this name, or its file is broken.
    """
    if name not in names():
        raise ConfigError(f"there is no study '{name}'", next=nearest(name, names()))
    path = STUDIES / name / _FILE
    try:
        table: Mapping[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return Study.model_validate({**table, "name": name})
    except (tomllib.TOMLDecodeError, pydantic.ValidationError) as error:
        raise ConfigError(f"the study '{name}' is broken: {error}", where=str(path)) from error
