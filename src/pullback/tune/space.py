"""The search space: the [tune] section's ranges and choices, as Optuna's distributions and back."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import config
from ..config import Choices, Experiment, Range, put
from ..config.keys import steps
from ..errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# What belongs to the whole study, and cannot differ from trial to trial.
_FIXED = ("name", "precision", "tune")
# What makes values of different trials mean different things; `tune.folds` takes every fold.
_OF_ONE_FOLD = (["data", "folds"], ["data", "fold"])


class Space:
    """What is searched, in the words of Optuna: a name and a number or a text for each key.

    A range on the scale "log-one-minus" is searched by 1 minus its value, and a choice by its JSON.

    Args:
        experiment: whose `tune.space` it is.

    Raises:
        ConfigError: there is nothing to search; a key is not one of an experiment file, or cannot
            be searched; a value does not fit it.
    """

    def __init__(self, experiment: Experiment):
        """Try the first value of every key."""
        self._ranges = dict(experiment.tune.space)
        self._table = tomllib.loads(experiment.toml())
        self._table.pop("tune", None)
        if not self._ranges:
            raise ConfigError(
                "there is nothing to search",
                where="the section [tune]",
                next='give a range, such as space = { "rule.learning_rate" = '
                '{ low = 0.001, high = 1.0, scale = "log" } }',
            )
        for key in self._ranges:
            if steps(key)[0] in _FIXED:
                raise ConfigError(f"'{key}' cannot be searched", where="the section [tune]")
            if steps(key) in _OF_ONE_FOLD:
                raise ConfigError(
                    f"'{key}' cannot be searched",
                    where="the section [tune]",
                    next="set tune.folds, and each trial is judged by all folds",
                )
        self.experiment({_name(key, each): _first(each) for key, each in self._ranges.items()})

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna draws from."""
        return {_name(key, each): _distribution(each) for key, each in self._ranges.items()}

    def experiment(self, drawn: Mapping[str, Any]) -> Experiment:
        """The experiment of one trial, from what was drawn."""
        table = json.loads(json.dumps(self._table))
        for key, value in self.values(drawn).items():
            put(table, key, value, "the section [tune]")
        return config.parse(table, "the section [tune]")

    def values(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """What was drawn, as the values of an experiment file."""
        found = {}
        for key, each in self._ranges.items():
            value = drawn[_name(key, each)]
            if isinstance(each, Choices):
                value = json.loads(value)
            elif each.scale == "log-one-minus":
                value = 1 - value
            found[key] = value
        return found

    def scales(self) -> dict[str, str]:
        """The scales of the ranges, by key."""
        return {key: each.scale for key, each in self._ranges.items() if isinstance(each, Range)}

    def key(self, name: str) -> str:
        """The key of the experiment file that Optuna knows by this name."""
        return next(key for key, each in self._ranges.items() if _name(key, each) == name)

    def grid(self) -> list[dict[str, Any]]:
        """Every combination, the last key fastest.

        Raises:
            ConfigError: a range has no step.
        """
        names = [_name(key, each) for key, each in self._ranges.items()]
        columns = [_points(key, each) for key, each in self._ranges.items()]
        return [dict(zip(names, point, strict=True)) for point in product(*columns)]


def _name(key: str, each: Range | Choices) -> str:
    turned = isinstance(each, Range) and each.scale == "log-one-minus"
    return f"1 - {key}" if turned else key


def _distribution(each: Range | Choices) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(each, Choices):
        return CategoricalDistribution([_text(choice) for choice in each.choices])
    if each.scale == "log-one-minus":
        return FloatDistribution(1 - each.high, 1 - each.low, log=True)
    log = each.scale == "log"
    if isinstance(each.low, int) and isinstance(each.high, int):
        step = 1 if each.step is None else int(each.step)
        return IntDistribution(each.low, each.high, log=log, step=step)
    return FloatDistribution(each.low, each.high, log=log, step=each.step)


def _first(each: Range | Choices) -> Any:
    if isinstance(each, Choices):
        return _text(each.choices[0])
    return 1 - each.low if each.scale == "log-one-minus" else each.low


def _points(key: str, each: Range | Choices) -> list[Any]:
    if isinstance(each, Choices):
        return [_text(choice) for choice in each.choices]
    if each.step is None:
        raise ConfigError(
            f"a grid wants to know the values of '{key}', and its range has no step",
            where="the section [tune]",
            next="give it a step, or choices = [...]",
        )
    count = int((each.high - each.low) / each.step + 1e-9) + 1
    points = (each.low + each.step * np.arange(count)).tolist()
    return [round(point, 12) for point in points]


def _text(choice: Any) -> str:
    return json.dumps(choice)
