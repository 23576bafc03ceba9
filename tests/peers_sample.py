"""Folders of runs over peers, small and real, and of many workers made up, to test the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from report_sample import Sample

from pullback.data import Batches
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Tanh, chain
from pullback.optim import SGD
from pullback.peers import (
    DPSGD,
    Clock,
    Dense,
    Dirichlet,
    Faults,
    FedAvg,
    GradientTracking,
    Local,
    Ring,
    Simulation,
    Stars,
    describe,
    partition_report,
)
from pullback.peers.local import Flat
from pullback.train import Batch, Part, Task, begin

NAMES = ["near", "middle", "far"]
TASK = Task(chain(Affine(4), Tanh(), Affine(3)), SoftmaxCrossEntropy(), SGD(0.3))
PLAN = Faults(loss=0.2, crashes=((1, 2, 4),), late=((3, 2),), slow=((0, 2.0),))


def points(n: int, seed: int) -> tuple[Batch, np.ndarray]:
    """Points of the plane and their classes, which are rings."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(-1, 1, size=(n, 2)).astype(np.float32)
    labels = np.minimum((np.hypot(*x.T) * 3).astype(int), 2)
    return Batch(x, np.eye(3, dtype=np.float32)[labels], np.ones(n, np.float32)), labels


def settings(topology, algorithm, codec, partition, faults) -> dict[str, Any]:
    """The settings in the row of a network, as an experiment writes them."""
    kinds = {"topology": topology, "algorithm": algorithm, "codec": codec, "partition": partition}
    named = {key: {"name": type(it).__name__.lower(), **vars(it)} for key, it in kinds.items()}
    plan = {"faults": vars(faults), "local": {"length": 2}, "clock": vars(Clock())}
    return named | plan | {"mixing": None, "engine": "simulate", "rounds": 6}


def trained(folder: Path, topology, algorithm, faults, end="done", seed=0) -> Path:
    """Six rounds on 90 points, evaluated after each; all shapes alike, so that little compiles."""
    codec = Dense()
    data, labels = points(90, 0)
    held, _ = points(90, 1)
    partition = Dirichlet(1.0, least=5)
    parts = partition.deal(labels, topology.n, 0)
    weights = [len(part) for part in parts] if isinstance(topology, Stars) else None
    sample = Sample(folder, data="rings", epochs=6)
    config = sample.folder / "config.toml"
    config.write_text(
        f'name = "{type(topology).__name__}"\nseed = {seed}\n\n[peers]\nrounds = 6\n'
        f'[peers.algorithm]\nname = "{type(algorithm).__name__.lower()}"\n'
    )
    sample.chain([2, 4, 3], activation="Tanh")
    sizes = {"train": 90, "validation": 90}
    about = {"classes": NAMES, "features": ["x", "y"], "image": None, "standardize": False}
    sample.metrics.add("data", name="rings", **about, **sizes)
    sample.check()
    flat = Flat.of_tree(begin(TASK, seed, data.x[:1]).params)
    row = describe(
        topology, None, weights, algorithm, codec, flat.shapes, np.dtype("float32"), Clock()
    )
    sample.metrics.add("peers", **settings(topology, algorithm, codec, partition, faults), **row)
    sample.metrics.add("partition", classes=NAMES, **partition_report(parts, labels))
    evaluated = {
        name: Part(Batches(*each, 90, 0, limit_bytes=math.inf), True)
        for name, each in (("train", data), ("validation", held))
    }
    simulated = Simulation(
        TASK,
        algorithm,
        topology.schedule(None, weights).losing("pair" if faults.hinders else "self"),
        data,
        parts,
        local=Local(2, batch_size=5),
        codec=codec,
        faults=faults,
        seed=seed,
        how="vmap",
        block=6,
        evaluate=evaluated,
        every=1,
        record=sample.metrics,
    )
    simulated.run(6)
    if end == "unfinished":
        return sample.end(status=None)
    sample.metrics.add("traffic", links=simulated.links())
    sample.metrics.add("end", reason="rounds", keep="last", round=6)
    return sample.end(end)


def stars(folder: Path, **options) -> Path:
    """Two stars, which average exactly, without a fault."""
    return trained(folder, Stars(), FedAvg(), Faults(), **options)


def ring(folder: Path) -> Path:
    """A ring that tracks gradients, with faults as planned and faults in fact."""
    run = trained(folder, Ring(6), GradientTracking(), PLAN)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    fault = '{"kind":"fault","round":3,"phase":0,"worker":2,"what":"dead"}\n'
    lost = '{"kind":"fault","round":4,"phase":0,"src":0,"dst":5,"what":"overdue"}\n'
    (run / "metrics.jsonl").write_text("".join([*lines[:-1], fault, lost, lines[-1]]))
    return run


def many(folder: Path, workers=50, rounds=1100) -> Path:
    """A regression of many workers and rounds, made up; most workers rest in most rounds."""
    draw = np.random.default_rng(3)
    sample = Sample(folder, data="energy.csv", epochs=6)
    sample.chain([8, 4, 2], loss="SquaredError()")
    sample.data("energy.csv", features=[f"f{n}" for n in range(8)])
    algorithm, partition = DPSGD(), Dirichlet()
    row = describe(Ring(workers), None, None, algorithm, Dense(), ((4,),), np.float32, Clock())
    about = settings(Ring(workers), algorithm, Dense(), partition, Faults())
    sample.metrics.add("peers", **about, **row)
    sample.metrics.add(
        "partition", classes=None, **partition_report(np.split(np.arange(500), 50), 500)
    )
    for t in range(rounds + 1):
        if t:
            loss = np.where(draw.random(workers) < 0.2, 1 / t + 0.1 * draw.random(workers), np.nan)
            cost = {"payload": 1200, "index": 300, "header": 100}
            held = {"drift": 1e-7 if t != 700 else 0.5, "health": {}, "distance": 3 / t}
            spent = {"steps": 10, "examples": 100, "messages": 100, "bytes": cost, "seconds": 0.5}
            sample.metrics.add("round", round=t, loss=loss.tolist(), **held, **spent)
        if t % 50 == 0:
            rows = [{"loss": 1.0, "outputs": [0.5, 0.5], "r2": float(r)} for r in draw.random(50)]
            total = {"messages": 100 * t, "bytes": 1600 * t, "seconds": 0.5 * t}
            parts = {"test": {"together": rows[0], "workers": rows[1:] + rows[:1]}}
            sample.metrics.add("evaluation", round=t, epoch=t / 5, **total, parts=parts)
    sample.metrics.add("traffic", links=[[*each[:2], 1100, 17600] for each in row["sends"]])
    return sample.end()
