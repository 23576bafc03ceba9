"""A topology before training: what it costs, how fast it mixes, to what, and where it breaks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx
import numpy as np

from . import require, spectrum
from .clock import Clock
from .mixing import Mixing, Weights, data_shares
from .phase import Schedule
from .topology import Topology


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
            told += f"; {', '.join(map(str, self.orphans))} {lose}"
        return f"without {lost} {told}"


@dataclass(frozen=True)
class Survey:
    """What can be said of a topology before it trains; all of it plain numbers.

    What is said of a round is the mean over a period; "most" is of the worst round.

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


def survey(
    topology: Topology,
    mixing: Mixing | None = None,
    weights: Weights | None = None,
    *,
    message_bytes: int | None = None,
    clock: Clock | None = None,
) -> Survey:
    """Survey a topology.

    Args:
        topology: who speaks to whom.
        mixing: how; None for the usual.
        weights: the amounts of data of the workers; None for equal ones.
        message_bytes: the size of one message, encoded.
        clock: what links can carry. It has a use only with message_bytes.

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
    implied = spectrum.implied_weights(schedule)
    shares = data_shares(weights, schedule.n, topology.without_data())
    messages, period = sum(each.edges for each in schedule.phases), schedule.period
    into, out, link = _traffic(schedule)
    size = message_bytes
    return Survey(
        workers=schedule.n,
        edges=graph.number_of_edges(),
        period=period,
        phases=len(schedule.phases) / period,
        messages=messages / period,
        gap=spectrum.gap(schedule),
        long_run_gap=spectrum.long_run_gap(schedule),
        effective_neighbours=None if keeps_sums else spectrum.effective_neighbours(schedule),
        data_weights=tuple(shares.tolist()),
        implied_weights=tuple(implied.tolist()),
        busiest=int((into + out).max(0).argmax()),
        most_in=int(into.max()),
        most_out=int(out.max()),
        bytes=None if size is None else messages * size / period,
        most_bytes_in=None if size is None else int(into.max()) * size,
        most_bytes_out=None if size is None else int(out.max()) * size,
        most_bytes_link=None if size is None else link * size,
        seconds=None if size is None or clock is None else _seconds(schedule, clock, size),
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


def _traffic(schedule: Schedule) -> tuple[np.ndarray, np.ndarray, int]:
    """Messages into and out of each worker, (period, n) each; the most over one link in a round."""
    into = np.array([_counted((e.dst for e in one), schedule.n) for one in schedule.rounds])
    out = np.array([_counted((e.src for e in one), schedule.n) for one in schedule.rounds])
    over = [_counted(e.dst * e.n + e.src for e in one).max() for one in schedule.rounds]
    return into, out, int(max(over))


def _counted(numbers: Iterable[np.ndarray], n: int = 0) -> np.ndarray:
    return np.bincount(np.concatenate(list(numbers)), minlength=n)


def _seconds(schedule: Schedule, clock: Clock, size: int) -> float:
    """What the clock says of the phases of a round, without local work, on average."""
    still = np.zeros(schedule.n, int)
    rounds = [
        clock.round_time(still, [(each.src, each.dst, size) for each in phases]).seconds
        for phases in schedule.rounds
    ]
    return sum(rounds) / len(rounds)


def _listed(workers: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, workers))} {'is' if len(workers) == 1 else 'are'}"
