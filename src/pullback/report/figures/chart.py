"""A chart of a study's exhibit, which is data, as a figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from . import ink
from .curves import HEIGHT, WIDTH
from .figure import Figure, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from ...study.chart import Chart, Curve, Panel, Plane

_ACROSS = 4
_GROUP = 0.8  # of the room between two ticks that bars take


def chart(data: Chart) -> Figure:
    """Draw a chart: its panels in lines of at most four, under one legend."""
    panels = len(data.panels)
    columns = min(panels, _ACROSS if panels not in (5, 6) else 3)
    lines = -(-panels // columns)
    wide = panels > 1 or len(data.ticks) > 6

    def paint(canvas: Canvas) -> None:
        # A list: the `flat` of an array is gone through once, and would leave the legend nothing.
        grid = list(canvas.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
        styles: dict[str, dict[str, Any]] = {}
        for axes, panel in zip(grid, data.panels, strict=False):
            _panel(axes, data, panel, styles)
        for n, axes in enumerate(grid):
            if n >= panels:
                axes.remove()
            elif n + columns >= panels:
                # Of a line that is not full the panels above are the last of their columns.
                axes.xaxis.set_tick_params(labelbottom=True)
        _name_axes(canvas, data, grid[:panels])
        _legend(canvas, grid[:panels])

    size = (10.8, max(2.4 * lines + 0.9, 3.6)) if wide else (WIDTH, HEIGHT)
    return Figure(
        id=data.id,
        title=data.title,
        caption=data.caption,
        alt=_said(data),
        image=ink.svg(paint, *size),
        format="svg",
        table=_table(data),
        wide=wide,
    )


def _panel(axes: Axes, data: Chart, panel: Panel, styles: dict[str, dict[str, Any]]) -> None:
    if panel.title:
        axes.set_title(panel.title)
    if panel.plane is not None:
        _draw_plane(axes, panel.plane)
    if data.bars:
        _draw_bars(axes, data, panel)
    else:
        for curve in panel.curves:
            style = styles.setdefault(curve.name, ink.nth(len(styles)))
            _draw_curve(axes, curve, style)
    if "x" in data.log:
        axes.set_xscale("log")
        ink.log_ticks(axes.xaxis)
    elif not data.bars and _counts(panel):
        ink.whole_ticks(axes.xaxis)
    if "y" in data.log:
        axes.set_yscale("log")
        ink.log_ticks(axes.yaxis)
    if data.percent:
        ink.percent_ticks(axes)
    if data.equal:
        axes.set_aspect("equal", adjustable="box")


def _counts(panel: Panel) -> bool:
    """Whether all that stands on the axis of x is a count: there are no 2.5 layers."""
    seen = [v for curve in panel.curves for v in curve.x if v is not None]
    return bool(seen) and all(v == int(v) for v in seen)


def _draw_curve(axes: Axes, curve: Curve, style: dict[str, Any]) -> None:
    x, y = _floats(curve.x), _floats(curve.y)
    if curve.dots:
        colour = style["color"]
        marker = ink.MARKERS[ink.PALETTE.index(colour) % len(ink.MARKERS)]
        axes.plot(x, y, marker, color=colour, label=curve.name, mec=ink.PAPER, mew=0.4)
    else:
        ink.curve(axes, x.tolist(), y.tolist(), label=curve.name, **style)
    if curve.low is not None and curve.high is not None:
        low, high = _floats(curve.low), _floats(curve.high)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)


def _draw_bars(axes: Axes, data: Chart, panel: Panel) -> None:
    width = _GROUP / len(panel.curves)
    for n, curve in enumerate(panel.curves):
        at = _floats(curve.x) + (n + 0.5) * width - _GROUP / 2
        y = _floats(curve.y)
        axes.bar(at, y, width * 0.92, color=ink.nth(n)["color"], label=curve.name)
        if curve.low is not None and curve.high is not None:
            sides = np.stack([y - _floats(curve.low), _floats(curve.high) - y])
            axes.errorbar(at, y, sides, fmt="none", ecolor=ink.INK, elinewidth=1, capsize=2)
    turned = sum(map(len, data.ticks)) > 60
    axes.set_xticks(
        range(len(data.ticks)),
        data.ticks,
        rotation=25 if turned else 0,
        ha="right" if turned else "center",
    )
    axes.grid(visible=False, axis="x")
    _crop(axes, panel)


def _crop(axes: Axes, panel: Panel) -> None:
    """Begin the axis of bars above 0 where all are alike: the caption's reader reads the ticks."""
    seen = [v for curve in panel.curves for v in curve.y if v is not None]
    if seen and min(seen) > 0 and max(seen) < 1.3 * min(seen) and axes.get_yscale() == "linear":
        room = max(max(seen) - min(seen), 0.02 * max(seen))
        axes.set_ylim(max(min(seen) - room, 0), max(seen) + 0.3 * room)


def _draw_plane(axes: Axes, plane: Plane) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    x, y = _floats(plane.x), _floats(plane.y)
    field = np.stack([_floats(row) for row in plane.values])
    axes.grid(visible=False)
    if plane.lines == "half":
        shades = LinearSegmentedColormap.from_list("pair", [ink.pale(0), "white", ink.pale(1)])
        axes.contourf(x, y, field, levels=np.linspace(0, 1, 21), cmap=shades, vmin=0, vmax=1)
        if field.min() < 0.5 < field.max():
            axes.contour(x, y, field, levels=[0.5], colors=ink.INK, linewidths=1.2)
        return
    ink.ground(axes, x, y, field)


def _name_axes(canvas: Canvas, data: Chart, panels: list[Axes]) -> None:
    x = data.x + (" (log scale)" if "x" in data.log else "")
    y = data.y + (" (log scale)" if "y" in data.log else "")
    if len(panels) == 1:
        panels[0].set(xlabel=x, ylabel=y)
    else:
        canvas.supxlabel(x, fontsize=9, color=ink.QUIET)
        canvas.supylabel(y, fontsize=9, color=ink.QUIET)


def _legend(canvas: Canvas, panels: list[Axes]) -> None:
    """One line for each name, wherever it first stands."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) > 1 or any(label for label in found):
        columns = 3 if len(panels) == 1 else 6
        longest = max(map(len, found), default=0)
        columns = min(
            columns, len(found), max(1, (60 if len(panels) == 1 else 130) // (longest + 6))
        )
        canvas.legend(found.values(), found.keys(), loc="outside upper left", ncols=columns)


def _floats(values) -> np.ndarray:
    return np.array([math.nan if v is None else v for v in values], dtype=float)


def _said(data: Chart) -> str:
    """The last value of each curve, for a reader who does not see it."""
    said = []
    for panel in data.panels:
        of = f"{panel.title}: " if panel.title else ""
        for curve in panel.curves:
            if data.bars:
                each = ", ".join(
                    f"{tick} {words.cell(v)}" for tick, v in zip(data.ticks, curve.y, strict=False)
                )
                said.append(f"{of}{curve.name}: {each}")
            elif curve.y and not curve.dots:
                said.append(f"{of}{curve.name} ends at {words.cell(curve.y[-1])}")
    return f"{data.title}: {data.y} against {data.x}. " + "; ".join(said[:12])


def _table(data: Chart):
    several, banded = len(data.panels) > 1, any(c.low for p in data.panels for c in p.curves)
    header = [*(["panel"] if several else []), "curve", data.x, data.y]
    rows = []
    for n, panel in enumerate(data.panels, start=1):
        for curve in panel.curves:
            for i, (x, y) in enumerate(zip(curve.x, curve.y, strict=True)):
                at = data.ticks[i] if data.bars else words.cell(x, 6)
                ends = [words.cell(row[i]) if row else "–" for row in (curve.low, curve.high)]
                row = [curve.name or "–", at, words.cell(y), *(ends if banded else [])]
                rows.append([panel.title or str(n), *row] if several else row)
    return table([*header, *(["low", "high"] if banded else [])], rows)
