"""What was timed, as a page: ratios, peak memory, and the distance to the floor."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pullback.report.figures.chart import chart as figure
from pullback.report.figures.figure import Table, table
from pullback.report.page import Section, render
from pullback.study.chart import Chart, Curve, chart

from .contenders import Pullback

_OURS = Pullback.name


class Part(NamedTuple):
    """A section of the page."""

    id: str
    title: str
    text: str
    section: Section | None
    table: Table


def page(told: Mapping[str, Any]) -> str:
    """Return the page of what `python -m benchmarks` writes as JSON."""
    results = told["results"]
    parts = [
        part
        for part in (
            *(_ratios(results, measure) for measure in _measures(results)),
            _memory(results),
            _floors(results),
            _contenders(results),
        )
        if part is not None
    ]
    machine = [(key, value) for key, value in told.items() if key != "results"]
    return render(
        "page.html",
        beside=Path(__file__).parent,
        title="The same work here and in the peers",
        machine=table(("what", "value"), machine),
        parts=parts,
    )


def _measures(results: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [each["measure"] for result in results for each in result["measures"]]
    return list(dict.fromkeys(found))


def _ratios(results: Sequence[Mapping[str, Any]], measure: str) -> Part | None:
    rows, names, by_peer = [], [], {}
    for result in results:
        for each in result["measures"]:
            if each["measure"] != measure:
                continue
            ours = statistics.median(each["seconds"][_OURS])
            for peer, ratio in each["ratios"].items():
                by_peer.setdefault(peer, {})[len(names)] = ratio
                theirs = statistics.median(each["seconds"][peer])
                rows.append(
                    (
                        result["workload"],
                        peer,
                        f"{ours * 1e3:,.1f} ms",
                        f"{theirs * 1e3:,.1f} ms",
                        f"{ratio['median']:.2f}",
                        f"{ratio['min']:.2f}–{ratio['max']:.2f}",
                    )
                )
            names.append(result["workload"])
    if not rows:
        return None
    drawn = chart(
        f"ratios-{measure.replace(' ', '-')}",
        f"Our time over each peer's: {measure}",
        "The median over rounds, with the least and the greatest: below 1 Pullback is faster.",
        "workload",
        "ours / theirs",
        [
            Curve(
                name=peer,
                x=list(at),
                y=[ratio["median"] for ratio in at.values()],
                low=[ratio["min"] for ratio in at.values()],
                high=[ratio["max"] for ratio in at.values()],
            )
            for peer, at in sorted(by_peer.items())
        ],
        bars=True,
        ticks=tuple(names),
    )
    header = ("workload", "peer", "ours", "theirs", "ratio", "least–greatest")
    return _part(f"{measure}", measure.capitalize(), "", drawn, table(header, rows))


def _memory(results: Sequence[Mapping[str, Any]]) -> Part | None:
    rows = [
        (result["workload"], name, f"{end['peak_mb']:,.0f} MB")
        for result in results
        for name, end in result["contenders"].items()
        if end["peak_mb"] is not None
    ]
    text = "The most that each process held, with its libraries and the data."
    header = ("workload", "who", "at most")
    return _part("memory", "Memory", text, None, table(header, rows)) if rows else None


def _floors(results: Sequence[Mapping[str, Any]]) -> Part | None:
    rows = [
        (
            result["workload"],
            f"{f['ours']:,.0f} µs",
            f"{f['step']:,.0f} µs",
            f"{f['ours'] / f['step']:.2f}",
            f"{f['products']:,.0f} µs ({f['gflops']:.0f} GFLOP/s, {f['fastest']})",
            f"{f['update']:,.0f} µs",
        )
        for result in results
        if (f := result["floor"]) is not None
    ]
    text = (
        "The floor of a step is its products alone, by the fastest library that is here, and one "
        "reading and writing of all weights: no activation, no gather, no loss."
    )
    header = ("workload", "a step", "its floor", "ratio", "products", "weights")
    return (
        _part("floor", "Distance to the floor", text, None, table(header, rows)) if rows else None
    )


def _contenders(results: Sequence[Mapping[str, Any]]) -> Part:
    rows = [
        (result["workload"], result["setup"], name, end["about"], f"{end['accuracy']:.3f}")
        for result in results
        for name, end in result["contenders"].items()
    ]
    header = ("workload", "what", "who", "with", "accuracy")
    text = "Accuracy on 2,000 examples of the training shows that each trained."
    return _part("who", "Who was timed", text, None, table(header, rows))


def _part(id: str, title: str, text: str, drawn: Chart | None, rows: Table) -> Part:
    section = None if drawn is None else Section.of(f"{id}-figures", title, [figure(drawn)])
    return Part(id.replace(" ", "-"), title, text, section, rows)
