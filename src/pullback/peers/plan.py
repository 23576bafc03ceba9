"""What is planned for each round: who works, who sends, who hears. All engines follow it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConfigError, DivergedError
from ..train import Task
from .algorithm import Algorithm, Seat, Stage, Turn, hubs, period_turns
from .clock import Clock
from .codec import Codec, Cost, Dense, Shapes
from .ends import Ends
from .faults import Edges, Faults
from .ledger import Sent
from .local import Local
from .mixing import Weights, data_shares
from .phase import Phase, Schedule
from .spectrum import implied_weights


class Masks(NamedTuple):
    """What is planned for a block of rounds: R rounds, T turns, E edges at most.

    Attributes:
        steps: local steps; 0 where a worker is down or not asked.
        alive: who is up.
        returned: who takes another's parameters first, since it comes back.
        donor: whose it takes; its own number where nobody's.
        up: which messages arrive.
        send: which messages are sent at all.

    Shapes: steps, alive, returned, donor (R, n); up, send (R, T, E)
    """

    steps: np.ndarray
    alive: np.ndarray
    returned: np.ndarray
    donor: np.ndarray
    up: np.ndarray
    send: np.ndarray

    def round(self, r: int) -> Masks:
        """Return those of one round, without the axis of rounds."""
        return Masks(*(each[r] for each in self))


class Post(NamedTuple):
    """What one worker is told of a turn: whose messages have arrived, and who did not get its own.

    What was not sent at all has not arrived either.
    """

    heard: list[int]
    undelivered: list[int]

    @classmethod
    def of(cls, phase: Phase, arrived: np.ndarray, worker: int) -> Post:
        """Return that of a worker, where the messages `arrived`, (E,), have come to their ends.

        >>> from .phase import phase
        >>> ring = phase({(1, 0): 0.5, (0, 1): 0.5}, n=2)
        >>> Post.of(ring, np.array([True, False]), 0)
        Post(heard=[1], undelivered=[1])
        """
        heard = phase.src[(phase.dst == worker) & arrived]
        return cls(heard.tolist(), phase.dst[(phase.src == worker) & ~arrived].tolist())


class Planner:
    """All that is decided before a run begins, of what was given and the seed alone.

    Attributes:
        n: workers.
        rounds: the turns of each round of a period.
        shares: of the workers in the objective that is minimised.
        sizes: examples of each worker.

    Args:
        task: what is trained and how.
        algorithm: what workers do with each other.
        schedule: who speaks to whom, and when.
        parts: the rows of each worker.
        local: how much they train in a round.
        codec: what they send their vectors with.
        faults: what goes wrong.
        clock: what steps and bytes cost.
        seed: of all that is drawn.
        amounts: of data, for phases that keep sums; None for equal ones.
        shapes: of the tensors in a worker's vector.
        dtype: of the vector.

    Raises:
        ConfigError: something does not fit the algorithm, or the number of workers; a worker has no
            data and is no hub without.
    """

    def __init__(
        self,
        task: Task,
        algorithm: Algorithm,
        schedule: Schedule,
        parts: Sequence[np.ndarray],
        *,
        local: Local,
        codec: Codec,
        faults: Faults,
        clock: Clock,
        seed: int,
        amounts: Weights | None,
        shapes: Shapes,
        dtype: Any,
    ):
        """Check that all of it fits together."""
        algorithm.check(schedule, codec, shapes, dtype, faults)
        faults.check(schedule.n)
        clock.check(schedule.n)
        local.check(task)
        self.n, self.rounds = schedule.n, period_turns(algorithm, schedule)
        self._sums = schedule.phases[0].on_loss == "mass"
        self.shares = data_shares(amounts, self.n) if self._sums else implied_weights(schedule)
        _check_parts(parts, self.shares)
        self.sizes = [len(part) for part in parts]
        self._schedule, self._algorithm = schedule, algorithm
        self._local, self._codec, self._faults, self._seed = local, codec, faults, seed
        self._shapes, self._dtype = shapes, dtype

    def turns(self, t: int) -> tuple[Turn, ...]:
        """Return the turns of round t."""
        return self.rounds[t % len(self.rounds)]

    @functools.cached_property
    def seats(self) -> Seat:
        """What sets each worker apart, with an axis of workers."""
        links = self._algorithm.per_link
        share = self.n * self.shares if self._sums or links else np.ones(self.n)
        seats = Seat(np.asarray(share, self._dtype), hubs(self._schedule))
        if not links:
            return seats
        there = Ends.of(self._schedule.phases[0]).there
        return seats._replace(links=there, workers=np.full(self.n, self.n))

    @property
    def most(self) -> tuple[int, int]:
        """The most steps that a worker makes in a round, and its widest batch."""
        return max(map(self._local.steps, self.sizes)), max(map(self._local.width, self.sizes))

    def masks(self, rounds: range) -> Masks:
        """Return what is planned for these rounds."""
        n, shown = self.n, len(rounds)
        period = [
            [Edges(p.src, p.dst, p.on_loss == "pair") for _, p in each] for each in self.rounds
        ]
        plan = self._faults.schedule(rounds, period, n)
        steps = np.zeros((shown, n), np.int32)
        send = np.zeros(plan.up.shape, bool)
        donor = np.tile(np.arange(n, dtype=np.int32), (shown, 1))
        each = np.array([self._local.steps(size) for size in self.sizes], np.int32)
        for r, t in enumerate(rounds):
            asked = self._algorithm.asked(self.turns(t), t, self._seed)
            for p, sent in enumerate(asked.send):
                send[r, p, : len(sent)] = sent
            steps[r] = np.where(asked.work & plan.alive[r], each, 0)
            if self._faults.rejoin == "neighbour":
                donor[r] = self.donors(t, plan.alive[r], plan.returned[r])
        returned = plan.returned & (donor != np.arange(n))
        return Masks(steps, plan.alive, returned, donor, plan.up, send)

    def which(self, src: int, dst: int) -> int:
        """Return which of the messages that a worker sends in a turn is another's.

        They are all one, unless the algorithm sends each neighbour its own, in the neighbours'
        order.
        """
        if not self._algorithm.per_link:
            return 0
        phase = self._schedule.phases[0]
        return int(np.searchsorted(phase.src[phase.dst == src], dst))

    def copies(self, worker: int) -> int:
        """Return how many messages a worker sends in a turn that are not the same."""
        links = int((self._schedule.phases[0].src == worker).sum())
        return links if self._algorithm.per_link else 1

    def donors(self, t: int, alive: np.ndarray, returned: np.ndarray) -> np.ndarray:
        """Return whose parameters each worker takes that comes back in round t.

        Those of the first neighbour that was up; its own where none was.
        """
        donors = np.arange(self.n, dtype=np.int32)
        for i in np.flatnonzero(returned):
            heard = np.concatenate([phase.src[phase.dst == i] for _, phase in self.turns(t)])
            able = np.unique(heard[alive[heard] & ~returned[heard]])
            donors[i] = able[0] if len(able) else i
        return donors

    def rows(self, t: int, worker: int) -> np.ndarray:
        """Return the rows of its part that a worker's steps in round t are made on; −1 for none."""
        return self._local.rows(self._seed, worker, t, self.sizes[worker])

    def examples(self, steps: np.ndarray) -> int:
        """Return on how many examples the workers train that make these steps in a round."""
        return sum(self._local.examples(self.sizes[i]) for i in np.flatnonzero(steps))

    def cost(self, stage: Stage | None = None) -> Cost:
        """Return what a message of a stage costs; without one, a model that is sent as it is."""
        if stage is None:
            return Dense().cost(self._shapes, self._dtype)
        codec = self._codec if stage.coded else Dense()
        return codec.cost(stage.shapes(self._shapes), self._dtype)

    def rejoining(self, here: Masks) -> list[Sent]:
        """Return the models that those take over who come back in a round, if any do."""
        back = np.flatnonzero(here.returned)
        arrived = np.ones(len(back), bool)
        return [Sent(here.donor[back], back, arrived, self.cost())] if len(back) else []

    def sent(self, t: int, here: Masks) -> list[Sent]:
        """Return the messages of round t by turn; first what rejoining takes."""
        found = self.rejoining(here)
        for p, (stage, phase) in enumerate(self.turns(t)):
            sent, up = here.send[p, : phase.edges], here.up[p, : phase.edges]
            found.append(Sent(phase.src[sent], phase.dst[sent], up[sent], self.cost(stage)))
        return found


def diverged(worker: int, t: int, task: Task) -> DivergedError:
    """Return the error of a worker that has values that are not finite in round t."""
    return DivergedError(
        f"worker {worker} has values that are not finite after round {t + 1} (with {task.rule})",
        next="lower the learning rate, or the rate of mixing where the algorithm has one",
    )


def _check_parts(parts: Sequence[np.ndarray], shares: np.ndarray) -> None:
    if len(parts) != len(shares):
        raise ConfigError(f"there are {len(parts)} parts of the data for {len(shares)} workers")
    for i, part in enumerate(parts):
        if not len(part) and shares[i] > 0:
            raise ConfigError(
                f"worker {i} has no examples, and counts in what is minimised",
                next="deal it some, or make it a hub without data",
            )
