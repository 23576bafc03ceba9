"""The time that a round would take on given machines and links: a model, not a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError

Message = tuple[np.ndarray, np.ndarray, np.ndarray | float]


@dataclass(frozen=True, eq=False)
class RoundTime:
    """The seconds of one round.

    Shapes: work, idle (n,); phases (P,).

    Args:
        seconds: from its beginning to its end; rounds follow each other, so that these add up.
        work: local work of each worker.
        phases: how long each phase lasted.
        idle: how long each worker neither worked nor moved bytes; 0 where it was down.
    """

    seconds: float
    work: np.ndarray
    phases: np.ndarray
    idle: np.ndarray


@dataclass(frozen=True)
class Clock:
    """What a local step and a byte cost.

    Round:    t = max_i work_i + Σ_p t_p,  work_i = steps_i · step_seconds_i · slow_i
    Phase:    t_p = max_i max(out_i/upload_i, in_i/download_i) + latency;  0 without a message
    Idle:     idle_i = t − work_i − Σ_p max(out_i/upload_i, in_i/download_i)

    All wait for the slowest: a phase begins where the one before it has ended everywhere. Links
    carry both directions at once, and only a worker's own link limits it, not what lies between.
    Latency is idle time. A lost message has left its sender: it costs upload and no download. That
    it is lost is known at once: no deadline is waited for.

    The defaults are assumed, not measured: a millisecond for a step, 100 Mbit/s each way, 10 ms.
    They serve to compare runs with one another, not with a watch.

    Args:
        step_seconds: one local step, for all workers or for each of them.
        upload: bytes a second that a worker can send; infinite where sending costs nothing.
        download: bytes a second that it can take in.
        latency: seconds until a phase's messages begin to arrive.

    Raises:
        ConfigError: a number is out of range; in `round_time`, a tuple has not one for each worker.

    >>> gather = (np.array([1, 2]), np.array([0, 0]), 1000)
    >>> time = Clock(1.0, 500, 1000, latency=0.5).round_time(np.array([0, 3, 4]), [gather])
    >>> time.seconds, time.idle.tolist()
    (6.5, [4.5, 1.5, 0.5])
    """

    step_seconds: float | tuple[float, ...] = 1e-3
    upload: float | tuple[float, ...] = 12.5e6
    download: float | tuple[float, ...] = 12.5e6
    latency: float = 0.01

    def __post_init__(self):
        for name in ("upload", "download"):
            for value in _each(getattr(self, name)):
                if not value > 0:
                    raise ConfigError(f"Clock's {name} must be positive, got {value}")
        for name in ("step_seconds", "latency"):
            for value in _each(getattr(self, name)):
                if not 0 <= value < np.inf:
                    raise ConfigError(f"Clock's {name} must be at least 0, got {value}")

    def round_time(
        self,
        local_steps: np.ndarray,
        phases: Sequence[Message],
        *,
        slow: np.ndarray | None = None,
        up: Sequence[np.ndarray] | None = None,
        alive: np.ndarray | None = None,
    ) -> RoundTime:
        """Return what one round takes.

        Shapes: local_steps, slow, alive (n,); of each phase src, dst, up (E,), and bytes (E,) or
            one number for all its messages.

        Args:
            local_steps: how many steps each worker makes.
            phases: (src, dst, bytes of a message); an edge from a worker to itself is no message.
            slow: so many times as long does each worker's step take.
            up: for each phase, which messages arrive; all, if not given.
            alive: who takes part at all; all, if not given.

        Raises:
            ConfigError: a field of the clock has not one number for each worker.
        """
        n = len(local_steps)
        alive = np.ones(n, bool) if alive is None else alive
        pace = self._of_each("step_seconds", n) * (1.0 if slow is None else slow)
        work = np.where(alive, local_steps * pace, 0.0)
        busy, lengths = work.copy(), np.zeros(len(phases))
        for p, (src, dst, size) in enumerate(phases):
            sent = (src != dst) & alive[src]
            arrived = sent & alive[dst] & (True if up is None else up[p])
            own = np.maximum(
                np.bincount(src, size * sent, n) / self._of_each("upload", n),
                np.bincount(dst, size * arrived, n) / self._of_each("download", n),
            )
            busy += own
            lengths[p] = own.max() + self.latency if sent.any() else 0.0
        seconds = float(work.max() + lengths.sum())
        return RoundTime(seconds, work, lengths, np.where(alive, seconds - busy, 0.0))

    def check(self, workers: int) -> None:
        """Refuse a field that has not one number for each worker.

        Raises:
            ConfigError: as said.
        """
        for name in ("step_seconds", "upload", "download"):
            self._of_each(name, workers)

    def _of_each(self, name: str, n: int) -> np.ndarray:
        value = getattr(self, name)
        if isinstance(value, tuple) and len(value) != n:
            raise ConfigError(
                f"Clock's {name} has {len(value)} numbers for {n} workers",
                next="give one number for all, or one for each",
            )
        return np.broadcast_to(np.asarray(value, float), (n,))


def _each(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
