"""Who of the workers is there, with what state, and what becomes of those that fail."""

from __future__ import annotations

import time
from typing import Any, Literal

import numpy as np

from ...errors import ConfigError, PeerError
from ...record import Record
from ..algorithm import Algorithm
from ..codec import Codec, Shapes
from ..faults import Faults, gone, overdue
from ..phase import Schedule
from ..plan import Masks, Planner
from .crew import Crew, What

HubDeath = Literal["recover", "error"]

# What a worker has, by name.
State = dict[str, np.ndarray]


class Roll:
    """The workers of a run, as they come and go.

    A worker is up and knows what it should; or it is up and "fresh", since its process was started
    again and has forgotten all; or up and "stale", since it has missed rounds; or it is down.

    Attributes:
        places: where each runs.
        fresh, stale: who is, up or down.
        saved: the last state of each that was saved, by worker.

    Args:
        crew: the processes.
        planner: of the run.
        algorithm: of the run.
        refusal: why it does not survive lost messages, if it does not.
        record: takes the rows "fault".
        own: whether who has missed rounds goes on from what it has.
        hub_death: what the loss of the only hub ends in.
        deadline: seconds in which a worker must have answered.
        patience: seconds that one may take to start.
    """

    def __init__(
        self,
        crew: Crew,
        planner: Planner,
        algorithm: Algorithm,
        refusal: str | None,
        record: Record,
        own: bool,
        hub_death: HubDeath,
        deadline: float,
        patience: float,
    ):
        self.crew, self.planner, self.record = crew, planner, record
        self.fresh: set[int] = set()
        self.stale: set[int] = set()
        self.saved: dict[int, State] = {}
        self.places: list[dict[str, Any]] = []
        self._algorithm, self._refusal, self._own = algorithm, refusal, own
        self._deadline, self._patience, self._hub_death = deadline, patience, hub_death
        serves = np.flatnonzero(planner.seats.serves)
        self.hub = int(serves[0]) if len(serves) == 1 else None

    def begin(self, beginnings: list[tuple]) -> None:
        """Let all begin; see `Crew.begin`."""
        self.places = self.crew.begin(beginnings, self._patience)

    def knows(self, i: int) -> bool:
        """Whether a worker is up, and has what it should."""
        return bool(self.crew.up[i]) and i not in self.fresh | self.stale

    def collect(self, t: int, turn: int | None, calls: dict[int, Any]) -> dict[int, Any]:
        """Wait for answers, to the deadline at most; who gives none in time is out.

        Args:
            t: the round.
            turn: its turn; None between two rounds, when nothing is under way.
            calls: the references of the answers, by worker.

        Raises:
            PeerError: the run does not survive that.
        """
        answers, lost = self.crew.gather(calls, self._deadline)
        for i, what in lost.items():
            self._lose(i, what, t, turn)
        return answers

    def states(self, t: int) -> dict[int, State]:
        """Return what each has that is up and has anything, old as it may be."""
        having = [i for i in range(self.planner.n) if self.crew.up[i] and i not in self.fresh]
        return self.collect(t, None, {i: self.crew.call(i, "save") for i in having})

    def tell(self, t: int, states: dict[int, State]) -> None:
        """Give workers a state. Who dies meanwhile is lost, and comes back like others."""
        calls = {i: self.crew.call(i, "restore", state) for i, state in states.items()}
        self.collect(t, None, calls)

    def welcome(self, t: int, seconds: float = 0.0) -> None:
        """See who is back; wait so long for one."""
        for i, place in self.crew.back(seconds).items():
            self.places[i] = place or self.places[i]
            self.record.add("fault", round=t + 1, phase=None, worker=i, what="back")
            if i == self.hub and i in self.fresh and i in self.saved:
                self.fresh.discard(i)
                self.tell(t, {i: self.saved[i]})

    def settle(self, t: int) -> None:
        """Wait for those that are down, as long as they may take to start."""
        end = time.monotonic() + self._patience
        while not self.crew.up.all() and (left := end - time.monotonic()) > 0:
            self.welcome(t, min(left, 1.0))

    def need_hub(self, t: int) -> None:
        """Wait for the only hub, as long as it may take to start.

        Raises:
            PeerError: it does not come back.
        """
        end = time.monotonic() + self._patience
        while self.hub is not None and not self.crew.up[self.hub]:
            if (left := end - time.monotonic()) <= 0:
                raise overdue(self.hub, t + 1, 0, self._patience)
            self.welcome(t, min(left, 1.0))

    def attending(self, t: int, here: Masks) -> tuple[np.ndarray, Masks]:
        """Return who takes part in a round, (n,), and what is planned for it, for these.

        Who has forgotten all takes another's parameters, and waits where nobody can give any.

        Raises:
            PeerError: nobody is left.
        """
        up = self.crew.up
        if up.all() and not (self.fresh or self.stale):
            return here.alive.copy(), here
        back = np.zeros(len(up), bool)
        back[sorted(self.fresh | self.stale)] = True
        there = here.alive & up
        returned = (here.returned | back) & there
        donor = self.planner.donors(t, there, returned)
        for i in np.flatnonzero(returned).tolist():
            if i not in self.fresh and self._own:
                donor[i] = i
            elif i in self.fresh and donor[i] == i:
                there[i] = False
        if not there.any():
            raise PeerError(
                "no worker is left that could go on",
                where=f"round {t + 1}",
                next="resume from the last checkpoint",
            )
        returned &= there & (donor != np.arange(len(up)))
        joined = set(np.flatnonzero(there).tolist())
        self.fresh, self.stale = self.fresh - joined, self.stale - joined
        steps = np.where(there, here.steps, 0)
        return there, here._replace(steps=steps, returned=returned, donor=donor)

    def _lose(self, i: int, what: What, t: int, turn: int | None) -> None:
        """Write down that a worker is out, and end the run if that is not survived."""
        self.record.add("fault", round=t + 1, phase=turn, worker=i, what=what)
        (self.fresh if what == "dead" else self.stale).add(i)
        if (advice := self._fatal(i, what, turn)) is not None:
            place = turn or 0
            error = (
                gone(i, t + 1, place, "its process died")
                if what == "dead"
                else overdue(i, t + 1, place, self._deadline)
            )
            raise PeerError(error.what, where=error.where, next=advice)

    def _fatal(self, i: int, what: What, turn: int | None) -> str | None:
        """What to do about it, if the run cannot go on without this worker."""
        if i == self.hub and self._hub_death == "error":
            return "resume from the last checkpoint, or set hub_death to 'recover'"
        if turn is not None and self._refusal is not None:
            return self._refusal
        # Late in the first turn, it is as if it had been down from the beginning of the round.
        if not self._algorithm.replaceable and (what == "dead" or turn):
            name = type(self._algorithm).__name__
            return f"{name} needs what every worker has: resume from the last checkpoint"
        return None


def refusal(
    algorithm: Algorithm, schedule: Schedule, codec: Codec, shapes: Shapes, dtype: Any
) -> str | None:
    """Return why an algorithm does not survive lost messages, if it does not."""
    try:
        algorithm.check(schedule, codec, shapes, dtype, Faults(loss=0.5))
    except ConfigError as error:
        return error.what
    return None
