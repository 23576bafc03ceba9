"""The command under test: in this process where possible, as a child where it must be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

import pullback
from pullback.cli import main

# Two features, two classes, 60 training examples: 8 steps an epoch, the last one smaller.
TINY = {
    "data.source": "xor",
    "data.n": 100,
    "network.hidden": [4],
    "network.activation": "tanh",
    "train.epochs": 3,
    "train.batch_size": 8,
    "check.enabled": False,
}


def settings(**changes: Any) -> list[str]:
    """The tiny experiment as settings of the command; a double underscore stands for a dot."""
    values = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    return [word for key, value in values.items() for word in ("-s", f"{key}={json.dumps(value)}")]


def invoke(*words: object, code: int = 0) -> Result:
    """Run the command; a failure of ours is raised, a failure of the user's is one sentence."""
    runner = CliRunner(env={"PULLBACK_DATA": None})
    result = runner.invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def refused(*words: object, code: int) -> str:
    """Run a command that must fail with a code, and return its one sentence."""
    return sentence(invoke(*words, code=code).stderr)


def sentence(stderr: str) -> str:
    """The last line of what a command said, which must be the only one that tells of a fault."""
    *before, last = stderr.splitlines()
    assert last.startswith("pullback: "), stderr
    assert not any(line.startswith(("pullback: ", "Traceback")) for line in before), stderr
    return last.removeprefix("pullback: ")


def command(*words: object) -> list[str]:
    """The command line of a child."""
    return [sys.executable, "-m", "pullback.cli", *map(str, words)]


def environment() -> dict[str, str]:
    """The environment of a child: the package under test, whether it is installed or not."""
    return os.environ | {"PYTHONPATH": str(Path(pullback.__file__).parents[1])}


def child(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        command(*words), env=environment(), capture_output=True, text=True, timeout=120, **options
    )


def result_of(run: Path) -> dict[str, Any]:
    """What a finished run says of itself."""
    return json.loads((run / "result.json").read_text())


def contents(run: Path) -> dict[str, bytes]:
    """The bytes of all that the seed decides: all but seconds and what tells of them."""
    kept = ("config.toml", "metrics.jsonl", "checkpoints", "model")
    files = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.relative_to(run).parts[0] in kept
    }
    result = {key: value for key, value in result_of(run).items() if key != "seconds"}
    for path in run.glob("checkpoints/*/progress.json"):
        progress = json.loads(path.read_text())
        # The record of seconds has another length in every run, and the manifest tells of it.
        del progress["timing_bytes"], files[f"checkpoints/{path.parent.name}/manifest.json"]
        files[f"checkpoints/{path.parent.name}/progress.json"] = json.dumps(progress).encode()
    return files | {"result": json.dumps(result).encode()}


def assert_same_run(one: Path, other: Path) -> None:
    """Two finished runs are equal, bit for bit, in all that the seed decides."""
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys(), first.keys() ^ second.keys()
    differ = [name for name in first if first[name] != second[name]]
    assert not differ, f"{one} and {other} differ in {differ}"
    assert any(name.startswith("checkpoints/") for name in first)
    assert any(name.startswith("model/") for name in first)


def table(path: Path, rows: int = 40, **cells: str) -> Path:
    """Write a CSV file of numbers, categories and a target; b3="x" spoils a cell of row 3."""
    random = np.random.default_rng(0)
    lines = ["a,b,kind,y"]
    for row in range(2, rows + 2):
        a, b = random.normal(size=2)
        values = {"a": f"{a:.3f}", "b": f"{b:.3f}", "kind": "uvw"[row % 3]}
        values["y"] = "yes" if a > b else "no"
        lines.append(",".join(cells.get(f"{name}{row}", value) for name, value in values.items()))
    path.write_text("\n".join(lines) + "\n")
    return path
