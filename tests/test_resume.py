"""A run that was stopped, in whatever way, ends as if it had not been: the same bits."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import killed_run
import pytest
from command import (
    assert_same_run,
    command,
    contents,
    environment,
    invoke,
    refused,
    sentence,
    settings,
)

from pullback import checkpoint, experiment, report
from pullback.runs import RunFolder

SCRIPT = Path(killed_run.__file__)

# 480 steps; a checkpoint at the end of each epoch and now and then in its middle.
EPOCHS = 60
LONG = settings(
    train__epochs=EPOCHS, checkpoint__steps=7, checkpoint__keep=2, evaluate__steps=5, seed=3
)


def start(path: Path) -> list[str]:
    """How to go on with a run: anew, if it was killed before it was one."""
    if (path / "meta.json").exists():
        return ["resume", str(path), "--progress", "none"]
    return ["train", *LONG, "--out", str(path), "--force", "--progress", "none"]


def process(kind: str, number: int, words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), kind, str(number), *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> tuple[Path, dict[str, int]]:
    """The run that nobody stopped, and how often it did what the others are killed at."""
    path = tmp_path_factory.mktemp("unbroken") / "run"
    child = process("count", 0, start(path))
    said, fault = child.communicate(timeout=120)
    assert child.returncode == 0, fault
    return path, json.loads(said.splitlines()[-1])


def killed(path: Path, kind: str, counts: dict[str, int], draw: random.Random) -> str | None:
    """Go on with a run until it is killed; return what it was doing, or None if it ended."""
    words = start(path)
    if kind == "time":
        child = process("never", 0, words)
        while child.poll() is None and not is_written_by(child.pid, path):
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 2))
        child.kill()
    else:
        # Of the few files that are replaced whole, a run that goes on writes the last alone.
        most = counts[kind] // 6 if kind != "replace" else 3 if words[0] == "train" else 1
        child = process(kind, draw.randint(1, most), words)
    _, said = child.communicate(timeout=120)
    assert child.returncode in (0, -signal.SIGKILL), said
    return (said or "time") if child.returncode else None


def is_written_by(number: int, path: Path) -> bool:
    lock = path / "run.lock"
    return lock.exists() and lock.read_text() == f"process {number}\n"


def kill_in_turn(folder: Path, unbroken, kinds: list[str], seed: int) -> list[str]:
    """Kill a run in each of these ways, a new one when it ends; all must end like `unbroken`."""
    whole, counts = unbroken
    draw, found, runs = random.Random(seed), [], 0
    while len(found) < len(kinds):
        path, runs = folder / f"{seed}-{runs}", runs + 1
        while len(found) < len(kinds) and (said := killed(path, kinds[len(found)], counts, draw)):
            found.append(said)
            if (path / "result.json").exists():
                assert_same_run(path, whole)
        child = process("never", 0, start(path))
        _, fault = child.communicate(timeout=120)
        assert child.returncode == 0, fault
        assert_same_run(path, whole)
        assert timed_epochs(path) == list(range(1, EPOCHS + 1))
    return found


def kill_often(folder: Path, unbroken, kills: int, at_once: int, seed: int) -> Counter[str]:
    """Kill several runs in turn, two side by side, in all ways that there are."""
    ways = [way for way, _ in zip(cycle([*killed_run.KINDS, "time"]), range(kills), strict=False)]
    chains = [ways[i : i + at_once] for i in range(0, kills, at_once)]
    with ThreadPoolExecutor(2) as pool:
        ends = [
            pool.submit(kill_in_turn, folder, unbroken, chain, seed + i)
            for i, chain in enumerate(chains)
        ]
        found = [said for end in ends for said in end.result()]
    assert any("checkpoint.save" in said for said in found), found
    return Counter(map(where, found))


def where(said: str) -> str:
    """A kill in a few words: what was about to be done, and for what."""
    kind, *places = said.split()
    purposes = ("checkpoint.save", "runs.save_model", "runs.write_result", "runs.write_meta")
    return f"{kind} in {next((p for p in purposes if p in places), 'all else')}"


def timed_epochs(path: Path) -> list[int]:
    rows = map(json.loads, (path / "timing.jsonl").read_text().splitlines())
    return [row["epoch"] for row in rows]


def test_killed_six_times_and_still_the_same_bits(tmp_path, unbroken):
    assert kill_often(tmp_path, unbroken, kills=6, at_once=3, seed=0).total() == 6


@pytest.mark.long
def test_killed_twenty_times_and_still_the_same_bits(tmp_path, unbroken):
    found = kill_often(tmp_path, unbroken, kills=20, at_once=5, seed=int(time.time()))
    print(*(f"{count:3} {place}" for place, count in found.most_common()), sep="\n")
    assert found.total() == 20


def test_another_seed_is_seen(tmp_path, unbroken):
    words = [word.replace("seed=3", "seed=4") for word in LONG]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda runs, path: path)
        invoke("train", *words, "--out", tmp_path / "run")
    with pytest.raises(AssertionError, match="differ in"):
        assert_same_run(tmp_path / "run", unbroken[0])


def test_interrupted_from_the_keyboard(tmp_path, unbroken):
    path = tmp_path / "run"
    child = subprocess.Popen(
        command("train", *LONG, "--out", path, "--progress", "plain", "--json"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    assert child.stderr.readline().startswith(f"epoch 1/{EPOCHS}  validation loss")
    child.send_signal(signal.SIGINT)
    said, told = child.communicate(timeout=60)
    assert child.returncode == 130, told
    assert "Traceback" not in told
    assert told.splitlines()[-1] == f"pullback: interrupted; `pullback resume {path}` goes on"
    result = json.loads(said)
    assert result["status"] == "interrupted"
    assert 0 < result["steps"] < 8 * EPOCHS
    assert not (path / "result.json").exists()
    assert (path / "report.html").stat().st_size > 10_000
    assert checkpoint.latest(path / "checkpoints") is not None
    assert "has no model yet" in refused("evaluate", path, code=5)

    child = process("never", 0, start(path))
    assert child.wait(timeout=120) == 0
    child.communicate()
    assert_same_run(path, unbroken[0])


def test_a_second_interruption_stops_at_once(tmp_path, monkeypatch):
    def train(*args, **options):
        signal.raise_signal(signal.SIGINT)
        assert options["interrupted"]()
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(experiment, "train", train)
    result = invoke("train", *settings(), "--out", tmp_path / "run", code=130)
    assert "Ctrl-C again stops at once" in result.stderr
    assert result.stderr.endswith("pullback: stopped at once\n")


def test_an_interruption_in_any_other_verb_is_one_sentence(tmp_path, monkeypatch):
    def evaluate(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "evaluate", evaluate)
    said = invoke("evaluate", tmp_path, code=130).stderr
    assert sentence(said) == "stopped at once"


def test_a_finished_run_is_left_as_it_is(unbroken, monkeypatch):
    monkeypatch.setattr(report, "write_report", lambda runs, path: path)
    path, _ = unbroken
    before = contents(path)
    assert json.loads(invoke("resume", path, "--json").stdout)["status"] == "done"
    assert contents(path) == before


def test_a_run_that_is_being_written_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "write_report", lambda runs, path: path)
    invoke("train", *settings(train__epochs=1), "--out", tmp_path / "run")
    with RunFolder.open(tmp_path / "run").lock():
        for words in (("resume",), ("train", *settings(), "--force", "--out")):
            said = refused(*words, tmp_path / "run", code=7)
            assert "is being written by another process" in said
