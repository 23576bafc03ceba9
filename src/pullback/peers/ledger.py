"""What a run over a network has cost, and the rows that say so: the same for every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import CheckpointError
from ..record import Record
from ..tree import shortest
from .clock import Clock
from .codec import Cost
from .faults import Faults

_TRAFFIC = ("traffic/messages", "traffic/bytes")


@dataclass
class Progress:
    """How far a run came, and what it has cost.

    Attributes:
        step: rounds done; a checkpoint wants it under this name.
        examples: that all workers have trained on, repeats counted.
        seconds: simulated, by the clock.
        messages: sent, those that were lost among them.
        payload, index, header: bytes sent; see `pullback.peers.codec.Cost`.
        how, chunk: how a simulation maps workers, so that a resumed one has the same bits.
        down: workers that had died or were silent when this was saved, and come back.
    """

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    messages: int = 0
    payload: int = 0
    index: int = 0
    header: int = 0
    how: str = ""
    chunk: int = 1
    down: tuple[int, ...] = ()

    def __post_init__(self):
        self.down = tuple(self.down)

    @property
    def bytes(self) -> int:
        """All bytes sent."""
        return self.payload + self.index + self.header


class Sent(NamedTuple):
    """The messages of one turn, or those that rejoining takes.

    Shapes: src, dst, arrived (E,); cost is that of each.
    """

    src: np.ndarray
    dst: np.ndarray
    arrived: np.ndarray
    cost: Cost


class Ledger:
    """The costs of a run, by round and by link, and the record that they are written to.

    Args:
        n: workers.
        examples: in the parts of all workers together: one epoch.
        clock: what steps and bytes cost.
        faults: who is slow.
        record: where rows are added.
    """

    def __init__(self, n: int, examples: int, clock: Clock, faults: Faults, record: Record):
        self.progress, self.record = Progress(), record
        self._epoch, self._clock, self._slow = examples, clock, faults.factors(n)
        self._messages, self._bytes = np.zeros((2, n, n), np.int64)

    def round(
        self,
        steps: np.ndarray,
        examples: int,
        alive: np.ndarray,
        sent: Sequence[Sent],
        loss: np.ndarray,
        **figures: Any,
    ) -> None:
        """Count what a round has cost, and add its row.

        Shapes: steps, alive, loss (n,).

        Args:
            steps: of each worker.
            examples: that they were made on, all together.
            alive: who was up; nobody else has sent.
            sent: the messages, turn by turn.
            loss: the sum over each worker's steps.
            figures: distance, drift and health.
        """
        messages, costs = 0, Cost(0)
        for src, dst, _, cost in sent:
            src, dst = src[alive[src]], dst[alive[src]]
            messages += len(src)
            costs = Cost(*(a + len(src) * b for a, b in zip(_of(costs), _of(cost), strict=True)))
            np.add.at(self._messages, (src, dst), 1)
            np.add.at(self._bytes, (src, dst), cost.total)
        took = self._clock.round_time(
            steps,
            [(each.src, each.dst, each.cost.total) for each in sent],
            slow=self._slow,
            up=[each.arrived for each in sent],
            alive=alive,
        )
        progress = self.progress
        progress.step += 1
        progress.examples += examples
        progress.seconds += took.seconds
        progress.messages += messages
        progress.payload += costs.payload
        progress.index += costs.index
        progress.header += costs.header
        with np.errstate(invalid="ignore"):
            mean = loss / steps
        self.record.add(
            "round",
            round=progress.step,
            steps=int(steps.sum()),
            examples=examples,
            loss=shortest(mean),
            **figures,
            messages=messages,
            bytes={"payload": costs.payload, "index": costs.index, "header": costs.header},
            seconds=took.seconds,
        )

    def evaluation(self, parts: Mapping[str, Any]) -> None:
        """Add the row of an evaluation, with what was spent until now."""
        progress = self.progress
        self.record.add(
            "evaluation",
            round=progress.step,
            epoch=progress.examples / self._epoch,
            messages=progress.messages,
            bytes=progress.bytes,
            seconds=progress.seconds,
            parts=parts,
        )

    def links(self) -> list[list[int]]:
        """Return [src, dst, messages, bytes] of each link that something was sent on."""
        return [
            [int(src), int(dst), int(self._messages[src, dst]), int(self._bytes[src, dst])]
            for src, dst in zip(*np.nonzero(self._messages), strict=True)
        ]

    def save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays of the traffic, and the progress."""
        arrays = {}
        for name, each in zip(_TRAFFIC, (self._messages, self._bytes), strict=True):
            arrays[name] = each.copy()
        return arrays, dict(vars(self.progress))

    def restore(
        self, arrays: Mapping[str, np.ndarray], progress: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """Go back to what was saved, and return the arrays that are not of the ledger.

        Raises:
            CheckpointError: the traffic is missing, or of another number of workers.
        """
        found = [np.asarray(arrays[name]) for name in _TRAFFIC if name in arrays]
        if [each.shape for each in found] != [self._messages.shape] * 2:
            n = len(self._messages)
            raise CheckpointError(
                f"these arrays hold no traffic of a network of {n} workers",
                next="use the configuration that it was saved with",
            )
        self._messages, self._bytes = (each.astype(np.int64) for each in found)
        self.progress = Progress(**progress)
        return {name: each for name, each in arrays.items() if name not in _TRAFFIC}


def _of(cost: Cost) -> tuple[int, int, int]:
    return cost.payload, cost.index, cost.header
