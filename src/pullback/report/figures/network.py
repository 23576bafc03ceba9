"""The network drawn by layers: a column of boxes, an edge for each wire, skips as arcs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree as Xml

from .. import words
from ..history import History
from . import ink
from .figure import Absent, Figure, table

# Pixels of the drawing. Boxes are centred on x = 0; arcs lie left of them, the table at the right.
_WIDEST, _NARROWEST = 230, 92
_LANE = 18
_TEXT = 143
_COLUMNS = (("units", 525), ("parameters", 635), ("bytes", 745))
_RIGHT = 765
_HEADER = 34
_FILLS = {
    "end": ("#eef0f3", ink.QUIET, "1"),
    "map": ("#dcebf7", ink.PALETTE[0], "1"),
    "weights": ("#cfe3f4", ink.PALETTE[0], "1.6"),
}


@dataclass(frozen=True)
class _Box:
    """A layer, the input or the loss; `cells` are its line in the columns of the table."""

    name: str
    text: str
    kind: Literal["end", "map", "weights"]
    reads: tuple[str, ...]
    units: int
    cells: tuple[str, str, str]


def network(history: History) -> Figure | Absent:
    """Draw the network: widths of boxes by the logarithm of their units, wires as edges."""
    row = history.last("network")
    if row is None:
        return Absent("network", "Layers", "the network was not recorded")
    layers = row["layers"]
    total = f"{words.plural(row['parameters'], 'parameter')}, {words.memory(row['bytes'])}"
    named = ", ".join(f"{words.short(layer['name'])} ({layer['map']})" for layer in layers)
    return Figure(
        id="network",
        title="Layers",
        caption="From the input down to the loss. A box is as wide as the logarithm of its units; "
        "arcs are wires that pass over layers. Bytes are those of the parameters; the table adds "
        "what each layer saves of one example for its reverse pass.",
        alt=f"{words.plural(len(layers), 'layer')} with {total}: {named}.",
        image=_draw([_input(row), *map(_layer, layers), _loss(row)]),
        format="svg",
        table=table(
            ["layer", "map", "reads", "shape", "parameters", "bytes", "bytes saved"],
            [
                [
                    layer["name"],
                    _text(layer),
                    ", ".join(layer["reads"]),
                    words.shape(layer["shape"]),
                    words.count(layer["parameters"]),
                    words.memory(layer["bytes"]),
                    words.memory(layer["saved_bytes"]),
                ]
                for layer in layers
            ],
        ),
        wide=True,
    )


def _input(row: dict[str, Any]) -> _Box:
    shape = row["input"]
    return _Box("x", "input", "end", (), math.prod(shape), (words.shape(shape), "", ""))


def _layer(layer: dict[str, Any]) -> _Box:
    shape, held = words.shape(layer["shape"]), layer["parameters"]
    return _Box(
        layer["name"],
        _text(layer),
        "weights" if held else "map",
        # A map may read one wire twice: it is drawn once.
        tuple(dict.fromkeys(layer["reads"])),
        math.prod(layer["shape"]),
        (shape, words.count(held), words.memory(layer["bytes"])) if held else (shape, "", ""),
    )


def _text(layer: dict[str, Any]) -> str:
    """Say what a layer is, and whose parameters it has, if they are not its own."""
    owner = layer["owner"]
    return layer["text"] + (f", shared with {owner}" if owner != layer["name"] else "")


def _loss(row: dict[str, Any]) -> _Box:
    total = ("total", words.count(row["parameters"]), words.memory(row["bytes"]))
    return _Box("loss", row["loss"], "end", (row["layers"][-1]["name"],), 1, total)


def _draw(boxes: list[_Box]) -> bytes:
    tall, gap = (34, 18) if len(boxes) <= 18 else (24, 12)
    top = [_HEADER + i * (tall + gap) for i in range(len(boxes))]
    widest = max(math.log2(1 + box.units) for box in boxes)
    half = [_half_width(box, widest) for box in boxes]
    straight, arcs = _wires(boxes)
    lanes = _lanes(arcs)
    left = -_WIDEST / 2 - (max(lanes, default=0) + 2) * _LANE
    root = _canvas(left, top[-1] + tall + 10)
    for title, right in _COLUMNS:
        _say(root, title, right, 16, fill=ink.QUIET, anchor="end")
    for j, i in straight:
        _edge(root, f"M 0 {top[j] + tall} V {top[i] - 1}")
    for (j, i), lane in zip(arcs, lanes, strict=True):
        far = -_WIDEST / 2 - (lane + 1) * _LANE
        _edge(root, _arc(-half[j], -half[i] - 1, far, top[j] + 0.7 * tall, top[i] + 0.3 * tall))
    for box, y, wide in zip(boxes, top, half, strict=True):
        _draw_box(root, box, y, tall, wide)
    return Xml.tostring(root)


def _half_width(box: _Box, widest: float) -> float:
    """Return half the width of a box; the narrowest still holds a name."""
    share = math.log2(1 + box.units) / max(widest, 1)
    return (_NARROWEST + (_WIDEST - _NARROWEST) * share) / 2


def _draw_box(root: Xml.Element, box: _Box, y: float, tall: float, half: float) -> None:
    fill, edge, line = _FILLS[box.kind]
    place = {"x": f"{-half:.1f}", "y": str(y), "width": f"{2 * half:.1f}", "height": str(tall)}
    style = {"rx": "6", "fill": fill, "stroke": edge, "stroke-width": line}
    Xml.SubElement(root, "rect", place | style)
    base = y + tall / 2 + 4.5
    _say(root, words.short(box.name, 16), 0, base, anchor="middle", weight="600", size=13)
    _say(root, words.short(box.text, 48), _TEXT, base)
    weight = "600" if box.name == "loss" else "400"
    for (_, right), cell in zip(_COLUMNS, box.cells, strict=True):
        _say(root, cell, right, base, anchor="end", weight=weight)


def _wires(boxes: list[_Box]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Part the wires into those from a box to the next one, and those that pass over some."""
    place = {box.name: i for i, box in enumerate(boxes[:-1])}  # nothing reads the loss
    wires = [(place[read], i) for i, box in enumerate(boxes) for read in box.reads]
    return [w for w in wires if w[1] - w[0] == 1], [w for w in wires if w[1] - w[0] > 1]


def _lanes(arcs: list[tuple[int, int]]) -> list[int]:
    """Give each arc the innermost lane in which no other runs beside it; short arcs choose first.

    >>> _lanes([(0, 2), (2, 4), (1, 3), (0, 4)])
    [0, 0, 1, 2]
    """
    lane: dict[int, int] = {}
    for a in sorted(range(len(arcs)), key=lambda a: arcs[a][1] - arcs[a][0]):
        beside = {lane[b] for b in lane if arcs[b][0] < arcs[a][1] and arcs[a][0] < arcs[b][1]}
        lane[a] = next(n for n in range(len(arcs)) if n not in beside)
    return [lane[a] for a in range(len(arcs))]


def _arc(starts: float, ends: float, far: float, y0: float, y1: float) -> str:
    """Return a path out to the left, down, and back, with round corners."""
    bend = min(14, (y1 - y0) / 2)
    return (
        f"M {starts:.1f} {y0:.1f} H {far + bend:.1f} q {-bend:.1f} 0 {-bend:.1f} {bend:.1f} "
        f"V {y1 - bend:.1f} q 0 {bend:.1f} {bend:.1f} {bend:.1f} H {ends:.1f}"
    )


def _edge(root: Xml.Element, path: str) -> None:
    style = {
        "stroke-width": "1.5",
        "stroke": ink.QUIET,
        "fill": "none",
        "marker-end": "url(#arrow)",
    }
    Xml.SubElement(root, "path", style, d=path)


def _canvas(left: float, height: float) -> Xml.Element:
    """Begin a white drawing that knows an arrow's head."""
    size = {"width": str(_RIGHT - left), "height": str(height)}
    view = {"viewBox": f"{left} 0 {_RIGHT - left} {height}", "font-family": ink.FACES}
    root = Xml.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"} | size | view)
    Xml.SubElement(root, "rect", size | {"x": str(left), "fill": ink.PAPER})
    head = {"viewBox": "0 0 8 8", "refX": "7", "refY": "4", "orient": "auto"}
    marker = {"id": "arrow", "markerWidth": "6", "markerHeight": "6"} | head
    arrow = Xml.SubElement(Xml.SubElement(root, "defs"), "marker", marker)
    Xml.SubElement(arrow, "path", {"d": "M 0 0.5 L 8 4 L 0 7.5 z", "fill": ink.QUIET})
    return root


def _say(
    root: Xml.Element,
    text: str,
    x: float,
    y: float,
    *,
    fill: str = ink.INK,
    anchor: str = "start",
    size: float = 12,
    weight: str = "400",
) -> None:
    style = {"text-anchor": anchor, "font-size": str(size), "font-weight": weight, "fill": fill}
    Xml.SubElement(root, "text", style, x=f"{x:.1f}", y=f"{y:.1f}").text = text
