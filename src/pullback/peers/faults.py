"""What goes wrong in a network of workers, planned in advance, so that every engine meets the same.

The fate of a message is a function of the plan, the round, the phase and its two ends, and of
nothing else: a compiled simulation may ask for all messages of a hundred rounds at once, and a
process for those that it alone receives. Both get the same answer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ..data.streams import generator
from ..errors import ConfigError, PeerError, nearest

POLICIES = ("self", "renorm", "pair", "mass")
"""What takes the place of a message that does not arrive.

self: the receiver's own value gets its weight. renorm: the weights of what did arrive are scaled to
1. pair: as self, and the message the other way is lost too, so that the mean is kept. mass: the
sender keeps what it would have sent.
"""


class Edges(NamedTuple):
    """The messages of one phase, from `src` to `dst`, each of shape (E,).

    An edge from a worker to itself is padding and no message. `pairwise`: the two messages between
    two workers are lost together, as the policy "pair" wants.
    """

    src: np.ndarray
    dst: np.ndarray
    pairwise: bool = False


@dataclass(frozen=True)
class Faults:
    """A plan of faults.

    A worker that is down in a round does no local work in it, sends nothing and takes nothing in. A
    message arrives if both its ends are up and it is not lost.

    Args:
        seed: of the losses.
        loss: the probability that a message is lost, each independently; with pairs, that a pair
            is.
        crashes: (worker, from_round, to_round), down in the rounds from_round ≤ r < to_round;
            (worker, from_round), or None for to_round, for ever.
        slow: (worker, factor), whose local steps take so many times as long; only a clock and a
            deadline notice.
        late: (worker, round), which joins in that round and is down before it.
        rejoin: what a worker starts from when it joins or comes back: the parameters of a
            "neighbour", or its "own", which are stale.

    Raises:
        ConfigError: a number is out of range, or a worker is slow or late twice.

    >>> plan = Faults(loss=0.5, crashes=((2, 1, 3),))
    >>> plan.alive(0, 3).tolist(), plan.alive(1, 3).tolist(), plan.returned(3, 3).tolist()
    ([True, True, True], [True, True, False], [False, False, True])
    >>> src, dst = np.array([0, 1, 2]), np.array([1, 0, 0])
    >>> bool((plan.up(1, 0, src, dst) == plan.up(1, 0, src[::-1], dst[::-1])[::-1]).all())
    True
    """

    seed: int = 0
    loss: float = 0.0
    crashes: tuple[tuple[int, int] | tuple[int, int, int | None], ...] = ()
    slow: tuple[tuple[int, float], ...] = ()
    late: tuple[tuple[int, int], ...] = ()
    rejoin: Literal["neighbour", "own"] = "neighbour"

    def __post_init__(self):
        if not 0 <= self.loss <= 1:
            raise ConfigError(f"Faults' loss must be in [0, 1], got {self.loss}")
        if self.rejoin not in ("neighbour", "own"):
            raise ConfigError(f"Faults' rejoin must be 'neighbour' or 'own', got {self.rejoin!r}")
        for crash in self.crashes:
            worker, first, last = _window(crash)
            if worker < 0 or first < 0 or (last is not None and last <= first):
                raise ConfigError(
                    "Faults' crashes are (worker, from_round, to_round) with to_round after "
                    f"from_round and nothing negative, got {crash}"
                )
        for worker, factor in self.slow:
            if worker < 0 or not (math.isfinite(factor) and factor >= 1):
                raise ConfigError(
                    "Faults' slow are (worker, factor) with a factor of at least 1, got "
                    f"{(worker, factor)}"
                )
        for worker, joined in self.late:
            if worker < 0 or joined < 1:
                raise ConfigError(
                    "Faults' late are (worker, round) with a round of at least 1, got "
                    f"{(worker, joined)}"
                )
        for name in ("slow", "late"):
            workers = [worker for worker, _ in getattr(self, name)]
            twice = sorted({worker for worker in workers if workers.count(worker) > 1})
            if twice:
                raise ConfigError(f"Faults' {name} names worker {twice[0]} twice")

    @property
    def silent(self) -> bool:
        """Whether nothing goes wrong."""
        return not (self.hinders or self.slow)

    @property
    def hinders(self) -> bool:
        """Whether some message may not arrive. Slow workers alone hinder none."""
        return bool(self.loss or self.crashes or self.late)

    def check(self, workers: int) -> None:
        """Refuse a plan that does not fit so many workers.

        Raises:
            ConfigError: it names a worker that there is not, or all are down in some round.
        """
        for name in ("crashes", "slow", "late"):
            for each in getattr(self, name):
                if each[0] >= workers:
                    raise ConfigError(
                        f"Faults' {name} names worker {each[0]}, there are {workers}, from 0 on"
                    )
        # Who is up changes only in the rounds that the plan names.
        changes = {0, *(crash[1] for crash in self.crashes)}
        for round in sorted(changes):
            if not self.alive(round, workers).any():
                raise ConfigError(
                    f"Faults leaves no worker in round {round}",
                    next="let one of them crash or join at another time",
                )

    def alive(self, round: int, workers: int) -> np.ndarray:
        """Return which workers are up in a round, (workers,)."""
        return self._alive(np.array([round]), workers)[0]

    def returned(self, round: int, workers: int) -> np.ndarray:
        """Return which workers are up that were down in the round before, (workers,).

        Nobody returns in round 0.
        """
        return self._returned(np.array([round]), workers)[0]

    def factors(self, workers: int) -> np.ndarray:
        """Return how many times as long each worker's local steps take, (workers,)."""
        factors = np.ones(workers)
        for worker, factor in self.slow:
            factors[worker] = factor
        return factors

    def up(
        self, round: int, phase: int, src: np.ndarray, dst: np.ndarray, *, pairwise: bool = False
    ) -> np.ndarray:
        """Return which messages arrive, (E,).

        phase is its place in the round, from 0. `pairwise` loses both messages between two workers
        together: the one from the lower to the higher number decides.
        """
        return self._up(np.array([round]), phase, Edges(src, dst, pairwise))[0]

    def schedule(
        self, rounds: range, period: Sequence[Sequence[Edges]], workers: int
    ) -> FaultSchedule:
        """Return the masks of a block of rounds, stacked for a compiled loop over rounds.

        period is a list of rounds, each a list of phases, that is repeated: round r has the phases
        of period[r % len(period)]. Shorter phases and rounds are padded with True.

        Shapes: up (R, P, E), with the most phases P and the most edges E; alive and returned
            (R, workers).
        """
        numbers = np.arange(rounds.start, rounds.stop, rounds.step)
        most = max(len(phases) for phases in period)
        longest = max((len(edges.src) for phases in period for edges in phases), default=0)
        up = np.ones((len(numbers), most, longest), bool)
        for slot, phases in enumerate(period):
            mine = numbers % len(period) == slot
            for p, edges in enumerate(phases):
                up[mine, p, : len(edges.src)] = self._up(numbers[mine], p, edges)
        return FaultSchedule(
            rounds,
            tuple(map(tuple, period)),
            up,
            self._alive(numbers, workers),
            self._returned(numbers, workers),
        )

    def _alive(self, rounds: np.ndarray, workers: int) -> np.ndarray:
        alive = np.ones((len(rounds), workers), bool)
        gone = [_window(crash) for crash in self.crashes]
        gone += [(worker, 0, joined) for worker, joined in self.late]
        for worker, first, last in gone:
            # A phase may know only the first few of all workers.
            if worker < workers:
                alive[:, worker] &= (rounds < first) | (
                    rounds >= (math.inf if last is None else last)
                )
        return alive

    def _returned(self, rounds: np.ndarray, workers: int) -> np.ndarray:
        # Before round 0 all are up, so that nobody returns in it.
        return self._alive(rounds, workers) & ~self._alive(rounds - 1, workers)

    def _up(self, rounds: np.ndarray, phase: int, edges: Edges) -> np.ndarray:
        """Which messages arrive in each of these rounds, (R, E)."""
        src, dst = np.asarray(edges.src), np.asarray(edges.dst)
        if not len(src):
            return np.ones((len(rounds), 0), bool)
        alive = self._alive(rounds, int(max(src.max(), dst.max())) + 1)
        up = alive[:, src] & alive[:, dst]
        if self.loss:
            a, b = (np.minimum(src, dst), np.maximum(src, dst)) if edges.pairwise else (src, dst)
            counter = (a[None], b[None], np.full((1, 1), phase), rounds[:, None])
            high, low, *_ = philox(_key(self.seed), counter)
            # 53 bits, as many as a float64 holds: loss 1 loses all, loss 0 none.
            up &= ((high >> 5) * 2.0**26 + (low >> 6)) * 2.0**-53 >= self.loss
        return up | (src == dst)


@dataclass(frozen=True, eq=False)
class FaultSchedule:
    """The masks of a block of rounds, as `Faults.schedule` stacks them.

    An engine that loses messages of itself puts the masks it met in place of the planned ones.
    """

    rounds: range
    period: tuple[tuple[Edges, ...], ...]
    up: np.ndarray
    alive: np.ndarray
    returned: np.ndarray

    def tally(self) -> Tally:
        """Count what the masks say."""
        workers = self.alive.shape[1]
        planned, lost, cut, missed = np.zeros((4, workers), int)
        slots = np.array(self.rounds) % len(self.period)
        for slot, phases in enumerate(self.period):
            alive = self.alive[slots == slot]
            for p, (src, dst, _) in enumerate(phases):
                up = self.up[slots == slot, p, : len(src)]
                message = np.broadcast_to(src != dst, up.shape)
                both = alive[:, src] & alive[:, dst]
                planned += _by_worker(src, message, workers)
                lost += _by_worker(src, message & ~up & both, workers)
                cut += _by_worker(src, message & ~up & ~both, workers)
                missed += _by_worker(dst, message & ~up, workers)
        return Tally(planned, lost, cut, missed, (~self.alive).sum(0), self.returned.sum(0))


@dataclass(frozen=True, eq=False)
class Tally:
    """What happened in some rounds, by worker; tallies of successive rounds add up.

    Shapes: all (n,). Of the messages planned from a worker, planned − lost − cut arrived.

    Args:
        planned: messages that it should have sent.
        lost: of these, how many were lost between two workers that were up.
        cut: of these, how many were not exchanged because an end was down.
        missed: messages that it should have received and did not.
        down: rounds in which it was down.
        returned: how often it joined or came back.

    >>> edges = Edges(np.array([0, 1]), np.array([1, 0]))
    >>> print(Faults(crashes=((1, 2, 3),)).schedule(range(5), [[edges]], 2).tally())
    8 of 10 messages arrived, 0 lost, 2 cut; down: worker 1 (rounds: 1)
    """

    planned: np.ndarray
    lost: np.ndarray
    cut: np.ndarray
    missed: np.ndarray
    down: np.ndarray
    returned: np.ndarray

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, name) + getattr(other, name) for name in _COUNTS))

    def __str__(self) -> str:
        planned, lost, cut = (int(each.sum()) for each in (self.planned, self.lost, self.cut))
        who = [f"worker {i} (rounds: {self.down[i]})" for i in np.flatnonzero(self.down)]
        down = f"; down: {', '.join(who)}" if who else ""
        arrived = planned - lost - cut
        return f"{arrived} of {planned} messages arrived, {lost} lost, {cut} cut{down}"

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row for each worker."""
        counts = {name: getattr(self, name).tolist() for name in _COUNTS}
        return [
            {"worker": i} | {name: values[i] for name, values in counts.items()}
            for i in range(len(self.planned))
        ]


_COUNTS = tuple(Tally.__dataclass_fields__)


def require_survival(algorithm: str, survives: Sequence[str], plan: Faults, policy: str) -> None:
    """Refuse a plan under which an algorithm would silently compute something else.

    Gradient tracking, for one, keeps mean(y) = mean(g) only if both messages of a pair are lost;
    under any other policy its error is permanent.

    Args:
        algorithm: its name, for the sentence.
        survives: the policies under which it may lose messages.
        plan: what goes wrong.
        policy: what the phases do about it.

    Raises:
        ConfigError: the plan may keep a message from arriving, and the algorithm does not survive
            the policy; or the policy is none.

    >>> require_survival("gossip", ("self", "pair"), Faults(loss=0.1), "self")
    """
    if policy not in POLICIES:
        raise ConfigError(f"unknown loss policy '{policy}'", next=nearest(policy, POLICIES))
    if not plan.hinders or policy in survives:
        return
    if not survives:
        raise ConfigError(
            f"{algorithm} survives no lost message under any policy",
            next="train it without loss, crashes and late workers",
        )
    wanted = " or ".join(f"'{each}'" for each in survives)
    raise ConfigError(
        f"{algorithm} does not survive lost messages under the policy '{policy}'",
        next=f"use the policy {wanted}, or train without loss, crashes and late workers",
    )


def overdue(worker: int, round: int, phase: int, seconds: float) -> PeerError:
    """Return the error of a worker whose message did not come in time.

    >>> print(overdue(3, 12, 1, 30))
    worker 3 sent nothing within 30 s, in round 12, phase 1; see whether it runs, or wait longer
    """
    return PeerError(
        f"worker {worker} sent nothing within {seconds:g} s",
        where=_place(round, phase),
        next="see whether it runs, or wait longer",
    )


def gone(worker: int, round: int, phase: int, why: str) -> PeerError:
    """Return the error of a worker that ended while others needed it.

    >>> print(gone(3, 12, 1, "killed"))
    worker 3 ended: killed, in round 12, phase 1; use a loss policy that the algorithm survives
    """
    return PeerError(
        f"worker {worker} ended: {why}",
        where=_place(round, phase),
        next="use a loss policy that the algorithm survives",
    )


def philox(key: tuple[int, int], counter: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Four random words for each counter: Philox-4x32 with 10 rounds.

    NumPy's own Philox makes one block after another; here every element has a counter of its own.

    Shapes: four counters that broadcast together, each below 2³²; four words of their shape, below
        2³², of uint64.
    Source:   Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"

    >>> zero = np.zeros(1, int)
    >>> [f"{int(word[0]):08x}" for word in philox((0, 0), (zero, zero, zero, zero))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = (np.asarray(each, np.uint64) for each in counter)
    low, half = np.uint64(2**32 - 1), np.uint64(32)
    for i in range(10):
        # A product of two 32-bit words fits in 64 bits.
        first, second = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        k0 = np.uint64((key[0] + i * 0x9E3779B9) % 2**32)
        k1 = np.uint64((key[1] + i * 0xBB67AE85) % 2**32)
        a, b, c, d = (second >> half) ^ b ^ k0, second & low, (first >> half) ^ d ^ k1, first & low
    return a, b, c, d


@functools.lru_cache
def _key(seed: int) -> tuple[int, int]:
    """The key of the losses, from their own stream of the seed."""
    high, low = generator(seed, "loss").integers(2**32, size=2)
    return int(high), int(low)


def _window(crash: tuple[int, int] | tuple[int, int, int | None]) -> tuple[int, int, int | None]:
    return crash if len(crash) == 3 else (*crash, None)


def _by_worker(ends: np.ndarray, messages: np.ndarray, workers: int) -> np.ndarray:
    """How many of these messages (R, E) have each worker as their end."""
    return np.bincount(ends, messages.sum(0), workers).astype(int)


def _place(round: int, phase: int) -> str:
    return f"round {round}, phase {phase}"
