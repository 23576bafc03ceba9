"""First weights: how the variance of values and of cotangents changes from layer to layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .. import words
from . import ink
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from ...catalogue.variance import Signal

_QUANTITIES = ("value", "cotangent")


def initializer_variance(signals: Sequence[Signal]) -> Figure:
    """Draw the signals of `catalogue.variance`: a panel for each activation and direction."""
    activations = list(dict.fromkeys(signal.activation for signal in signals))
    kinds = list(dict.fromkeys(type(signal.initializer) for signal in signals))
    sizes = [size for signal in signals for _, *both in signal.levels for size in both if size]
    floor, ceiling = min(sizes) / 5, max(sizes) * 5
    ticks = ["x", *map(str, range(1, len(signals[0].levels) - 1)), "y"]

    def draw(axes: Axes, shown: Iterable[Signal], quantity: str) -> None:
        for signal in shown:
            sizes = [max(getattr(level, quantity), floor) for level in signal.levels]
            axes.plot(sizes, label=str(signal.initializer), **_style(kinds, signal))
        axes.set(yscale="log", ylim=(floor, ceiling))
        ink.log_ticks(axes.yaxis)
        axes.set_xticks(range(len(ticks)), ticks)

    def paint(canvas: Canvas) -> None:
        grid = canvas.subplots(2, len(activations), squeeze=False, sharey=True)
        for line, quantity in zip(grid, _QUANTITIES, strict=True):
            for axes, activation in zip(line, activations, strict=True):
                draw(axes, _one_of_a_kind(signals, activation), quantity)
                axes.set_title(f"{quantity}s, {type(activation).__name__}")
        canvas.supxlabel("layer", fontsize=9, color=ink.QUIET)
        canvas.supylabel("variance (log scale)", fontsize=9, color=ink.QUIET)
        ink.legend(canvas, grid[0, 0])

    return Figure(
        id="initializer-variance",
        title="Variance by layer",
        caption="A normal input of variance 1 goes up the deep network of CA6, and a normal "
        "cotangent of variance 1 at its output comes down, before any training. A flat curve "
        "keeps the signal; one that falls in its direction vanishes in a deeper network, one that "
        "rises explodes. Zeros lie on the lower edge. Of two distributions with one variance the "
        "first is drawn; the table has both.",
        alt=f"Variance of values and cotangents by layer for {words.plural(len(kinds), 'kind')} of "
        f"first weights under {words.plural(len(activations), 'activation')}; {_levels(signals)}.",
        image=ink.svg(paint, 10.8, 6.4),
        format="svg",
        table=table(
            ["activation", "initializer", "of", *ticks],
            [
                [
                    type(signal.activation).__name__,
                    str(signal.initializer),
                    f"{quantity}s",
                    *(words.cell(getattr(level, quantity)) for level in signal.levels),
                ]
                for signal in signals
                for quantity in _QUANTITIES
            ],
        ),
        wide=True,
    )


def _style(kinds: list[type], signal: Signal) -> dict[str, Any]:
    n = kinds.index(type(signal.initializer))
    lap, place = divmod(n, len(ink.MARKERS))
    return ink.nth(n) | {"marker": ink.MARKERS[(place + lap) % len(ink.MARKERS)]}


def _one_of_a_kind(signals: Sequence[Signal], activation: object) -> list[Signal]:
    first: dict[type, Signal] = {}
    for signal in signals:
        if signal.activation == activation:
            first.setdefault(type(signal.initializer), signal)
    return list(first.values())


def _levels(signals: Sequence[Signal]) -> str:
    """Say where the values of the last hidden layer end for each, under the first activation."""
    shown = _one_of_a_kind(signals, signals[0].activation)
    ends = (f"{each.initializer} {words.number(each.levels[-2].value)}" for each in shown)
    name = type(signals[0].activation).__name__
    return f"of the values in the last hidden layer, under {name}: {', '.join(ends)}"
