"""The page of a search: its best settings, its pictures, and every trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from . import words
from .figures import search
from .figures.figure import table
from .page import Section, render


def write_tuning(name: str, found: Mapping[str, Any], out: Path) -> Path:
    """Write the page of what `pullback.tune.search.search` found.

    Args:
        name: of the study.
        found: what it returned.
        out: the page; an older one is replaced.

    Returns:
        `out`.

    Raises:
        OutputError: the page cannot be written.
    """
    rows, shares, measure = found["trials"], found["importance"], found["measure"]
    keys = sorted(found["keys"], key=lambda key: -shares.get(key, 0.0))
    drawn = [
        search.history(rows, measure, found["lowest"]),
        search.importance(shares),
        search.contour(rows, measure, found["scales"], keys),
    ]
    best = found["best"]
    lines = [] if best is None else [(key, _said(best["settings"][key])) for key in keys]
    page = render(
        "tuning.html",
        title=f"{name}: {words.plural(len(rows), 'trial')}",
        measure=measure,
        over=over(found),
        best=best
        and {
            "trial": best["trial"],
            "value": words.number(best["value"]),
            "deviation": best["deviation"] and words.cell(best["deviation"], 2),
        },
        settings=lines,
        section=Section.of("search", "Search", drawn),
        trials=table(
            ["trial", "state", measure, "deviation", *keys],
            [
                [
                    row["trial"],
                    row["why"] or row["state"],
                    words.cell(row["value"], 6),
                    words.cell(row["deviation"], 2),
                    *(_said(row["settings"][key]) for key in keys),
                ]
                for row in rows
            ],
        ),
    )
    write_text(out, page)
    return out


def over(found: Mapping[str, Any]) -> str:
    """Say over how many trainings the value of a trial is a mean; nothing of a single one.

    >>> over({"folds": 5, "seeds": 3}), over({"folds": 0, "seeds": 1})
    (' over 5 folds × 3 seeds', '')
    """
    kinds = [("fold", found["folds"]), ("seed", found["seeds"])]
    said = [words.plural(count, kind) for kind, count in kinds if count > 1]
    return f" over {' × '.join(said)}" if said else ""


def _said(value: Any) -> str:
    return words.cell(value, 6) if isinstance(value, float) else str(value)
