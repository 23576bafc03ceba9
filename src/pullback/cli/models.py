"""Verbs that use a trained model."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .base import as_json, data_dir, interruptible, main, options, put, run_folder, say, tell


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
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port; 0 takes a free one.",
)
@click.option(
    "--max-bytes", type=int, default=8 << 20, show_default=True, help="The greatest body."
)
@click.option("--max-rows", type=int, default=1000, show_default=True, help="The most rows in it.")
@click.option(
    "--timeout",
    type=float,
    default=10.0,
    show_default=True,
    help="Seconds in which a request must have arrived.",
)
@click.option(
    "--max-waiting",
    type=int,
    default=64,
    show_default=True,
    help="The most requests that wait for the device; others are sent away.",
)
@as_json
def serve(run, host, port, max_bytes, max_rows, timeout, max_waiting, as_json) -> None:
    """Answer requests over HTTP with the predictions of the model of RUN, until Ctrl-C.

    POST /predict takes JSON, {"rows": [...]}; GET /health and /metrics tell of the service.
    """
    from .. import extras

    extras.require("serve", "serving wants Starlette and uvicorn")
    with interruptible("what has begun", terminable=True) as interrupted:
        from .. import serve
        from ..model import load_model

        limits = serve.Limits(max_bytes, max_rows, timeout, max_waiting)
        with serve.Listener(host, port) as listener:
            model = load_model(run)
            if not listener.local:
                tell(f"{listener.url} is open to all who reach it: there is no authentication")
            result = {"run": str(run), "url": listener.url, "pid": os.getpid()}
            say(result, as_json, f"{run} on {listener.url}")
            serve.run(
                listener,
                model,
                run.resolve().name,
                limits,
                ready=lambda: tell("ready"),
                interrupted=interrupted,
            )
    tell("ended")


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
