"""The page of a study: what was asked, what was run, what came out; and the index of all."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from ..study import Form, Study, names, open_study, place, read
from ..study.chart import Chart
from . import figures, words
from .comparison import aligned
from .figures import Absent, Figure
from .figures.chart import chart as figure
from .figures.figure import table
from .history import History
from .page import Section, overlays, render
from .peers import worker_metric

_PICTURES: dict[str, Callable[[History], Figure | Absent]] = {
    "output-loss": figures.output_loss,
    "output-steps": figures.output_steps,
    "step-loss": figures.step_loss,
    "metrics": figures.metric_curves,
    "delta-flow": figures.delta_flow,
    "update-ratio": figures.update_ratio,
    "weights": figures.weight_ridges,
    "confusion": figures.confusion,
    "boundary": figures.boundary,
    "workers": worker_metric,
}
_CLAIMS = ("what", "published", "wanted", "here", "seeds", "verdict")
_NUMBERS = ("computed", "number", "value")
_FORMS: dict[Form, str] = {
    "quick": "quick, on small data: its numbers are not those of the source",
    "full": "full",
}


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
    of_arm = {
        row["arm"]: [History.read((folder / run).resolve()) for run in row["runs"]]
        for row in found["arms"]
    }
    firsts = [runs[0] for runs in of_arm.values() if runs]
    shown = [(name, each) for name in study.show for each in firsts]
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
        exhibits=table(_NUMBERS, _exhibits(found)) if found["exhibits"] else None,
        sections=[
            section
            for section in (
                Section.of("curves", "Curves", _curves(study, of_arm)),
                Section.of(
                    "charts",
                    "Figures",
                    [figure(Chart.model_validate(each)) for each in found["charts"]],
                ),
                Section.of("inside", "Inside the runs", [_inside(*each) for each in shown]),
            )
            if section.figures or section.absent
        ],
    )
    write_text(out, page)
    return out


def _curves(study: Study, of_arm: Mapping[str, list[History]]) -> list[Figure | Absent]:
    """The curves of all arms, or of each group of them."""
    groups = study.curves or [tuple(of_arm)]
    found = []
    for number, group in enumerate(groups, 1):
        every = [history for arm in group for history in of_arm.get(arm, [])]
        drawn = overlays(every) if every else []
        if len(groups) > 1:
            of = f"{group[0]} to {group[-1]}" if len(group) > 2 else " and ".join(group)
            drawn = [
                dataclasses.replace(each, id=f"{each.id}-{number}", title=f"{each.title}: {of}")
                for each in drawn
            ]
        found += drawn
    return found


def _inside(name: str, history: History) -> Figure | Absent:
    """A figure of one run, under the name of its arm."""
    drawn = _PICTURES[name](history)
    arm = history.folder.path.name
    return dataclasses.replace(drawn, id=f"{arm}-{drawn.id}", title=f"{drawn.title}: {arm}")


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
            here = place(folder, name, form)
            found = read(here)
            if found is not None:
                page = Path(os.path.relpath(here / "report.html", out.parent)).as_posix()
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
    diverged = {row["arm"]: row["diverged"] for row in found["arms"]}

    def here(claim: Mapping[str, Any]) -> str:
        lost = max(diverged.get(claim[arm] or "", 0) for arm in ("arm", "minus", "over"))
        if claim["mean"] is None and lost:
            return f"diverged, {lost} of {len(claim['values'])}"
        return _measured(claim)

    return [
        [
            f"{claim['what']}, {claim['arm']}"
            + (f" less {claim['minus']}" if claim["minus"] else "")
            + (f" over {claim['over']}" if claim["over"] else ""),
            words.cell(claim["published"]),
            claim["band"] or "–",
            here(claim),
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


def _exhibits(found: Mapping[str, Any]) -> list[list[str]]:
    """The rows of the table of what exhibits found."""
    return [
        [row["exhibit"], key.replace("-", " "), _measured(number)]
        for row in found["exhibits"]
        for key, number in row["numbers"].items()
    ]


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
