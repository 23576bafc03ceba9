"""The tables of cases are complete, and the names in an experiment file are well made."""

from __future__ import annotations

import inspect
import re

import cases
import pytest

from pullback import config, initializer, loss, maps, optim, penalty


def public(module, base):
    return {
        kind
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, base) and not name.startswith("_")
    }


ABSTRACT = {maps.Map, maps.Elementwise, loss.Loss, penalty.Penalty, initializer.Initializer}
ABSTRACT |= {penalty.Proximable}
ABSTRACT |= {optim.Rule, optim.Method, optim.Schedule}


@pytest.mark.parametrize(
    ("kinds", "table"),
    [
        (public(maps, maps.Map), [case.map for case in cases.MAPS]),
        (public(loss, loss.Loss), [case.loss for case in cases.LOSSES]),
        (public(penalty, penalty.Penalty), cases.PENALTIES),
        (public(initializer, initializer.Initializer), cases.INITIALIZERS),
        (public(optim, optim.Rule), cases.RULES),
        (public(optim, optim.Method), cases.METHODS),
        (public(optim, optim.Schedule), cases.SCHEDULES),
    ],
    ids=["maps", "losses", "penalties", "initializers", "rules", "methods", "schedules"],
)
def test_every_public_class_has_a_case(kinds, table):
    assert kinds - ABSTRACT == {type(case) for case in table}


def test_joins_are_those_maps_that_want_several_wires():
    several = {type(case.map) for case in cases.MAPS if isinstance(case.shape[0], tuple)}
    assert several == set(config.JOINS.values())


def test_names_are_unique_and_of_one_spelling():
    names = [name for registry in config.REGISTRIES for name in registry]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
