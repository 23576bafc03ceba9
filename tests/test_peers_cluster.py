"""Real processes: the same numbers as the simulation, and what becomes of a run whose workers die.

One session of Ray serves the whole file, and its processes one network after another.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from typing import Any

import jax
import numpy as np
import pytest
from peers_cases import CASES, LOCAL, PARTS, RING, ROUNDS, Case, N, examples, simulation

from pullback.data import Batches, DataSpec
from pullback.errors import CheckpointError, ConfigError, DataError, DivergedError, PeerError
from pullback.peers.algorithm import DPSGD, FedAvg, GradientTracking
from pullback.peers.cluster import Cluster, Crew, Source
from pullback.peers.faults import Faults
from pullback.peers.topology import Star
from pullback.train import Part

pytestmark = pytest.mark.cluster
# Far above what a step takes: only a worker that was stopped on purpose misses it.
DEADLINE = 200.0


@pytest.fixture(scope="module")
def crew():
    """Six processes on a Ray of their own."""
    pytest.importorskip("ray", reason="the extra 'cluster' is not installed")
    with Crew(N) as started:
        yield started


@pytest.fixture(autouse=True)
def hard_limit(request):
    """No test of this file may hang, whatever happens."""

    def end(*_):
        raise TimeoutError(f"{request.node.name} hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(500)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def cluster(case: Case | str, crew: Crew, dtype: str = "float32", **settings: Any) -> Cluster:
    case = CASES[case] if isinstance(case, str) else case
    given: dict[str, Any] = {"local": LOCAL, "codec": case.codec, "deadline": DEADLINE}
    given |= {"data": examples(dtype), "parts": PARTS} | settings
    data, parts = given.pop("data"), given.pop("parts")
    return Cluster(case.task, case.algorithm, case.schedule, data, parts, crew=crew, **given)


def assert_same(ours: Any, theirs: Any, tolerance: float = 0.0) -> None:
    (mine, progress), (other, wanted) = ours.save(), theirs.save()
    assert mine.keys() == other.keys()
    for key, value in other.items():
        assert mine[key].dtype == value.dtype
        np.testing.assert_allclose(
            mine[key].astype(float), value, rtol=0, atol=tolerance, err_msg=key
        )
    assert progress == wanted | {name: progress[name] for name in ("how", "chunk")}


# The same numbers


# What is compiled costs most: of each algorithm one case is short, and the others are long.
DOUBLE = ["two-star-fedavg", "ring-choco", "tree-relay"]
SINGLE = ["ring-dpsgd"]
PRECISIONS = [
    pytest.param(name, dtype, tolerance, marks=[] if name in often else pytest.mark.long)
    for dtype, tolerance, often in (("float64", 1e-12, DOUBLE), ("float32", 1e-6, SINGLE))
    for name in CASES
]


@pytest.mark.parametrize(("name", "dtype", "tolerance"), PRECISIONS)
def test_the_cluster_is_the_simulation(name, dtype, tolerance, crew):
    case = CASES[name]
    with jax.enable_x64(dtype == "float64"):
        for faults in (Faults(), case.faults):
            whole = simulation(case, faults, dtype)
            whole.run(ROUNDS)
            ours = cluster(case, crew, dtype, faults=faults)
            ours.run(ROUNDS)
            assert_same(ours, whole, tolerance)
            assert ours.links() == whole.links()
            np.testing.assert_allclose(ours.models(), whole.models(), rtol=0, atol=tolerance)
            rows = zip(ours.record.rows("round"), whole.record.rows("round"), strict=True)
            for mine, theirs in rows:
                for name in ("loss", "distance", "drift", "health"):
                    told, wanted = mine.pop(name), theirs.pop(name)
                    if wanted is not None:
                        wanted = pytest.approx(wanted, nan_ok=True, rel=1e-4, abs=1e-6)
                    assert told == wanted
                assert mine == theirs
            assert not list(ours.record.rows("fault"))


def test_a_run_goes_on_here_or_in_a_simulation(crew):
    straight, first = (cluster("two-star-fedavg", crew) for _ in range(2))
    straight.run(0)
    whole = simulation(CASES["two-star-fedavg"], Faults(), "float32")
    first.run(2)
    saved = first.save()
    whole.restore(*saved)
    whole.run(2)
    second = cluster("two-star-fedavg", crew)
    second.restore(*saved)
    second.run(2)
    assert_same(second, whole, 1e-6)
    assert second.progress.step == 4
    other = cluster("ring-dpsgd", crew)
    with pytest.raises(CheckpointError, match="left over"):
        other.restore(*saved)


SPEC = DataSpec(source="xor", n=100, noise=0.1)


def test_workers_load_their_own_rows_and_all_are_evaluated(crew):
    source = Source(SPEC, 2)
    whole = source(np.arange(60))
    parts = [np.arange(0), *np.split(np.arange(50), 5)]
    part = Part(Batches(*source(np.arange(60)), 8, 0, limit_bytes=float("inf")), True)
    case = Case(FedAvg(), Star(N, hub_has_data=False).schedule())
    settings: dict[str, Any] = {"parts": parts, "evaluate": {"held-out": part}, "every": 2}
    loading = cluster(case, crew, data=source, **settings)
    given = cluster(case, crew, data=whole, **settings)
    for each in (loading, given):
        each.run(0)
    given.run(2)
    kept, rows = given.save(), list(given.record.rows())
    loading = cluster(case, crew, data=source, **settings)
    loading.run(2)
    for name, value in kept[0].items():
        np.testing.assert_array_equal(loading.save()[0][name], value, err_msg=name)
    assert list(loading.record.rows()) == rows
    evaluations = list(loading.record.rows("evaluation"))
    assert [row["round"] for row in evaluations] == [0, 2]
    found = evaluations[-1]["parts"]["held-out"]
    for i in range(N):
        alone = part.evaluate(case.task, loading.learner(i))
        assert found["workers"][i]["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    together = part.evaluate(case.task, loading.learner())
    assert found["together"]["loss"] == pytest.approx(together["loss"], rel=1e-5)
    with pytest.raises(DataError, match="have the checksum"):
        cluster(case, crew, data=Source(SPEC, 2, checksum="0" * 64), parts=parts)


def test_what_is_not_measured_is_not_fetched(crew):
    ours = cluster("ring-choco", crew, watch=2)
    ours.run(2)
    first, second = ours.record.rows("round")
    assert (first["distance"], first["drift"], first["health"]) == (None, None, {})
    assert second["distance"] > 0
    assert second["health"]["replica_gap"] < 1e-6


# Workers that die


def kill(ours: Cluster, i: int) -> None:
    os.kill(ours.places()[i]["pid"], signal.SIGKILL)


def killing(ours: Cluster, monkeypatch: Any, method: str, t: int, turn: int, *victims: int) -> None:
    """Kill these workers just before they are called so for the first time, in this round."""
    call, left = ours._crew.call, set(victims)

    def wrapped(i, name, *args, **kwargs):
        now = (t, turn) if name == "hear" else (t,)
        if i in left and name == method and (name == "save" or args[: len(now)] == now):
            left.discard(i)
            kill(ours, i)
            # It is dead before it is called, and not while it answers.
            time.sleep(0.1)
        return call(i, name, *args, **kwargs)

    monkeypatch.setattr(ours._crew, "call", wrapped)


def faults_of(ours: Cluster, *what: str) -> list[tuple]:
    rows = [row for row in ours.record.rows("fault") if not what or row["what"] in what]
    return sorted((row["worker"], row["what"], row["round"], row["phase"]) for row in rows)


@pytest.mark.parametrize(
    ("name", "method", "turn", "victims"),
    [
        ("two-star-fedavg", "start", 0, [0]),
        ("two-star-fedavg", "hear", 1, [2]),
        ("ring-dpsgd", "hear", 0, [1, 4]),
    ],
    ids=["leaf-at-start", "hub-in-the-exchange", "two-while-mixing"],
)
def test_a_run_survives_the_death_of_workers(name, method, turn, victims, crew, monkeypatch):
    ours = cluster(name, crew)
    ours.run(1)
    killing(ours, monkeypatch, method, 1, turn, *victims)
    ours.run(1)
    ours.settle()
    assert faults_of(ours, "dead") == [(i, "dead", 2, turn) for i in victims]
    assert [each[:2] for each in faults_of(ours, "back")] == [(i, "back") for i in victims]
    # It begins with what a neighbour has, and that costs a message in full.
    before = [row["messages"] for row in ours.record.rows("round")]
    ours.run(1)
    rows = list(ours.record.rows("round"))
    assert rows[-1]["messages"] == before[0] + len(victims)
    assert np.isfinite(rows[-1]["loss"]).all()
    assert np.isnan(np.array(rows[1]["loss"])[victims]).all()
    models = ours.models()
    if name == "two-star-fedavg":
        np.testing.assert_array_equal(models, models[:1].repeat(N, 0))
    assert not ours._roll.fresh


def test_a_worker_that_dies_while_all_is_saved_is_saved_as_it_was(crew, monkeypatch):
    ours = cluster("two-star-fedavg", crew)
    ours.run(1)
    before = ours.save()
    assert before[1]["down"] == ()
    ours.run(1)
    killing(ours, monkeypatch, "save", 0, 0, 5)
    arrays, progress = ours.save()
    assert progress["down"] == (5,)
    np.testing.assert_array_equal(arrays["x"][5], before[0]["x"][5])
    assert not np.array_equal(arrays["x"][4], before[0]["x"][4])
    # What was saved so is gone on from: the worker takes a neighbour's parameters.
    resumed = cluster("two-star-fedavg", crew)
    resumed.restore(arrays, progress)
    resumed.run(1)
    row = list(resumed.record.rows("round"))[-1]
    assert row["messages"] == 11
    assert resumed.progress.step == 3
    assert resumed.save()[1]["down"] == ()


def test_the_only_hub_comes_back_with_what_was_saved_of_it(crew, monkeypatch):
    ours = cluster("star-fedavg", crew)
    ours.run(1)
    kept = ours.save()[0]["x"][0]
    killing(ours, monkeypatch, "hear", 1, 0, 0)
    ours.run(1)
    assert faults_of(ours) == [(0, "dead", 2, 0)]
    # The leaves have heard nobody. The round after waits for the hub.
    assert len(np.unique(ours._crew.up)) == 2
    ours._roll.need_hub(2)
    np.testing.assert_array_equal(ours.save()[0]["x"][0], kept)
    ours.run(1)
    models = ours.models()
    np.testing.assert_array_equal(models, models[:1].repeat(N, 0))
    assert list(ours.record.rows("round"))[-1]["messages"] == 10


PAIRS = Case(GradientTracking(), RING.schedule().losing("pair"))
NEVER = Case(DPSGD(), RING.schedule())


@pytest.mark.parametrize(
    ("case", "settings", "victim", "match"),
    [
        ("ring-choco", {}, 3, r"worker 3 ended: .*round 1, phase 0; Choco survives no lost"),
        (PAIRS, {}, 2, r"worker 2 ended: .*round 1, phase 0; GradientTracking needs what every"),
        ("star-fedavg", {"hub_death": "error"}, 0, r"worker 0 ended: .*round 1, .*hub_death"),
    ],
    ids=["choco", "tracking", "hub"],
)
def test_what_is_not_survived_names_worker_round_and_phase(
    case, settings, victim, match, crew, monkeypatch
):
    ours = cluster(case, crew, **settings)
    killing(ours, monkeypatch, "hear", 0, 0, victim)
    with pytest.raises(PeerError, match=match):
        ours.run(1)
    assert faults_of(ours) == [(victim, "dead", 1, 0)]


def test_who_is_late_is_left_out_and_comes_back_with_what_it_had(crew):
    ours = cluster(NEVER, crew, faults=Faults(rejoin="own"), deadline=DEADLINE)
    ours.run(1)
    before = ours.models()
    ours._deadline = ours._roll._deadline = 6.0
    pid = ours.places()[3]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        ours.run(1)
        assert time.monotonic() - began > 6
        assert faults_of(ours) == [(3, "overdue", 2, 0)]
        # The rounds after do not wait for it again.
        began = time.monotonic()
        ours.run(1)
        assert time.monotonic() - began < 6
        assert np.isnan(ours.models()[3]).all()
        assert np.isnan(list(ours.record.rows("round"))[-1]["loss"][3])
    finally:
        os.kill(pid, signal.SIGCONT)
    ours.settle()
    assert faults_of(ours, "back") == [(3, "back", 4, None)]
    ours._deadline = ours._roll._deadline = DEADLINE
    np.testing.assert_array_equal(ours.save()[0]["x"][3], before[3])
    ours.run(1)
    assert np.isfinite(ours.models()).all()


def test_a_value_that_is_not_finite_names_its_worker(crew):
    data = examples("float32")
    data.x[PARTS[3]] = 1e38
    with pytest.raises(DivergedError, match=r"worker 3 .*after round 1 "):
        cluster("ring-dpsgd", crew, data=data).run(2)


# What is left behind, and what is refused


SCRIPT = """
    import signal
    from peers_cases import LOCAL, PARTS, TASK, examples
    from pullback.peers import FedAvg, Star
    from pullback.peers.cluster import Cluster
    if __name__ == "__main__":
        # Whoever runs the tests in the background of a shell has it ignored in all that they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        data, two = examples("float32"), Star(2).schedule()
        with Cluster(TASK, FedAvg(), two, data, PARTS[:2], local=LOCAL) as ours:
            pids = [place["pid"] for place in ours.places()]
            import ray
            session = ray._private.worker._global_node.get_session_dir_path()
            print(session, *pids, flush=True)
            ours.run(10**6)
"""


def running(session: str, pids: list[int]) -> list[str]:
    """The processes of a session of Ray that there still are."""
    found = []
    for folder in os.scandir("/proc"):
        if not folder.name.isdigit():
            continue
        try:
            with open(f"{folder.path}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
            with open(f"{folder.path}/stat") as file:
                dead = file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            continue
        if not dead and (session in line or int(folder.name) in pids):
            found.append(line)
    return found


def test_an_interrupted_run_leaves_no_process_behind(crew, tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(SCRIPT))
    paths = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        assert child.stdout is not None
        session, *pids = child.stdout.readline().split()
        pids = [int(pid) for pid in pids]
        assert len(running(session, pids)) > len(pids) == 2
        errors = None
        while errors is None:
            # One that comes while JAX calls back into Python is swallowed there.
            child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                _, errors = child.communicate(timeout=20)
    finally:
        child.kill()
        child.communicate()
    assert "KeyboardInterrupt" in errors
    end = time.monotonic() + 60
    while (left := running(session, pids)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not left


def test_what_does_not_fit_is_refused(crew):
    with pytest.raises(ConfigError, match="deadline must be positive"):
        cluster("ring-dpsgd", crew, deadline=0)
    with pytest.raises(ConfigError, match="hub_death is"):
        cluster("ring-dpsgd", crew, hub_death="wait")
    with pytest.raises(ConfigError, match="start must be"):
        cluster("ring-dpsgd", crew, start=np.zeros((N, 3)))
    seven = Case(FedAvg(), Star(7).schedule())
    with pytest.raises(ConfigError, match="7 workers for 6 processes"):
        cluster(seven, crew, parts=[*PARTS, PARTS[0]])


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'pullback\[cluster\]'"):
        Crew(2)
