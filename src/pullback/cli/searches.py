"""Verbs that search settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .base import (
    INTERRUPTED,
    as_json,
    data_dir,
    experiment_file,
    interruptible,
    main,
    options,
    say,
    settings,
    tell,
)


@main.command()
@experiment_file
@options(settings, data_dir, as_json)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The study's folder; a study that is there is joined. [default: runs/NAME-tune]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Go on with the study in DIR, instead of FILE.",
)
def tune(file, settings, data_dir, as_json, out, resume) -> None:
    """Search the settings in the section [tune] of FILE for the best.

    Several processes may work on one study. One that was stopped or killed is taken up again by the
    same command, or by --resume.
    """
    from .. import extras
    from ..errors import ConfigError

    extras.require("tune", "tuning wants Optuna")
    if resume is not None and (file is not None or settings or out is not None):
        raise ConfigError("--resume takes everything from its folder, and goes with nothing else")
    with interruptible() as interrupted:
        from .. import config
        from ..report.tuning import write_tuning
        from ..tune.search import search

        plan = config.read(file if resume is None else resume / "study.toml", settings)
        folder = resume or out or Path("runs") / f"{plan.name}-tune"
        found = search(
            plan, folder, data_dir=data_dir, listen=_trials_done, interrupted=interrupted
        )
    page = write_tuning(plan.name, found, folder / "report.html")
    result = {"study": str(folder), "report": str(page), **found}
    say(result, as_json, _tuned(found) + f"\nReport: {page}")
    if len(found["trials"]) < found["wanted"] and interrupted():
        tell(f"pullback: interrupted; `pullback tune --resume {folder}` goes on")
        sys.exit(INTERRUPTED)


def _trials_done(rows: list[dict[str, Any]], wanted: int) -> None:
    values = [row["value"] for row in rows if row["state"] == "complete"]
    tell(f"trial {len(rows)}/{wanted}" + (f"  last {values[-1]:.4g}" if values else ""))


def _tuned(found: dict[str, Any]) -> str:
    from ..report.tuning import over

    rows, best = found["trials"], found["best"]
    given_up = sum(row["state"] != "complete" for row in rows)
    lines = [f"{len(rows)} of {found['wanted']} trials, {given_up} of them given up"]
    if best is not None:
        spread = "" if best["deviation"] is None else f" ± {best['deviation']:.2g}"
        lines += [f"best: {best['value']:.6g}{spread}{over(found)}, trial {best['trial']}"]
        lines += [f"  {key} = {value}" for key, value in best["settings"].items()]
        lines += [f"Train it: pullback train {found['file']}"]
    return "\n".join(lines)


@main.command()
@experiment_file
@options(settings, data_dir, as_json)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The sweep's folder; one that is there goes on. [default: runs/NAME-sweep]",
)
def sweep(file, settings, data_dir, as_json, out) -> None:
    """Train every combination of the settings in the section [sweep] of FILE, over peers.

    One table and page tell the accuracy of each, and what it cost in rounds, bytes and seconds. One
    that was stopped or killed is gone on with by the same command.
    """
    with interruptible() as interrupted:
        from .. import config
        from ..report.sweep import text, write_sweep
        from ..sweep import sweep

        plan = config.read(file, settings)
        folder = out or Path("runs") / f"{plan.name}-sweep"
        found = sweep(plan, folder, data_dir=data_dir, listen=_cell_done, interrupted=interrupted)
    page = write_sweep(plan.name, found, folder, folder / "report.html")
    result = {"sweep": str(folder), "report": str(page), **found}
    say(result, as_json, f"{text(found)}\nReport: {page}")
    if len(found["cells"]) < found["wanted"]:
        tell(f"pullback: interrupted; the same command with --out {folder} goes on")
        sys.exit(INTERRUPTED)


def _cell_done(row: dict[str, Any], done: int, cells: int) -> None:
    said = row["refused"] or ("diverged" if row["score"] is None else f"{row['score']:.4g}")
    named = ", ".join(f"{key} = {value}" for key, value in row["settings"].items())
    tell(f"cell {done}/{cells}  {named}: {said}")
