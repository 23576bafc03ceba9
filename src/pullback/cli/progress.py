"""How training shows its progress on stderr."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .base import tell

if TYPE_CHECKING:
    from ..experiment import RoundTick


@contextmanager
def showing(style: str):
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
    """A line for each epoch, or for each evaluation of a network of workers."""
    shown = 0

    def show(tick):
        nonlocal shown
        if _of_rounds(tick):
            step = tick.progress.step
            if tick.last and tick.last["round"] == step != shown:
                shown, rate = step, 1 / tick.seconds
                tell(f"round {step}/{tick.rounds}  {_network(tick)}  {rate:,.3g} rounds/s")
            return
        epoch, step, last = tick.progress.epoch, tick.progress.step, tick.progress.last
        ended = step * tick.epochs == epoch * tick.steps
        if not ended or epoch == shown:
            return
        shown = epoch
        found = _summary(last) if last and last["step"] == step else f"loss {tick.loss:.4f}"
        tell(f"epoch {epoch}/{tick.epochs}  {found}  {tick.examples_per_second:,.0f} examples/s")

    return show


def _summary(evaluation: dict[str, Any]) -> str:
    name = "validation" if "validation" in evaluation else "train"
    row = evaluation.get(name)
    if row is None:
        return ""
    score = f"accuracy {row['accuracy']:.4f}" if "accuracy" in row else f"R² {row['r2']:.4f}"
    return f"{name} loss {row['loss']:.4f}  {score}"


def _of_rounds(tick) -> bool:
    """Whether a network of workers tells of its progress."""
    from ..experiment import RoundTick

    return isinstance(tick, RoundTick)


def _network(tick: RoundTick) -> str:
    """The newest evaluation of what workers stand for together, and what was sent until now."""
    parts = {} if tick.last is None else tick.last["parts"]
    together = {name: part["together"] for name, part in parts.items()}
    return f"{_summary(together)}  {tick.progress.bytes / 1e6:,.4g} MB"


@contextmanager
def _bar():
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[epoch]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[last]}  {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, epoch="–", loss="–", last="", rate="–")

        def show(tick):
            if _of_rounds(tick):
                bar.update(
                    task,
                    total=tick.rounds,
                    completed=tick.progress.step,
                    epoch=f"round {tick.progress.step}/{tick.rounds}",
                    loss=f"{tick.loss:.4f}",
                    last=_network(tick),
                    rate=f"{1 / tick.seconds:,.3g} rounds/s",
                )
                return
            bar.update(
                task,
                total=tick.steps,
                completed=tick.progress.step,
                epoch=f"epoch {tick.progress.epoch}/{tick.epochs}",
                loss=f"{tick.loss:.4f}",
                last="" if tick.progress.last is None else _summary(tick.progress.last),
                rate=f"{tick.examples_per_second:,.0f} examples/s",
            )

        yield show
