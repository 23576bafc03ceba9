"""A study as data: `studies/NAME/study.toml`, with the experiment files that it names."""

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
        """Return it in words."""
        ends = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{word} {end:.4g}" for word, end in ends if end is not None)


class Arm(_Part):
    """One experiment of a study, trained from several seeds.

    name: in the tables and figures. file: the experiment, beside the study's file. settings: put
    over it. quick: put over these in the quick form, after what all arms have there.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    file: str
    settings: dict[str, Any] = {}
    quick: dict[str, Any] = {}


class Claim(_Part):
    """A number that the study is about.

    what: it is, in words. arm: whose. value: the part and the measure at the end, such as
    "test.accuracy". minus: another arm, from whose number it is counted. published: by the source.
    full, quick: the band that the mean over seeds must lie in, in each form; without one the
    number is shown, and nothing is judged.
    """

    what: str
    arm: str
    value: str = Field(default="test.accuracy", pattern=r"^\w+\.\w+$")
    minus: str | None = None
    published: float | None = None
    full: Band | None = None
    quick: Band | None = None


class Study(_Part):
    """What a source asked, and how it is answered.

    title: in a few words. source: where it stands. asked: what for. left_open: what the source does
    not say, and what was taken. conclusion: what to learn from the full form. quick: settings of
    all arms in the quick form. arms, claims: at least one each.
    """

    name: str
    title: str
    source: str
    asked: str
    left_open: str = ""
    conclusion: str
    quick: dict[str, Any] = {}
    arm: tuple[Arm, ...] = Field(min_length=1)
    claim: tuple[Claim, ...] = Field(min_length=1)

    @pydantic.model_validator(mode="after")
    def _names_are_arms(self):
        names = [arm.name for arm in self.arm]
        if len(set(names)) < len(names):
            raise ValueError("two arms have one name")
        for claim in self.claim:
            for name in (claim.arm, claim.minus):
                if name is not None and name not in names:
                    raise ValueError(f"a claim is of the arm '{name}', there are {names}")
        return self

    @cached_property
    def folder(self) -> Path:
        """Where its files lie."""
        return STUDIES / self.name

    def experiment(self, arm: Arm, form: Form, seed: int) -> Experiment:
        """The experiment of one arm and seed.

        Raises:
            ConfigError: the file is missing, or a setting does not fit.
        """
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
