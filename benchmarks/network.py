"""Time a round of federated averaging here and in Flower's simulation of the same work.

Flower wants versions of Ray and others of its own: give the interpreter of an environment that has
it and PyTorch (`pip install 'flwr[simulation]' torch`) as --flower. Each contender is a process,
started once; one takes a round while the other waits, in turns. A round is timed from the server's
choice of clients to its new mean, without evaluation; the first of each, which compiles here and
starts actors there, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .workloads import Workload, load


@dataclass(frozen=True)
class Federation:
    """Clients that each train for one epoch on a part of their own, with plain SGD.

    Args:
        name: as given to ``--only``.
        clients: how many there are.
        share: of them, how many take part in a round.
        examples: of each client.
        batch: examples per step.
        hidden: the widths of the hidden layers.
        activation: "selu" or "relu", after each hidden layer.
        bias: whether layers have biases.
        learning_rate: the step size.
    """

    name: str
    clients: int
    share: float
    examples: int
    batch: int
    hidden: tuple[int, ...]
    activation: str
    bias: bool
    learning_rate: float

    def __str__(self) -> str:
        """Return the set-up in words."""
        hidden, bias = "-".join(map(str, self.hidden)), "" if self.bias else ", no bias"
        asked = round(self.share * self.clients)
        return (
            f"{asked} of {self.clients} clients with {self.examples:,} examples, "
            f"784-{hidden}-10 {self.activation}{bias}, batch {self.batch}"
        )


FEDERATIONS = (
    Federation("six", 6, 1.0, 10_000, 100, (1000, 1000), "selu", False, 0.02),
    Federation("hundred", 100, 1.0, 600, 10, (200, 200), "relu", True, 0.1),
    Federation("ten-of-hundred", 100, 0.1, 600, 10, (200, 200), "relu", True, 0.1),
)


def serve(work: Federation, folder: Path, rounds: int, devices: int) -> None:
    """Take a round for each line that comes in, and answer with its seconds."""
    import time

    from pullback.initializer import FanInUniform
    from pullback.loss import SoftmaxCrossEntropy
    from pullback.maps import Affine, Relu, Selu, chain
    from pullback.optim import SGD
    from pullback.peers import FedAvg, Local, Simulation, Star
    from pullback.train import Batch, Task

    activation = {"relu": Relu, "selu": Selu}[work.activation]
    affine = [Affine(width, work.bias, FanInUniform()) for width in (*work.hidden, 10)]
    net = chain(*(m for each in affine[:-1] for m in (each, activation())), affine[-1])
    x, labels = np.load(folder / "x.npy"), np.load(folder / "labels.npy")
    data = Batch(x, np.eye(10, dtype=np.float32)[labels], np.ones(len(x), np.float32))
    parts = [np.arange(work.examples) + i * work.examples for i in range(work.clients)]
    # Where all take part, the server may be one of them, and they are dealt evenly to the devices.
    alone = work.share < 1
    simulation = Simulation(
        Task(net, SoftmaxCrossEntropy(), SGD(work.learning_rate)),
        FedAvg(work.share),
        Star(work.clients + alone, hub_has_data=not alone).schedule(),
        data,
        [np.arange(0)] * alone + parts,
        local=Local(1, "epoch", work.batch),
        how="map",
        devices=1 if alone or work.clients % devices else devices,
        block=1,
    )
    for _ in range(rounds):
        sys.stdin.readline()
        began = time.perf_counter()
        simulation.run(1)
        seconds = time.perf_counter() - began
        (row,) = list(simulation.record.rows("round"))[-1:]
        loss = float(np.nanmean(np.array(row["loss"], float)))
        print(json.dumps({"seconds": seconds, "loss": loss}), flush=True)


class Contender:
    """The parent's end of a contender's process: it works while it is asked for a round."""

    def __init__(self, name: str, command: list[str], said: Path, **environment: str):
        """Start it; what it writes to its errors goes to a file."""
        self.name, self._said = name, said
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said.open("w"),
            text=True,
            env=os.environ | environment,
        )

    def round(self) -> dict[str, Any]:
        """Let it take one, and return what it says of it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"benchmarks: {self.name} failed:\n{self._said.read_text()[-3000:]}")
        return json.loads(line)

    def end(self) -> None:
        """End the process, which leaves by itself after its last round."""
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()


def compare(work: Federation, asked: argparse.Namespace, folder: Path) -> None:
    """Time one federation and print its rows."""
    settings = asdict(work) | {
        "folder": str(folder),
        "rounds": asked.rounds + 1,
        "processors": asked.processors,
        "at_once": asked.at_once,
    }
    here = [sys.executable, "-m", "benchmarks.network", "--serve", json.dumps(settings)]
    there = [asked.flower, str(Path(__file__).with_name("flower_rounds.py")), json.dumps(settings)]
    split = f"--xla_force_host_platform_device_count={asked.devices}"
    contenders = [
        Contender(
            "pullback",
            [*here, "--devices", str(asked.devices)],
            folder / "pullback.txt",
            JAX_PLATFORMS="cpu",
            XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} {split}",
        ),
        Contender("flower", there, folder / "flower.txt", FLWR_TELEMETRY_ENABLED="0"),
    ]
    first = [each.round() for each in contenders]
    seconds: dict[str, list[float]] = {each.name: [] for each in contenders}
    for turn in range(asked.rounds):
        for each in contenders if turn % 2 == 0 else reversed(contenders):
            seconds[each.name].append(each.round()["seconds"])
    for each in contenders:
        each.end()
    ratio = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    losses = ", ".join(f"{c.name} {f['loss']:.3f}" for c, f in zip(contenders, first, strict=True))
    print(f"\n{work.name}: {work}")
    print(f"  loss in the first round: {losses}")
    print(
        f"  seconds per round, median of {asked.rounds}: pullback {middle['pullback']:.2f}, "
        f"flower {middle['flower']:.2f}; flower / pullback {statistics.median(ratio):.2f} "
        f"({min(ratio):.2f}–{max(ratio):.2f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network", description=__doc__)
    names = [work.name for work in FEDERATIONS]
    parser.add_argument("--flower", default=sys.executable, metavar="PYTHON",
                        help="an interpreter that has Flower [default: this one]")  # fmt: skip
    parser.add_argument("--at-once", type=int, metavar="N",
                        help="Flower's clients at once, which share the processors "
                        "[default: one on each]")  # fmt: skip
    parser.add_argument("--devices", type=int, metavar="N",
                        help="devices that our workers are spread over, all on the processor "
                        "[default: one for each processor]")  # fmt: skip
    parser.add_argument("--only", choices=names, action="append", help="one; repeatable")
    parser.add_argument("--rounds", type=int, default=5, help="how many are timed [default: 5]")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("PULLBACK_DATA"),
                        help="where MNIST lies [env: PULLBACK_DATA; else random]")  # fmt: skip
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        settings = json.loads(asked.serve)
        folder, rounds = Path(settings.pop("folder")), settings.pop("rounds")
        for of_flower in ("processors", "at_once"):
            settings.pop(of_flower)
        serve(Federation(**settings), folder, rounds, asked.devices)
        return
    asked.processors = len(os.sched_getaffinity(0))
    asked.at_once = asked.at_once or asked.processors
    asked.devices = asked.devices or asked.processors
    x, labels = load(Workload("", "mnist", (), 1, 1.0, 0.0), asked.data_dir)
    print(f"{asked.processors} processors; Flower runs {asked.at_once} clients at once")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "x.npy", x)
        np.save(folder / "labels.npy", labels)
        for work in FEDERATIONS:
            if not asked.only or work.name in asked.only:
                compare(work, asked, folder)


if __name__ == "__main__":
    main()
