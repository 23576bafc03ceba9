"""Compare the estimators with scikit-learn's MLP: what they learn in as many epochs, and how fast.

Same data in float32, a split for each seed, same widths, ReLU, Adam at 0.001, batches of 200, L2
strength in the gradient; neither stops early. Each has a process of its own; one fits while the
other waits, in turns. The first fit of a process is cold: it compiles here. Scores are accuracy or
R² on the test part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .workloads import Workload, load, stand_in

SEEDS = 5
BATCH = 200
STRENGTH = 1e-4  # of L2, over the batch, as scikit-learn says it


@dataclass(frozen=True)
class Case:
    """A table and a network.

    Args:
        name: as given to ``--only``.
        hidden: the widths.
        epochs: how many both train.
        classifies: whether targets are classes.
    """

    name: str
    hidden: tuple[int, ...]
    epochs: int
    classifies: bool = True


CASES = (
    Case("wine", (100,), 200),
    Case("breast-cancer", (100,), 100),
    Case("diabetes", (100,), 500, classifies=False),
    Case("digits", (100,), 100),
    Case("mnist", (100,), 10),
    Case("table", (100,), 5),
)


def examples(name: str, mnist_at: Path | None):
    """Inputs and targets, float32 and standardised but for pictures."""
    from sklearn import datasets

    if name == "mnist":
        return load(Workload("", "mnist", (), 1, 1.0, 0.0), mnist_at)
    if name == "table":
        # As large as covertype: 500,000 rows of 54 numbers, of seven classes.
        return stand_in(500_000, 54, 7)
    loaders = {
        "wine": datasets.load_wine,
        "breast-cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
        "digits": datasets.load_digits,
    }
    x, y = map(np.asarray, loaders[name](return_X_y=True))
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
    return x.astype(np.float32), y


def ours(case: Case, seed: int, n: int) -> Any:
    """Our estimator of a case."""
    from pullback.estimators import NetworkClassifier, NetworkRegressor

    kind: Any = NetworkClassifier if case.classifies else NetworkRegressor
    return kind(
        case.hidden,
        epochs=case.epochs,
        penalty=STRENGTH / min(BATCH, n),
        patience=0,
        random_state=seed,
    )


def theirs(case: Case, seed: int, n: int) -> Any:
    """scikit-learn's."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind: Any = MLPClassifier if case.classifies else MLPRegressor
    return kind(
        hidden_layer_sizes=case.hidden,
        max_iter=case.epochs,
        alpha=STRENGTH,
        n_iter_no_change=case.epochs + 1,
        tol=0,
        random_state=seed,
    )


def serve(case: Case, library: str, mnist_at: Path | None) -> None:
    """Fit once for each line that comes in, and answer with seconds and score."""
    import warnings

    from sklearn.model_selection import train_test_split

    warnings.simplefilter("ignore")  # neither is asked to converge
    x, y = examples(case.name, mnist_at)
    strata = y if case.classifies else None

    def split(seed: int):
        return train_test_split(x, y, test_size=0.2, random_state=seed, stratify=strata)

    print(json.dumps({"examples": len(split(0)[0])}), flush=True)
    for line in sys.stdin:
        parts = split(int(line))
        model = {"ours": ours, "theirs": theirs}[library](case, int(line), len(parts[0]))
        began = time.perf_counter()
        model.fit(parts[0], parts[2])
        seconds = time.perf_counter() - began
        told = {"seconds": seconds, "score": float(model.score(parts[1], parts[3]))}
        print(json.dumps(told), flush=True)


class Server:
    """The parent's end of a process that fits when it is asked to."""

    def __init__(self, case: Case, library: str, mnist_at: Path | None):
        """Start it, and wait until the data are there."""
        command = [sys.executable, "-m", "benchmarks.estimators", "--serve", case.name, library]
        command += ["--data-dir", str(mnist_at)] if mnist_at else []
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.examples = self._answer()["examples"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit("benchmarks: a process ended; its traceback is above")
        return json.loads(line)

    def fit(self, seed: int) -> dict[str, float]:
        """Fit from a seed."""
        assert self.process.stdin
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


def compare(case: Case, mnist_at: Path | None) -> None:
    """Fit both from each seed, after a first fit that warms up, and print the row."""
    servers = {name: Server(case, name, mnist_at) for name in ("ours", "theirs")}
    cold = {name: server.fit(0)["seconds"] for name, server in servers.items()}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    for seed in range(SEEDS):
        for name in servers if seed % 2 == 0 else reversed(servers):
            found[name].append(servers[name].fit(seed))
    for server in servers.values():
        server.end()
    scores = {name: [each["score"] for each in rows] for name, rows in found.items()}
    warm = {name: [each["seconds"] for each in rows] for name, rows in found.items()}
    ratios = [a / b for a, b in zip(warm["ours"], warm["theirs"], strict=True)]

    def told(name: str) -> str:
        return f"{np.mean(scores[name]):.4f} ± {np.std(scores[name], ddof=1):.4f}"

    print(
        f"{case.name:<14} {servers['ours'].examples:>7,} {case.epochs:>4}  {told('ours')}  "
        f"{told('theirs')}  {statistics.median(warm['ours']):>8.3f} "
        f"{statistics.median(warm['theirs']):>8.3f}  {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f}–{max(ratios):.2f})  {cold['ours']:>7.2f} {cold['theirs']:>7.2f}  "
        f"{cold['ours'] / cold['theirs']:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__)
    names = {case.name: case for case in CASES}
    parser.add_argument("--only", choices=names, action="append", help="one; repeatable")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("PULLBACK_DATA"),
                        help="where MNIST lies [env: PULLBACK_DATA; else random]")  # fmt: skip
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        name, library = asked.serve
        serve(names[name], library, asked.data_dir)
        return
    print(
        "case           examples epochs  score here       scikit-learn     warm: s  "
        "sklearn  ratio (min–max)   cold: s sklearn  ratio"
    )
    for name, case in names.items():
        if not asked.only or name in asked.only:
            compare(case, asked.data_dir)


if __name__ == "__main__":
    main()
