"""What the death of a worker costs: six processes on Ray, of which some are killed with SIGKILL.

    python -m benchmarks.deaths [--rounds 40] [--pace 0.8] [--only star] [--out deaths.json]

Each run trains 64-32-10 on the embedded digits, one local epoch in a round, and saves a checkpoint
after each fifth round. A round is made to last `--pace` seconds at least, as it would with a larger
network: a process takes seconds to start, and would else miss nearly all of so small a run.

Printed are, for every topology, who died and when: how many rounds the dead have missed; the
seconds from the signal to the end of the first round in which all took part again; and the accuracy
on the test part after the last round, beside that of the run in which nobody died.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pullback import checkpoint
from pullback.data import Batches, DataSpec, load
from pullback.errors import PeerError
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Relu, chain
from pullback.optim import Momentum
from pullback.peers import DPSGD, Algorithm, Equal, FedAvg, Local, Ring, Schedule, Star, Stars
from pullback.peers.cluster import Cluster, Crew, Source
from pullback.train import Part, Task

WORKERS, SAVE_EVERY, AT = 6, 5, 10
SPEC = DataSpec(source="digits")
TASK = Task(chain(Affine(32), Relu(), Affine(10)), SoftmaxCrossEntropy(), Momentum(0.05))
LOCAL = Local(1, "epoch", 20)
TOPOLOGIES: dict[str, tuple[Algorithm, Schedule, dict[str, list[int]]]] = {
    "two-star": (
        FedAvg(),
        Stars().schedule(),
        {"a leaf": [0], "a hub": [2], "a leaf and a hub": [4, 2]},
    ),
    "ring": (DPSGD(), Ring(WORKERS).schedule(), {"one": [0], "two neighbours": [2, 3]}),
    "star": (
        FedAvg(),
        Star(WORKERS).schedule(),
        {"a leaf": [3], "the hub": [0]},
    ),
}
# The call before which the signal is sent: its name, and how its arguments begin.
MOMENTS = {
    "at the start": ("start", (0,)),
    "in mid-round": ("hear", (AT, 0)),
    "while saving": ("save", ()),
}


class Killer:
    """Calls the processes, and kills some of them just before they are called in a certain way."""

    def __init__(self, cluster: Cluster, moment: str, victims: list[int]):
        self.cluster, self.left, self.at = cluster, set(victims), 0.0
        self.method, self.first = MOMENTS[moment]
        self.call, cluster._crew.call = cluster._crew.call, self  # pyright: ignore

    def __call__(self, i: int, method: str, *args, **kwargs):
        """As `Crew.call`."""
        due = method == self.method and args[: len(self.first)] == self.first
        if method == "save":
            due = due and self.cluster.progress.step >= AT
        if due and i in self.left:
            self.left.discard(i)
            os.kill(self.cluster.places()[i]["pid"], signal.SIGKILL)
            self.at = self.at or time.monotonic()
        return self.call(i, method, *args, **kwargs)


def trained(
    crew: Crew, name: str, test: Part, rounds: int, pace: float, moment="", victims=(), **settings
):
    """Train one network, and tell how it went."""
    algorithm, schedule, _ = TOPOLOGIES[name]
    source = Source(SPEC, 10)
    count = len(load(SPEC).train)
    parts = Equal().deal(count, WORKERS, 0)
    call = crew.call
    try:
        with tempfile.TemporaryDirectory() as folder:
            cluster = Cluster(
                TASK,
                algorithm,
                schedule,
                source,
                parts,
                local=LOCAL,
                crew=crew,
                evaluate={"test": test},
                watch=0,
                **settings,
            )
            killer = Killer(cluster, moment, list(victims)) if victims else None
            return _rounds(cluster, killer, Path(folder), rounds, pace)
    finally:
        crew.call = call


def _rounds(cluster: Cluster, killer: Killer | None, folder: Path, rounds: int, pace: float):
    whole = 0.0
    for t in range(rounds):
        began = time.monotonic()
        try:
            cluster.run(1)
            if (t + 1) % SAVE_EVERY == 0:
                checkpoint.save(folder, *cluster.save())
        except PeerError as error:
            return {"error": str(error)}
        row = list(cluster.record.rows("round"))[-1]
        complete = np.isfinite(np.array(row["loss"], float)).all()
        if killer and killer.at and not whole and complete and not killer.left:
            faults = [each["what"] for each in cluster.record.rows("fault")]
            whole = time.monotonic() if faults.count("back") == faults.count("dead") > 0 else 0.0
        time.sleep(max(0.0, pace - (time.monotonic() - began)))
    missed = [
        sum(loss is None or not np.isfinite(loss) for loss in losses)
        for losses in zip(*(row["loss"] for row in cluster.record.rows("round")), strict=True)
    ]
    found = cluster.evaluate()["test"]
    return {
        "missed": missed,
        "seconds": whole - killer.at if killer and whole else None,
        "accuracy": found["together"]["accuracy"],
        "least": min(row["accuracy"] for row in found["workers"]),
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--pace", type=float, default=0.8)
    parser.add_argument("--only", choices=list(TOPOLOGIES), help="one topology")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    examples = load(SPEC).test
    assert examples is not None
    test = Part(
        Batches(examples.x[:], examples.targets(np.float32, 10), None, 100, 0, float("inf")), True
    )
    results = []
    print("| topology | who died | when | rounds missed | seconds | accuracy | undisturbed |")
    print("|---|---|---|---|---|---|---|")
    with Crew(WORKERS) as crew:
        for name, (_, _, groups) in TOPOLOGIES.items():
            if given.only not in (None, name):
                continue
            alone = trained(crew, name, test, given.rounds, given.pace)
            for who, victims in groups.items():
                for moment in MOMENTS:
                    cases = [{}, {"hub_death": "error"}] if who == "the hub" else [{}]
                    for settings in cases:
                        found = trained(
                            crew, name, test, given.rounds, given.pace, moment, victims, **settings
                        )
                        results.append(
                            {"topology": name, "who": who, "when": moment, **settings, **found}
                            | {"undisturbed": alone["accuracy"]}
                        )
                        print(_line(results[-1], victims), flush=True)
    if given.out:
        given.out.write_text(json.dumps(results, indent=1))
    return 0


def _line(row: dict, victims: list[int]) -> str:
    who = row["who"] + (", hub_death = error" if "hub_death" in row else "")
    start = f"| {row['topology']} | {who} | {row['when']} |"
    if "error" in row:
        return f"{start} — | — | {row['error']} | {row['undisturbed']:.1%} |"
    missed = ", ".join(str(row["missed"][i]) for i in victims)
    seconds = "—" if row["seconds"] is None else f"{row['seconds']:.1f}"
    return f"{start} {missed} | {seconds} | {row['accuracy']:.1%} | {row['undisturbed']:.1%} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
