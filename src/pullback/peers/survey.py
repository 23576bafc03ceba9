"""A topology before training: what it costs, how fast it mixes, to what, and where it breaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import networkx as nx
import numpy as np

from . import require, spectrum
from .clock import Clock
from .mixing import Mixing, Weights, data_shares
from .topology import Topology

# One phase as the clock wants it: who sends, who hears, and the bytes of a message; None where they
# are not known.
Sent = tuple[np.ndarray, np.ndarray, int | None]

# Workers that a sentence names before it only counts them.
_NAMED = 12


@dataclass(frozen=True)
class Cut:
    """What is left when one link or one worker dies.

    Args:
        lost: the two ends of the link, or the one worker.
        parts: the workers that are left, as they still hear of each other; the largest part first.
        orphans: workers whose star has lost its hub.

    >>> print(Cut((2,), ((3, 4, 5), (0,), (1,)), (0, 1)))
    without worker 2 the rest falls into 3 parts, and 0, 1 are cut off; 0, 1 lose their hub
    """

    lost: tuple[int, ...]
    parts: tuple[tuple[int, ...], ...]
    orphans: tuple[int, ...] = ()

    @property
    def cut_off(self) -> tuple[int, ...]:
        """Who is not in the largest part; of equal parts that with the lowest number counts."""
        return tuple(sorted(i for part in self.parts[1:] for i in part))

    def __str__(self) -> str:
        lost = f"worker {self.lost[0]}" if len(self.lost) == 1 else "link {}–{}".format(*self.lost)
        told = "the rest is connected"
        if self.cut_off:
            told = (
                f"the rest falls into {len(self.parts)} parts, and {_listed(self.cut_off)} cut off"
            )
        if self.orphans:
            lose = "loses its hub" if len(self.orphans) == 1 else "lose their hub"
            told += f"; {_named(self.orphans)} {lose}"
        return f"without {lost} {told}"

    def row(self) -> dict[str, Any]:
        """As JSON, of a size that does not grow with the network: who is cut off is counted."""
        parts, cut_off = len(self.parts), len(self.cut_off)
        return {"lost": list(self.lost), "parts": parts, "cut_off": cut_off, "says": str(self)}


@dataclass(frozen=True)
class Survey:
    """What can be said of a topology before it trains; all of it plain numbers.

    What is said of a round is the mean over a period; "most" is of the worst round. Printed, it is
    a few lines for a reader.

    Args:
        workers: n.
        edges: links; one that goes both ways counts once.
        period: after how many rounds they repeat.
        phases: of a round.
        messages: of a round.
        gap: by how much of itself disagreement shrinks in a round, at least; 1 is all of it.
        long_run_gap: the same over many rounds.
        effective_neighbours: with how many a worker averages out its noise, at γ = 0.99; None for
            push-sum.
        data_weights: the shares of the data.
        implied_weights: the weights of the objective that is minimised in fact.
        busiest: the worker that has most messages, in and out.
        most_in: messages that one worker takes in in a round.
        most_out: messages that one worker sends in a round.
        bytes: of a round, all messages together; None where the size of one was not given, as for
            the next three.
        most_bytes_in: that one worker takes in in a round.
        most_bytes_out: that one worker sends in a round.
        most_bytes_link: that go over one link in a round, one way.
        seconds: of a round's phases, by the clock; None without one.
        cuts: the links and workers whose loss cuts others off or takes a hub away. A worker or link
            that is not here can die, and the rest is still connected.
    """

    workers: int
    edges: int
    period: int
    phases: float
    messages: float
    gap: float
    long_run_gap: float
    effective_neighbours: float | None
    data_weights: tuple[float, ...]
    implied_weights: tuple[float, ...]
    busiest: int
    most_in: int
    most_out: int
    bytes: float | None
    most_bytes_in: int | None
    most_bytes_out: int | None
    most_bytes_link: int | None
    seconds: float | None
    cuts: tuple[Cut, ...]

    @property
    def bias(self) -> float:
        """By how much the implied weight of a worker is off from its share of the data, at most."""
        pairs = zip(self.data_weights, self.implied_weights, strict=True)
        return max(abs(a - b) for a, b in pairs)

    def rounds_to(self, share: float) -> float:
        """Return after how many rounds of mixing disagreement is down to this share of itself.

        Rounds:   ln(1/share) / −ln(1 − long_run_gap);  1 where a round leaves none
        """
        left = 1 - self.long_run_gap
        return 1.0 if left <= 0 else math.inf if left >= 1 else math.log(share) / math.log(left)

    def row(self) -> dict[str, Any]:
        """As JSON, with the bias and the rounds to 1 %."""
        return asdict(self) | {
            "data_weights": list(self.data_weights),
            "implied_weights": list(self.implied_weights),
            "bias": self.bias,
            "rounds_to_one_percent": self.rounds_to(0.01),
            "cuts": [cut.row() for cut in self.cuts],
        }

    def __str__(self) -> str:
        period = f", which repeat after {self.period} rounds" if self.period > 1 else ""
        near = self.effective_neighbours
        lines = [
            f"{self.workers} workers, {_plural(self.edges, 'link')}{period}",
            f"A round has {_plural(self.phases, 'phase')} and {_plural(self.messages, 'message')}"
            + (f", {_size(self.bytes)}." if self.bytes is not None else "."),
            self._busiest(),
            f"Disagreement shrinks by {self.gap:.4g} of itself in a round at least (the gap), by "
            f"{self.long_run_gap:.4g} in the long run: {self._rounds()} to 1 %.",
            "" if near is None else f"Effective neighbours: {near:.3g} of {self.workers}.",
            "" if self.seconds is None else f"Exchanging takes {self.seconds:.4g} s of a round.",
            self._bias(),
            *(self._cuts() or ["Any one link or worker can fail: the rest stays connected."]),
        ]
        return "\n".join(line for line in lines if line)

    def _busiest(self) -> str:
        size = ""
        if self.most_bytes_in is not None:
            size = f" ({_size(self.most_bytes_in)} and {_size(self.most_bytes_out)})"
        return (
            f"The busiest is worker {self.busiest}; most taken in is "
            f"{_plural(self.most_in, 'message')}, most sent {self.most_out}{size}."
        )

    def _rounds(self) -> str:
        rounds = self.rounds_to(0.01)
        return f"{_plural(math.ceil(rounds), 'round')}" if math.isfinite(rounds) else "never"

    def _bias(self) -> str:
        """Warn of an objective that is not the mean over the data."""
        if self.bias < 1e-9:
            return "What is minimised is the mean over all data."
        off = [abs(a - b) for a, b in zip(self.data_weights, self.implied_weights, strict=True)]
        worst = max(range(self.workers), key=off.__getitem__)
        return (
            f"Warning: what is minimised is not the mean over all data. Worker {worst} has "
            f"{self.data_weights[worst]:.4g} of the data and counts for "
            f"{self.implied_weights[worst]:.4g}. Mix with MetropolisHastings, or with Push where "
            "links go one way, to mend it."
        )

    def _cuts(self) -> list[str]:
        """Say what breaks, the worst first."""
        worst = sorted(self.cuts, key=lambda cut: -len(cut.cut_off))
        told = [f"{str(cut).capitalize()}." for cut in worst[:_NAMED]]
        more = len(self.cuts) - len(told)
        return told + ([f"{more} more links or workers cannot fail without harm."] if more else [])


def survey(
    topology: Topology,
    mixing: Mixing | None = None,
    weights: Weights | None = None,
    *,
    message_bytes: int | None = None,
    clock: Clock | None = None,
    sent: Sequence[Sequence[Sent]] | None = None,
) -> Survey:
    """Survey a topology.

    Args:
        topology: who speaks to whom.
        mixing: how; None for the usual.
        weights: the amounts of data of the workers; None for equal ones.
        message_bytes: the size of one message, encoded.
        clock: what links can carry. It has a use only where the bytes are known.
        sent: what an algorithm sends in each of some rounds, phase by phase; None for one message
            of message_bytes over each edge of each phase.

    Raises:
        ConfigError: the topology cannot be mixed so; some workers never hear of others.

    >>> from .topology import Stars
    >>> seen = survey(Stars(), message_bytes=1000)
    >>> seen.messages, seen.gap, seen.most_in, seen.most_out, seen.bytes
    (10.0, 1.0, 3, 3, 10000.0)
    """
    graph, schedule = topology.graph(), topology.schedule(mixing, weights)
    require.connected(schedule, "training")
    keeps_sums = schedule.phases[0].on_loss == "mass"
    shares = data_shares(weights, schedule.n, topology.without_data())
    # Push-sum begins with the amounts of data, and divides: it has no weights of its own.
    implied = shares if keeps_sums else spectrum.implied_weights(schedule)
    if sent is None:
        sent = [
            [(each.src, each.dst, message_bytes) for each in phases] for phases in schedule.rounds
        ]
    known = all(size is not None for phases in sent for _, _, size in phases)
    count, load = _Load.of(sent, schedule.n), _Load.of(sent, schedule.n, sized=True)
    return Survey(
        workers=schedule.n,
        edges=graph.number_of_edges(),
        period=schedule.period,
        phases=sum(map(len, sent)) / len(sent),
        messages=count.total / len(sent),
        gap=spectrum.gap(schedule),
        long_run_gap=spectrum.long_run_gap(schedule),
        effective_neighbours=None if keeps_sums else spectrum.effective_neighbours(schedule),
        data_weights=tuple(shares.tolist()),
        implied_weights=tuple(implied.tolist()),
        busiest=int((count.into + count.out).max(0).argmax()),
        most_in=int(count.into.max()),
        most_out=int(count.out.max()),
        bytes=load.total / len(sent) if known else None,
        most_bytes_in=int(load.into.max()) if known else None,
        most_bytes_out=int(load.out.max()) if known else None,
        most_bytes_link=load.link if known else None,
        seconds=_seconds(sent, clock, schedule.n) if known and clock else None,
        cuts=tuple(cuts(topology)),
    )


def cuts(topology: Topology) -> list[Cut]:
    """Return what breaks: every link and worker whose loss cuts others off or takes a hub away.

    Source:   for links that go one way, Italiano, Laura & Santaroni 2012, "Finding strong bridges
              and strong articulation points in linear time"

    >>> from .topology import Path
    >>> [str(each) for each in cuts(Path(3))][-1]
    'without worker 1 the rest falls into 2 parts, and 2 is cut off'
    """
    graph, hubs = topology.graph(), topology.hubs()
    links, workers = _weak(graph)
    found = []
    for link in sorted(links):
        rest = graph.copy()
        rest.remove_edge(*link)
        found.append(Cut(link, _parts(rest)))
    for worker in sorted(workers | {hub for hub, below in hubs.items() if below}):
        rest = graph.copy()
        rest.remove_node(worker)
        found.append(Cut((worker,), _parts(rest), tuple(sorted(hubs.get(worker, ())))))
    return found


def _weak(graph: nx.Graph | nx.DiGraph) -> tuple[set[tuple[int, int]], set[int]]:
    """The links and the workers without which some no longer hear of others."""
    if not graph.is_directed():
        links = {(min(edge), max(edge)) for edge in nx.bridges(graph)}
        return links, set(nx.articulation_points(graph))
    # A link becomes a node halfway. Then what all ways from worker 0 to some other pass through, or
    # all ways back, is a dominator. Worker 0 itself is tried.
    halved = nx.DiGraph()
    for a, b in graph.edges:
        halved.add_edges_from([(a, (a, b)), ((a, b), b)])
    passed = set()
    for way in (halved, halved.reverse()):
        above = nx.immediate_dominators(way, 0)
        nearest = {above[node] for node in graph if node != 0}
        passed |= nearest | {above[spot] for spot in nearest if isinstance(spot, tuple)}
    links = {spot for spot in passed if isinstance(spot, tuple)}
    workers = passed - links - {0}
    return links, workers | ({0} if len(_parts(graph.subgraph(set(graph) - {0}))) > 1 else set())


def _parts(graph: nx.Graph | nx.DiGraph) -> tuple[tuple[int, ...], ...]:
    parts = map(sorted, nx.strongly_connected_components(nx.DiGraph(graph)))
    return tuple(sorted(map(tuple, parts), key=lambda part: (-len(part), part)))


@dataclass(frozen=True)
class _Load:
    """Messages, or bytes, of some rounds.

    Shapes: into, out (R, n): of each worker in each round.

    Args:
        into: taken in.
        out: sent.
        link: most over one link in a round, one way.
        total: of all rounds.
    """

    into: np.ndarray
    out: np.ndarray
    link: int
    total: int

    @classmethod
    def of(cls, sent: Sequence[Sequence[Sent]], n: int, sized: bool = False) -> _Load:
        into, out, link = np.zeros((len(sent), n), int), np.zeros((len(sent), n), int), 0
        for r, phases in enumerate(sent):
            over = np.zeros(n * n, int)
            for src, dst, size in phases:
                np.add.at(over, dst * n + src, (size or 0) if sized else 1)
            table = over.reshape(n, n)
            into[r], out[r], link = table.sum(1), table.sum(0), max(link, int(over.max()))
        return cls(into, out, link, int(into.sum()))


def _seconds(sent: Sequence[Sequence[Sent]], clock: Clock, n: int) -> float:
    """What the clock says of the phases of a round, without local work, on average."""
    still = np.zeros(n, int)
    rounds = [
        clock.round_time(still, [(src, dst, size or 0) for src, dst, size in phases]).seconds
        for phases in sent
    ]
    return sum(rounds) / len(rounds)


def _listed(workers: tuple[int, ...]) -> str:
    return f"{_named(workers)} {'is' if len(workers) == 1 else 'are'}"


def _named(workers: tuple[int, ...]) -> str:
    """Name workers, the first few of many."""
    named = ", ".join(map(str, workers[:_NAMED]))
    more = len(workers) - _NAMED
    return f"{named} and {more} more" if more > 0 else named


def _plural(count: float, noun: str) -> str:
    return f"{count:.6g} {noun}" + ("" if count == 1 else "s")


def _size(size: float | None) -> str:
    """Say a number of bytes in decimal units.

    >>> _size(512), _size(796840)
    ('512 B', '797 kB')
    """
    size = size or 0
    power = min(int(math.log10(max(size, 1)) / 3), 4)
    return f"{size / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
