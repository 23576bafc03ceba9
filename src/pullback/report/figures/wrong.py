"""The most wrong examples: as pictures where they are pictures, else as bars of their loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from ..history import History
from . import ink
from .figure import Absent, Figure, Sheet, Table, Tile, table
from .png import grey_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_ID, _TITLE = "wrong", "Most wrong examples"
_COLUMNS = 10  # of the sheet as a file; the page lays the pictures out anew
_MOST_BARS = 20


def most_wrong(history: History) -> Figure | Absent:
    """Show the examples whose true class got the least probability or score, the worst first."""
    row = history.judged("wrong")
    if row is None or not row["examples"]:
        none = history.last("confusion") is not None
        reason = "no example was predicted wrongly" if none else "they were not recorded"
        return Absent(_ID, _TITLE, reason)
    examples, size = row["examples"], (history.last("data") or {}).get("image")
    if size and all(example["pixels"] for example in examples):
        return _sheet(history, row["part"], examples, size)
    return _bars(history, row["part"], examples)


def _sheet(history: History, part: str, examples: list[dict[str, Any]], size: list[int]) -> Figure:
    """Lay the pictures on one sheet, pixel by pixel; the page scales and cuts it."""
    height, width = size
    columns = min(_COLUMNS, len(examples))
    lines = math.ceil(len(examples) / columns)
    sheet = np.zeros((lines, columns, height, width), np.uint8)
    tiles = []
    for n, example in enumerate(examples):
        i, j = divmod(n, columns)
        sheet[i, j] = np.reshape(example["pixels"], (height, width))
        # CSS counts from 0 % for the first picture to 100 % for the last one.
        x, y = 100 * j / max(columns - 1, 1), 100 * i / max(lines - 1, 1)
        note = f"{history.predicts[0]} {_given(history, example)}"
        tiles.append(Tile(round(x, 3), round(y, 3), _pair(history, example), note))
    return Figure(
        id=_ID,
        title=_TITLE,
        caption=f"{words.plural(len(examples), 'example')} of the {part} part, the worst first: "
        f"true class → predicted class, and the {history.predicts} {history.predicts[0]} that the "
        "true class got.",
        alt=f"{words.plural(len(examples), 'picture')}; the worst is {tiles[0].caption}.",
        image=grey_png(sheet.swapaxes(1, 2).reshape(lines * height, columns * width)),
        format="png",
        table=_table(history, examples),
        sheet=Sheet(columns, width / height, tuple(tiles)),
    )


def _bars(history: History, part: str, examples: list[dict[str, Any]]) -> Figure:
    shown = examples[:_MOST_BARS]

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        finite = [e["loss"] if math.isfinite(e["loss"]) else 0 for e in shown]
        axes.barh(range(len(shown)), finite, height=0.7, color=ink.PALETTE[1])
        said = [f"{_pair(history, example)}   #{example['index']}" for example in shown]
        axes.set_yticks(range(len(shown)), said)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("loss")

    worst = f"example {shown[0]['index']}, {words.number(shown[0]['loss'])}"
    return Figure(
        id=_ID,
        title=_TITLE,
        caption=f"The loss of {words.plural(len(shown), 'example')} of the {part} part, the worst "
        "first: the true class → the predicted one, and the number of the example. The table adds "
        "their features.",
        alt=f"{words.plural(len(shown), 'bar')} of the loss; the worst is {worst}.",
        image=ink.svg(paint, 5.4, 1.0 + 0.24 * len(shown)),
        format="svg",
        table=_table(history, examples),
    )


def _given(history: History, example: dict[str, Any]) -> str:
    """Say the probability, or the score, that the true class got."""
    given = example["probability"]
    return words.percent(given) if history.predicts == "probability" else words.number(given)


def _pair(history: History, example: dict[str, Any]) -> str:
    true, predicted = (
        words.short(history.target(example[key]), 14) for key in ("true", "predicted")
    )
    return f"{true} → {predicted}"


def _table(history: History, examples: list[dict[str, Any]]) -> Table:
    """Write what is known of each example; its features, if it is no picture."""
    known = len(examples[0]["features"] or [])  # of many features only the first are recorded
    names = (history.last("data") or {}).get("features") or [f"x{n + 1}" for n in range(known)]
    return table(
        ["example", "true", "predicted", f"{history.predicts} of true", "loss", *names[:known]],
        [
            [
                example["index"],
                history.target(example["true"]),
                history.target(example["predicted"]),
                _given(history, example),
                words.cell(example["loss"]),
                *(words.cell(feature) for feature in example["features"] or []),
            ]
            for example in examples
        ],
    )
