"""What a diagnosis rests on: the errors, the signal and the updates by layer, and the units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...diagnose.flow import FADED, GROWN, LARGE, SMALL
from ...diagnose.units import LayerUnits
from .. import words
from . import ink
from .figure import Absent, Figure, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from ...diagnose import Diagnosis

_BANDS = ("#ffffff", "#fdeee2", "#f8d9c2")


def errors(diagnosis: Diagnosis) -> Figure:
    """Draw the training and the validation error above the best one, and what is called high."""
    found = diagnosis.judgement
    names, values = ["best (assumed)", "training"], [found.best, found.train]
    if found.validation is not None:
        names, values = [*names, "validation"], [*values, found.validation]
    limits = [found.best + found.tolerance, found.best + 10 * found.tolerance]
    top = 1.15 * max(*values, limits[1])

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for low, high, shade in zip([0, *limits], [*limits, top], _BANDS, strict=True):
            axes.axvspan(low, high, color=shade, linewidth=0, zorder=0)
        colours = [ink.QUIET, ink.PARTS["train"]["color"], ink.PARTS["validation"]["color"]]
        axes.barh(range(len(values)), values, height=0.5, color=colours[: len(values)])
        for place, value in enumerate(values):
            beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(words.percent(value), (value, place), **beside)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlim=(0, top), ylim=(len(names) - 0.4, -0.6), xlabel="error")
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.grid(visible=False, axis="y")

    said = ", ".join(
        f"{name} {words.percent(value)}" for name, value in zip(names, values, strict=True)
    )
    return Figure(
        id="diagnosis-errors",
        title="Errors",
        caption=f"The errors of the model that the run ended with. White: within ε, "
        f"{words.percent(found.tolerance)}, of the best error; light: within 10 ε; beyond, a "
        "training error is a high bias.",
        alt=f"Errors: {said}.",
        image=ink.svg(paint, 5.4, 2.2),
        format="svg",
        table=table(
            ["error", "value"],
            [[name, words.cell(value)] for name, value in zip(names, values, strict=True)],
        ),
    )


def layer_signal(diagnosis: Diagnosis) -> Figure | Absent:
    """Draw, layer by layer, how much of δ arrives, and how far updates move the weights."""
    title, flows = "Signal and updates", diagnosis.flows
    if not flows:
        return Absent("diagnosis-layers", title, "no norms of layers were recorded")

    def paint(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2, sharey=True)
        _dots(left, [flow.signal for flow in flows], FADED, GROWN, "δ / δ of the last layer")
        _dots(right, [flow.ratio for flow in flows], SMALL, LARGE, "update / weight")
        left.set_yticks(range(len(flows)), [words.short(flow.name, 18) for flow in flows])
        left.set_ylim(len(flows) - 0.4, -0.6)

    ends = ", ".join(
        f"{words.short(flow.name)} {words.number(flow.signal)} and {words.number(flow.ratio)}"
        for flow in flows
    )
    return Figure(
        id="diagnosis-layers",
        title=title,
        caption="From input to output: the norm of each layer's δ relative to that of the last, "
        "and the norm of its update relative to that of its weights, medians over the record. "
        "Shaded: out of range. Grey, on the edge: zero, or not known.",
        alt=f"Signal and update by layer: {ends}.",
        image=ink.svg(paint, 10.8, 1.2 + 0.3 * max(len(flows), 3)),
        format="svg",
        table=table(
            ["layer", "signal", "growth of gradient", "update / weight", "greatest"],
            [[f.name, *map(words.cell, (f.signal, f.growth, f.ratio, f.most))] for f in flows],
        ),
        wide=True,
    )


def _dots(axes: Axes, values: list[float], low: float, high: float, label: str) -> None:
    """Draw a dot for each layer on a logarithmic axis; beyond the limits it is shaded."""
    seen = [value for value in values if math.isfinite(value) and value > 0]
    left, right = min([low, *seen]) / 10, max([high, *seen]) * 10
    axes.axvspan(left, low, color=_BANDS[2], linewidth=0, zorder=0)
    axes.axvspan(high, right, color=_BANDS[2], linewidth=0, zorder=0)
    for place, value in enumerate(values):
        known = math.isfinite(value) and value > 0
        wrong = known and not low <= value <= high
        colour = ink.QUIET if not known else ink.PALETTE[1] if wrong else ink.PALETTE[0]
        at = value if known else left
        axes.plot([at], [place], marker="X" if wrong else "o", color=colour, markersize=6.5)
    axes.set(xscale="log", xlim=(left, right), xlabel=f"{label} (log scale)")
    ink.log_ticks(axes.xaxis)


def units(diagnosis: Diagnosis) -> Figure | Absent:
    """Draw, layer by layer, on what share of the examples its units let a gradient through."""
    title, layers = "Open units", diagnosis.units
    if not layers:
        return Absent("diagnosis-units", title, "no activation of the network is flat on a side")

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        edges = np.linspace(0, 1, 41)
        for place, layer in enumerate(layers):
            counts, _ = np.histogram(layer.open, bins=edges)
            heights = 0.85 * counts / max(counts.max(), 1)
            axes.stairs(place - heights, edges, baseline=place, fill=True, color=ink.PALETTE[0])
        names = [
            f"{words.short(layer.name, 18)}\n{words.percent(layer.off)} {_state(layer)}"
            for layer in layers
        ]
        axes.set_yticks(range(len(layers)), names)
        axes.set(xlim=(-0.01, 1.01), ylim=(len(layers) - 0.8, -1.1))
        axes.set_xlabel("share of the training examples on which a unit is open")
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.grid(visible=False, axis="y")

    said = ", ".join(
        f"{words.short(layer.name)} {words.percent(layer.off)} {_state(layer)}" for layer in layers
    )
    return Figure(
        id="diagnosis-units",
        title=title,
        caption="Histograms of the units of each activation, by the share of the training examples "
        "on which they let a gradient through: where the slope is at least 5 % of the steepest.",
        alt=f"Units by layer: {said}.",
        image=ink.svg(paint, 5.4, 1.0 + 0.45 * max(len(layers), 3)),
        format="svg",
        table=table(
            ["layer", "activation", "units", "state", "share", "open in the median"],
            [
                [
                    layer.name,
                    layer.map,
                    len(layer.open),
                    _state(layer),
                    words.cell(layer.off),
                    words.cell(float(np.median(layer.open))),
                ]
                for layer in layers
            ],
        ),
    )


def _state(layer: LayerUnits) -> str:
    return "dead" if layer.shape == "rectifier" else "saturated"
