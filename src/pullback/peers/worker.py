"""One worker of a network, wherever it runs: its data, its state, and the messages that it sends.

What a worker does in a round is a row of what `rounds` does for all at once: the same functions,
compiled for one. It knows nobody. Who works, what is sent and what has arrived is told by an
engine, turn by turn.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import tree
from ..errors import DataError, DivergedError, PeerError
from ..train import Batch, Task, begin
from .algorithm import Algorithm, Heard, Seat, Slots, Stage, Turn, message_key, period_turns
from .codec import Codec, Dense, Shapes, error_feedback
from .codec.wire import overhead, pack, unpack
from .ends import Ends
from .local import Flat, Local, LocalState
from .mix import mix_one
from .phase import Schedule
from .rounds import Net, emit_one

NOTHING = np.zeros(0, np.uint8)
"""The message of who sends none."""

Message = np.ndarray | tuple[np.ndarray, ...]
"""What a worker sends in a turn; where messages are of links, one for each neighbour, in order."""


@dataclass(frozen=True)
class Job:
    """What every worker of a run is told; nothing of its data.

    Attributes:
        task: what is trained and how.
        algorithm: what workers do with each other.
        schedule: who speaks to whom, and when.
        local: how much they train in a round.
        codec: what they send their vectors with.
        seed: of the first weights, and of all that is drawn.
        most: the most steps and the widest batch of any of them; to these all fill theirs up.
        double: whether they count in float64.
    """

    task: Task
    algorithm: Algorithm
    schedule: Schedule
    local: Local
    codec: Codec
    seed: int
    most: tuple[int, int]
    double: bool = False


class Reply(NamedTuple):
    """What a worker says to its engine when it has done its part of a turn.

    Attributes:
        finite: whether all its values are.
        loss: the sum over the steps of this round, in the dtype of training.
        steps: how many these were.
    """

    finite: bool
    loss: Any = 0.0
    steps: int = 0


@dataclass
class _Round:
    """A round under way: what becomes the worker's state only if it comes to its end."""

    t: int
    turns: tuple[Turn, ...]
    sends: Sequence[bool]
    slots: Slots
    turn: int = 0
    # Of the stage: what was emitted, what mixing has made of it, what its first message said; of
    # the turn: what this one says.
    whole: Any = None
    value: Any = None
    first: Any = None
    said: Any = None
    moved: list[Any] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        return self.turns[self.turn].stage


class Worker:
    """One worker: `start` a round, `hear` what others sent in each of its turns.

    Either returns a reply and the message of the turn that comes next, which is in the wire form of
    `pullback.peers.codec.wire`. A round that is not brought to its end leaves no trace: at the next
    `start` the worker has what it had before it.

    Attributes:
        slots: its state after the last whole round.
        moved: by how much each stage of that round has moved what was mixed, (d,) each.
        flat: how its parameters lie in a vector.

    Args:
        job: what all are told.
        number: which of them it is.
        seat: what sets it apart.
        data: the examples of its part, in the order of its rows; at least one, from which shapes
            are taken, even where it has no part.
        size: how many of them are its part.
        start: its first parameters, in place of those drawn.
    """

    def __init__(
        self, job: Job, number: int, seat: Seat, data: Batch, size: int, start: Any = None
    ):
        """Draw the first weights."""
        learner = begin(job.task, job.seed, data.x[:1])
        flat, algorithm = Flat.of_tree(learner.params), job.algorithm
        first = flat.vector(learner.params)
        x = first if start is None else jnp.asarray(start, first.dtype)
        known = x if start is None else jnp.zeros_like(x)
        share = jnp.asarray(seat.share, x.dtype)
        seat = Seat(share, jnp.asarray(seat.serves))
        self._neighbours: list[int] = []
        if algorithm.per_link:
            ends, n = Ends.of(job.schedule.phases[0]), job.schedule.n
            self._neighbours = ends.neighbour[number][ends.there[number]].tolist()
            seat = seat._replace(links=ends.there[number], workers=n)
        slots = algorithm.begin(x, known, seat)
        slots["local"] = LocalState.begin(learner)
        if algorithm.feedback:
            slots["memory"] = jnp.zeros_like(x)
        self.slots, self.moved = slots, []
        self._job, self._number, self._size = job, number, size
        self._rounds = period_turns(algorithm, job.schedule)
        self._data = jax.device_put(Batch(*map(jnp.asarray, data)))
        self.flat = flat
        self._net = Net(job.task, algorithm, (), job.codec, flat, "one")
        self._dtype, self._round = np.dtype(first.dtype), None

    def vector(self) -> Any:
        """Return its parameters, as they are evaluated."""
        return self._job.algorithm.model(self.slots)

    def model(self) -> np.ndarray:
        """Return a message with its parameters as they are, for one that comes back.

        Raises:
            DivergedError: they are not finite.
        """
        return self._packed(Dense(), self.vector(), self.flat.shapes)

    def start(
        self, t: int, works: bool, sends: Sequence[bool], model: np.ndarray | None = None
    ) -> tuple[Reply, Message]:
        """Begin round t: the local work, and the message of the first turn.

        Args:
            t: the round.
            works: whether it takes its local steps.
            sends: in which turns it sends at all.
            model: what a neighbour's `model` has said, if it comes back.

        Raises:
            DataError: the model is no such message.
        """
        slots = self.slots
        if model is not None:
            shapes = self.flat.shapes
            x = self._read(Dense(), model, None, shapes, "the model that it takes over")
            slots = self._job.algorithm.rejoin(slots, x)
        order = self._rounds[t % len(self._rounds)]
        self._round = _Round(t, order, sends, slots)
        self._emit(works)
        now = self._round
        # Whose local work failed is seen here; after mixing its neighbours have failed too.
        if not _finite((now.slots, now.value)):
            return self._failed()
        return self._send()

    def hear(
        self, t: int, turn: int, inbox: Mapping[int, np.ndarray], undelivered: Iterable[int] = ()
    ) -> tuple[Reply, Message]:
        """Mix what has arrived in a turn; then the message of the next, or the round's end.

        Args:
            t: the round.
            turn: its turn, from 0.
            inbox: by sender, the messages.
            undelivered: who did not get what it has sent.

        Raises:
            PeerError: it is not in this turn.
            DataError: a message is none of this turn.
        """
        now = self._round
        if now is None or (now.t, now.turn) != (t, turn):
            raise PeerError(
                f"worker {self._number} is told of turn {turn} of round {t}, and is not there",
                next="restart the run from its last checkpoint",
            )
        stage, phase = now.turns[turn]
        codec, shapes = self._codec(stage), stage.shapes(self.flat.shapes)
        heard = {
            src: self._read(
                codec,
                message,
                _key(self._job.seed, t, turn, src),
                shapes,
                f"the message of worker {src} in round {t}, turn {turn}",
            )
            for src, message in inbox.items()
        }
        own = now.said if self._job.algorithm.own == "sent" else now.value
        if self._job.algorithm.per_link:
            now.value = self._over_links(now.value, heard)
        else:
            now.value = mix_one(
                phase, self._number, own, heard, undelivered=undelivered, sent=now.said
            )
        now.turn += 1
        if now.turn < len(now.turns) and now.stage == stage:
            return self._send()
        self._absorb(stage)
        if now.turn < len(now.turns):
            self._emit(False)
            return self._send()
        return self._end()

    def save(self) -> dict[str, np.ndarray]:
        """Return its state by name."""
        return {name: np.asarray(leaf) for name, leaf in tree.named(self.slots).items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go back to what was saved.

        Raises:
            CheckpointError: the arrays are not those of this worker.
        """
        self.slots, self._round = tree.restore(self.slots, dict(arrays)), None

    def _codec(self, stage: Stage) -> Codec:
        return self._job.codec if stage.coded else Dense()

    def _emit(self, works: bool) -> None:
        """The local part of a stage. The algorithm takes its steps where it takes any."""
        now = self._there()
        rows = np.full(self._job.most, -1, np.int32)
        count = 0
        if works:
            mine = self._job.local.rows(self._job.seed, self._number, now.t, self._size)
            rows[: mine.shape[0], : mine.shape[1]], count = mine, len(mine)
        now.slots, now.whole = _emitted(
            self._net,
            now.stage,
            self._data,
            np.uint32(self._job.seed),
            np.int32(now.t),
            now.slots,
            rows,
            np.int32(count),
            np.int32(self._number),
        )
        now.value, now.first = now.whole, None

    def _over_links(self, own: Any, heard: Mapping[int, Any]) -> Heard:
        """What was heard of each neighbour, by the numbers of the links."""
        messages, arrived = np.zeros_like(own), np.zeros(len(own), bool)
        for k, neighbour in enumerate(self._neighbours):
            if neighbour in heard:
                messages[k], arrived[k] = heard[neighbour], True
        return Heard(messages, arrived)

    def _send(self) -> tuple[Reply, Message]:
        """Encode what the turn sends, and know what it says."""
        now, number = self._there(), self._number
        stage, phase = now.turns[now.turn]
        now.said, message = now.value, self._nothing
        if self._job.algorithm.per_link:
            now.first = now.value
            codec, shapes = self._codec(stage), stage.shapes(self.flat.shapes)
            if now.sends[now.turn]:
                own = now.value[: len(self._neighbours)]
                message = tuple(self._packed(codec, each, shapes) for each in own)
            return self._reply(), message
        if (phase.src == number).any():
            codec, shapes = self._codec(stage), stage.shapes(self.flat.shapes)
            key = _key(self._job.seed, now.t, now.turn, number)
            owed = now.slots.get("memory") if stage.coded else None
            fed = _fed(codec, now.value, owed, key, shapes)
            now.said = fed.decoded
            sends = now.sends[now.turn]
            if owed is not None and sends:
                now.slots = now.slots | {"memory": fed.memory}
            if sends:
                try:
                    message = self._buffers(codec, fed.buffers, shapes)
                except DivergedError:
                    return self._failed()
        now.first = now.said if now.first is None else now.first
        return self._reply(), message

    def _absorb(self, stage: Stage) -> None:
        now = self._there()
        own = now.first if self._job.algorithm.own == "sent" else now.whole
        if not self._job.algorithm.per_link:
            now.moved.append(now.value - own)
        now.slots = _absorbed(
            self._job.algorithm, stage, now.slots, now.value, now.first, np.int32(now.t)
        )

    def _end(self) -> tuple[Reply, Message]:
        now = self._there()
        if not _finite(now.slots):
            return self._failed()
        self.slots, self.moved, reply = now.slots, now.moved, self._reply()
        self._round = None
        return reply, self._nothing

    def _failed(self) -> tuple[Reply, Message]:
        self._round = None
        return Reply(False), self._nothing

    @property
    def _nothing(self) -> Message:
        return (NOTHING,) * len(self._neighbours) if self._job.algorithm.per_link else NOTHING

    def _reply(self) -> Reply:
        local = self._there().slots["local"]
        return Reply(True, np.asarray(local.loss)[()], int(local.steps))

    def _there(self) -> _Round:
        assert self._round is not None
        return self._round

    def _packed(self, codec: Codec, v: Any, shapes: Shapes) -> np.ndarray:
        return self._buffers(codec, codec.encode(v, jax.random.key(0), shapes), shapes)

    def _buffers(self, codec: Codec, buffers: Mapping[str, Any], shapes: Shapes) -> np.ndarray:
        """The buffers as one message, of as many bytes as are counted."""
        message = pack(buffers)
        wanted = overhead(buffers) + codec.cost(shapes, self._dtype).total
        if len(message) != wanted:
            raise DataError(
                f"a message of {codec} has {len(message)} bytes, and {wanted} are counted",
                next="mend the codec's cost",
            )
        return np.frombuffer(message, np.uint8)

    def _read(self, codec: Codec, message: np.ndarray, key: Any, shapes: Shapes, what: str):
        where = f"{what}, at worker {self._number}"
        buffers = unpack(message.data, _layout(codec, shapes, self._dtype), where)
        key = jax.random.key(0) if key is None else key
        return _decoded(codec, buffers, key, shapes, self._dtype)


_emitted = jax.jit(emit_one, static_argnames=("net", "stage"))
_key = jax.jit(message_key)
_finite = jax.jit(tree.all_finite)


@functools.partial(jax.jit, static_argnames=("algorithm", "stage"))
def _absorbed(algorithm: Algorithm, stage: Stage, slots: Slots, value, sent, t):
    return algorithm.absorb(stage, slots, value, sent, t)


@functools.partial(jax.jit, static_argnames=("codec", "shapes"))
def _fed(codec: Codec, v, owed, key, shapes: Shapes):
    """What is sent, what it says, and what is owed after it."""
    return error_feedback(codec, v, jnp.zeros_like(v) if owed is None else owed, key, shapes)


@functools.partial(jax.jit, static_argnames=("codec", "shapes", "dtype"))
def _decoded(codec: Codec, buffers, key, shapes: Shapes, dtype):
    return codec.decode(buffers, key, shapes, dtype)


@functools.lru_cache
def _layout(codec: Codec, shapes: Shapes, dtype: np.dtype):
    return codec.layout(shapes, dtype)
