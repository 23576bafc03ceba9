"""How it is timed: every contender in a process of its own, of which only one works at a time."""

from __future__ import annotations

import multiprocessing
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .contenders import Contender
from .workloads import Workload

# Rows on which accuracy is measured after the clock has stopped.
JUDGED = 2_000

# Seconds of each round, and what each contender says at its end, both by its name.
Times = dict[str, list[float]]
Ends = dict[str, dict[str, Any]]


def serve(pipe, kind: type[Contender], work: Workload, folder: Path, epochs: int) -> None:
    """Run one contender: each message says go on, each answer is the seconds it took."""
    labels = np.load(folder / "labels.npy")
    contender = kind(work, np.load(folder / "x.npy"), labels)
    pipe.send("ready")
    pipe.recv()
    began = time.perf_counter()

    def pause():
        nonlocal began
        pipe.send(time.perf_counter() - began)
        pipe.recv()
        began = time.perf_counter()

    if work.fit_epochs:
        for _ in range(2):
            contender.fit()
            pause()
    else:
        contender.train(epochs, pause)
    peak = peak_mb()
    judged = np.load(folder / "x.npy", mmap_mode="r")[:JUDGED]
    accuracy = float(np.mean(contender.predict(np.array(judged)) == labels[:JUDGED]))
    pipe.send({"about": contender.about(), "accuracy": accuracy, "peak_mb": peak})


def peak_mb() -> float | None:
    """Return the most memory that this process held, data and libraries included; None on Windows.

    Linux tells it of the program itself; what getrusage tells there goes back to the parent, of
    which a new process is at first a copy. Elsewhere it is getrusage, in bytes on macOS.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return float(lines["VmHWM"].split()[0]) / 1e3
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


class Worker:
    """The parent's end of a contender's process."""

    def __init__(self, kind: type[Contender], work: Workload, folder: Path, epochs: int = 0):
        """Start the process and wait until its library is imported."""
        spawn = multiprocessing.get_context("spawn")
        self.name = kind.name
        self.pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=serve, args=(theirs, kind, work, folder, epochs), daemon=True
        )
        self._process.start()
        theirs.close()
        self._answer()

    def _answer(self):
        try:
            return self.pipe.recv()
        except EOFError:
            sys.exit(f"benchmarks: {self.name} failed; its traceback is above")

    def turn(self) -> Any:
        """Let it work until its next pause, and return its answer."""
        self.pipe.send("go")
        return self._answer()

    def __enter__(self) -> Worker:
        """Return itself."""
        return self

    def __exit__(self, *_) -> None:
        """End the process."""
        self.pipe.close()
        self._process.terminate()
        self._process.join()


def time_epochs(kinds, work: Workload, folder: Path, rounds: int) -> tuple[dict[str, Times], Ends]:
    """Time one epoch of each contender per round, after an epoch that warms up."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(k, work, folder, rounds + 1)) for k in kinds]
        for worker in workers:
            worker.turn()
        seconds: Times = {worker.name: [] for worker in workers}
        for turn in range(rounds):
            # Back and forth, so that nobody always follows the same neighbour.
            for worker in workers if turn % 2 == 0 else reversed(workers):
                seconds[worker.name].append(worker.turn())
        ends = {worker.name: worker.turn() for worker in workers}
    return {"warm epoch": seconds}, ends


def time_fits(kinds, work: Workload, folder: Path, rounds: int) -> tuple[dict[str, Times], Ends]:
    """Time two fits of each contender per round in a fresh process.

    new process: from its start, with all imports, to the end of the first fit;
    first fit: that fit alone; second fit: another of the same shapes.
    """
    measures = ("new process", "first fit", "second fit")
    seconds: dict[str, Times] = {m: {kind.name: [] for kind in kinds} for m in measures}
    ends: Ends = {}
    for turn in range(rounds):
        for kind in kinds if turn % 2 == 0 else reversed(kinds):
            began = time.perf_counter()
            with Worker(kind, work, folder) as worker:
                first = worker.turn()
                found = (time.perf_counter() - began, first, worker.turn())
                for measure, value in zip(measures, found, strict=True):
                    seconds[measure][kind.name].append(value)
                ends[kind.name] = worker.turn()
    return seconds, ends
