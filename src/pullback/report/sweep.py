"""The page of a sweep over networks of workers: one table of all cells, and curves of the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from . import words
from .comparison import aligned
from .figures import compare
from .figures.figure import Absent, Figure, table
from .history import History
from .page import Section, render

# Cells whose curves are drawn: as many as colours that can be told apart.
_DRAWN = 6


def write_sweep(name: str, found: Mapping[str, Any], folder: Path, out: Path) -> Path:
    """Write the page of what `pullback.sweep.sweep` found.

    Args:
        name: of the sweep.
        found: what it returned.
        folder: of the sweep, where its runs lie.
        out: the page; an older one is replaced.

    Returns:
        `out`.

    Raises:
        OutputError: the page cannot be written.
    """
    header, rows = _table(found)
    drawn = _curves(found, folder)
    refused = [cell for cell in found["cells"] if cell["refused"]]
    page = render(
        "sweep.html",
        title=f"{name}: {words.plural(len(found['cells']), 'cell')}",
        judged=_judged(found),
        goal=found["goal"],
        cells=table(header, rows),
        section=Section.of("curves", "Curves", drawn),
        refused=[(_named(cell), cell["refused"]) for cell in refused],
    )
    write_text(out, page)
    return out


def text(found: Mapping[str, Any]) -> str:
    """Return the table of all cells, the best first, for a terminal."""
    header, rows = _table(found)
    refused = [
        f"refused: {_named(cell)}: {cell['refused']}" for cell in found["cells"] if cell["refused"]
    ]
    return "\n".join([*aligned([header, *rows]), *refused])


def ranked(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the cells that were trained, the best first; those without a score last."""
    trained = [cell for cell in found["cells"] if not cell["refused"]]

    def score(cell: Mapping[str, Any]) -> float:
        return -math.inf if cell["score"] is None else cell["score"]

    return sorted(trained, key=score, reverse=True)


def _judged(found: Mapping[str, Any]) -> str:
    metric = "R²" if found["metric"] == "r2" else found["metric"]
    return f"{found['part']} {metric}"


def _table(found: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    goal = found["goal"]
    header = ["cell", *found["axes"], _judged(found), "deviation", "seeds", "MB", "simulated s"]
    if goal is not None:
        header += [f"rounds to {goal:g}", f"MB to {goal:g}", f"s to {goal:g}"]
    rows = []
    for cell in ranked(found):
        reached = cell["reached"] or {}
        row = [
            str(cell["cell"]),
            *(_said(cell["settings"][key]) for key in found["axes"]),
            "diverged" if cell["score"] is None else f"{cell['score']:.4f}",
            "–" if cell["deviation"] is None else f"{cell['deviation']:.2g}",
            f"{len(cell['runs']) - cell['diverged']}/{len(cell['runs'])}",
            f"{cell['bytes'] / 1e6:,.4g}",
            f"{cell['seconds']:,.4g}",
        ]
        if goal is not None:
            row += [
                f"{reached['round']:g}" if reached else "–",
                f"{reached['bytes'] / 1e6:,.4g}" if reached else "–",
                f"{reached['seconds']:,.4g}" if reached else "–",
            ]
        rows.append(row)
    return header, rows


def _curves(found: Mapping[str, Any], folder: Path) -> list[Figure | Absent]:
    """The first seed of the best cells, along rounds, bytes and simulated time."""
    best = [cell for cell in ranked(found) if cell["score"] is not None][:_DRAWN]
    if not best:
        return [Absent("curves", "Curves", "no cell came to its end")]
    histories = [History.read(folder / cell["runs"][0]["run"]) for cell in best]
    return [compare.held_out_metric(histories, along) for along in ("round", "bytes", "seconds")]


def _named(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_said(value)}" for key, value in cell["settings"].items())


def _said(value: Any) -> str:
    """A value of an axis in few words: a table by its name and the rest of its keys."""
    if isinstance(value, Mapping):
        rest = ", ".join(f"{key} {_said(each)}" for key, each in value.items() if key != "name")
        return f"{value.get('name', '')} {rest}".strip()
    return words.cell(value, 6) if isinstance(value, float) else str(value)
