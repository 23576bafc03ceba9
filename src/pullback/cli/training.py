"""Verbs that train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .base import (
    INTERRUPTED,
    as_json,
    data_dir,
    experiment_file,
    interruptible,
    main,
    options,
    progress,
    run_folder,
    say,
    settings,
    tell,
)
from .progress import showing

if TYPE_CHECKING:
    from ..experiment import Outcome


@main.command()
@experiment_file
@options(settings, data_dir, progress, as_json)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder. [default: runs/NAME, or runs/NAME-2, …]",
)
@click.option("--force", is_flag=True, help="Replace an existing run in --out.")
def train(file, settings, data_dir, style, as_json, out, force) -> None:
    """Train the experiment of FILE (or the default one) and write a report."""
    with interruptible() as interrupted, showing(style) as show:
        from .. import config, experiment

        plan = config.read(file, settings)
        outcome = experiment.train(
            plan, out, data_dir=data_dir, force=force, listen=show, interrupted=interrupted
        )
    _finish(outcome, as_json)


@main.command()
@run_folder
@options(data_dir, progress, as_json)
@click.option(
    "--accept-older", is_flag=True, help="If the newest checkpoint is broken, take an older."
)
def resume(run, data_dir, style, as_json, accept_older) -> None:
    """Go on with an unfinished RUN in its folder, to the same end as if it had never stopped."""
    with interruptible() as interrupted, showing(style) as show:
        from .. import experiment

        outcome = experiment.resume(
            run, data_dir=data_dir, accept_older=accept_older, listen=show, interrupted=interrupted
        )
    _finish(outcome, as_json)


@main.command()
@run_folder
@options(data_dir, progress, as_json)
@click.option(
    "--strategy",
    type=click.Choice(["steps", "error"]),
    default="steps",
    show_default=True,
    help="Anew for as many steps, or on from the best weights to the same error.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The folder of the new run.")
def retrain(run, data_dir, style, as_json, strategy, out) -> None:
    """Train again on the training and the validation part of RUN, once it told for how long."""
    with interruptible() as interrupted, showing(style) as show:
        from ..retrain import retrain

        outcome = retrain(
            run, strategy, out, data_dir=data_dir, listen=show, interrupted=interrupted
        )
    _finish(outcome, as_json)


def _finish(outcome: Outcome, as_json: bool) -> None:
    from ..report import write_report

    page = write_report([outcome.folder], outcome.folder / "report.html")
    result = outcome.result | {"run": str(outcome.folder), "report": str(page)}
    say(result, as_json, outcome.text() + f"\nReport: {page}")
    if outcome.error is not None:
        raise outcome.error
    if outcome.result["status"] == "interrupted":
        tell(f"pullback: interrupted; `pullback resume {outcome.folder}` goes on")
        sys.exit(INTERRUPTED)
