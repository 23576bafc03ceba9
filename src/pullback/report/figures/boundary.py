"""The decision over the plane of two features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from ..history import History
from . import ink
from .figure import Absent, Figure, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_MOST_SHARP = 400  # points above this are a picture inside the SVG


def boundary(history: History) -> Figure | Absent:
    """Draw what is predicted over the plane of two features, and the examples on it."""
    title = "Decision boundary"
    row = history.last("boundary")
    if row is None:
        return Absent("boundary", title, "it takes classes, and data of two features")
    k, names = row["classes"], history.classes(row["classes"])
    across, up = (words.short(label) for label in row["labels"])
    points = np.array(row["points"], dtype=float).reshape(-1, 3)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False)
        if k == 2:
            label = f"{history.predicts} of {words.short(names[1], 14)}"
            ink.colour_bar(canvas, _probabilities(axes, row), label)
        else:
            _regions(axes, row)
        _dots(axes, points, names)
        axes.set(xlabel=across, ylabel=up)
        axes.set(xlim=(row["x"][0], row["x"][-1]), ylim=(row["y"][0], row["y"][-1]))
        ink.legend(canvas, axes, columns=6)

    shown = words.plural(len(points), "example")
    field = "the predicted class"
    if k == 2:
        field = f"the predicted {history.predicts} of {words.short(names[1])}, with a line at ½"
    return Figure(
        id="boundary",
        title=title,
        caption=f"Colour: {field}. Dots: {shown} of the training part, with their true classes.",
        alt=f"The plane of {across} and {up}, coloured by the prediction of {k} classes; {shown}.",
        image=ink.svg(paint, 5.4, 4.4),
        format="svg",
        table=table(
            [*row["labels"], "true class"],
            [[words.cell(x), words.cell(y), names[int(j)]] for x, y, j in points.tolist()],
        ),
    )


def _probabilities(axes: Axes, row: dict[str, Any]) -> Any:
    """Shade from the first class over white, where both are equally likely, to the second."""
    from matplotlib.colors import LinearSegmentedColormap

    field = np.array(row["field"], dtype=float)
    shades = LinearSegmentedColormap.from_list("pair", [ink.pale(0), "white", ink.pale(1)])
    picture = axes.imshow(field, cmap=shades, vmin=0, vmax=1, **_place(row))
    if field.min() < 0.5 < field.max():
        axes.contour(row["x"], row["y"], field, levels=[0.5], colors=ink.INK, linewidths=1.4)
    return picture


def _regions(axes: Axes, row: dict[str, Any]) -> None:
    """Colour each class, with a line around it."""
    from matplotlib.colors import ListedColormap

    field, k = np.array(row["field"], dtype=float), row["classes"]
    shades = ListedColormap([ink.pale(j) for j in range(k)])
    axes.imshow(field, cmap=shades, vmin=-0.5, vmax=k - 0.5, **_place(row))
    for j in np.unique(field)[1:]:
        member = (field == j).astype(float)
        axes.contour(row["x"], row["y"], member, levels=[0.5], colors=ink.INK, linewidths=1)


def _dots(axes: Axes, points: np.ndarray, names: list[str]) -> None:
    for j, name in enumerate(names):
        x, y, _ = points[points[:, 2] == j].T
        axes.scatter(
            x,
            y,
            s=22,
            color=ink.PALETTE[j % len(ink.PALETTE)],
            marker=ink.MARKERS[j % len(ink.MARKERS)],
            edgecolors=ink.PAPER,
            linewidths=0.6,
            label=words.short(name, 14),
            rasterized=len(points) > _MOST_SHARP,
        )


def _place(row: dict[str, Any]) -> dict[str, Any]:
    """Lay field[i][j] around the point (x[j], y[i])."""
    left, right, below, above = row["x"][0], row["x"][-1], row["y"][0], row["y"][-1]
    dx = (right - left) / (len(row["x"]) - 1) / 2
    dy = (above - below) / (len(row["y"]) - 1) / 2
    extent = (left - dx, right + dx, below - dy, above + dy)
    return {"extent": extent, "origin": "lower", "aspect": "auto", "interpolation": "none"}
