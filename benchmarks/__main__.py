"""Time the same work here and in the peers that are installed, and print ratios.

Every contender has a process of its own; only one works at a time, and they take turns. A ratio is
our time over a peer's in the same round, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pullback.errors import PullbackError

from . import grid, streamed, workers
from .contenders import GPU_PEERS, PEERS, Contender, Pullback, processors
from .floor import floor
from .measure import Times, time_epochs, time_fits
from .page import page
from .workloads import WORKLOADS, Workload, load

# Workloads that are not one training of one network, and who does them, on the processor.
OWN = {
    "grid": grid.CONTENDERS,
    "streamed-100": streamed.CONTENDERS,
    "workers-100": workers.CONTENDERS,
}


def installed(kinds: Iterable[type[Contender]]) -> list[type[Contender]]:
    """Return the contenders whose libraries are here; name the others."""
    present = []
    for kind in kinds:
        if find_spec(kind.package):
            present.append(kind)
        else:
            print(f"{kind.name}: skipped, {kind.package} is not installed")
    return present


def ratios(seconds: Times) -> dict[str, dict[str, float]]:
    """Return our time over each peer's: median, least and greatest over the rounds.

    >>> ratios({"pullback": [1.0, 3.0, 2.0], "peer": [2.0, 3.0, 2.0]})
    {'peer': {'median': 1.0, 'min': 0.5, 'max': 1.0}}
    """
    found = {}
    for peer in (name for name in seconds if name != Pullback.name):
        pairs = zip(seconds[Pullback.name], seconds[peer], strict=True)
        each = [ours / theirs for ours, theirs in pairs]
        found[peer] = {"median": statistics.median(each), "min": min(each), "max": max(each)}
    return found


def able(kinds: Iterable[type[Contender]], work: Workload) -> list[type[Contender]]:
    """Return the contenders that can do the work; name the others."""
    found = []
    for kind in kinds:
        lack = kind.lacks(work)
        if lack is None:
            found.append(kind)
        else:
            print(f"  {kind.name:<14} skipped: {lack}")
    return found


def least(work: Workload, x: np.ndarray, labels: np.ndarray, ours: float) -> dict:
    """Measure the floor of a workload, and print how far our seconds for an epoch are from it."""
    found = floor(work, x.shape[1], int(labels.max()) + 1)
    step = ours / -(-len(x) // work.batch) * 1e6
    print(
        f"  a step takes {step:,.0f} µs, {step / found.step:.2f} times its floor: "
        f"{found.gflop:.3g} GFLOP at {found.gflops:.0f} GFLOP/s ({found.fastest}) in "
        f"{found.products:,.0f} µs, and all weights read and written in {found.update:,.0f} µs"
    )
    return found._asdict() | {"step": found.step, "ours": step}


def compare(
    kinds: list[type[Contender]],
    work: Workload,
    mnist_at: Path | None,
    rounds: int,
    floors: bool,
) -> dict:
    """Time one workload and print its rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        x, labels = load(work, mnist_at)
        np.save(folder / "x.npy", x)
        np.save(folder / "labels.npy", labels)
        print(f"\n{work.name}: {len(x):,} examples of {work}")
        kinds = able(kinds, work)
        timed = time_fits if work.fit_epochs else time_epochs
        measured, ends = timed(kinds, work, folder, rounds)
    for peer, end in ends.items():
        peak = "" if end["peak_mb"] is None else f", {end['peak_mb']:,.0f} MB at most"
        print(f"  {peer:<14} {end['about']}; accuracy {end['accuracy']:.3f}{peak}")
    print(f"  {'measure':<12} {'peer':<14} {'ours':>11} {'peer':>11} {'ratio':>7}  min–max")
    found = []
    for measure, seconds in measured.items():
        middle = {peer: statistics.median(values) for peer, values in seconds.items()}
        compared = ratios(seconds)
        for peer in (kind.name for kind in kinds if kind.name != Pullback.name):
            r = compared[peer]
            print(
                f"  {measure:<12} {peer:<14} {middle[Pullback.name] * 1e3:>8,.1f} ms "
                f"{middle[peer] * 1e3:>8,.1f} ms {r['median']:>7.2f}  {r['min']:.2f}–{r['max']:.2f}"
            )
        found.append({"measure": measure, "seconds": seconds, "ratios": compared})
    warm = measured.get("warm epoch")
    bound = None
    if floors and warm is not None:
        bound = least(work, x, labels, statistics.median(warm[Pullback.name]))
    return {
        "workload": work.name,
        "setup": str(work),
        "examples": len(x),
        "contenders": ends,
        "measures": found,
        "floor": bound,
    }


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wants at least 1, got {number}")
    return number


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [work.name for work in WORKLOADS]
    parser.add_argument("--quick", action="store_true", help="a tenth of MNIST, and 3 rounds")
    parser.add_argument("--only", metavar="NAME", choices=names, action="append",
                        help=f"one workload; repeatable: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("PULLBACK_DATA"),
                        help="where MNIST lies [env: PULLBACK_DATA; else random]")  # fmt: skip
    parser.add_argument("--rounds", type=positive, help="how often each is timed [default: 5]")
    parser.add_argument("--threads", type=positive, metavar="N",
                        help="let every contender have only N processors (Linux)")  # fmt: skip
    parser.add_argument("--gpu", choices=["float32", "tensorfloat32"], metavar="PRECISION",
                        help="on a GPU, with products in float32 or tensorfloat32")  # fmt: skip
    parser.add_argument("--products", choices=["full", "bfloat16"], default="full",
                        help="round the factors of products, here and in PyTorch")  # fmt: skip
    parser.add_argument("--floors", action="store_true",
                        help="measure the least that a step can take, too")  # fmt: skip
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page to look at")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time to a file")
    asked = parser.parse_args()
    if asked.threads and not hasattr(os, "sched_setaffinity"):
        parser.error("--threads wants Linux; set OMP_NUM_THREADS and the like instead")
    if asked.gpu and asked.floors:
        parser.error("--floors is for the processor")
    if asked.floors and asked.products == "bfloat16" and not find_spec("torch"):
        parser.error("--floors with --products bfloat16 wants PyTorch, whose products are timed")
    if (asked.gpu or asked.products != "full") and asked.only and set(asked.only) <= set(OWN):
        parser.error(f"{', '.join(OWN)} are timed on the processor alone, with full products")
    asked.rounds = asked.rounds or (3 if asked.quick else 5)
    return asked


def main() -> None:
    asked = arguments()
    if asked.threads:
        # Inherited by every process that starts below; OpenMP, OpenBLAS and XLA all heed it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])
    os.environ["JAX_PLATFORMS"] = "cuda" if asked.gpu else "cpu"
    if asked.gpu == "tensorfloat32":
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "tensorfloat32"
    limits = {
        n: v
        for n, v in os.environ.items()
        if n.endswith("_NUM_THREADS") or n.startswith("OPENBLAS_") or n == "XLA_FLAGS"
    }
    rounded = asked.products if asked.products != "full" else None
    machine = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processors": processors(),
        "environment": ", ".join(f"{n}={v}" for n, v in limits.items()) or "no limits",
        "mnist": str(asked.data_dir) if asked.data_dir else "random data of its shape",
        "rounds": asked.rounds,
        "products": f"{rounded or asked.gpu or 'full'}, on a {'GPU' if asked.gpu else 'processor'}",
    }
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    kinds = installed((Pullback, *(GPU_PEERS if asked.gpu else PEERS)))
    plain = not asked.gpu and asked.products == "full"
    try:
        results = [
            compare(
                installed(OWN[work.name]) if work.name in OWN else kinds,
                replace(work.quick() if asked.quick else work, products=asked.products),
                asked.data_dir,
                asked.rounds,
                asked.floors,
            )
            for work in WORKLOADS
            if (not asked.only or work.name in asked.only) and (plain or work.name not in OWN)
        ]
    except PullbackError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    told = {**machine, "results": results}
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1) + "\n")
    if asked.page:
        asked.page.write_text(page(told), encoding="utf-8")
        print(f"\nPage: {asked.page}")


if __name__ == "__main__":
    main()
