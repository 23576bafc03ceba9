"""Verbs for the studies of the sources."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

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
    lines += [f"arm    {arm.name}: {arm.file or f'of the study {arm.study}'}" for arm in found.arm]
    lines += [f"shows  {each.name}: the exhibit {each.kind}" for each in found.exhibit]
    for claim in found.claim:
        of = claim.arm + (f" less {claim.minus}" if claim.minus else "")
        of += f" over {claim.over}" if claim.over else ""
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
    from ..errors import ThresholdError
    from ..report.study import text, write_study
    from ..study import names, open_study, place, run

    form = "quick" if quick else "full"
    seeds = seeds or (1 if quick else 3)
    studies = [open_study(name) for name in (names() if "all" in chosen else chosen)]
    done, missed = [], []
    with interruptible() as interrupted, _reports() as reported:
        for each in studies:
            with showing(style) as show:
                found = run(
                    each,
                    form,
                    folder,
                    seeds=seeds,
                    data_dir=data_dir,
                    listen=show,
                    done=reported,
                    interrupted=interrupted,
                )
            command = f"pullback study run {each.name} --{form} --seeds {seeds}"
            written = write_study(each, found, place(folder, each.name, form), command)
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


@contextmanager
def _reports() -> Iterator[Callable[[str, int, Path | None], None]]:
    """Write the reports of runs in a process of its own, while the next is trained."""
    written = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_ignore_interrupts) as pool:

        def reported(name: str, seed: int, run: Path | None) -> None:
            if run is not None and not (run / "report.html").is_file():
                written.append(pool.submit(_report, run))

        yield reported
        for each in written:
            each.result()


def _ignore_interrupts() -> None:
    """Ctrl-C goes to every process of a terminal: the reports that were begun are written."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _report(run: Path) -> None:
    from ..report import write_report

    write_report([run], run / "report.html")


@study.command("report")
@_WHERE
@page("studies.html")
@as_json
def study_report(folder, out, as_json) -> None:
    """Write the index of all studies, with what came out of those that were run."""
    from ..report.study import write_index

    rows = write_index(folder, out)
    say({"studies": rows, "page": str(out)}, as_json, f"Page: {out}")
