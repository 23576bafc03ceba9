"""The command line: thin verbs over the library.

stdout carries the result, stderr the progress. Exit codes: 0 done; 1 a defect of ours; 2 usage or
configuration; 3 data missing or broken; 4 diverged; 5 checkpoint broken or incompatible; 6 a check
or threshold missed; 7 cannot write; 130 interrupted, after a checkpoint.

Nothing heavy is imported here: `pullback --help` must answer at once, and does not import JAX.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from . import __version__, jsontext
from .errors import OutputError, PullbackError

if TYPE_CHECKING:
    from .experiment import Outcome

INTERRUPTED = 130


class Verbs(click.Group):
    """A group whose verbs meet an error with one sentence on stderr, and end with its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except PullbackError as error:
            _tell(f"pullback: {error}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _tell("pullback: stopped at once")
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


def _options(*options: Callable) -> Callable:
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
run_folder = click.argument("run", type=click.Path(path_type=Path))
experiment_file = click.argument(
    "file", required=False, type=click.Path(path_type=Path, dir_okay=False)
)


def _say(result: dict[str, Any], as_json: bool, text: str) -> None:
    _print((jsontext.encode({"schema_version": 1, **result}) if as_json else text) + "\n")


def _print(text: str) -> None:
    """Write a result to stdout. A reader that has gone is no error, a full disk is."""
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        raise OutputError(f"cannot write the result to stdout: {error.strerror}") from error


def _tell(text: str) -> None:
    """Write to stderr while somebody reads it: training goes on when its watcher has left."""
    try:
        click.echo(text, err=True)
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Send nowhere what the stream still holds: the interpreter flushes it again at its end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


@main.command()
@experiment_file
@_options(settings, data_dir, progress, as_json)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder. [default: runs/NAME, or runs/NAME-2, …]",
)
@click.option("--force", is_flag=True, help="Replace an existing run in --out.")
def train(file, settings, data_dir, style, as_json, out, force) -> None:
    """Train the experiment of FILE (or the default one) and write a report."""
    with _interruptible() as interrupted, _showing(style) as show:
        from . import config, experiment

        plan = config.read(file, settings)
        outcome = experiment.train(
            plan, out, data_dir=data_dir, force=force, listen=show, interrupted=interrupted
        )
    _finish(outcome, as_json)


@main.command()
@run_folder
@_options(data_dir, progress, as_json)
@click.option(
    "--accept-older", is_flag=True, help="If the newest checkpoint is broken, take an older."
)
def resume(run, data_dir, style, as_json, accept_older) -> None:
    """Go on with an unfinished RUN in its folder, to the same end as if it had never stopped."""
    with _interruptible() as interrupted, _showing(style) as show:
        from . import experiment

        outcome = experiment.resume(
            run, data_dir=data_dir, accept_older=accept_older, listen=show, interrupted=interrupted
        )
    _finish(outcome, as_json)


@main.command()
@run_folder
@_options(data_dir, progress, as_json)
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
    with _interruptible() as interrupted, _showing(style) as show:
        from .retrain import retrain

        outcome = retrain(
            run, strategy, out, data_dir=data_dir, listen=show, interrupted=interrupted
        )
    _finish(outcome, as_json)


def _finish(outcome: Outcome, as_json: bool) -> None:
    from .report import write_report

    page = write_report([outcome.folder], outcome.folder / "report.html")
    result = outcome.result | {"run": str(outcome.folder), "report": str(page)}
    _say(result, as_json, outcome.text() + f"\nReport: {page}")
    if outcome.error is not None:
        raise outcome.error
    if outcome.result["status"] == "interrupted":
        _tell(f"pullback: interrupted; `pullback resume {outcome.folder}` goes on")
        sys.exit(INTERRUPTED)


@main.command()
@run_folder
@_options(data_dir, as_json)
def evaluate(run, data_dir, as_json) -> None:
    """Measure the trained model of RUN on every part of its data again."""
    from . import experiment

    parts = experiment.evaluate(run, data_dir=data_dir)
    text = "\n".join(f"{name:<11} {experiment.describe(row)}" for name, row in parts.items())
    _say({"run": str(run), "parts": parts}, as_json, text)


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
    from . import files, model

    predictions = model.predict(run, source)
    if out is not None:
        files.write_text(out, predictions.csv())
        _say(
            {"rows": len(predictions), "out": str(out)},
            as_json,
            f"{len(predictions)} predictions: {out}",
        )
    elif as_json:
        _say(predictions.json(), True, "")
    else:
        _print(predictions.csv())


@main.command()
@experiment_file
@_options(settings, data_dir, as_json)
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
    from .errors import ConfigError, ThresholdError

    if whole:
        if file is not None or settings:
            raise ConfigError("--all checks the catalogue and takes no experiment")
        _check_all(as_json, out)
        return
    if out is not None:
        raise ConfigError(
            "--out goes with --all", next="the check of an experiment is in the report of its run"
        )
    from . import config, experiment

    plan = config.read(file, settings)
    report = experiment.check(plan, data_dir=data_dir)
    _say(report.row(), as_json, str(report))
    if not report.ok:
        raise ThresholdError(
            f"the gradient check failed: worst relative error {report.worst:.1e}, "
            f"wanted below {report.threshold:.0e}",
            next="look at the worst entries above; "
            "a kink at exactly one of the weights can also do this",
        )


def _check_all(as_json: bool, out: Path | None) -> None:
    from .catalogue.verify import verify
    from .errors import ThresholdError

    done = 0

    def show(row) -> None:
        nonlocal done
        done += 1
        if done % 25 == 0:
            _tell(f"{done} checks, last {row.name}")

    outcome = verify(show)
    if out is not None:
        from .report.catalogue import write_verification

        write_verification(outcome, out)
    _say(outcome.row(), as_json, str(outcome) + (f"\nWritten to {out}" if out else ""))
    if not outcome.ok:
        wrong = sum(not row.ok for row in outcome.rows)
        raise ThresholdError(
            f"{wrong} of {len(outcome.rows)} checks of the catalogue failed",
            next="they are listed above by case",
        )


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="catalogue.html",
    show_default=True,
    help="The page.",
)
@as_json
def catalogue(out, as_json) -> None:
    """Write a page of everything there is: equations, derivatives, pictures, sources, slips."""
    from .report.catalogue import write_catalogue

    page = write_catalogue(out)
    _say({"catalogue": str(page)}, as_json, f"Catalogue: {page}")


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
@_options(data_dir, as_json)
def paths(surfaces, run, rules, rate, steps, out, data_dir, as_json) -> None:
    """Draw the paths of rules over surfaces, and the length of each step."""
    from . import paths as walks
    from .report.paths import write_paths

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
    _say({"page": str(page), "paths": rows}, as_json, f"{text}\nPaths: {page}")


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="[default: RUN/report.html]"
)
@as_json
def report(runs, out, as_json) -> None:
    """Write the report of one run, or one page that compares several."""
    from .errors import ConfigError
    from .report import write_report
    from .runs import RunFolder

    for run in runs:
        RunFolder.open(run)
    if out is None and len(runs) > 1:
        raise ConfigError("a page over several runs needs a place", next="give --out page.html")
    page = write_report(list(runs), out or runs[0] / "report.html")
    _say({"report": str(page)}, as_json, f"Report: {page}")


@main.command()
@experiment_file
@_options(settings, data_dir, as_json)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The study's folder; a study that is there is joined. [default: runs/NAME-tune]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Go on with the study in DIR, instead of FILE.",
)
def tune(file, settings, data_dir, as_json, out, resume) -> None:
    """Search the settings in the section [tune] of FILE for the best.

    Several processes may work on one study. One that was stopped or killed is taken up again by the
    same command, or by --resume.
    """
    from importlib.util import find_spec

    from .errors import ConfigError

    if find_spec("optuna") is None:
        raise ConfigError("tuning wants Optuna", next="pip install 'pullback[tune]'")
    if resume is not None and (file is not None or settings or out is not None):
        raise ConfigError("--resume takes everything from its folder, and goes with nothing else")
    with _interruptible() as interrupted:
        from . import config
        from .report.tuning import write_tuning
        from .tune.search import search

        plan = config.read(file if resume is None else resume / "study.toml", settings)
        folder = resume or out or Path("runs") / f"{plan.name}-tune"
        found = search(
            plan, folder, data_dir=data_dir, listen=_trials_done, interrupted=interrupted
        )
    page = write_tuning(plan.name, found, folder / "report.html")
    result = {"study": str(folder), "report": str(page), **found}
    _say(result, as_json, _tuned(found) + f"\nReport: {page}")
    if len(found["trials"]) < found["wanted"] and interrupted():
        _tell(f"pullback: interrupted; `pullback tune --resume {folder}` goes on")
        sys.exit(INTERRUPTED)


def _trials_done(rows: list[dict[str, Any]], wanted: int) -> None:
    values = [row["value"] for row in rows if row["state"] == "complete"]
    _tell(f"trial {len(rows)}/{wanted}" + (f"  last {values[-1]:.4g}" if values else ""))


def _tuned(found: dict[str, Any]) -> str:
    from .report.tuning import over

    rows, best = found["trials"], found["best"]
    given_up = sum(row["state"] != "complete" for row in rows)
    lines = [f"{len(rows)} of {found['wanted']} trials, {given_up} of them given up"]
    if best is not None:
        spread = "" if best["deviation"] is None else f" ± {best['deviation']:.2g}"
        lines += [f"best: {best['value']:.6g}{spread}{over(found)}, trial {best['trial']}"]
        lines += [f"  {key} = {value}" for key, value in best["settings"].items()]
        lines += [f"Train it: pullback train {found['file']}"]
    return "\n".join(lines)


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
    from .report import write_report
    from .report.comparison import compare, text

    found = compare(runs)
    said = text(found)
    if out is not None:
        found["report"] = str(write_report(list(runs), out))
        said += f"\nReport: {out}"
    _say(found, as_json, said)


@main.command()
@run_folder
@_options(data_dir, as_json)
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
    from .diagnose import diagnose
    from .report.diagnosis import write_diagnosis

    found = diagnose(run, best_error=best_error, tolerance=tolerance, data_dir=data_dir)
    page = write_diagnosis(found, out or run / "diagnosis.html")
    _say(found.row() | {"page": str(page)}, as_json, f"{found}\nPage: {page}")


@main.command("lr-range")
@experiment_file
@_options(settings, data_dir, as_json)
@click.option("--low", type=float, default=1e-6, show_default=True, help="The first rate.")
@click.option("--high", type=float, default=10.0, show_default=True, help="The last rate.")
@click.option("--steps", type=int, default=200, show_default=True, help="How many steps.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="lr-range.html",
    show_default=True,
    help="The page.",
)
def lr_range(file, settings, data_dir, as_json, low, high, steps, out) -> None:
    """Suggest a learning rate for FILE: raise it from step to step until the loss diverges."""
    from . import config
    from .diagnose import rate_range
    from .report.diagnosis import write_rate_range

    plan = config.read(file, settings)
    found = rate_range(plan, low=low, high=high, steps=steps, data_dir=data_dir)
    page = write_rate_range(found, out)
    _say(found.row() | {"page": str(page)}, as_json, f"{found}\nPage: {page}")


@main.command("learning-curve")
@experiment_file
@_options(settings, data_dir, as_json)
@click.option("--sizes", help="How many examples, as in 100,200,400. [default: 1/16, …, all]")
@click.option("--seeds", type=int, default=3, show_default=True, help="Trainings of each size.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="learning-curve.html",
    show_default=True,
    help="The page.",
)
def learning_curve(file, settings, data_dir, as_json, sizes, seeds, out) -> None:
    """Train FILE on more and more of its data, and say what still more would bring."""
    from . import config
    from .diagnose import learning_curve
    from .errors import ConfigError
    from .report.diagnosis import write_learning_curve

    try:
        wanted = [int(size) for size in (sizes or "").split(",") if size]
    except ValueError:
        raise ConfigError(
            f"--sizes wants whole numbers, got '{sizes}'", next="such as --sizes 100,200,400"
        ) from None

    def show(size: int, seed: int, error: float) -> None:
        _tell(f"{size} examples, seed {seed}: validation error {100 * error:.3g} %")

    plan = config.read(file, settings)
    found = learning_curve(plan, wanted, seeds=seeds, data_dir=data_dir, listen=show)
    page = write_learning_curve(found, out)
    _say(found.row() | {"page": str(page)}, as_json, f"{found}\nPage: {page}")


@main.group(cls=Verbs)
def data() -> None:
    """List, fetch and verify data sets."""


@data.command("list")
@_options(data_dir, as_json)
def data_list(data_dir, as_json) -> None:
    """List what can be trained on, and where it lies."""
    from .data import listing

    rows = listing(data_dir)
    text = "\n".join(f"{row['name']:<14} {row['about']}" for row in rows)
    _say({"sources": rows}, as_json, text)


@data.command("fetch")
@click.argument("name")
@_options(data_dir, as_json)
def data_fetch(name, data_dir, as_json) -> None:
    """Download the data set NAME and check its sums."""
    from .data import data_directory, fetch

    folder = fetch(name, data_directory(data_dir))
    _say({"name": name, "directory": str(folder)}, as_json, f"{name}: {folder}")


@data.command("verify")
@click.argument("name")
@_options(data_dir, as_json)
def data_verify(name, data_dir, as_json) -> None:
    """Check the sums of the files of NAME."""
    from .data import data_directory, verify
    from .errors import DataError

    files = verify(name, data_directory(data_dir))
    _say(
        {"name": name, "files": files},
        as_json,
        "\n".join(f"{state:<8} {file}" for file, state in files.items()),
    )
    if bad := [file for file, state in files.items() if state != "ok"]:
        raise DataError(
            f"{len(bad)} of {len(files)} files of '{name}' are not as published: {', '.join(bad)}",
            next=f"`pullback data fetch {name}`",
        )


@main.command()
@click.argument("path", default="experiment.toml", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(path, force) -> None:
    """Write a commented experiment file to PATH."""
    from importlib.resources import files as resources

    from .errors import OutputError
    from .files import write_text

    if path.exists() and not force:
        raise OutputError(f"'{path}' exists", next="give another name, or --force")
    write_text(path, resources("pullback").joinpath("experiment.toml").read_text("utf-8"))
    _print(f"Wrote {path}; `pullback train {path}` trains it\n")


@main.command()
def schema() -> None:
    """Print the JSON Schema of an experiment file, for editors."""
    from .config import schema

    _print(json.dumps(schema(), indent=2) + "\n")


@main.command()
@_options(data_dir, as_json)
def doctor(data_dir, as_json) -> None:
    """Say what this installation has, and whether a derivative comes out right.

    Shown are versions, devices, where data lie, and a gradient check of a small network.
    """
    from .experiment import diagnose_installation

    found = diagnose_installation(data_dir)
    width = max(map(len, found))
    _say(found, as_json, "\n".join(f"{key:<{width}}  {value}" for key, value in found.items()))


@contextmanager
def _interruptible():
    """Turn the first Ctrl-C into a flag that training asks for; the second stops at once.

    It is there before JAX is imported, whose callbacks can swallow an exception that comes then.
    """
    import signal

    asked = False

    def ask(number, frame):
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _tell("\npullback: stopping after this step; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _showing(style: str):
    """Give a listener that shows progress on stderr in the chosen style."""
    if style == "auto":
        style = "rich" if sys.stderr.isatty() else "plain"
    if style == "none":
        yield lambda tick: None
    elif style == "plain":
        yield _plain()
    else:
        with _bar() as show:
            yield show


def _plain():
    """A line for each epoch."""
    shown = 0

    def show(tick):
        nonlocal shown
        epoch, step, last = tick.progress.epoch, tick.progress.step, tick.progress.last
        ended = step * tick.epochs == epoch * tick.steps
        if not ended or epoch == shown:
            return
        shown = epoch
        found = _summary(last) if last and last["step"] == step else f"loss {tick.loss:.4f}"
        _tell(f"epoch {epoch}/{tick.epochs}  {found}  {tick.examples_per_second:,.0f} examples/s")

    return show


def _summary(evaluation: dict[str, Any]) -> str:
    name = "validation" if "validation" in evaluation else "train"
    row = evaluation.get(name)
    if row is None:
        return ""
    score = f"accuracy {row['accuracy']:.4f}" if "accuracy" in row else f"R² {row['r2']:.4f}"
    return f"{name} loss {row['loss']:.4f}  {score}"


@contextmanager
def _bar():
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[last]}  {task.fields[rate]} examples/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, epoch="–", loss="–", last="", rate="–")

        def show(tick):
            bar.update(
                task,
                total=tick.steps,
                completed=tick.progress.step,
                epoch=f"{tick.progress.epoch}/{tick.epochs}",
                loss=f"{tick.loss:.4f}",
                last="" if tick.progress.last is None else _summary(tick.progress.last),
                rate=f"{tick.examples_per_second:,.0f}",
            )

        yield show


if __name__ == "__main__":
    main()
