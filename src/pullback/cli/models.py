"""Verbs that use a trained model."""

from __future__ import annotations

from pathlib import Path

import click

from .base import as_json, data_dir, main, options, put, run_folder, say


@main.command()
@run_folder
@options(data_dir, as_json)
def evaluate(run, data_dir, as_json) -> None:
    """Measure the trained model of RUN on every part of its data again."""
    from .. import experiment

    parts = experiment.evaluate(run, data_dir=data_dir)
    text = "\n".join(f"{name:<11} {experiment.describe(row)}" for name, row in parts.items())
    say({"run": str(run), "parts": parts}, as_json, text)


@main.command()
@run_folder
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write CSV here instead of to stdout.",
)
@as_json
def predict(run, source, out, as_json) -> None:
    """Predict for the rows of INPUT with the model of RUN.

    INPUT is CSV, Parquet, NPY, NPZ or IDX images.
    """
    from .. import files, model

    predictions = model.predict(run, source)
    if out is not None:
        files.write_text(out, predictions.csv())
        say(
            {"rows": len(predictions), "out": str(out)},
            as_json,
            f"{len(predictions)} predictions: {out}",
        )
    elif as_json:
        say(predictions.json(), True, "")
    else:
        put(predictions.csv())
