"""The page of a study: what was asked, what was run, what came out; and the index of all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from ..study import Study, names, open_study, read
from . import words
from .comparison import aligned
from .figures.figure import table
from .history import History
from .page import Section, overlays, render

_CLAIMS = ("what", "published", "wanted", "here", "seeds", "verdict")
_FORMS = {"quick": "quick, on small data: its numbers are not those of the source", "full": "full"}


def write_study(study: Study, found: Mapping[str, Any], folder: Path, command: str) -> Path:
    """Write the page of a study that was run, beside its runs.

    Args:
        study: what was asked.
        found: what `pullback.study.run` returned.
        folder: where the runs lie.
        command: which runs it again.

    Returns:
        The page.

    Raises:
        OutputError: it cannot be written.
    """
    out = folder / "report.html"
    runs = [folder / run for row in found["arms"] for run in row["runs"]]
    curves = overlays([History.read(run) for run in runs]) if runs else []
    page = render(
        "study.html",
        title=study.title,
        study=study,
        form=_FORMS[found["form"]],
        command=command,
        whole=found["whole"],
        verdict=verdict(found),
        claims=table(_CLAIMS, claims(found)),
        arms=[_arm(row) for row in found["arms"]],
        section=Section.of("curves", "Curves", curves),
    )
    write_text(out, page)
    return out


def write_index(folder: Path, out: Path) -> list[dict[str, Any]]:
    """Write the index of all studies.

    Args:
        folder: where the runs of studies lie, `folder`/NAME/quick and `folder`/NAME/full.
        out: the page.

    Returns:
        Of each study its "name", "title", "source" and "forms": for each form that was run what it
        came to, "verdict", and its "page", relative to `out`.

    Raises:
        OutputError: it cannot be written.
    """
    rows = []
    for name in names():
        study, forms = open_study(name), {}
        for form in _FORMS:
            place = folder / name / form
            found = read(place)
            if found is not None:
                page = Path(os.path.relpath(place / "report.html", out.parent)).as_posix()
                forms[form] = {"verdict": verdict(found), "page": page}
        rows.append({"name": name, "title": study.title, "source": study.source, "forms": forms})
    write_text(out, render("studies.html", title="Studies of the sources", rows=rows))
    return rows


def verdict(found: Mapping[str, Any]) -> str:
    """What a study came to, in a few words."""
    judged = [claim["verdict"] for claim in found["claims"] if claim["band"] is not None]
    if not found["whole"]:
        return "unfinished"
    if not judged:
        return "shown"
    missed = judged.count("missed")
    if missed:
        return f"{missed} of {len(judged)} missed"
    if found["form"] == "quick":
        return "held"
    beaten = judged.count("beaten")
    return "reproduced" + (f", {beaten} of {len(judged)} beaten" if beaten else "")


def text(found: Mapping[str, Any]) -> str:
    """A study's claims as aligned lines for a terminal, under its verdict."""
    return "\n".join([f"{found['study']}: {verdict(found)}", *aligned([_CLAIMS, *claims(found)])])


def claims(found: Mapping[str, Any]) -> list[list[str]]:
    """The rows of the table of claims."""
    return [
        [
            f"{claim['what']}, {claim['arm']}"
            + (f" less {claim['minus']}" if claim["minus"] else ""),
            words.cell(claim["published"]),
            claim["band"] or "–",
            _measured(claim),
            str(len(claim["values"])),
            claim["verdict"],
        ]
        for claim in found["claims"]
    ]


def _measured(row: Mapping[str, Any]) -> str:
    if row["mean"] is None:
        return "–"
    spread = "" if row["deviation"] is None else f" ± {words.cell(row['deviation'], 2)}"
    return words.cell(row["mean"]) + spread


def _arm(row: Mapping[str, Any]) -> dict[str, Any]:
    """An arm in one line: its measures on the part that was not trained on, and its runs."""
    parts = ("test", "validation", "train")
    chosen = next((p for p in parts if any(key.startswith(f"{p}.") for key in row["final"])), None)
    return {
        "name": row["arm"],
        "measures": {
            key.replace(".", " "): _measured(found)
            for key, found in row["final"].items()
            if chosen and key.startswith(f"{chosen}.")
        },
        "seconds": words.duration(row["seconds"]),
        "diverged": row["diverged"],
        "runs": row["runs"],
    }
