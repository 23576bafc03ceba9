"""Verbs for data sets."""

from __future__ import annotations

import click

from .base import Verbs, as_json, data_dir, main, options, say


@main.group(cls=Verbs)
def data() -> None:
    """List, fetch and verify data sets."""


@data.command("list")
@options(data_dir, as_json)
def data_list(data_dir, as_json) -> None:
    """List what can be trained on, and where it lies."""
    from ..data import listing

    rows = listing(data_dir)
    text = "\n".join(f"{row['name']:<14} {row['about']}" for row in rows)
    say({"sources": rows}, as_json, text)


@data.command("fetch")
@click.argument("name")
@options(data_dir, as_json)
def data_fetch(name, data_dir, as_json) -> None:
    """Download the data set NAME and check its sums."""
    from ..data import data_directory, fetch

    folder = fetch(name, data_directory(data_dir))
    say({"name": name, "directory": str(folder)}, as_json, f"{name}: {folder}")


@data.command("verify")
@click.argument("name")
@options(data_dir, as_json)
def data_verify(name, data_dir, as_json) -> None:
    """Check the sums of the files of NAME."""
    from ..data import data_directory, verify
    from ..errors import DataError

    files = verify(name, data_directory(data_dir))
    say(
        {"name": name, "files": files},
        as_json,
        "\n".join(f"{state:<8} {file}" for file, state in files.items()),
    )
    if bad := [file for file, state in files.items() if state != "ok"]:
        raise DataError(
            f"{len(bad)} of {len(files)} files of '{name}' are not as published: {', '.join(bad)}",
            next=f"`pullback data fetch {name}`",
        )
