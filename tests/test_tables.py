"""The tables of cases are complete, and so are the registries of the experiment file."""

from __future__ import annotations

import inspect

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
BUILT = {maps.Net, maps.Skip, maps.Towers}
RULES = {kind for kind in vars(optim).values() if inspect.isclass(kind)} - {optim.Rule}


@pytest.mark.parametrize(
    ("kinds", "table"),
    [
        (public(maps, maps.Map), [case.map for case in cases.MAPS]),
        (public(loss, loss.Loss), cases.LOSSES),
        (public(penalty, penalty.Penalty), cases.PENALTIES),
        (public(initializer, initializer.Initializer), cases.INITIALIZERS),
        (RULES, cases.RULES),
    ],
    ids=["maps", "losses", "penalties", "initializers", "rules"],
)
def test_every_public_class_has_a_case(kinds, table):
    assert kinds - ABSTRACT == {type(case) for case in table}


@pytest.mark.parametrize(
    ("kinds", "registered"),
    [
        (
            public(maps, maps.Map) - BUILT - {maps.Part},
            {*config.LAYERS.values(), *config.JOINS.values()},
        ),
        (public(loss, loss.Loss), set(config.LOSSES.values())),
        (public(penalty, penalty.Penalty) - {penalty.Sum}, set(config.PENALTIES.values())),
        (public(initializer, initializer.Initializer), set(config.INITIALIZERS.values())),
        (RULES, set(config.RULES.values())),
    ],
    ids=["maps", "losses", "penalties", "initializers", "rules"],
)
def test_every_public_class_can_be_named_in_an_experiment_file(kinds, registered):
    assert kinds - ABSTRACT == registered
