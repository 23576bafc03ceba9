"""Verbs that set up."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .base import as_json, data_dir, main, options, put, say


@main.command()
@click.argument("path", default="experiment.toml", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(path, force) -> None:
    """Write a commented experiment file to PATH."""
    from importlib.resources import files as resources

    from ..errors import OutputError
    from ..files import write_text

    if path.exists() and not force:
        raise OutputError(f"'{path}' exists", next="give another name, or --force")
    write_text(path, resources("pullback").joinpath("experiment.toml").read_text("utf-8"))
    put(f"Wrote {path}; `pullback train {path}` trains it\n")


@main.command()
def schema() -> None:
    """Print the JSON Schema of an experiment file, for editors."""
    from ..config import schema

    put(json.dumps(schema(), indent=2) + "\n")


@main.command()
@options(data_dir, as_json)
def doctor(data_dir, as_json) -> None:
    """Say what this installation has, and whether a derivative comes out right.

    Shown are versions, devices, where data lie, and a gradient check of a small network.
    """
    from ..experiment import diagnose_installation

    found = diagnose_installation(data_dir)
    width = max(map(len, found))
    say(found, as_json, "\n".join(f"{key:<{width}}  {value}" for key, value in found.items()))
