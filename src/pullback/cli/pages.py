"""Verbs that draw and compare."""

from __future__ import annotations

from pathlib import Path

import click

from .base import as_json, data_dir, main, options, say


@main.command()
@click.option(
    "--surface",
    "surfaces",
    multiple=True,
    metavar="NAME",
    help="A surface; repeatable. [default: all]",
)
@click.option("--run", type=click.Path(path_type=Path), help="Draw the loss of a trained RUN too.")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="What walks, such as adam or momentum:nesterov=true; repeatable. [default: seven]",
)
@click.option(
    "--rate",
    type=float,
    help="One learning rate for all. [default: for each, the best of a grid]",
)
@click.option("--steps", type=int, default=100, show_default=True, help="How many each takes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="paths",
    show_default=True,
    help="The folder of the page and its figures.",
)
@options(data_dir, as_json)
def paths(surfaces, run, rules, rate, steps, out, data_dir, as_json) -> None:
    """Draw the paths of rules over surfaces, and the length of each step."""
    from .. import paths as walks
    from ..report.paths import write_paths

    walkers = [walks.walker(text, rate) for text in rules or walks.USUAL]
    grounds = {name: walks.surface_of(name) for name in surfaces}
    if run is not None:
        grounds[f"loss-of-{run.name}"] = walks.plane_of(run, data_dir)
    pictures = [
        walks.picture(name, surface, walkers, steps)
        for name, surface in (grounds or walks.SURFACES).items()
    ]
    page = write_paths(pictures, out)
    rows = [row for each in pictures for row in each.rows()]
    text = "\n".join(
        f"{row['surface']:<16} {row['rule']:<16} {row['value']:<12.4g} {row['steps']} steps"
        for row in rows
    )
    say({"page": str(page), "paths": rows}, as_json, f"{text}\nPaths: {page}")


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="[default: RUN/report.html]"
)
@as_json
def report(runs, out, as_json) -> None:
    """Write the report of one run, or one page that compares several."""
    from ..errors import ConfigError
    from ..report import write_report
    from ..runs import RunFolder

    for run in runs:
        RunFolder.open(run)
    if out is None and len(runs) > 1:
        raise ConfigError("a page over several runs needs a place", next="give --out page.html")
    page = write_report(list(runs), out or runs[0] / "report.html")
    say({"report": str(page)}, as_json, f"Report: {page}")


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with curves here, too.",
)
@as_json
def compare(runs, out, as_json) -> None:
    """Compare RUNS: settings that differ, final metrics, seconds; means over seeds."""
    from ..report import write_report
    from ..report.comparison import compare, text

    found = compare(runs)
    said = text(found)
    if out is not None:
        found["report"] = str(write_report(list(runs), out))
        said += f"\nReport: {out}"
    say(found, as_json, said)
