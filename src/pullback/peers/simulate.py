"""All workers of a network in one compiled program, exactly as they would run apart.

The leading axis of every array of the state is the worker. This is the host's side: what comes into
the rounds, what is written down of them, and when they end; `rounds` is compiled.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from .. import tree
from ..errors import ConfigError
from ..record import Record
from ..train import Batch, Learner, Part, Task, begin
from ..tree import shortest
from . import devices as places
from . import judge
from .algorithm import Algorithm, Slots
from .clock import Clock
from .codec import Codec, Dense
from .faults import Faults
from .ledger import Ledger, Progress
from .local import Flat, Local, LocalState
from .mixing import Weights
from .phase import Schedule
from .plan import Masks, Planner, diverged
from .rounds import Block, Net, Seen, run_rounds

How = Literal["auto", "vmap", "map", "trial"]

# Parameters from which on a processor is quicker with one worker after another: their matrices fill
# it, and those of all together leave its cache.
_WIDE = 200_000
HOW = get_args(How)
# How many workers at once a trial tries, where there are more.
_CHUNKS = (4, 16)


class Lane(NamedTuple):
    """What the program of a simulation takes, beside what is planned for its rounds."""

    net: Net
    slots: Slots
    data: Batch
    shares: Any
    seed: int


class Simulation:
    """Workers that train together, each on its part of the data.

    A round: who comes back takes a neighbour's parameters, if the plan says so; all that are up
    emit, mix and absorb, stage by stage; who is down keeps all it has. Each round adds a row
    "round" to the record:

    - round, from 1; loss, the mean over each worker's steps, nan where it made none;
    - distance, √mean ‖x_i − x̄‖² over those that are up;
    - drift, how far mixing moved the mean of what was mixed, where the algorithm keeps it;
    - health, what the algorithm says must stay as it was;
    - steps and examples, of all workers together;
    - messages, bytes (payload, index, header) and the clock's seconds of this round.

    A row "evaluation" has, for each part, the loss and score of every worker's model, and of the
    one that they stand for together, with the mean of their maps' statistics. Beside them stand the
    epochs, messages, bytes and seconds that it took to come there.

    Attributes:
        progress: how far it came.
        slots: the state, each array with the workers as its first axis.
        shares: of the workers in the objective that is minimised.
        block: rounds in one call of the program.
        examples: the data, as they were given.
        how: "vmap" or "map"; "trial" until a round of each was timed.
        chunk: how many workers a map takes at once.
        trial: the seconds of a round that the trial has measured, by way; else empty.

    Args:
        task: what is trained and how.
        algorithm: what workers do with each other.
        schedule: who speaks to whom, and when.
        data: all examples; they are held once, and `Pixels` as bytes.
        parts: the rows of each worker.
        local: how much they train in a round.
        codec: what they send their vectors with.
        faults: what goes wrong.
        clock: what steps and bytes cost.
        seed: of the first weights, which are the same for all, and of all that is drawn.
        amounts: of data, for phases that keep sums; others have them in their weights. None for
            equal ones.
        start: the first parameters of each worker, (n, d), in place of those drawn.
        how: workers all at once ("vmap") or one after another ("map"), which skips who does not
            work; they round differently. "auto" takes the second where only some work in a round,
            and for wide networks on a processor. "trial" times a round of each, and of maps in
            chunks, and takes the fastest; it compiles all, and may give other last bits next time.
        chunk: with the way "map", how many workers go at once: of hundreds of small ones, as many
            as fill the processor and not its memory.
        devices: over how many devices workers are spread, or "all": each device trains its own, in
            the way `how` and `chunk` say, and holds all data. Mixing is an exchange between them.
            Tried on virtual devices of one processor, not on several cards.
        block: rounds in one call of the program.
        evaluate: what is evaluated, by name.
        every: evaluate after each so-manieth round; 0 for never.
        record: where rows are added.

    Raises:
        ConfigError: something does not fit the algorithm, or the number of workers; a worker has no
            data and is no hub without; chunk does not fit; workers cannot be dealt evenly to the
            devices.
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
        how: How = "auto",
        chunk: int = 1,
        devices: int | Literal["all"] = 1,
        block: int = 16,
        evaluate: Mapping[str, Part] | None = None,
        every: int = 0,
        record: Record | None = None,
    ):
        """Check what was given, and draw the first weights."""
        learner = begin(task, seed, data.x[:1])
        flat = Flat.of_tree(learner.params)
        first = flat.vector(learner.params)
        self._planner = Planner(
            task,
            algorithm,
            schedule,
            parts,
            local=local,
            codec=codec,
            faults=faults,
            clock=clock,
            seed=seed,
            amounts=amounts,
            shapes=flat.shapes,
            dtype=first.dtype,
        )
        self.shares = self._planner.shares
        _check_chunk(how, chunk)
        if how == "auto":
            how = _usual(self._planner, algorithm, seed, first.size)
        mesh = places.spread(devices, self._planner.n)
        self._net = Net(task, algorithm, self._planner.rounds, codec, flat, how, chunk, mesh)
        self._parts = [np.asarray(part, np.int32) for part in parts]
        self._data = places.place(mesh, data, None)
        self._seed, self.block, self.examples = seed, block, data
        self._evaluated, self._every = evaluate or {}, every
        self.record = Record() if record is None else record
        examples = sum(self._planner.sizes)
        self._ledger = Ledger(self._planner.n, examples, clock, faults, self.record)
        self._use(how, chunk)
        self.trial: dict[str, float] = {}
        self.slots = self._begin(learner, first, start)

    @property
    def progress(self) -> Progress:
        """How far it came, and what it has cost."""
        return self._ledger.progress

    @property
    def how(self) -> str:
        """How workers are mapped; "trial" until the first round was timed."""
        return self._net.how

    @property
    def chunk(self) -> int:
        """How many workers a map takes at once."""
        return self._net.chunk

    def run(self, rounds: int) -> None:
        """Go on for so many rounds.

        Where it evaluates at all, it does so before the first of all rounds, too.

        Raises:
            DivergedError: a worker has a value that is not finite.
        """
        end = self.progress.step + rounds
        if self._every and self.progress.step == 0 and rounds:
            self.add_evaluation()
        if rounds:
            self.settle()
        while (now := self.progress.step) < end:
            stop = min(end, now + self.block)
            if self._every:
                stop = min(stop, (now // self._every + 1) * self._every)
            self._advance(stop - now)
            if self._every and stop % self._every == 0:
                self.add_evaluation()

    def settle(self) -> None:
        """Make the trial, if one was asked for and not made yet, so that what is saved knows it."""
        if self.how == "trial":
            self._use(*self._tried())

    def models(self) -> Any:
        """Return the parameters of every worker, (n, d)."""
        return jax.vmap(self._net.algorithm.model)(self.slots)

    def model(self) -> Any:
        """Return the parameters that all workers stand for, (d,)."""
        return self._net.algorithm.consensus(self.slots, self._shares_array())

    def learner(self, worker: int | None = None) -> Learner:
        """Return one worker as it would be evaluated or saved, or what all stand for together."""
        net = self._net
        return judge.learner(net.algorithm, net.flat, self.slots, self._shares_array(), worker)

    def evaluate(self) -> dict[str, Any]:
        """Return, for each part, the row of the common model and those of all workers."""
        net, shares = self._net, self._shares_array()
        return judge.evaluate(
            net.task, net.algorithm, net.flat, self.slots, shares, self._evaluated
        )

    def add_evaluation(self) -> None:
        """Evaluate now, and add the row."""
        self._ledger.evaluation(self.evaluate())

    def links(self) -> list[list[int]]:
        """Return [src, dst, messages, bytes] of each link that something was sent on."""
        return self._ledger.links()

    def save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return all arrays by name and the progress, as `pullback.checkpoint.save` wants them."""
        arrays, progress = self._ledger.save()
        found = {name: np.asarray(leaf) for name, leaf in tree.named(self.slots).items()}
        return found | arrays, progress

    def restore(self, arrays: Mapping[str, np.ndarray], progress: Mapping[str, Any]) -> None:
        """Go back to what was saved of an equal run: what follows has the same bits.

        Raises:
            CheckpointError: the arrays are not those of this simulation.
        """
        ways = self.how, self.chunk
        slots = tree.restore(self.slots, self._ledger.restore(arrays, progress))
        self.slots = places.place(self._net.mesh, slots)
        saved = self.progress.how, self.progress.chunk
        self._use(*(saved if self.progress.how in HOW else ways))

    def _begin(self, learner: Learner, first: Any, start: Any) -> Slots:
        n, algorithm = self._planner.n, self._net.algorithm
        x = jnp.tile(first[None], (n, 1)) if start is None else jnp.asarray(start, first.dtype)
        if x.shape != (n, first.size):
            raise ConfigError(
                f"start must be the parameters of each worker, {(n, first.size)}, got {x.shape}"
            )
        known = x if start is None else jnp.zeros_like(x)
        slots = jax.vmap(algorithm.begin)(x, known, jax.tree.map(jnp.asarray, self._planner.seats))
        local = LocalState.begin(learner)
        slots["local"] = jax.tree.map(lambda a: jnp.tile(a[None], (n,) + (1,) * a.ndim), local)
        if algorithm.feedback:
            slots["memory"] = jnp.zeros_like(x)
        # What two slots share must be two arrays: the program takes each for itself.
        return places.place(self._net.mesh, jax.tree.map(jnp.copy, slots))

    def _use(self, how: str, chunk: int) -> None:
        self._net = self._net._replace(how=how, chunk=chunk)
        self.progress.how, self.progress.chunk = how, chunk

    def _tried(self) -> tuple[str, int]:
        """The way in which a round took less time, and its chunk."""
        mesh, found = self._net.mesh, {}
        own = self._planner.n // (1 if mesh is None else mesh.size)
        _, block = self.planned(1)
        for how, chunk in (("vmap", 1), ("map", 1), *(("map", c) for c in _CHUNKS if c < own)):
            net = self._net._replace(how=how, chunk=chunk)
            for _ in range(2):  # the first call compiles
                slots = jax.tree.map(jnp.copy, self.slots)
                began = time.perf_counter()
                jax.block_until_ready(self._call(net, slots, block, self.progress.step, 1))
                found[how, chunk] = time.perf_counter() - began
        self.trial = {
            how if chunk == 1 else f"{how} {chunk}": seconds
            for (how, chunk), seconds in found.items()
        }
        return min(found, key=found.__getitem__)

    def _advance(self, count: int) -> None:
        """Take so many rounds, at most a block, and write their rows."""
        masks, block = self.planned(count)
        slots, seen = self._call(self._net, self.slots, block, self.progress.step, count)
        self.accept(slots, seen, masks, count)

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

    def lane(self) -> Lane:
        """Return what its program takes beside what is planned."""
        return Lane(self._net, self.slots, self._data, self._shares_array(), self._seed)

    def accept(self, slots: Slots, seen: Seen, masks: Masks, count: int) -> None:
        """Take what the program made of the next rounds, and write their rows.

        Raises:
            DivergedError: a worker has a value that is not finite.
        """
        self.slots, first = slots, self.progress.step
        seen = jax.tree.map(np.asarray, seen)
        for r in range(count):
            if not seen.finite[r].all():
                raise diverged(int(np.argmin(seen.finite[r])), first + r, self._net.task)
            self._write(first + r, masks.round(r), r, seen)

    def planned(self, count: int) -> tuple[Masks, Block]:
        """Return what is planned for the next rounds, filled up to a whole block, with the rows."""
        rounds = range(self.progress.step, self.progress.step + count)
        planner = self._planner
        masks = planner.masks(range(rounds.start, rounds.start + self.block))
        rows = np.full((self.block, planner.n, *planner.most), -1, np.int32)
        steps = np.zeros_like(masks.steps)
        for r, t in enumerate(rounds):
            steps[r] = masks.steps[r]
            for i in np.flatnonzero(steps[r]):
                mine = planner.rows(t, int(i))
                there = self._parts[i][np.maximum(mine, 0)]
                rows[r, i, : mine.shape[0], : mine.shape[1]] = np.where(mine < 0, -1, there)
        masks = masks._replace(steps=steps)
        alive, returned, donor, up, send = masks[1:]
        block = Block(rows, steps, alive, returned, donor, up, send)
        if mesh := self._net.mesh:
            whole = ("up", "send")  # of messages, and not of workers
            block = Block(
                **{
                    name: places.place(mesh, each, None if name in whole else 1)
                    for name, each in block._asdict().items()
                }
            )
        return masks, block

    def _write(self, t: int, here: Masks, r: int, seen: Seen) -> None:
        """Count what a round has cost, and add its row."""
        drift = shortest(seen.drift[r]) if self._net.algorithm.keeps_mean else None
        self._ledger.round(
            here.steps,
            self._planner.examples(here.steps),
            here.alive,
            self._planner.sent(t, here),
            seen.loss[r],
            distance=shortest(seen.distance[r]),
            drift=drift,
            health={name: shortest(value[r]) for name, value in seen.health.items()},
        )

    def _shares_array(self) -> Any:
        return jnp.asarray(self.shares, self.slots["x"].dtype)


def _usual(planner: Planner, algorithm: Algorithm, seed: int, parameters: int) -> How:
    """How workers are mapped if nothing else is said; the same on every run of a machine."""
    some = not algorithm.asked(planner.rounds[0], 0, seed).work.all()
    return "map" if some or (parameters >= _WIDE and jax.default_backend() == "cpu") else "vmap"


def _check_chunk(how: str, chunk: int) -> None:
    if not isinstance(chunk, int) or chunk < 1:
        raise ConfigError(f"chunk must be a whole number of at least 1, got {chunk}")
    if chunk > 1 and how != "map":
        raise ConfigError(
            f'chunk = {chunk} is of workers that are mapped one after another, and how is "{how}"',
            next='set how = "map", or leave chunk out; a trial tries chunks of itself',
        )
