"""All workers of a network in one compiled program, exactly as they would run apart.

The leading axis of every array of the state is the worker. This is the host's side: what comes into
the rounds, what is written down of them, and when they end; `rounds` is compiled.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from .. import tree
from ..errors import ConfigError, DivergedError
from ..record import Record
from ..train import Batch, Learner, Part, Task, begin
from ..train.measure import sums
from ..tree import Tree, shortest
from .algorithm import Algorithm, Seat, Slots, Turn, hubs, turns
from .clock import Clock
from .codec import Codec, Cost, Dense
from .faults import Edges, Faults
from .local import Flat, Local, LocalState
from .mixing import Weights, data_shares
from .phase import Schedule
from .rounds import Block, Net, Seen, run_rounds
from .spectrum import implied_weights

How = Literal["vmap", "map", "auto"]


@dataclass
class Progress:
    """How far a simulation came, and what it has cost.

    Attributes:
        step: rounds done; a checkpoint wants it under this name.
        seconds: simulated, by the clock.
        messages: sent, those that were lost among them.
        payload, index, header: bytes sent; see `pullback.peers.codec.Cost`.
        how: how workers were mapped, so that a resumed simulation has the same bits.
    """

    step: int = 0
    seconds: float = 0.0
    messages: int = 0
    payload: int = 0
    index: int = 0
    header: int = 0
    how: How = "vmap"

    @property
    def bytes(self) -> int:
        """All bytes sent."""
        return self.payload + self.index + self.header


class Simulation:
    """Workers that train together, each on its part of the data.

    A round: who comes back takes a neighbour's parameters, if the plan says so; all that are up
    emit, mix and absorb, stage by stage; who is down keeps all it has. Each round adds a row
    "round" to the record:

    - round, from 1; loss, the mean over each worker's steps, nan where it made none;
    - distance, √mean ‖x_i − x̄‖² over those that are up;
    - drift, how far mixing moved the mean of what was mixed, where the algorithm keeps it;
    - health, what the algorithm says must stay as it was;
    - messages, bytes (payload, index, header) and the clock's seconds of this round.

    A row "evaluation" has, for each part, the loss and score of every worker's model, and of the
    one that they stand for together, with the mean of their maps' statistics.

    Attributes:
        progress: how far it came.
        slots: the state, each array with the workers as its first axis.
        shares: of the workers in the objective that is minimised.
        how: "vmap" or "map".
        trial: the seconds of a round that "auto" has measured, by way; else empty.

    Args:
        task: what is trained and how.
        algorithm: what workers do with each other.
        schedule: who speaks to whom, and when.
        data: all examples; they are held once.
        parts: the rows of each worker.
        local: how much they train in a round.
        codec: what they send their vectors with.
        faults: what goes wrong.
        clock: what steps and bytes cost.
        seed: of the first weights, which are the same for all, and of all that is drawn.
        amounts: of data, for phases that keep sums; others have them in their weights. None for
            equal ones.
        start: the first parameters of each worker, (n, d), in place of those drawn.
        how: workers all at once ("vmap"), one after another ("map"), or "auto", which times a round
            of each and takes the faster. On a CPU the second is often faster, and skips who does
            not work; they round differently, so that "auto" may give other last bits next time.
        block: rounds in one call of the program.
        evaluate: what is evaluated, by name.
        every: evaluate after each so-manieth round; 0 for never.
        record: where rows are added.

    Raises:
        ConfigError: something does not fit the algorithm, or the number of workers; a worker has no
            data and is no hub without; rounds of a period have different numbers of phases.
    """

    def __init__(
        self,
        task: Task,
        algorithm: Algorithm,
        schedule: Schedule,
        data: Batch,
        parts: Sequence[np.ndarray],
        *,
        local: Local = Local(),  # noqa: B008
        codec: Codec = Dense(),  # noqa: B008
        faults: Faults = Faults(),  # noqa: B008
        clock: Clock = Clock(),  # noqa: B008
        seed: int = 0,
        amounts: Weights | None = None,
        start: Any = None,
        how: How = "vmap",
        block: int = 16,
        evaluate: Mapping[str, Part] | None = None,
        every: int = 0,
        record: Record | None = None,
    ):
        """Check what was given, and draw the first weights."""
        learner = begin(task, seed, data.x[:1])
        flat = Flat.of_tree(learner.params)
        first = flat.vector(learner.params)
        algorithm.check(schedule, codec, flat.shapes, first.dtype, faults)
        faults.check(schedule.n)
        clock.check(schedule.n)
        local.check(task)
        self._net = Net(task, algorithm, _rounds(algorithm, schedule), codec, flat, "vmap")
        self.shares = (
            data_shares(amounts, schedule.n)
            if schedule.phases[0].on_loss == "mass"
            else implied_weights(schedule)
        )
        _check_parts(parts, self.shares)
        self._schedule, self._local, self._faults, self._clock = schedule, local, faults, clock
        self._parts = [np.asarray(part, np.int32) for part in parts]
        self._data = jax.device_put(Batch(*map(jnp.asarray, data)))
        self._seed, self._size, self._block = seed, schedule.n, block
        self._evaluated, self._every = evaluate or {}, every
        self.record = Record() if record is None else record
        self.progress = Progress()
        self.trial: dict[str, float] = {}
        self.slots = self._begin(learner, first, start)
        self._use(self._tried() if how == "auto" else how)

    @property
    def how(self) -> str:
        """How workers are mapped."""
        return self._net.how

    def run(self, rounds: int) -> None:
        """Go on for so many rounds.

        Raises:
            DivergedError: a worker has a value that is not finite.
        """
        end = self.progress.step + rounds
        while (now := self.progress.step) < end:
            stop = min(end, now + self._block)
            if self._every:
                stop = min(stop, (now // self._every + 1) * self._every)
            self._advance(stop - now)
            if self._every and stop % self._every == 0:
                self.record.add("evaluation", round=stop, parts=self.evaluate())

    def models(self) -> Any:
        """Return the parameters of every worker, (n, d)."""
        return jax.vmap(self._net.algorithm.model)(self.slots)

    def model(self) -> Any:
        """Return the parameters that all workers stand for, (d,)."""
        return self._net.algorithm.consensus(self.slots, self._shares_array())

    def learner(self, worker: int | None = None) -> Learner:
        """Return one worker as it would be evaluated or saved, or what all stand for together."""
        local = self.slots["local"]
        if worker is None:
            x, state = self.model(), self._mean_state()
            rule = jax.tree.map(lambda a: a[0], local.rule)
        else:
            x, (state, rule) = (
                self.models()[worker],
                jax.tree.map(lambda a: a[worker], (local.state, local.rule)),
            )
        return Learner(self._net.flat.tree(x), state, rule)

    def evaluate(self) -> dict[str, Any]:
        """Return, for each part, the row of the common model and those of all workers."""
        states = jax.tree.map(
            lambda one, each: jnp.concatenate([one[None], each]),
            self._mean_state(),
            self.slots["local"].state,
        )
        models = jnp.concatenate([self.model()[None], self.models()])
        found = {}
        for name, part in self._evaluated.items():
            totals = [
                jax.tree.map(
                    lambda a: np.asarray(a, np.float64),
                    _measured(self._net.task, self._net.flat, models, states, chunk),
                )
                for chunk in part.chunks()
            ]
            total = functools.reduce(tree.add, totals)
            rows = [part.row([a[i] for a in total]) for i in range(self._size + 1)]
            found[name] = {"together": rows[0], "workers": rows[1:]}
        return found

    def save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return all arrays by name and the progress, as `pullback.checkpoint.save` wants them."""
        arrays = {name: np.asarray(leaf) for name, leaf in tree.named(self.slots).items()}
        return arrays, dict(vars(self.progress))

    def restore(self, arrays: Mapping[str, np.ndarray], progress: Mapping[str, Any]) -> None:
        """Go back to what was saved of an equal simulation: what follows has the same bits.

        Raises:
            CheckpointError: the arrays are not those of this simulation.
        """
        self.slots = tree.restore(self.slots, dict(arrays))
        self.progress = Progress(**progress)
        self._use(self.progress.how)

    def _begin(self, learner: Learner, first: Any, start: Any) -> Slots:
        n = self._size
        x = jnp.tile(first[None], (n, 1)) if start is None else jnp.asarray(start, first.dtype)
        if x.shape != (n, first.size):
            raise ConfigError(
                f"start must be the parameters of each worker, {(n, first.size)}, got {x.shape}"
            )
        known = x if start is None else jnp.zeros_like(x)
        share = n * self.shares if self._schedule.phases[0].on_loss == "mass" else np.ones(n)
        seats = Seat(jnp.asarray(share, x.dtype), jnp.asarray(hubs(self._schedule)))
        slots = jax.vmap(self._net.algorithm.begin)(x, known, seats)
        local = LocalState.begin(learner)
        slots["local"] = jax.tree.map(lambda a: jnp.tile(a[None], (n,) + (1,) * a.ndim), local)
        if self._net.algorithm.feedback:
            slots["memory"] = jnp.zeros_like(x)
        # What two slots share must be two arrays: the program takes each for itself.
        return jax.tree.map(jnp.copy, slots)

    def _use(self, how: Any) -> None:
        self._net = Net(*self._net[:-1], how)
        self.progress.how = how

    def _tried(self) -> str:
        """The way in which a round took less time."""
        block = self._block_of(range(1))
        for how in ("vmap", "map"):
            net = Net(*self._net[:-1], how)
            for _ in range(2):  # the first call compiles
                slots = jax.tree.map(jnp.copy, self.slots)
                began = time.perf_counter()
                jax.block_until_ready(self._call(net, slots, block, 0, 1))
                self.trial[how] = time.perf_counter() - began
        return min(self.trial, key=self.trial.__getitem__)

    def _advance(self, count: int) -> None:
        """Take so many rounds, at most a block, and write their rows."""
        first = self.progress.step
        block = self._block_of(range(first, first + count))
        self.slots, seen = self._call(self._net, self.slots, block, first, count)
        seen = jax.tree.map(np.asarray, seen)
        for r in range(count):
            if not seen.finite[r].all():
                raise _diverged(int(np.argmin(seen.finite[r])), first + r, self._net.task)
            self._write(first + r, block, r, seen)

    def _call(self, net: Net, slots: Slots, block: Block, first: int, count: int):
        return run_rounds(
            net,
            slots,
            self._data,
            block,
            self._shares_array(),
            np.uint32(self._seed),
            np.int32(first),
            np.int32(count),
        )

    def _block_of(self, rounds: range) -> Block:
        """The masks and rows of these rounds, filled up to a whole block."""
        n, local = self._size, self._local
        shown = range(rounds.start, rounds.start + self._block)
        period = [
            [Edges(p.src, p.dst, p.on_loss == "pair") for _, p in each] for each in self._net.rounds
        ]
        plan = self._faults.schedule(shown, period, n)
        sizes = [len(part) for part in self._parts]
        most = max(map(local.steps, sizes)), max(map(local.width, sizes))
        rows = np.full((self._block, n, *most), -1, np.int32)
        steps = np.zeros((self._block, n), np.int32)
        send = np.zeros(plan.up.shape, bool)
        donor = np.tile(np.arange(n, dtype=np.int32), (self._block, 1))
        for r, t in enumerate(rounds):
            turn = self._net.rounds[t % len(self._net.rounds)]
            asked = self._net.algorithm.asked(turn, t, self._seed)
            for p, sent in enumerate(asked.send):
                send[r, p, : len(sent)] = sent
            for i in np.flatnonzero(asked.work & plan.alive[r]):
                mine = local.rows(self._seed, int(i), t, sizes[i])
                steps[r, i] = len(mine)
                there = self._parts[i][np.maximum(mine, 0)] if mine.size else mine
                rows[r, i, : mine.shape[0], : mine.shape[1]] = np.where(mine < 0, -1, there)
            donor[r] = self._donors(turn, plan.alive[r], plan.returned[r])
        returned = plan.returned & (donor != np.arange(n))
        return Block(rows, steps, plan.alive, returned, donor, plan.up, send)

    def _donors(self, turn: Sequence[Turn], alive: np.ndarray, returned: np.ndarray) -> np.ndarray:
        """Whose parameters each worker takes that comes back: of the first neighbour that was up.

        Its own, where the plan says so or no neighbour was.
        """
        donors = np.arange(self._size)
        if self._faults.rejoin == "neighbour":
            for i in np.flatnonzero(returned):
                heard = np.concatenate([phase.src[phase.dst == i] for _, phase in turn])
                able = np.unique(heard[alive[heard] & ~returned[heard]])
                donors[i] = able[0] if len(able) else i
        return donors

    def _write(self, t: int, block: Block, r: int, seen: Seen) -> None:
        """Count what a round has cost, and add its row."""
        alive, costs = block.alive[r], Cost(0)
        messages, phases, arrived = 0, [], []
        for src, dst, up, cost in self._sent(t, block, r):
            count = int(alive[src].sum())
            messages += count
            costs = Cost(*(a + count * b for a, b in zip(_of(costs), _of(cost), strict=True)))
            phases.append((src, dst, cost.total))
            arrived.append(up)
        slow = self._faults.factors(self._size)
        took = self._clock.round_time(block.steps[r], phases, slow=slow, up=arrived, alive=alive)
        progress = self.progress
        progress.step += 1
        progress.seconds += took.seconds
        progress.messages += messages
        progress.payload += costs.payload
        progress.index += costs.index
        progress.header += costs.header
        with np.errstate(invalid="ignore"):
            loss = seen.loss[r] / seen.steps[r]
        self.record.add(
            "round",
            round=t + 1,
            loss=shortest(loss),
            distance=shortest(seen.distance[r]),
            drift=shortest(seen.drift[r]) if self._net.algorithm.keeps_mean else None,
            health={name: shortest(value[r]) for name, value in seen.health.items()},
            messages=messages,
            bytes={"payload": costs.payload, "index": costs.index, "header": costs.header},
            seconds=took.seconds,
        )

    def _sent(
        self, t: int, block: Block, r: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Cost]]:
        """Ends, arrival and cost of a round's messages by turn; first what rejoining takes."""
        net = self._net
        dtype = self.slots["x"].dtype
        back = np.flatnonzero(block.returned[r])
        if len(back):
            whole = Dense().cost(net.flat.shapes, dtype)
            yield block.donor[r, back], back, np.ones(len(back), bool), whole
        for p, (stage, phase) in enumerate(net.rounds[t % len(net.rounds)]):
            sent = block.send[r, p, : phase.edges]
            codec = net.codec if stage.coded else Dense()
            cost = codec.cost(stage.shapes(net.flat.shapes), dtype)
            yield phase.src[sent], phase.dst[sent], block.up[r, p, : phase.edges][sent], cost

    def _shares_array(self) -> Any:
        return jnp.asarray(self.shares, self.slots["x"].dtype)

    def _mean_state(self) -> Tree:
        """The mean of the maps' statistics; what is no number is the first worker's."""

        def one(a):
            if not jnp.issubdtype(a.dtype, jnp.floating):
                return a[0]
            return jnp.tensordot(jnp.asarray(self.shares, a.dtype), a, 1)

        return jax.tree.map(one, self.slots["local"].state)


@functools.partial(jax.jit, static_argnames=("task", "flat"))
def _measured(task: Task, flat: Flat, models, states, data: Batch):
    """The sums of an evaluation, for each of many models."""

    def one(model):
        x, state = model
        return sums(task, flat.tree(x), state, data)

    return jax.lax.map(one, (models, states))


def _rounds(algorithm: Algorithm, schedule: Schedule) -> tuple[tuple[Turn, ...], ...]:
    """The turns of each round of a period."""
    found = tuple(turns(algorithm, phases) for phases in schedule.rounds)
    kinds = {tuple(turn.stage for turn in each) for each in found}
    if len(kinds) > 1:
        raise ConfigError(
            "a simulation wants as many phases in every round of a schedule",
            next="give the rounds that have fewer a phase in which nobody speaks",
        )
    return found


def _check_parts(parts: Sequence[np.ndarray], shares: np.ndarray) -> None:
    if len(parts) != len(shares):
        raise ConfigError(f"there are {len(parts)} parts of the data for {len(shares)} workers")
    for i, part in enumerate(parts):
        if not len(part) and shares[i] > 0:
            raise ConfigError(
                f"worker {i} has no examples, and counts in what is minimised",
                next="deal it some, or make it a hub without data",
            )


def _diverged(worker: int, t: int, task: Task) -> DivergedError:
    return DivergedError(
        f"worker {worker} has values that are not finite after round {t + 1} (with {task.rule})",
        next="lower the learning rate, or the rate of mixing where the algorithm has one",
    )


def _of(cost: Cost) -> tuple[int, int, int]:
    return cost.payload, cost.index, cost.header
