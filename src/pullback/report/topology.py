"""The page of a network of workers before it trains: what it costs, promises, and where it breaks.

It knows the rows of `pullback.peers.describe` and nothing beside them, as a run's report does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from . import words
from .comparison import flat
from .figures import dealt, graph, mixing
from .figures.figure import Table, table
from .page import Section, render
from .peers import kind
from .verdict import Card, Notice

# What breaks is told of so many links and workers in a terminal; the page has more.
_TOLD = 12
_SETTINGS = ("topology", "mixing", "algorithm", "codec", "partition", "local", "faults", "clock")


def write_topology(
    row: Mapping[str, Any],
    out: Path,
    *,
    name: str,
    partition: Mapping[str, Any] | None = None,
) -> Path:
    """Write what can be said of a network before training as one self-contained page.

    Args:
        row: what `pullback.peers.describe` returns, with the settings that it was made of as they
            stand in the record of a run: "topology", "mixing", "algorithm", "codec", "clock" and,
            where they are known, "partition", "local" and "faults".
        out: the page; an older one is replaced.
        name: of the experiment.
        partition: what `pullback.peers.partition_report` returns, if the data were dealt, with the
            names of the labels, if they have any, as "classes".

    Returns:
        `out`.

    Raises:
        OutputError: the page cannot be written.
    """
    drawn = [mixing.spectrum(row), mixing.disagreement(row)]
    counted = mixing.counted(row)
    network = [graph.planned_graph(row, partition), mixing.matrix(row)]
    sections = [
        Section.of("network", "Network", network),
        Section.of("agreement", "Agreement", drawn + ([counted] if counted else [])),
    ]
    if partition is not None:
        shown = [dealt.label_counts(partition), dealt.label_distances(partition)]
        sections.append(Section.of("partition", "Data", shown))
    settings = {key: row[key] for key in _SETTINGS if row.get(key)}
    page = render(
        "topology.html",
        title=f"{name}, network",
        name=name,
        notices=notices(row),
        sentences=sentences(row),
        cards=cards(row),
        sections=sections,
        costs=_costs(row),
        workers=_workers(row),
        safe=_safe(row),
        cuts=_cuts(row),
        settings=list(flat(settings)),
    )
    write_text(out, page)
    return out


def text(row: Mapping[str, Any]) -> str:
    """Say the same in lines for a terminal.

    Args:
        row: as for `write_topology`.
    """
    lines = [sentence for sentence in sentences(row) if sentence]
    lines += [f"{notice.title}: {notice.text}" for notice in notices(row)]
    costs = _costs(row).rows
    width = max(len(label) for label, _ in costs)
    lines += ["", *(f"{label.ljust(width)}  {cost}" for label, cost in costs), "", _safe(row)]
    found = sorted(row["survey"]["cuts"], key=lambda cut: -cut["cut_off"])
    lines += [f"  {cut['says']}" for cut in found[:_TOLD]]
    more = len(found) - _TOLD
    return "\n".join([*lines, f"  and {more} more"] if more > 0 else lines)


def sentences(row: Mapping[str, Any]) -> list[str]:
    """Say what a round is, whom it burdens most and what it brings."""
    seen, share = row["survey"], ", some of them drawn anew each time," if row["drawn"] else ""
    period = f" Links repeat after {seen['period']} rounds." if seen["period"] > 1 else ""
    sent = words.memory(round(seen["bytes"]))
    rounds = seen["rounds_to_one_percent"]
    brings = (
        "One round brings all workers to agree."
        if seen["long_run_gap"] > 1 - 1e-9
        else f"Mixing alone brings disagreement to 1 % in {_rounds(rounds)}."
    )
    if row["relays"] is not None:
        brings = f"A sum reaches all workers in {words.plural(row['relays'], 'round')}."
    return [
        f"{kind(row)}. In a round{share} they send "
        f"{_many(seen['messages'], 'message')} in {_many(seen['phases'], 'phase')}, {sent} "
        f"together.{period}",
        f"The busiest is worker {seen['busiest']}: most that one worker takes in is "
        f"{words.memory(seen['most_bytes_in'])}, most that one sends "
        f"{words.memory(seen['most_bytes_out'])}. {brings}",
        "Each counts in what is minimised as its weight says." if seen["bias"] < 1e-9 else "",
    ]


def notices(row: Mapping[str, Any]) -> list[Notice]:
    """List what makes training compute something else than it seems."""
    found, seen = [], row["survey"]
    if seen["bias"] >= 1e-9:
        pairs = list(zip(seen["data_weights"], seen["implied_weights"], strict=True))
        worst = max(range(len(pairs)), key=lambda i: abs(pairs[i][0] - pairs[i][1]))
        wanted, implied = pairs[worst]
        found.append(
            Notice(
                "Biased",
                "Workers do not count in what is minimised as their weights say: worker "
                f"{worst} should count for {words.percent(wanted)} and counts for "
                f"{words.percent(implied)}. Metropolis–Hastings weights mend it, or push-sum where "
                "links go one way.",
            )
        )
    if row["relays"] is not None:
        found.append(
            Notice(
                "Relayed",
                "This algorithm hands sums on along the links, and does not mix by weights. The "
                "weights, the gap and the rounds told here are of mixing on the same links.",
            )
        )
    if row["drawn"]:
        found.append(
            Notice(
                "Drawn",
                "Only some workers take part in a round, drawn anew each time. Messages, bytes and "
                "seconds are means over 100 rounds; agreement is told as if all took part.",
            )
        )
    return found


def cards(row: Mapping[str, Any]) -> list[Card]:
    """Sum a network up in numbers."""
    seen, near = row["survey"], row["survey"]["effective_neighbours"]
    rounds = seen["rounds_to_one_percent"]
    found = [
        Card("Workers", words.count(row["workers"]), words.plural(seen["edges"], "link")),
        Card(
            "Bytes of a round",
            words.memory(round(seen["bytes"])),
            f"{_many(seen['messages'], 'message')}",
        ),
        Card(
            "Busiest worker",
            words.memory(max(seen["most_bytes_in"], seen["most_bytes_out"])),
            f"{seen['most_in']} in, {seen['most_out']} out",
        ),
        Card("Exchange", words.duration(seen["seconds"]), "of a round, by the clock"),
        Card("Gap", words.number(seen["gap"]), f"{_rounds(rounds)} to 1 %"),
    ]
    if near is not None:
        note = f"of {words.count(row['workers'])}, at γ = 0.99"
        found.append(Card("Effective neighbours", words.number(near), note))
    return found


def _costs(row: Mapping[str, Any]) -> Table:
    """Say what a round costs and how fast it mixes, line by line."""
    seen = row["survey"]
    lines: list[tuple[str, str]] = [
        ("bytes of one message", words.memory(row["message_bytes"])),
        ("messages of a round", words.cell(seen["messages"], 6)),
        ("phases of a round", words.cell(seen["phases"], 6)),
        ("bytes of a round", words.memory(round(seen["bytes"]))),
        ("most bytes into one worker", words.memory(seen["most_bytes_in"])),
        ("most bytes out of one worker", words.memory(seen["most_bytes_out"])),
        ("most bytes over one link, one way", words.memory(seen["most_bytes_link"])),
        ("seconds of a round's exchange, by the clock", words.cell(seen["seconds"])),
        ("rounds until links repeat", str(seen["period"])),
        ("gap: disagreement lost in a round, at least", words.cell(seen["gap"])),
        ("the same in the long run", words.cell(seen["long_run_gap"])),
        ("rounds of mixing to 1 %", words.cell(seen["rounds_to_one_percent"])),
        ("effective neighbours (γ = 0.99)", words.cell(seen["effective_neighbours"], 3)),
        ("largest bias of a weight", words.cell(seen["bias"] if seen["bias"] > 1e-12 else 0.0, 2)),
    ]
    return table(["of the network", "value"], lines)


def _workers(row: Mapping[str, Any]) -> Table:
    """Say what each worker is and what passes through it in a round."""
    n, seen = row["workers"], row["survey"]
    into, out = [[0.0, 0.0] for _ in range(n)], [[0.0, 0.0] for _ in range(n)]
    for src, dst, count, size in row["sends"]:
        for ends, at in ((out, int(src)), (into, int(dst))):
            ends[at][0] += count
            ends[at][1] += size
    return table(
        ["worker", "role", "weight", "counts for", "in", "bytes in", "out", "bytes out"],
        [
            [
                i,
                "hub" if row["hubs"][i] else "worker",
                words.percent(seen["data_weights"][i]),
                words.percent(seen["implied_weights"][i]),
                words.cell(into[i][0]),
                words.memory(round(into[i][1])),
                words.cell(out[i][0]),
                words.memory(round(out[i][1])),
            ]
            for i in range(n)
        ],
    )


def _safe(row: Mapping[str, Any]) -> str:
    """Say how many links and workers can fail without harm."""
    seen = row["survey"]
    links = sum(len(cut["lost"]) == 2 for cut in seen["cuts"])
    workers = len(seen["cuts"]) - links
    if not seen["cuts"]:
        return "Any one link or worker can fail, and all others still hear of each other."
    return (
        f"{_of(links, seen['edges'], 'link')} and {_of(workers, seen['workers'], 'worker')} "
        "cannot fail without harm, which is told below. Any other one can: the rest stays "
        "connected."
    )


def _of(count: int, whole: int, noun: str) -> str:
    return f"{words.count(count)} of {words.plural(whole, noun)}"


def _cuts(row: Mapping[str, Any]) -> Table | None:
    """List what breaks, the worst first."""
    found = sorted(row["survey"]["cuts"], key=lambda cut: -cut["cut_off"])
    if not found:
        return None
    return table(
        ["lost", "cut off", "what is left"],
        [
            [
                ("worker " if len(cut["lost"]) == 1 else "link ") + "–".join(map(str, cut["lost"])),
                cut["cut_off"],
                "the rest " + cut["says"].partition(" the rest ")[2],
            ]
            for cut in found
        ],
    )


def _rounds(rounds: float) -> str:
    return words.plural(math.ceil(rounds), "round") if math.isfinite(rounds) else "no time"


def _many(count: float, noun: str) -> str:
    """Say a mean number of things.

    >>> _many(10.0, "message"), _many(1.5, "phase")
    ('10 messages', '1.5 phases')
    """
    return f"{words.number(count)} {noun}{'' if count == 1 else 's'}"
