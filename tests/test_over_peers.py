"""An experiment over a network of workers: from its file to its folder, and on after a stop."""

from __future__ import annotations

import itertools
import json
import tomllib

import numpy as np
import pytest

from pullback import checkpoint, config, experiment, model
from pullback.errors import ConfigError
from pullback.peers import partition_report
from pullback.prepared import prepare
from pullback.record import Record
from pullback.runs import RunFolder

# Slots of every kind: momentum in the rule, statistics in the maps, memory of a codec, faults.
FILE = """
name = "digits"
[network]
hidden = [6]
normalization = "batch-norm"
dropout = 0.1
[rule]
name = "momentum"
learning_rate = {name = "cosine", rate = 0.1}
[train]
batch_size = 8
[check]
examples = 4
entries = 2
directions = 1
[peers]
topology = {name = "ring", workers = 4}
algorithm = "choco"
codec = {name = "top-k", share = 0.2}
rounds = 6
evaluate = 2
checkpoint = 1
local = {length = 2}
"""


def parse(text: str, **sections):
    table = tomllib.loads(text)
    for name, values in sections.items():
        table[name] = table.get(name, {}) | values
    return config.parse(table, "a test")


PLAN = parse(FILE)


def rows(folder, kind=None):
    return list(Record.read(folder / "metrics.jsonl").rows(kind))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    return experiment.train(PLAN, tmp_path_factory.mktemp("whole") / "run")


def test_a_run_leaves_a_model_its_rows_and_a_result(whole):
    result = whole.result
    assert result["status"] == "done"
    assert (result["rounds"], result["steps"], result["messages"]) == (6, 6 * 4 * 2, 6 * 8)
    assert result["epochs"] == pytest.approx(6 * 4 * 2 * 8 / 1078)
    rounds, evaluations = rows(whole.folder, "round"), rows(whole.folder, "evaluation")
    assert [row["round"] for row in evaluations] == [0, 2, 4, 6]
    assert sum(sum(row["bytes"].values()) for row in rounds) == result["bytes"]
    (traffic,) = rows(whole.folder, "traffic")
    assert sum(link[3] for link in traffic["links"]) == result["bytes"]
    (peers,) = rows(whole.folder, "peers")
    assert peers["topology"] == {"name": "ring", "workers": 4}
    assert peers["local"]["batch_size"] == 8
    assert len(peers["links"]) == 8
    final = evaluations[-1]["parts"]["test"]
    assert result["final"]["test"] == final["together"]
    assert len(final["workers"]) == 4
    again = experiment.evaluate(whole.folder)["test"]
    assert again["loss"] == pytest.approx(final["together"]["loss"], rel=1e-5)
    assert model.load_model(whole.folder).experiment.peers == PLAN.peers
    assert "6 rounds" in whole.text()


def test_the_partition_in_the_record_is_what_the_workers_have(whole):
    (row,) = rows(whole.folder, "partition")
    prepared = prepare(PLAN)
    assert prepared.dealt is not None
    parts = prepared.dealt.parts
    assert sorted(np.concatenate(parts).tolist()) == list(range(1078))
    expected = partition_report(parts, prepared.loaded.train.y)
    assert row["workers"] == json.loads(json.dumps(expected["workers"]))


@pytest.mark.parametrize("stops", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_bits(whole, tmp_path, stops):
    folder = tmp_path / "run"
    asked = itertools.count()
    first = experiment.train(PLAN, folder, interrupted=lambda: next(asked) >= stops)
    assert first.result["status"] == "interrupted"
    assert first.result["rounds"] < 6
    second = experiment.resume(folder)
    assert second.result["status"] == "done"
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    ours, theirs = (checkpoint.load_latest(each / "checkpoints") for each in (folder, whole.folder))
    assert ours is not None
    assert theirs is not None
    assert ours[0].keys() == theirs[0].keys()
    for name, array in ours[0].items():
        np.testing.assert_array_equal(array, theirs[0][name], err_msg=name)


def test_a_run_that_diverges_keeps_its_last_checkpoint(tmp_path):
    plan = parse("""
    network = {hidden = [4]}
    rule = {learning_rate = 1e30}
    check = {enabled = false}
    peers = {topology = {name = "star", workers = 2}, rounds = 3}
    """)
    ended = experiment.train(plan, tmp_path / "run")
    assert ended.result["status"] == "diverged"
    assert "worker" in ended.result["message"]
    arrays, _ = RunFolder.open(tmp_path / "run").load_model()
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert experiment.resume(tmp_path / "run").result["status"] == "diverged"


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        ({"algorithm": "dpsgd"}, "DPSGD wants messages that are rounded"),
        ({"algorithm": "star-admm", "codec": "dense"}, "StarADMM"),
        ({"topology": "stars", "mixing": "lazy"}, "nothing to mix.*leave out the key 'mixing'"),
        ({"faults": {"crashes": ((9, 1),)}}, "names worker 9, there are 4"),
        ({"faults": {"loss": 0.1}}, "survives no lost message"),
        ({"partition": {"name": "shards", "shards_per_worker": 9999}}, "want 39996 examples"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, peers, said):
    with pytest.raises(ConfigError, match=said):
        experiment.train(parse(FILE, peers=peers), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_hub_without_data_gets_none():
    plan = parse(
        FILE,
        peers={
            "topology": {"name": "star", "workers": 4, "hub_has_data": False},
            "algorithm": "fedavg",
            "codec": "dense",
        },
    )
    dealt = prepare(plan).dealt
    assert dealt is not None
    assert [len(part) for part in dealt.parts] == [0, 360, 359, 359]
    assert dealt.amounts == (0, 360, 359, 359)


@pytest.mark.cluster
def test_an_experiment_on_the_cluster_ends_as_its_simulation(tmp_path):
    pytest.importorskip("ray", reason="the extra 'cluster' is not installed")
    text = """
    network = {hidden = [4]}
    check = {enabled = false}
    peers = {topology = {name = "star", workers = 2}, rounds = 2, local = {length = 3}}
    """
    simulated = experiment.train(parse(text), tmp_path / "simulated")
    text = text.replace("rounds = 2", 'engine = "cluster", rounds = 2')
    asked = itertools.count()
    real = experiment.train(parse(text), tmp_path / "real", interrupted=lambda: next(asked) > 0)
    assert real.result["status"] == "interrupted"
    real = experiment.resume(tmp_path / "real")
    for key in ("rounds", "steps", "messages", "bytes", "simulated_seconds"):
        assert real.result[key] == simulated.result[key]
    ours, theirs = (each.result["final"]["test"]["loss"] for each in (real, simulated))
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert [row["engine"] for row in rows(real.folder, "peers")] == ["cluster"]
