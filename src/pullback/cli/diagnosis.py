"""Verbs that say what is wrong."""

from __future__ import annotations

from pathlib import Path

import click

from .base import (
    as_json,
    data_dir,
    experiment_file,
    main,
    options,
    page,
    run_folder,
    say,
    settings,
    tell,
)


@main.command()
@run_folder
@options(data_dir, as_json)
@click.option(
    "--best-error",
    type=float,
    default=0.0,
    show_default=True,
    help="The error assumed to be the best possible: a share of wrong classes, or 1 − R².",
)
@click.option(
    "--tolerance",
    type=float,
    default=0.01,
    show_default=True,
    help="The excess from which on an error counts (ε); from ten times that on, it is high.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page. [default: RUN/diagnosis.html]",
)
def diagnose(run, data_dir, as_json, best_error, tolerance, out) -> None:
    """Say what is wrong with RUN, by which numbers, and what to try next.

    Told are bias and variance, gradients that vanish or explode, units that are dead or saturated,
    and updates out of range.
    """
    from ..diagnose import diagnose
    from ..report.diagnosis import write_diagnosis

    found = diagnose(run, best_error=best_error, tolerance=tolerance, data_dir=data_dir)
    page = write_diagnosis(found, out or run / "diagnosis.html")
    say(found.row() | {"page": str(page)}, as_json, f"{found}\nPage: {page}")


@main.command("lr-range")
@experiment_file
@options(settings, data_dir, as_json)
@click.option("--low", type=float, default=1e-6, show_default=True, help="The first rate.")
@click.option("--high", type=float, default=10.0, show_default=True, help="The last rate.")
@click.option("--steps", type=int, default=200, show_default=True, help="How many steps.")
@page("lr-range.html")
def lr_range(file, settings, data_dir, as_json, low, high, steps, out) -> None:
    """Suggest a learning rate for FILE: raise it from step to step until the loss diverges."""
    from .. import config
    from ..diagnose import rate_range
    from ..report.diagnosis import write_rate_range

    plan = config.read(file, settings)
    found = rate_range(plan, low=low, high=high, steps=steps, data_dir=data_dir)
    page = write_rate_range(found, out)
    say(found.row() | {"page": str(page)}, as_json, f"{found}\nPage: {page}")


@main.command("learning-curve")
@experiment_file
@options(settings, data_dir, as_json)
@click.option("--sizes", help="How many examples, as in 100,200,400. [default: 1/16, …, all]")
@click.option("--seeds", type=int, default=3, show_default=True, help="Trainings of each size.")
@page("learning-curve.html")
def learning_curve(file, settings, data_dir, as_json, sizes, seeds, out) -> None:
    """Train FILE on more and more of its data, and say what still more would bring."""
    from .. import config
    from ..diagnose import learning_curve
    from ..errors import ConfigError
    from ..report.diagnosis import write_learning_curve

    try:
        wanted = [int(size) for size in (sizes or "").split(",") if size]
    except ValueError:
        raise ConfigError(
            f"--sizes wants whole numbers, got '{sizes}'", next="such as --sizes 100,200,400"
        ) from None

    def show(size: int, seed: int, error: float) -> None:
        tell(f"{size} examples, seed {seed}: validation error {100 * error:.3g} %")

    plan = config.read(file, settings)
    found = learning_curve(plan, wanted, seeds=seeds, data_dir=data_dir, listen=show)
    page = write_learning_curve(found, out)
    say(found.row() | {"page": str(page)}, as_json, f"{found}\nPage: {page}")
