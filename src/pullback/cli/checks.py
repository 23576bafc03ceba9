"""Verbs that check derivatives, and show what there is."""

from __future__ import annotations

from pathlib import Path

import click

from .base import as_json, data_dir, experiment_file, main, options, page, say, settings, tell


@main.command()
@experiment_file
@options(settings, data_dir, as_json)
@click.option("--all", "whole", is_flag=True, help="Check the whole catalogue, no experiment.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --all: a folder for check.json, check.svg and check.png.",
)
def check(file, settings, data_dir, as_json, whole, out) -> None:
    """Check every derivative of the experiment of FILE against central differences.

    It is done on real examples, in float64. With --all, every map, loss and penalty of the
    catalogue is checked instead, against autodiff and in float32 too.
    """
    from ..errors import ConfigError, ThresholdError

    if whole:
        if file is not None or settings:
            raise ConfigError("--all checks the catalogue and takes no experiment")
        _check_all(as_json, out)
        return
    if out is not None:
        raise ConfigError(
            "--out goes with --all", next="the check of an experiment is in the report of its run"
        )
    from .. import config, experiment

    plan = config.read(file, settings)
    report = experiment.check(plan, data_dir=data_dir)
    say(report.row(), as_json, str(report))
    if not report.ok:
        raise ThresholdError(
            f"the gradient check failed: worst relative error {report.worst:.1e}, "
            f"wanted below {report.threshold:.0e}",
            next="look at the worst entries above; "
            "a kink at exactly one of the weights can also do this",
        )


def _check_all(as_json: bool, out: Path | None) -> None:
    from ..catalogue.verify import verify
    from ..errors import ThresholdError

    done = 0

    def show(row) -> None:
        nonlocal done
        done += 1
        if done % 25 == 0:
            tell(f"{done} checks, last {row.name}")

    outcome = verify(show)
    if out is not None:
        from ..report.catalogue import write_verification

        write_verification(outcome, out)
    say(outcome.row(), as_json, str(outcome) + (f"\nWritten to {out}" if out else ""))
    if not outcome.ok:
        wrong = sum(not row.ok for row in outcome.rows)
        raise ThresholdError(
            f"{wrong} of {len(outcome.rows)} checks of the catalogue failed",
            next="they are listed above by case",
        )


@main.command()
@page("catalogue.html")
@as_json
def catalogue(out, as_json) -> None:
    """Write a page of everything there is: equations, derivatives, pictures, sources, slips."""
    from ..report.catalogue import write_catalogue

    page = write_catalogue(out)
    say({"catalogue": str(page)}, as_json, f"Catalogue: {page}")
