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


@main.command()
@run_folder
@click.option(
    "--to",
    type=click.Choice(["onnx", "numpy", "safetensors"]),
    required=True,
    help="onnx: a model for other runtimes; numpy: a file of Python that needs NumPy alone; "
    "safetensors: the bare arrays.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The file, or the folder for numpy. [default: named after the run, here]",
)
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@as_json
def export(run, to, out, force, as_json) -> None:
    """Write the trained model of RUN for other programs.

    As onnx or numpy it predicts what `pullback predict` does: the preparation of the inputs goes
    with it, and what the loss makes of the outputs.
    """
    from .. import model
    from ..export import ENDINGS
    from ..export import export as write

    out = out or Path(run.resolve().name + ENDINGS[to])
    written = write(model.load_model(run), to, out, force)
    text = "\n".join(f"{file['path']}: {file['bytes']:,} bytes" for file in written)
    say({"run": str(run), "to": to, "out": str(out), "files": written}, as_json, text)
