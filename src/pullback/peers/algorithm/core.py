"""The contract of an algorithm: what one worker sends, and what it makes of what was mixed.

A round is a tuple of stages. In a stage each worker emits one vector, the phases that the stage
uses mix it, and each absorbs what came of it. An engine only moves and mixes: it may run all
workers in one program or each in a process of its own, and the algorithm is the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ...errors import ConfigError
from ...maps import key_for
from .. import require
from ..codec import Codec, Dense, Shapes
from ..faults import Faults, require_survival
from ..phase import Phase, Schedule, phase

# What a worker has, by name: vectors of its parameters' length, a few numbers, and "local", the
# tree that belongs to its local work. Stacked for all workers, each has a leading axis.
Slots = dict[str, Any]

# A codec whose error is below this share of the vector's square rounds, and drops nothing.
_ROUNDED = 1e-4


class Seat(NamedTuple):
    """What sets a worker apart from the others, before it begins.

    Attributes:
        share: its share of the data, times the number of workers: 1 where all have as much.
        serves: whether others get from it what they go on with, as from a hub.
        links: which of its links there are, (k,), where messages are of links; see `Algorithm`.
        workers: how many there are, where messages are of links.
    """

    share: Any = 1.0
    serves: Any = False
    links: Any = ()
    workers: Any = ()


class Heard(NamedTuple):
    """What has come over a worker's links, where messages are of links.

    Shapes: messages (k, m), anything where none has come; arrived (k,).
    """

    messages: Any
    arrived: Any


class Work(Protocol):
    """What an engine lends an algorithm: the local work of this worker in this round."""

    def steps(
        self, slots: Slots, x: Float[Array, " d"], toward: Any = None, strength: float = 0.0
    ) -> tuple[Slots, Float[Array, " d"]]:
        """Take the round's local steps from x, and return where they lead.

        Where a point `toward` is given, each step also minimises strength/2 · ‖x − toward‖². A
        worker that does not work in this round stays at x.
        """
        ...


@dataclass(frozen=True)
class Stage:
    """A part of a round: one vector is emitted, mixed by some phases, and absorbed.

    Attributes:
        name: of the stage.
        phases: which of the round's phases it uses: all, those before the scatter, or the scatter.
        parts: how many vectors of parameters lie in what is sent, one after another.
        numbers: how many single numbers follow them.
        coded: whether the codec is used; otherwise all is sent as it is.
    """

    name: str
    phases: Literal["all", "gather", "scatter"] = "all"
    parts: int = 1
    numbers: int = 0
    coded: bool = True

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shapes of the tensors in what is sent, from those of the parameters.

        >>> Stage("push", numbers=1).shapes(((2, 3),))
        ((2, 3), ())
        """
        return shapes * self.parts + ((),) * self.numbers

    def uses(self, phases: Sequence[Phase]) -> tuple[Phase, ...]:
        """Return those of a round's phases that this stage uses."""
        cut = len(phases) - _scattering(phases)
        first, last = {"all": (0, None), "gather": (0, cut), "scatter": (cut, None)}[self.phases]
        return tuple(phases[first:last])


class Turn(NamedTuple):
    """One phase of one stage: all messages that are sent at once.

    Its place among the turns of a round is the number under which faults and codecs know it.
    """

    stage: Stage
    phase: Phase


class Asked(NamedTuple):
    """Who works in a round, and which messages of each turn are sent. Others are not lost.

    Shapes: work (n,); send, for each turn, (E,).
    """

    work: Bool[np.ndarray, " n"]
    send: tuple[Bool[np.ndarray, " e"], ...]


@dataclass(frozen=True)
class Algorithm:
    """What workers do with each other. A subclass holds its settings only.

    It gives its `stages`, how its slots `begin`, `emit` and `absorb`, which are of ONE worker and
    may be compiled and mapped over all, and `check`, which an engine calls first.

    Attributes:
        survives: the policies under which it may lose messages; see `pullback.peers.phase`.
        codecs: "exact" if each message must arrive as it was; "rounded" if it may be rounded, as to
            float16; "any" if it is made for codecs that drop much.
        own: what stands for a worker in its own mixture: its "exact" value, or what its own
            "sent" message decodes to, so that all who mix it mix the same.
        replaceable: whether a worker whose process died may come back with nothing but another's
            parameters. Where all workers' states must add up to something, it may not.
        keeps_mean: whether no stage may move the mean of what is mixed.
        per_link: whether each neighbour is sent a message of its own, in a stage of one phase whose
            edges go both ways, and nothing is mixed: the algorithm does it. Links are numbered by
            the neighbours at their ends, in order. `emit` then returns (k, m), a message for each,
            and `absorb` has a `Heard` for what was mixed.
    """

    survives: ClassVar[tuple[str, ...]] = ()
    codecs: ClassVar[Literal["exact", "rounded", "any"]] = "exact"
    own: ClassVar[Literal["exact", "sent"]] = "exact"
    keeps_mean: ClassVar[bool] = True
    replaceable: ClassVar[bool] = True
    per_link: ClassVar[bool] = False

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of a round, in order."""
        return (Stage("mix"),)

    @property
    def feedback(self) -> bool:
        """Whether what a codec drops is added to what is sent next; it is kept in "memory"."""
        return False

    def check(
        self,
        schedule: Schedule,
        codec: Codec,
        shapes: Shapes,
        dtype: Any,
        faults: Faults,
    ) -> None:
        """Refuse a schedule, a codec or faults under which it would compute something else.

        Raises:
            ConfigError: as said.
        """
        name = type(self).__name__
        for policy in sorted({each.on_loss for each in schedule.phases}):
            require_survival(name, self.survives, faults, policy)
        self._check_codec(codec, shapes, dtype)
        self._check_schedule(schedule)

    def begin(self, x: Float[Array, " d"], known: Float[Array, " d"], seat: Seat) -> Slots:
        """Return the slots before the first round, without those of the engine.

        Args:
            x: the worker's first parameters.
            known: what all workers know of each other's: x where all begin alike, else zeros.
            seat: its place among the others.
        """
        return {"x": x}

    def emit(
        self, stage: Stage, slots: Slots, work: Work, t: Any
    ) -> tuple[Slots, Float[Array, " m"] | Float[Array, "k m"]]:
        """Do a stage's local work in round t, and return the slots and what to send."""
        raise NotImplementedError

    def absorb(
        self,
        stage: Stage,
        slots: Slots,
        mixed: Any,
        sent: Float[Array, " m"] | Float[Array, "k m"],
        t: Any,
    ) -> Slots:
        """Return the slots after mixing.

        Args:
            stage: as in `emit`.
            slots: as `emit` left them.
            mixed: what the stage's phases made of what all have sent, (m,); of links, a `Heard`.
            sent: what this worker's own message of the stage's first phase decoded to.
            t: the round.
        """
        raise NotImplementedError

    def model(self, slots: Slots) -> Float[Array, " d"]:
        """Return the worker's parameters, as they are evaluated."""
        return slots["x"]

    def rejoin(self, slots: Slots, model: Float[Array, " d"]) -> Slots:
        """Return the slots of a worker that comes back with another's parameters."""
        return slots | {"x": model}

    def consensus(self, slots: Slots, shares: Float[Array, " n"]) -> Float[Array, " d"]:
        """Return the one model that all workers stand for, from the slots of all."""
        return mean(jax.vmap(self.model)(slots), shares)

    def health(self, slots: Slots, shares: Float[Array, " n"]) -> dict[str, Float[Array, ""]]:
        """Return, from the slots of all after a round, what must stay as it was: see each."""
        return {}

    def asked(self, turns: Sequence[Turn], t: int, seed: int) -> Asked:
        """Return who works in round t, and which messages are sent: all, unless it is said."""
        n = turns[0].phase.n
        return Asked(np.ones(n, bool), tuple(np.ones(turn.phase.edges, bool) for turn in turns))

    def _check_codec(self, codec: Codec, shapes: Shapes, dtype: Any) -> None:
        """Refuse a codec that drops more than the algorithm can bear."""
        coded = any(stage.coded for stage in self.stages)
        if not coded or self.codecs == "any" or lossless(codec, dtype):
            return
        if self.codecs == "rounded" and rounds_only(codec, shapes):
            return
        wants = "each message as it was" if self.codecs == "exact" else "messages that are rounded"
        raise ConfigError(
            f"{type(self).__name__} wants {wants}, {codec} may drop more",
            next="send with Dense, or take Choco or FedAvg",
        )

    def _check_schedule(self, schedule: Schedule) -> None:
        """Refuse a schedule that it cannot use."""
        require.agreement(schedule, type(self).__name__)
        require.connected(schedule, type(self).__name__)


def hubs(schedule: Schedule) -> Bool[np.ndarray, " n"]:
    """Return who serves others: those that hear before the scatter, where there is one.

    >>> from pullback.peers.topology import Ring, Star
    >>> hubs(Star(3, hub=1).schedule()).tolist(), hubs(Ring(3).schedule()).tolist()
    ([False, True, False], [False, False, False])
    """
    found = np.zeros(schedule.n, bool)
    for phases in schedule.rounds:
        if cut := _scattering(phases):
            for each in phases[:-cut]:
                found[each.dst] = True
    return found


def turns(algorithm: Algorithm, phases: Sequence[Phase]) -> tuple[Turn, ...]:
    """Return the turns of a round with these phases, in order.

    >>> from pullback.peers.topology import Star
    >>> from pullback.peers.algorithm import DPSGD, FedAvg
    >>> [turn.stage.name for turn in turns(FedAvg(), Star(3).schedule().round(0))]
    ['gather', 'scatter']
    >>> [turn.stage.name for turn in turns(DPSGD(), Star(3).schedule().round(0))]
    ['mix', 'mix']
    """
    return tuple(Turn(stage, each) for stage in algorithm.stages for each in stage.uses(phases))


def period_turns(algorithm: Algorithm, schedule: Schedule) -> tuple[tuple[Turn, ...], ...]:
    """Return the turns of each round of a period, as many of every stage in each round.

    A stage that has fewer phases in a round than in another ends with phases in which nobody
    speaks: then a turn has the same number and the same stage in every round.

    >>> from pullback.peers.phase import Schedule, phase
    >>> from pullback.peers.algorithm import DPSGD
    >>> swap = phase({(1, 0): 0.5, (0, 1): 0.5}, n=2)
    >>> uneven = Schedule(((swap,), (swap, swap)))
    >>> [[turn.phase.edges for turn in each] for each in period_turns(DPSGD(), uneven)]
    [[2, 0], [2, 2]]
    """
    silent = phase({}, n=schedule.n, on_loss=schedule.phases[-1].on_loss)
    found: list[tuple[Turn, ...]] = [()] * schedule.period
    for stage in algorithm.stages:
        used = [stage.uses(phases) for phases in schedule.rounds]
        most = max(map(len, used))
        for r, phases in enumerate(used):
            filled = (*phases, *[silent] * (most - len(phases)))
            found[r] += tuple(Turn(stage, each) for each in filled)
    return tuple(found)


def message_key(seed: int, t: Any, turn: int, sender: Any):
    """Return the key of a message, which its sender and its receivers derive alike."""
    key: Any = key_for(jax.random.key(seed), "codec")
    return jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, t), turn), sender)


def lossless(codec: Codec, dtype: Any) -> bool:
    """Whether a codec sends a vector of this dtype as it is, to the last bit.

    >>> lossless(Dense("float32"), np.float32), lossless(Dense("float32"), np.float64)
    (True, False)
    """
    return isinstance(codec, Dense) and codec.dtype in ("same", np.dtype(dtype).name)


def rounds_only(codec: Codec, shapes: Shapes) -> bool:
    """Whether a codec rounds, as to float16, and drops nothing.

    >>> rounds_only(Dense("bfloat16"), ((3,),))
    True
    """
    return codec.distortion(shapes) <= _ROUNDED


def mean(x: Float[Array, "n m"], shares: Float[Array, " n"]) -> Float[Array, " m"]:
    """Return the mean over workers, by shares that sum to 1."""
    return shares @ x


def size(x: Array) -> Float[Array, ""]:
    """Return the Euclidean norm of all entries."""
    return jnp.sqrt(jnp.sum(x**2))


def require_constant(schedule: Schedule, who: str) -> None:
    """Refuse a schedule whose rounds differ."""
    if schedule.period > 1:
        raise ConfigError(
            f"{who} wants the same phases in every round, these repeat after {schedule.period}",
            next="take a topology that does not change",
        )


def require_one_phase(schedule: Schedule, who: str) -> None:
    """Refuse a schedule with rounds of several phases."""
    most = max(map(len, schedule.rounds))
    if most > 1:
        raise ConfigError(
            f"{who} wants rounds of one phase, these have {most}",
            next="take a graph on which workers gossip, such as Ring",
        )


def _scattering(phases: Sequence[Phase]) -> int:
    """How many of a round's last phases scatter: whoever hears in them takes what it hears.

    They are at most half: as many as gathered before.
    """
    count = 0
    while count < len(phases) // 2 and _scatters(phases[-1 - count]):
        count += 1
    return count


def _scatters(phase: Phase) -> bool:
    return bool((phase.weight == 1).all() and (phase.keep[phase.dst] == 0).all())
