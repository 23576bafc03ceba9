"""What the verbs share: the group, common options, and how results and errors are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from .. import __version__, jsontext
from ..errors import OutputError, PullbackError
from ..programs import keep_programs

INTERRUPTED = 130


class Verbs(click.Group):
    """A group whose verbs meet an error with one sentence on stderr, and end with its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except PullbackError as error:
            tell(f"pullback: {error}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            tell("pullback: stopped at once")
            ctx.exit(INTERRUPTED)


# \b keeps click from filling the paragraph below it.
HELP = """Train feed-forward networks whose every derivative is written down and checked.

\b
A first run:   pullback train
Your own:      pullback init experiment.toml, edit it, pullback train experiment.toml
"""


@click.group(cls=Verbs, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Hold the verbs."""
    keep_programs()


def options(*options: Callable) -> Callable:
    """Return a decorator that adds several options, in this order."""

    def decorate(function):
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="PULLBACK_DATA",
    help="Where data sets lie. [env: PULLBACK_DATA; default: a folder in the user's cache]",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON object."
)
settings = click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one value of the experiment; repeatable.",
)
progress = click.option(
    "--progress",
    "style",
    type=click.Choice(["auto", "rich", "plain", "none"]),
    default="auto",
    show_default=True,
    help="How progress is shown on stderr; auto is rich on a terminal and plain elsewhere.",
)


def page(default: str) -> Callable:
    """Return the option --out of a verb that writes one page."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        default=default,
        show_default=True,
        help="The page.",
    )


run_folder = click.argument("run", type=click.Path(path_type=Path))
experiment_file = click.argument(
    "file", required=False, type=click.Path(path_type=Path, dir_okay=False)
)


def say(result: dict[str, Any], as_json: bool, text: str) -> None:
    """Write a result to stdout, as JSON or as text."""
    put((jsontext.encode({"schema_version": 1, **result}) if as_json else text) + "\n")


def put(text: str) -> None:
    """Write a result to stdout. A reader that has gone is no error, a full disk is."""
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        raise OutputError(f"cannot write the result to stdout: {error.strerror}") from error


def tell(text: str) -> None:
    """Write to stderr while somebody reads it: training goes on when its watcher has left."""
    try:
        click.echo(text, err=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send nowhere what the stream still holds: the interpreter flushes it again at its end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def interruptible(after: str = "this step", *, terminable: bool = False):
    """Turn the first Ctrl-C into a flag that training asks for; the second stops at once.

    It is there before JAX is imported, whose callbacks can swallow an exception that comes then.

    Args:
        after: what is still done.
        terminable: whether SIGTERM asks the same; the second then ends the process.
    """
    import signal

    asked = False
    second: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    if terminable:
        second[signal.SIGTERM] = signal.SIG_DFL

    def ask(number, frame):
        nonlocal asked
        asked = True
        for each, handler in second.items():
            signal.signal(each, handler)
        tell(f"\npullback: stopping after {after}; Ctrl-C again stops at once")

    before = {each: signal.signal(each, ask) for each in second}
    try:
        yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
