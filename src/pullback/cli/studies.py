"""Verbs for the studies of the sources."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .base import (
    INTERRUPTED,
    Verbs,
    as_json,
    data_dir,
    interruptible,
    main,
    options,
    page,
    progress,
    say,
    tell,
)
from .progress import showing

if TYPE_CHECKING:
    from ..study import Arm

_WHERE = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="studies",
    show_default=True,
    help="Where the runs of studies lie: FOLDER/NAME/quick and FOLDER/NAME/full.",
)


@main.group(cls=Verbs)
def study() -> None:
    """Run the sources' exercises, and hold them against what was published."""


@study.command("list")
@as_json
def study_list(as_json) -> None:
    """List the studies."""
    from ..study import names, open_study

    rows = [open_study(name) for name in names()]
    found = [{"name": row.name, "title": row.title, "source": row.source} for row in rows]
    text = "\n".join(f"{row.name:<22} {row.title} ({row.source})" for row in rows)
    say({"studies": found}, as_json, text)


@study.command("show")
@click.argument("name")
@as_json
def study_show(name, as_json) -> None:
    """Say what the study NAME asks, what it trains and what it is judged by."""
    from ..study import open_study

    found = open_study(name)
    lines = [f"{found.title} ({found.source})", found.asked]
    lines += [f"Left open: {found.left_open}"] if found.left_open else []
    lines += [f"arm    {arm.name}: {arm.file}" for arm in found.arm]
    for claim in found.claim:
        of = claim.arm + (f" less {claim.minus}" if claim.minus else "")
        band = f"; wanted: {claim.full}" if claim.full else ""
        published = f"; published: {claim.published}" if claim.published is not None else ""
        lines.append(f"claim  {claim.what}, {of}: {claim.value}{published}{band}")
    say(found.model_dump(), as_json, "\n".join([*lines, found.conclusion]))


@study.command("run")
@click.argument("chosen", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--quick/--full",
    default=True,
    show_default=True,
    help="On small data, in under a minute each; or on the data of the source.",
)
@click.option("--seeds", type=click.IntRange(1), help="How many seeds. [default: 1 quick, 3 full]")
@_WHERE
@options(data_dir, progress, as_json)
def study_run(chosen, quick, seeds, folder, data_dir, style, as_json) -> None:
    """Run the studies NAME..., or all of them with `all`, and write a page of each.

    What is finished is not trained again: a study that was stopped goes on by the same command. The
    exit code is 6 if a band is missed.
    """
    from .. import report
    from ..errors import ThresholdError
    from ..report.study import text, write_study
    from ..study import names, open_study, run

    def reported(arm: Arm, seed: int, result: dict[str, Any], path: Path) -> None:
        report.write_report([path], path / "report.html")

    form = "quick" if quick else "full"
    seeds = seeds or (1 if quick else 3)
    studies = [open_study(name) for name in (names() if "all" in chosen else chosen)]
    done, missed = [], []
    with interruptible() as interrupted:
        for each in studies:
            place = folder / each.name / form
            with showing(style) as show:
                found = run(
                    each,
                    form,
                    place,
                    seeds=seeds,
                    data_dir=data_dir,
                    listen=show,
                    done=reported,
                    interrupted=interrupted,
                )
            command = f"pullback study run {each.name} --{form} --seeds {seeds}"
            written = write_study(each, found, place, command)
            tell(text(found))
            tell(f"Report: {written}")
            done.append(found | {"report": str(written)})
            missed += [
                f"{each.name}: {claim['what']}"
                for claim in found["claims"]
                if claim["verdict"] == "missed" and found["whole"]
            ]
            if not found["whole"]:
                break
    say({"studies": done}, as_json, f"{len(done)} of {len(studies)} studies: {folder}")
    if interrupted():
        tell("pullback: interrupted; the same command goes on")
        sys.exit(INTERRUPTED)
    if missed:
        raise ThresholdError(f"missed: {'; '.join(missed)}", next="the pages show by how much")


@study.command("report")
@_WHERE
@page("studies.html")
@as_json
def study_report(folder, out, as_json) -> None:
    """Write the index of all studies, with what came out of those that were run."""
    from ..report.study import write_index

    rows = write_index(folder, out)
    say({"studies": rows, "page": str(out)}, as_json, f"Page: {out}")
