"""CA6, figure 11: workers that train one after another, as on one machine."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...arithmetic import full_precision
from ...experiment.over_peers import Given as Held
from ...model import precision
from ...peers.local import Flat, LocalState, RoundWork, draw_key
from ...prepared import prepare
from ...train import Batch, Learner, Task, begin
from ..chart import Curve, chart
from .core import Given, Shown


def serial_workers(given: Given, *, rounds: int = 2, points: int = 4) -> Shown:
    """Train each worker of a network in turn, and average their models after each round.

    w ← Σ_k (n_k/n) w_k, w_k where worker k comes to from w on its own n_k of n examples (CA6,
    algorithm 3). Batches, masks and step sizes are those of the simulation of all at once, so that
    this is the same training in another order.

    Numbers, of each round r: "round-r.workers", the mean accuracy of the workers' own models on the
    test part after their local work; "round-r.spread", the greatest less the least of them;
    "round-r.together", the accuracy of the average; "round-r.gain", that less the workers' mean.

    Args:
        given: one arm, an experiment with a section [peers] that averages exactly.
        rounds: how many; the source shows two.
        points: how often each worker is evaluated in a round.
    """
    (experiment,) = given.experiments.values()
    with precision(experiment):
        prepared = prepare(experiment, given.data_dir)
        dealt, task, seed = prepared.dealt, prepared.task, experiment.seed
        assert dealt is not None
        held = Held.of(prepared)
        data = Batch(*map(jnp.asarray, held.examples))
        learner = begin(task, seed, prepared.like)
        flat = Flat.of_tree(learner.params)
        together, test = flat.vector(learner.params), held.parts["test"]
        workers = [k for k, rows in enumerate(dealt.parts) if len(rows)]
        local = {k: LocalState.begin(learner) for k in workers}
        shares = np.array([len(dealt.parts[k]) for k in workers], float)
        shares /= shares.sum()

        def accuracy(x: Any, state: Any) -> float:
            return test.evaluate(task, Learner(flat.tree(x), state, ()))["accuracy"]

        numbers, traces = {}, {k: _Trace([], [], []) for k in workers}
        done, own, common = 0, 0, accuracy(together, learner.state)
        for t in range(rounds):
            models, ends, steps = [], [], 0
            for k in workers:
                part, trace = np.asarray(dealt.parts[k]), traces[k]
                rows = jnp.asarray(part[dealt.local.rows(seed, k, t, len(part))])
                trace.add(done, own, common)
                key, x, after, reached = draw_key(seed, k, t), together, local[k], common
                for count in np.unique(np.linspace(0, len(rows), points + 1).round())[1:]:
                    # From the start of the round each time: what a step draws depends on its place.
                    after, x = _work(
                        task, flat, local[k], together, data, rows, np.int32(count), key
                    )
                    reached = accuracy(x, after.state)
                    trace.add(done + count, own + count, reached)
                # No line leads from the end of a round to the beginning of the next.
                trace.add(done + len(rows), own + len(rows), np.nan)
                local[k], steps, done = after, len(rows), done + len(rows)
                models.append(x)
                ends.append(reached)
            own += steps
            together = jnp.tensordot(jnp.asarray(shares, together.dtype), jnp.stack(models), 1)
            common = accuracy(together, learner.state)
            numbers |= {
                f"round-{t + 1}.workers": float(np.mean(ends)),
                f"round-{t + 1}.spread": float(np.ptp(ends)),
                f"round-{t + 1}.together": common,
                f"round-{t + 1}.gain": common - float(np.mean(ends)),
            }
    return Shown(
        numbers,
        (
            chart(
                "one-after-another",
                "Workers one after another",
                "Accuracy on the test part of each worker's own model, over the local iterations "
                "of all, one worker after another. Each begins a round at what all averaged.",
                "local iterations of all workers",
                "accuracy",
                [_curve(k, trace.serial, trace.seen) for k, trace in traces.items()],
                percent=True,
            ),
            chart(
                "side-by-side",
                "Workers side by side",
                "The same, over the local iterations of each worker.",
                "local iterations of a worker",
                "accuracy",
                [_curve(k, trace.side, trace.seen) for k, trace in traces.items()],
                percent=True,
            ),
        ),
    )


class _Trace(NamedTuple):
    """The accuracies of one worker: over the iterations of all, over its own, and themselves."""

    serial: list[float]
    side: list[float]
    seen: list[float]

    def add(self, serial: float, side: float, seen: float) -> None:
        self.serial.append(serial)
        self.side.append(side)
        self.seen.append(seen)


def _curve(worker: int, x: list[float], y: list[float]) -> Curve:
    return Curve(name=f"worker {worker}", x=x, y=y)


@partial(jax.jit, static_argnames=("task", "flat"))
@full_precision()
def _work(task: Task, flat: Flat, local: LocalState, x, data: Batch, rows, count, key):
    """Take so many of a worker's steps in a round, and return where they lead."""

    def batch(i):
        return Batch(*(each[rows[i]] for each in data))

    slots, after = RoundWork(task, flat, batch, count, key).steps({"local": local}, x)
    return slots["local"], after
