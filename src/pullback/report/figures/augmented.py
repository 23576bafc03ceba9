"""Training examples as they are, and as training sees them."""

from __future__ import annotations

import numpy as np

from .. import words
from ..history import History
from .figure import Absent, Figure, table
from .png import grey_png

_ID, _TITLE = "augmented", "Augmented examples"
_WIDTH, _GAP, _PAPER = 56, 4, 255


def augmented(history: History) -> Figure | Absent:
    """Show some examples in the first line, and beneath each what augmentation makes of it."""
    row = history.last("augmented")
    if row is None:
        return Absent(_ID, _TITLE, "no augmentation of pictures was asked for")
    height, width = row["image"]
    pictures = np.reshape(row["pixels"], (*np.shape(row["pixels"])[:2], height, width))
    drawn, count = len(pictures) - 1, pictures.shape[1]
    classes = ["–" if label is None else history.target(label) for label in row["labels"]]
    return Figure(
        id=_ID,
        title=_TITLE,
        caption=f"{words.plural(count, 'example')} of the training part in the first line, and "
        f"beneath each {drawn} of the changes that a step may see in its place.",
        alt=f"{words.plural(count, 'picture')}, each with {drawn} changed ones beneath.",
        image=grey_png(_sheet(pictures.astype(np.uint8))),
        format="png",
        table=table(["example", "class"], list(zip(row["examples"], classes, strict=True))),
    )


def _sheet(pictures: np.ndarray) -> np.ndarray:
    """Lay out pictures (lines, columns, height, width), enlarged; the first line stands apart."""
    zoom = max(1, _WIDTH // pictures.shape[3])
    large = pictures.repeat(zoom, axis=2).repeat(zoom, axis=3)
    framed = np.pad(large, ((0, 0), (0, 0), (0, _GAP), (0, _GAP)), constant_values=_PAPER)
    lines = [np.concatenate(list(line), axis=1) for line in framed]
    apart = np.full((_GAP, lines[0].shape[1]), _PAPER, np.uint8)
    return np.concatenate([lines[0], apart, *lines[1:]])[:-_GAP, :-_GAP]
