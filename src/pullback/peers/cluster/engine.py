"""The rounds of a network whose workers are processes; plan and ledger are those of a simulation.

The driver says whose turn it is and holds references to messages; what is in them goes from worker
to worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ... import tree
from ...errors import ConfigError, PeerError
from ...record import Record
from ...train import Batch, Learner, Part, Task
from .. import judge
from ..algorithm import Algorithm, Seat, Slots
from ..clock import Clock
from ..codec import Codec, Dense
from ..faults import Faults
from ..ledger import Ledger, Progress, Sent
from ..local import Local
from ..mixing import Weights
from ..phase import Schedule
from ..plan import Masks, Planner, Post, diverged
from ..worker import Job, Reply, Worker
from .crew import Crew
from .figures import NOTHING, figures, wants_all
from .roll import HubDeath, Roll, refusal


class Cluster:
    """Workers that train together, each in a process of its own: see `pullback.peers.Simulation`.

    The same seed gives the same messages, bytes and parameters as in the simulation, but for the
    rounding of other programs, for as long as no process dies.

    A worker whose process dies, or that does not answer within the deadline, is out from that turn
    on: what it would have sent is lost, and mixed by the policy of its phase. Ray starts a process
    that died again; it then begins with a neighbour's parameters. One that was only late keeps what
    it had before that round, and comes back as the plan of faults says of those that return. Where
    the algorithm does not survive that, and for gradient tracking and its like, of which no worker
    may lose its state, the run ends with a `PeerError`. Rows "fault" say what happened: "dead",
    "overdue" or "back".

    The only hub of a star cannot be done without. With hub_death "recover" the run waits for it,
    and it goes on with what the last `save` has of it.

    Args:
        task, algorithm, schedule, parts, local, codec, faults, clock, seed, amounts, start,
        evaluate, every, record: as in a simulation. Nobody sleeps for a slow worker of the plan:
            only the clock knows of it.
        data: a function that each worker calls with its rows, to load them where it runs, such as
            a `Source`; or all examples, of which each is sent its own.
        deadline: seconds in which all must have answered in a turn.
        patience: seconds that processes may take to start, and the only hub to come back.
        hub_death: "recover", or "error" to end the run when the only hub dies or is late.
        watch: measure distance, drift and health in each so-manieth round; 0 for never, for their
            models all go to the driver for it.
        address: of a Ray cluster that runs, such as "10.0.0.1:6379"; None starts one here.
        threads: 1 keeps JAX to one thread in each process; None lets it take all cores.
        crew: processes that run already, of which it takes the first; they are not ended by
            `close`.

    Raises:
        ConfigError: as in a simulation; Ray is not installed.
        PeerError: Ray or a worker does not start.
    """

    def __init__(
        self,
        task: Task,
        algorithm: Algorithm,
        schedule: Schedule,
        data: Batch | Callable[[np.ndarray], Batch],
        parts: Sequence[np.ndarray],
        *,
        local: Local = Local(),  # noqa: B008
        codec: Codec = Dense(),  # noqa: B008
        faults: Faults = Faults(),  # noqa: B008
        clock: Clock = Clock(),  # noqa: B008
        seed: int = 0,
        amounts: Weights | None = None,
        start: Any = None,
        evaluate: Mapping[str, Part] | None = None,
        every: int = 0,
        record: Record | None = None,
        deadline: float = 60.0,
        patience: float = 300.0,
        hub_death: HubDeath = "recover",
        watch: int = 1,
        address: str | None = None,
        threads: Literal[1] | None = 1,
        crew: Crew | None = None,
    ):
        """Check what was given, start the processes, and let each begin."""
        for name, value in (("deadline", deadline), ("patience", patience)):
            if not value > 0:
                raise ConfigError(f"Cluster's {name} must be positive, got {value}")
        if hub_death not in ("recover", "error"):
            raise ConfigError(f"Cluster's hub_death is 'recover' or 'error', got {hub_death!r}")
        one = data(np.zeros(1, int)) if callable(data) else Batch(*(a[:1] for a in data))
        job = Job(task, algorithm, schedule, local, codec, seed, (1, 1))
        # It does no work: it tells shapes, and what a worker has that never answered.
        self._pattern = Worker(job, 0, Seat(), one, 0)
        flat, dtype = self._pattern.flat, self._pattern.slots["x"].dtype
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
            dtype=dtype,
        )
        self.shares, n = self._planner.shares, self._planner.n
        if start is not None and np.shape(start) != (n, self._pattern.slots["x"].size):
            raise ConfigError(
                f"start must be the parameters of each worker, "
                f"{(n, self._pattern.slots['x'].size)}, got {np.shape(start)}"
            )
        self._task, self._algorithm, self._flat, self._dtype = task, algorithm, flat, dtype
        self._deadline, self._watch = deadline, watch
        self._evaluated, self._every = evaluate or {}, every
        self.record = Record() if record is None else record
        self._ledger = Ledger(n, sum(self._planner.sizes), clock, faults, self.record)
        self.progress.how = "cluster"
        self._ends, self._crew = crew is None, crew or Crew(n, address=address, threads=threads)
        self._roll = Roll(
            self._crew,
            self._planner,
            algorithm,
            refusal(algorithm, schedule, codec, flat.shapes, dtype),
            self.record,
            faults.rejoin == "own",
            hub_death,
            deadline,
            patience,
        )
        double = np.dtype(dtype) == np.float64
        job = replace(job, most=self._planner.most, double=double)
        # A worker that never answered is saved as what it began with.
        self._made = lambda i: Worker(job, i, self._seat(i), one, 0, _row(start, i)).save()
        try:
            self._roll.begin(self._beginnings(job, data, parts, start))
        except BaseException:
            self.close()
            raise

    @property
    def progress(self) -> Progress:
        """How far it came, and what it has cost."""
        return self._ledger.progress

    def run(self, rounds: int) -> None:
        """Go on for so many rounds; where it evaluates, also before the first of all.

        Raises:
            DivergedError: a worker has a value that is not finite.
            PeerError: workers died or were silent, and the algorithm does not survive it.
        """
        if self._every and self.progress.step == 0 and rounds:
            self.add_evaluation()
        for _ in range(rounds):
            self._round(self.progress.step)
            if self._every and self.progress.step % self._every == 0:
                self.add_evaluation()

    def settle(self) -> None:
        """Wait for those that are down, as long as they may take to start."""
        self._roll.settle(self.progress.step)

    def places(self) -> list[dict[str, Any]]:
        """Return the host and the process of each worker."""
        return [{name: place[name] for name in ("host", "pid")} for place in self._roll.places]

    def models(self) -> np.ndarray:
        """Return the parameters of every worker, (n, d); nan for those that are down."""
        present, slots = self._slots()
        models = np.full((self._planner.n, len(self._pattern.vector())), np.nan, self._dtype)
        models[present] = np.asarray(jax.vmap(self._algorithm.model)(slots))
        return models

    def model(self) -> Any:
        """Return the parameters that all workers stand for, (d,)."""
        present, slots = self._slots()
        return self._algorithm.consensus(slots, self._shares_of(present))

    def learner(self, worker: int | None = None) -> Learner:
        """Return one worker as it would be evaluated or saved, or what all stand for together.

        Raises:
            PeerError: this worker is down.
        """
        present, slots = self._slots()
        if worker is not None and worker not in present:
            raise PeerError(f"worker {worker} is down", next="wait for it with settle")
        at = None if worker is None else present.index(worker)
        shares = self._shares_of(present)
        return judge.learner(self._algorithm, self._flat, slots, shares, at)

    def evaluate(self) -> dict[str, Any]:
        """Return, for each part, the row of the common model and those of all workers.

        In the row of a worker that is down all numbers are nan.
        """
        present, slots = self._slots()
        shares = self._shares_of(present)
        found = judge.evaluate(
            self._task, self._algorithm, self._flat, slots, shares, self._evaluated
        )
        for rows in found.values():
            nothing = {
                key: [np.nan] * len(value) if isinstance(value, list) else np.nan
                for key, value in rows["together"].items()
            }
            there = dict(zip(present, rows["workers"], strict=True))
            rows["workers"] = [there.get(i, nothing) for i in range(self._planner.n)]
        return found

    def add_evaluation(self) -> None:
        """Evaluate now, and add the row."""
        self._ledger.evaluation(self.evaluate())

    def links(self) -> list[list[int]]:
        """Return [src, dst, messages, bytes] of each link that something was sent on."""
        return self._ledger.links()

    def save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return all arrays by name and the progress, as `pullback.checkpoint.save` wants them.

        They are those of a simulation. A worker that is down, or dies meanwhile, has in them what
        it had in the last save. It is named in the progress, and so is one that has missed rounds:
        they come back in the next round.
        """
        roll = self._roll
        roll.saved |= roll.states(self.progress.step)
        down = [i for i in range(self._planner.n) if not roll.knows(i)]
        for i in down:
            if i not in roll.saved:
                roll.saved[i] = self._made(i)
        found = {
            name: np.stack([roll.saved[i][name] for i in range(self._planner.n)])
            for name in roll.saved[0]
        }
        self.progress.down = tuple(down)
        arrays, progress = self._ledger.save()
        return found | arrays, progress

    def restore(self, arrays: Mapping[str, np.ndarray], progress: Mapping[str, Any]) -> None:
        """Go back to what was saved of an equal run, or of a simulation of it.

        Raises:
            CheckpointError: the arrays are not those of this run.
        """
        found = self._ledger.restore(arrays, progress)
        tree.restore(self._shapes(self._planner.n), found)
        self.progress.how = "cluster"
        roll, n = self._roll, self._planner.n
        roll.saved = {i: {name: each[i] for name, each in found.items()} for i in range(n)}
        self.settle()
        up = np.flatnonzero(self._crew.up).tolist()
        # The only hub has nobody else's to take: it goes on with what was saved of it.
        roll.fresh = (set(self.progress.down) - {roll.hub}) | (set(range(n)) - set(up))
        roll.stale = set()
        roll.tell(self.progress.step, {i: roll.saved[i] for i in up})

    def close(self) -> None:
        """End the processes, and Ray if it was started here."""
        if self._ends:
            self._crew.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # A round

    def _round(self, t: int) -> None:
        """Take one round, and write its row."""
        here = self._planner.masks(range(t, t + 1)).round(0)
        self._roll.welcome(t)
        self._roll.need_hub(t)
        there, here = self._roll.attending(t, here)
        sent, models = self._rejoin(here)
        began, order, replies = there.copy(), self._planner.turns(t), {}
        sends = [
            np.isin(np.arange(len(there)), phase.src[here.send[p, : phase.edges]])
            for p, (_, phase) in enumerate(order)
        ]
        messages, calls = {}, {}
        for i in np.flatnonzero(there).tolist():
            mine = [bool(each[i]) for each in sends]
            calls[i], *messages[i] = self._turn(
                i, "start", t, bool(here.steps[i]), mine, *models.get(i, ())
            )
        self._collect(t, 0, calls, there, replies)
        for p, (stage, phase) in enumerate(order):
            asked = here.send[p, : phase.edges] & there[phase.src]
            arrived = asked & here.up[p, : phase.edges] & there[phase.dst]
            src, dst = phase.src[asked], phase.dst[asked]
            sent.append(Sent(src, dst, arrived[asked], self._planner.cost(stage)))
            following, calls = {}, {}
            for i in np.flatnonzero(there).tolist():
                heard, undelivered = Post.of(phase, arrived, i)
                inbox = [messages[j][self._planner.which(j, i)] for j in heard]
                calls[i], *following[i] = self._turn(i, "hear", t, p, heard, undelivered, *inbox)
            messages = following
            self._collect(t, p, calls, there, replies)
        self._write(t, here, began, there, sent, replies)

    def _turn(self, i: int, method: str, *args: Any) -> list[Any]:
        """Let a worker do its part of a turn; return the references of its reply and messages."""
        return self._crew.call(i, method, *args, returns=1 + self._planner.copies(i))

    def _rejoin(self, here: Masks) -> tuple[list[Sent], dict[int, tuple]]:
        """The models that those take over who come back: what that sends, and the references."""
        back = np.flatnonzero(here.returned)
        if not len(back):
            return [], {}
        models = {int(i): (self._crew.call(int(here.donor[i]), "model"),) for i in back}
        arrived = np.ones(len(back), bool)
        return [Sent(here.donor[back], back, arrived, self._planner.cost())], models

    def _collect(
        self, t: int, turn: int, calls: dict[int, Any], there: np.ndarray, replies: dict[int, Reply]
    ) -> None:
        """Wait for the answers of a turn; who gives none is no longer there."""
        answers = self._roll.collect(t, turn, calls)
        replies |= answers
        for i in calls.keys() - answers.keys():
            there[i] = False
        if not there.any():
            raise PeerError(
                f"no worker has answered within {self._deadline:g} s",
                where=f"round {t + 1}, phase {turn}",
                next="see whether they run, or raise the deadline",
            )
        for i, reply in answers.items():
            if not reply.finite:
                raise diverged(i, t, self._task)

    def _write(
        self,
        t: int,
        here: Masks,
        began: np.ndarray,
        there: np.ndarray,
        sent: list[Sent],
        replies: dict[int, Reply],
    ) -> None:
        steps, loss = np.zeros(len(there), np.int32), np.zeros(len(there), self._dtype)
        for i in np.flatnonzero(there):
            steps[i], loss[i] = replies[int(i)].steps, replies[int(i)].loss
        told = NOTHING
        if self._watch and (t + 1) % self._watch == 0:
            told = self._look(t, there, here.alive)
        self._ledger.round(steps, self._planner.examples(steps), began, sent, loss, **told)

    def _look(self, t: int, there: np.ndarray, alive: np.ndarray) -> dict[str, Any]:
        """Distance, drift and health after a round."""
        algorithm = self._algorithm
        whole = wants_all(algorithm)
        # Who is down by the plan alone is well, and counts in the sums that must hold.
        asked = there | (self._crew.up & ~alive) if whole else there
        calls = {
            i: self._crew.call(i, "look", whole, algorithm.keeps_mean)
            for i in np.flatnonzero(asked).tolist()
        }
        answers = self._roll.collect(t, None, calls)
        if not any(there[i] for i in answers):
            return NOTHING
        return figures(algorithm, answers, there, self.shares)

    def _slots(self) -> tuple[list[int], Slots]:
        """Who is there, and the slots of these, stacked."""
        t = self.progress.step
        self._roll.welcome(t)
        self._roll.need_hub(t)
        states = self._roll.states(t)
        if not states:
            raise PeerError("no worker is left", next="resume from the last checkpoint")
        present = sorted(states)
        arrays = {name: np.stack([states[i][name] for i in present]) for name in states[present[0]]}
        slots = tree.restore(self._shapes(len(present)), arrays)
        if "serves" in slots and not slots["serves"].any():
            # All hubs are down: what the leaves have stands for all.
            slots["serves"] = jnp.ones_like(slots["serves"])
        return present, slots

    def _shapes(self, n: int) -> Slots:
        def one(a):
            return jax.ShapeDtypeStruct((n, *a.shape), a.dtype)

        return jax.tree.map(one, self._pattern.slots)

    def _shares_of(self, present: list[int]) -> Any:
        shares = self.shares[present]
        if not shares.sum():
            shares = np.ones(len(present))
        return jnp.asarray(shares / shares.sum(), self._dtype)

    def _beginnings(self, job: Job, data: Any, parts: Any, start: Any) -> list[tuple]:
        """What each is told when it begins, and again when its process was started again."""
        shared, found = self._crew.put(job), []
        for i in range(self._planner.n):
            rows = np.asarray(parts[i], np.int64)
            mine = data
            if not callable(data):
                mine = Batch(*(a[rows if len(rows) else slice(0, 1)] for a in data))
            put = self._crew.put(mine)
            found.append((shared, i, self._seat(i), put, rows, _row(start, i)))
        return found

    def _seat(self, i: int) -> Seat:
        seats = self._planner.seats
        return Seat(np.asarray(seats.share[i]), np.asarray(seats.serves[i]))


def _row(start: Any, i: int) -> np.ndarray | None:
    return None if start is None else np.asarray(start[i])
