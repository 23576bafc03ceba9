"""How the time and the memory of a step grow with width, depth, batch and the number of workers.

One quantity changes, the others stay. The exponent is the slope of a straight line through the
logarithms of the larger half of the points, where what a step costs by itself no longer counts.
Time is the least of several runs of some steps of a compiled epoch; memory is what the compiler
sets aside for the program beside the data. Both against the number of weights, too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .workloads import stand_in

_EXAMPLES, _INPUTS, _CLASSES = 4096, 784, 10

# Of the quantities that do not change.
_WIDTH, _DEPTH, _BATCH = 256, 3, 128

# Runs of each point, and the seconds of each.
_RUNS, _SECONDS = 5, 0.3


@dataclass(frozen=True)
class Point:
    """One network, and what its step took.

    Attributes:
        at: the quantity that changes.
        weights: how many weights the network has; of workers, all together.
        step_us: microseconds of a step; of workers, of one step of each.
        memory_mb: megabytes that the program holds at most beside the data.
    """

    at: int
    weights: int
    step_us: float
    memory_mb: float


AXES: dict[str, tuple[int, ...]] = {
    "width": (32, 64, 128, 256, 512, 1024, 2048),
    "depth": (1, 2, 4, 8, 16, 32),
    "batch": (1, 4, 16, 64, 256, 1024, 4096),
    "workers": (2, 4, 8, 16, 32),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--only", choices=list(AXES), action="append", metavar="AXIS",
                        help=f"one of {', '.join(AXES)}; repeatable")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="the four smallest points of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number to a file")
    asked = parser.parse_args()
    found = {}
    for axis, values in AXES.items():
        if asked.only and axis not in asked.only:
            continue
        print(f"\n{axis:>8} {'weights':>12} {'step µs':>12} {'memory MB':>10}")
        points = []
        for value in values[:4] if asked.quick else values:
            points.append(_measured(axis, value))
            p = points[-1]
            print(f"{p.at:>8} {p.weights:>12,} {p.step_us:>12,.0f} {p.memory_mb:>10,.1f}")
        slopes = exponents(points)
        for name, slope in slopes.items():
            print(f"  {name} ~ {slope:.2f}")
        found[axis] = {"points": [asdict(p) for p in points], "exponents": slopes}
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


def exponents(points: Sequence[Point]) -> dict[str, float]:
    """Return the exponents of time and memory, by the quantity and by the weights.

    >>> line = [Point(n, 10 * n, 3.0 * n**2, 5.0 * n) for n in (1, 2, 4, 8)]
    >>> {name: round(slope, 6) for name, slope in exponents(line).items()}
    {'time': 2.0, 'memory': 1.0, 'time by weights': 2.0, 'memory by weights': 1.0}
    """
    upper = points[len(points) // 2 :]
    found = {}
    for name, of in (("time", "step_us"), ("memory", "memory_mb")):
        found[name] = _slope([p.at for p in upper], [getattr(p, of) for p in upper])
    if len({p.weights for p in upper}) > 1:
        for name, of in (("time", "step_us"), ("memory", "memory_mb")):
            weights = [p.weights for p in upper]
            found[f"{name} by weights"] = _slope(weights, [getattr(p, of) for p in upper])
    return found


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _measured(axis: str, value: int) -> Point:
    sizes = {"width": _WIDTH, "depth": _DEPTH, "batch": _BATCH} | {axis: value}
    task = _task(sizes["width"], sizes["depth"])
    x, labels = stand_in(_EXAMPLES, _INPUTS, _CLASSES)
    y = np.eye(_CLASSES, dtype=np.float32)[labels]
    if axis == "workers":
        return _of_workers(task, x, y, value)
    return _of_one(task, x, y, sizes["batch"], value)


def _task(width: int, depth: int) -> Any:
    from pullback.loss import SoftmaxCrossEntropy
    from pullback.maps import Affine, Relu, chain
    from pullback.optim import SGD
    from pullback.train import Task

    hidden = [m for _ in range(depth) for m in (Affine(width), Relu())]
    return Task(chain(*hidden, Affine(_CLASSES)), SoftmaxCrossEntropy(), SGD(0.01))


def _of_one(task, x, y, batch: int, at: int) -> Point:
    import jax

    from pullback.data import Batches
    from pullback.train import Batch, begin
    from pullback.train.stretch import Stretch, advance, traced

    chunk = next(Batches(x, y, None, batch, 0, float("inf")).epoch(0))
    learner = begin(task, 0, x[:1])
    key = jax.random.key(0)
    data = jax.device_put(Batch(chunk.x, chunk.y, chunk.weight))
    stretch = Stretch(chunk.order, chunk.rest, np.int32(chunk.full), np.int32(0))
    used = traced(task, learner, chunk, key).compile().memory_analysis()

    def go(steps: int) -> None:
        told = stretch, np.int32(0), np.int32(steps), key
        jax.block_until_ready(advance(task, learner, data, *told))

    step = _step(go, chunk.full)
    held = sum(a.nbytes for a in jax.tree.leaves(learner.params))
    weights = sum(a.size for a in jax.tree.leaves(learner.params))
    return Point(at, weights, step * 1e6, (used.temp_size_in_bytes + held) / 1e6)


def _of_workers(task, x, y, workers: int) -> Point:
    import jax

    from pullback.peers import FedAvg, Local, Simulation, Star
    from pullback.train import Batch

    steps = 8
    simulation = Simulation(
        task,
        FedAvg(),
        Star(workers).schedule(),
        Batch(x, y, np.ones(len(x), np.float32)),
        np.array_split(np.arange(len(x)), workers),
        local=Local(steps, "step", _BATCH),
    )
    simulation.run(1)
    seconds = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        simulation.run(2)
        seconds.append((time.perf_counter() - began) / 2 / steps)
    held = [a for a in jax.tree.leaves(simulation.slots) if hasattr(a, "nbytes")]
    weights = workers * simulation.models().shape[1]
    return Point(workers, weights, min(seconds) * 1e6, sum(a.nbytes for a in held) / 1e6)


def _step(go: Callable[[int], None], most: int) -> float:
    """Seconds of one step: the least over runs."""
    go(1)
    began = time.perf_counter()
    go(1)
    steps = int(min(most, max(1, _SECONDS // (time.perf_counter() - began))))
    found = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        go(steps)
        found.append((time.perf_counter() - began) / steps)
    return min(found)


if __name__ == "__main__":
    main()
