"""The experiment files of the studies are whole, and keep to the budgets of their sources."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from pullback import config, study

STUDIES = Path(str(files("pullback").joinpath("studies")))
FILES = sorted(set(STUDIES.glob("*/*.toml")) - set(STUDIES.glob("*/study.toml")))
TRAINED_ON = 60_000


def name(path: Path) -> str:
    return path.relative_to(STUDIES).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_file_is_an_experiment_whose_first_lines_tell_what_it_is(path):
    experiment = config.read(path)
    assert experiment.network.build(10)
    assert path.read_text("utf-8").startswith("# ")
    assert name(path) in (STUDIES / "README.md").read_text("utf-8").replace(
        "{fixed,diminishing,adagrad,rmsprop}", path.stem
    )


@pytest.mark.parametrize(
    ("folder", "batch", "steps"), [("ca6-a", 1, 105_000), ("ca6-b", 100, 1_200)]
)
def test_a_better_choice_has_no_more_steps_than_the_source(folder, batch, steps):
    found = [config.read(path) for path in FILES if path.parent.name == folder]
    assert found
    for experiment in found:
        assert experiment.data_spec().split == (1.0, 0.0)
        train = experiment.train
        taken = train.epochs * TRAINED_ON // train.batch(TRAINED_ON)
        assert (train.batch_size, min(taken, train.steps or taken)) == (batch, steps)


def peers(name: str):
    found = config.read(STUDIES / "peers" / f"{name}.toml").peers
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    ["ca6-d", "ca6-e", "dirichlet-averaging", "dirichlet-better", "dirichlet-gossip"],
)
def test_networks_of_workers_have_no_more_steps_than_the_source(name):
    found = peers(name)
    topology, local = found.build().topology, found.local
    assert local.unit == "step"
    working = topology.n - len(topology.without_data())
    assert working == 6
    assert found.rounds * local.length * working <= 105_000


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        ("ca6-d", "ca6-e", {"topology"}),
        ("fedavg-iid", "fedavg-two-shard", {"partition", "rounds"}),
        ("dirichlet-averaging", "dirichlet-gossip", {"topology", "algorithm", "weigh"}),
        ("ring-dense", "ring-choco", {"algorithm", "codec", "rounds", "checkpoint"}),
    ],
)
def test_what_is_compared_differs_in_what_it_says(one, other, keys):
    ours, theirs = (peers(each).model_dump() for each in (one, other))
    assert {key for key in ours if ours[key] != theirs[key]} == keys


def test_the_stated_settings_differ_in_their_rule_alone():
    stated = [
        config.read(STUDIES / "ca6-b" / f"{each}.toml")
        for each in ("fixed", "diminishing", "adagrad", "rmsprop")
    ]
    same = [each.model_copy(update={"name": "", "rule": stated[0].rule}) for each in stated]
    assert all(each == same[0] for each in same)
    assert len({str(each.rule) for each in stated}) == 4


def test_the_readme_leads_to_every_study():
    text = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    table = text.split("## The studies")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z]+[0-9]*-[a-z0-9-]+)`", table)) | {"ca6-2", "ca6-3", "ca6-4"}
    assert named == set(study.names())
