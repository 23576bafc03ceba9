"""Several runs beside each other, as plain rows: what differs, how they ended, how long it took."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import words
from .history import History, distinct_names, value
from .seeds import Group, Mean, grouped

# What only runs over peers cost, and what a column of it is called.
_COSTS = {
    "rounds": "rounds",
    "messages": "messages",
    "bytes": "bytes",
    "simulated_seconds": "simulated seconds",
}


def compare(runs: Sequence[Path]) -> dict[str, Any]:
    """Compare runs: each by itself, and those that differ only in the seed together.

    Returns:
        "differences": the settings that differ, with the value in each run; "runs": one row each;
        "groups": one row for each group of runs that differ only in the seed.

    Raises:
        CheckpointError: a folder holds no run, or a file of it is broken.
    """
    histories = [History.read(Path(run)) for run in runs]
    names = distinct_names(histories)
    return {
        "differences": {key: values for key, values in differences(histories)},
        "runs": [_run(name, history) for name, history in zip(names, histories, strict=True)],
        "groups": [_group(group) for group in grouped(histories)],
    }


def _run(name: str, history: History) -> dict[str, Any]:
    return _common(name, history) | (spent(history) if history.peers else {})


def spent(history: History) -> dict[str, Any]:
    """Sum up what a run over peers has cost: rounds, local steps, and what was sent."""
    rows = history.all("round")
    return {
        "rounds": len(rows),
        "steps": sum(row["steps"] for row in rows),
        "messages": sum(row["messages"] for row in rows),
        "bytes": sum(sum(row["bytes"].values()) for row in rows),
        "simulated_seconds": math.fsum(row["seconds"] for row in rows),
    }


def _common(name: str, history: History) -> dict[str, Any]:
    return {
        "run": name,
        "status": history.status,
        "seed": history.config.get("seed"),
        "steps": history.final["step"] if history.final else None,
        "seconds": history.seconds,
        "final": {
            part: {key: value(history.final, part, key) for key in ("loss", history.metric)}
            for part in history.parts
        },
    }


def _group(group: Group) -> dict[str, Any]:
    first = group.runs[0]
    return {
        "group": group.name,
        "seeds": [run.config.get("seed") for run in group.runs],
        "seconds": Mean.of([run.seconds for run in group.runs]).row(),
        "final": {
            part: {key: group.final(part, key).row() for key in ("loss", first.metric)}
            for part in first.parts
        },
    }


def differences(histories: Sequence[History]) -> list[tuple[str, list[str]]]:
    """List the settings in which the runs differ, with the value of each run."""
    settings = [dict(flat(history.config)) for history in histories]
    keys = list(dict.fromkeys(key for setting in settings for key in setting))
    rows = [(key, [setting.get(key, "–") for setting in settings]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested tables as (dotted name, text)."""
    for key, leaf in tree.items():
        if isinstance(leaf, dict):
            yield from flat(leaf, f"{prefix}{key}.")
        else:
            yield (
                f"{prefix}{key}",
                " ".join(map(str, leaf)) if isinstance(leaf, list) else str(leaf),
            )


def text(found: dict[str, Any]) -> str:
    """A comparison as aligned lines for a terminal."""
    runs = found["runs"]
    costs = [cost for cost in _COSTS if any(cost in row for row in runs)]
    header = [
        "run",
        "status",
        *found["differences"],
        *_measures(runs),
        *(_COSTS[cost] for cost in costs),
    ]
    header += ["steps", "seconds"]
    rows = [
        [
            row["run"],
            row["status"],
            *(values[i] for values in found["differences"].values()),
            *(_measured(row, measure) for measure in _measures(runs)),
            *(words.cell(row.get(cost), 12) for cost in costs),
            words.cell(row["steps"], 12),
            f"{row['seconds']:.1f}",
        ]
        for i, row in enumerate(runs)
    ]
    lines = aligned([header, *rows])
    several = [group for group in found["groups"] if len(group["seeds"]) > 1]
    if several:
        lines += ["", "Runs that differ only in the seed, mean ± standard deviation:"]
        header = ["group", "runs", *_measures(several)]
        rows = [
            [
                group["group"],
                str(len(group["seeds"])),
                *(_measured(group, measure) for measure in _measures(several)),
            ]
            for group in several
        ]
        lines += aligned([header, *rows])
    return "\n".join(lines)


def _measures(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The columns of what was measured: part and measure, as they come."""
    return list(
        dict.fromkeys(
            f"{part} {key}" for row in rows for part in row["final"] for key in row["final"][part]
        )
    )


def _measured(row: dict[str, Any], measure: str) -> str:
    part, key = measure.split()
    found = row["final"].get(part, {}).get(key)
    if isinstance(found, dict):
        return f"{words.cell(found['mean'])} ± {words.cell(found['deviation'], 2)}"
    return words.cell(found)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns that are as wide as their widest."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
