"""The network drawn by layers: a column of boxes, an edge for each wire, skips as arcs beside it."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree as Xml

from .. import words
from . import ink
from .figure import Absent, Figure, table
from ..history import History

_WIDTH = 980
_LANE = 18  # between two arcs
_ARCS = 5  # lanes that are kept free at the left
_BOX = 230  # the widest box
_MIDDLE = _ARCS * _LANE + _BOX / 2 + 10
_TEXT = _MIDDLE + _BOX / 2 + 28
_COLUMNS = (("units", 740), ("parameters", 850), ("bytes", 960))
_HEADER = 34
_FILLS = {
    "map": ("#dcebf7", "#0072B2"),
    "weights": ("#cfe3f4", "#0072B2"),
    "end": ("#eef0f3", "#5b6472"),
}


def network(history: History) -> Figure | Absent:
    """Draw the network: widths of boxes by the logarithm of their units, wires as edges."""
    row = history.last("network")
    if row is None:
        return Absent("network", "Network", "the network was not recorded")
    layers = row["layers"]
    total = f"{words.plural(row['parameters'], 'parameter')}, {words.memory(row['bytes'])}"
    return Figure(
        id="network",
        title="Layers",
        caption="From the input down to the loss. A box is as wide as the logarithm of its units; "
        "arcs are wires that pass over layers. Bytes are those of the parameters; the table adds what "
        "each layer saves for its reverse pass.",
        alt=f"{words.plural(len(layers), 'layer')} with {total}: "
        + ", ".join(f"{words.short(layer['name'])} ({layer['map']})" for layer in layers)
        + ".",
        image=_draw(row),
        format="svg",
        wide=True,
        table=table(
            ["layer", "map", "reads", "shape", "parameters", "bytes", "bytes saved"],
            [
                [
                    layer["name"],
                    layer["text"],
                    ", ".join(layer["reads"]),
                    words.shape(layer["shape"]),
                    words.count(layer["parameters"]),
                    words.memory(layer["bytes"]),
                    words.memory(layer.get("saved_bytes")),
                ]
                for layer in layers
            ],
        ),
    )


def _draw(row: dict[str, Any]) -> bytes:
    layers = row["layers"]
    source = {
        "name": "x",
        "text": "input",
        "shape": row["input"],
        "reads": (),
        "parameters": 0,
        "bytes": 0,
    }
    boxes = [source, *layers]
    tall, gap = (34, 18) if len(layers) <= 16 else (24, 12)
    top = [_HEADER + i * (tall + gap) for i in range(len(boxes) + 1)]
    height = top[-1] + tall + 10
    widest = max(math.log2(1 + math.prod(box["shape"])) for box in boxes)
    span = [_span(box, widest) for box in boxes]
    straight, arcs = _wires(boxes)
    lanes = _lanes(arcs)
    left = (_ARCS - max(lanes, default=-1) - 1) * _LANE
    root = Xml.Element("svg", xmlns="http://www.w3.org/2000/svg")
    root.set("viewBox", f"{left} 0 {_WIDTH - left} {height}")
    root.set("width", str(_WIDTH - left))
    root.set("height", str(height))
    root.set("font-family", ink.FACES)
    Xml.SubElement(root, "rect", x=str(left), width="100%", height="100%", fill=ink.PAPER)
    _arrow(root)
    for title, right in _COLUMNS:
        _say(root, title, right, 16, fill=ink.QUIET, anchor="end", size=11.5)
    for j, i in [*straight, (len(layers), len(boxes))]:
        _edge(root, f"M {_MIDDLE} {top[j] + tall} L {_MIDDLE} {top[i] - 1}")
    for (j, i), lane in zip(arcs, lanes, strict=True):
        starts, ends = _MIDDLE - span[j] / 2, _MIDDLE - span[i] / 2 - 1
        far = _MIDDLE - _BOX / 2 - (lane + 1) * _LANE
        _edge(root, _arc(starts, ends, far, top[j] + 0.7 * tall, top[i] + 0.3 * tall))
    for box, y, wide in zip(boxes, top, span, strict=False):
        _box(root, box, y, tall, wide)
    loss = {"name": "loss", "text": row["loss"], "shape": None}
    total = {"parameters": row["parameters"], "bytes": row["bytes"]}
    _box(root, loss | total, top[-1], tall, span[-1])
    return Xml.tostring(root)


def _box(root: Xml.Element, box: dict[str, Any], y: float, tall: float, span: float) -> None:
    """Draw one box and its line of the table; the loss at the end bears the totals."""
    is_layer = box["name"] != "x" and box["shape"] is not None
    fill, edge = _FILLS["weights" if box["parameters"] else "map"] if is_layer else _FILLS["end"]
    style = {
        "stroke-width": "1.6" if is_layer and box["parameters"] else "1",
        "stroke": edge,
        "fill": fill,
    }
    place = {"x": f"{_MIDDLE - span / 2:.1f}", "y": f"{y:.1f}", "rx": "6"}
    Xml.SubElement(root, "rect", style | place, width=f"{span:.1f}", height=f"{tall:.1f}")
    base, weight = y + tall / 2 + 4.5, "400" if is_layer else "600"
    _say(root, words.short(box["name"], 16), _MIDDLE, base, anchor="middle", weight="600", size=13)
    _say(root, words.short(box["text"], 44), _TEXT, base)
    cells = (
        "total" if box["shape"] is None else words.shape(box["shape"]),
        words.count(box["parameters"]) if box["parameters"] else "",
        words.memory(box["bytes"]) if box["bytes"] else "",
    )
    for (_, right), cell in zip(_COLUMNS, cells, strict=True):
        _say(root, cell, right, base, anchor="end", weight=weight if cells[0] == "total" else "400")


def _span(box: dict[str, Any], widest: float) -> float:
    """Return the width of a box; the narrowest still holds a name."""
    narrowest = 92
    return narrowest + (_BOX - narrowest) * math.log2(1 + math.prod(box["shape"])) / max(widest, 1)


def _wires(boxes: list[dict[str, Any]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Part the wires into those from a box to the next one, and those that pass over some."""
    place = {box["name"]: i for i, box in enumerate(boxes)}
    # A map may read one wire twice: it is drawn once.
    wires = [
        (place[read], i) for i, box in enumerate(boxes) for read in dict.fromkeys(box["reads"])
    ]
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
        f"M {starts:.1f} {y0:.1f} H {far + bend:.1f} Q {far:.1f} {y0:.1f} {far:.1f} {y0 + bend:.1f} "
        f"V {y1 - bend:.1f} Q {far:.1f} {y1:.1f} {far + bend:.1f} {y1:.1f} H {ends:.1f}"
    )


def _edge(root: Xml.Element, path: str) -> None:
    style = {
        "stroke-width": "1.5",
        "stroke": ink.QUIET,
        "fill": "none",
        "marker-end": "url(#arrow)",
    }
    Xml.SubElement(root, "path", style, d=path)


def _arrow(root: Xml.Element) -> None:
    marker = Xml.SubElement(
        Xml.SubElement(root, "defs"),
        "marker",
        id="arrow",
        viewBox="0 0 8 8",
        refX="7",
        refY="4",
        markerWidth="6",
        markerHeight="6",
        orient="auto",
    )
    Xml.SubElement(marker, "path", d="M 0 0.5 L 8 4 L 0 7.5 z", fill=ink.QUIET)


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
