"""Run the command, and kill this process just before it does something for the n-th time.

    python killed_run.py KIND NUMBER train -s seed=1 ...

KIND is one of `KINDS`, or `never`, or `count`, which prints how often each was done on stdout as
JSON. What the process was doing when it was killed is its last line on stderr. Reports are not
drawn.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

import pullback
from pullback import cli, record, report

# Functions of `os` that write a run, and `torn`: rows of a record of which only a half arrives.
SYSTEM = ("fsync", "rename", "replace", "unlink")
KINDS = (*SYSTEM, "torn")


def main(kind: str, number: int, words: list[str]) -> None:
    """Count, or kill, and run the command."""
    done = Counter()

    def due(name: str) -> bool:
        done[name] += 1
        return name == kind and done[name] == number

    def counted(name, function):
        def wrapper(*args, **options):
            if due(name):
                die(name)
            return function(*args, **options)

        return wrapper

    for name in SYSTEM:
        setattr(os, name, counted(name, getattr(os, name)))
    flush = record.Record.flush

    def torn(self, sync=False):
        if self._waiting and due("torn"):
            os.write(self._file.fileno(), self._waiting[: len(self._waiting) // 2])
            die("torn")
        flush(self, sync)

    record.Record.flush = torn
    report.write_report = lambda runs, path: path
    try:
        cli.main(words)
    except SystemExit as end:
        if kind == "count":
            print(json.dumps(done))
        sys.exit(end.code)


def die(kind: str) -> None:
    """Say where in the package this is, and end as after kill -9."""
    root = str(Path(pullback.__file__).parent)
    frames = [f for f in traceback.extract_stack() if f.filename.startswith(root)]
    places = [f"{Path(f.filename).stem}.{f.name}" for f in frames]
    os.write(2, f"{kind} {' '.join(places)}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
