"""What the network makes of the data: confusion matrix, most wrong examples, decision boundary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from . import ink
from .figure import Absent, Figure, Sheet, Table, Tile, table
from .png import grey_png
from ..history import PARTS, History

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_MOST_WRITTEN = 12  # classes whose cells still have room for their numbers
_MOST_LISTED = 30  # classes whose counts still make a table to read
_SHEET_COLUMNS = 10
_MOST_BARS = 20


def _held_out(history: History, kind: str) -> dict[str, Any] | None:
    """Return the last row of a kind for the part that was trained on least: test, else validation."""
    rows = {row["part"]: row for row in history.all(kind)}
    return next((rows[part] for part in reversed(PARTS) if part in rows), None)


def confusion(history: History) -> Figure | Absent:
    """Draw how often each class was taken for each: counts, and per cent of the true class."""
    title = "Confusion matrix"
    row = _held_out(history, "confusion")
    if row is None:
        reason = "a regression has no classes" if history.metric == "r2" else "none was recorded"
        return Absent("confusion", title, reason)
    counts = np.array(row["counts"], dtype=int)
    k = len(counts)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [words.short(name, 14) for name in history.classes(k)]

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False)
        picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="none")
        bar = canvas.colorbar(picture, ax=axes, shrink=0.8, pad=0.02)
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
        kept = range(k) if k <= _MOST_LISTED else range(0, k, math.ceil(k / 20))
        upright = max(map(len, names)) <= 3
        axes.set_xticks(kept, [names[i] for i in kept], rotation=0 if upright else 45)
        if not upright:
            for label in axes.get_xticklabels():
                label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set_yticks(kept, [names[i] for i in kept])
        axes.set(xlabel="predicted", ylabel="true")
        if k <= _MOST_WRITTEN:
            for i, j in np.argwhere(counts):
                ground = ink.PAPER if share[i, j] > 0.5 else ink.INK
                place = {"ha": "center", "color": ground}
                axes.text(j, i, str(counts[i, j]), va="bottom", fontsize=8.5, **place)
                axes.text(j, i, f"{100 * share[i, j]:.0f} %", va="top", fontsize=6.5, **place)

    right, every = int(np.trace(counts)), int(counts.sum())
    wrong = counts - np.diag(np.diag(counts))
    i, j = np.unravel_index(int(wrong.argmax()), wrong.shape)
    often = (
        f"The most frequent mistake: {names[i]} taken for {names[j]}, {wrong[i, j]} times."
        if wrong.any()
        else "There is no mistake."
    )
    return Figure(
        id="confusion",
        title=title,
        caption=f"The {words.count(every)} examples of the {row['part']} part: a row for each true class, "
        "a column for each predicted one; counts, and per cent of the row. Empty cells are zero."
        if k <= _MOST_WRITTEN
        else f"The {words.count(every)} examples of the {row['part']} part: a row for each of {k} true "
        "classes, a column for each predicted one; the colour is the share of the row.",
        alt=f"{words.count(right)} of {words.count(every)} examples lie on the diagonal. {often}",
        image=ink.svg(paint, 5.4, min(4.9, 2.6 + 0.3 * k)),
        format="svg",
        table=_confusion_table(counts, share, history.classes(k)),
    )


def _confusion_table(counts: np.ndarray, share: np.ndarray, names: list[str]) -> Table:
    if len(names) <= _MOST_LISTED:
        rows = [
            [name, *(f"{n} ({words.percent(float(p))})" for n, p in zip(ns, ps, strict=True))]
            for name, ns, ps in zip(names, counts, share, strict=True)
        ]
        return table(["true \\ predicted", *names], rows)
    off = np.argwhere(counts * (1 - np.eye(len(names), dtype=int)))
    worst = sorted(off.tolist(), key=lambda cell: -counts[cell[0], cell[1]])
    return table(
        ["true", "predicted", "count", "share of the true class"],
        [
            [names[i], names[j], counts[i, j], words.percent(float(share[i, j]))]
            for i, j in worst[:200]
        ],
    )


def most_wrong(history: History) -> Figure | Absent:
    """Show the examples with the greatest loss: as pictures, or as bars where they are none."""
    title = "Most wrong examples"
    row = _held_out(history, "wrong")
    if row is None:
        return Absent("wrong", title, "none was recorded")
    examples = row["examples"]
    if not examples:
        return Absent("wrong", title, f"no example of the {row['part']} part was predicted wrongly")
    size = (history.last("data") or {}).get("image")
    if size and all(example.get("pixels") for example in examples):
        return _sheet(history, row["part"], examples, tuple(size[:2]))
    return _bars(history, row["part"], examples)


def _sheet(
    history: History, part: str, examples: list[dict[str, Any]], size: tuple[int, int]
) -> Figure:
    """Lay the pictures on one sheet, which the page scales and cuts."""
    columns = min(_SHEET_COLUMNS, len(examples))
    lines = math.ceil(len(examples) / columns)
    sheet = np.zeros((lines, columns, *size), np.uint8)
    tiles = []
    for n, example in enumerate(examples):
        i, j = divmod(n, columns)
        sheet[i, j] = np.clip(np.array(example["pixels"]), 0, 255).reshape(size)
        x, y = 100 * j / max(columns - 1, 1), 100 * i / max(lines - 1, 1)
        said = f"{_name(history, example['true'])} → {_name(history, example['predicted'])}"
        note = f"p {words.percent(example.get('probability'))}"
        tiles.append(Tile(round(x, 3), round(y, 3), said, note))
    return Figure(
        id="wrong",
        title="Most wrong examples",
        caption=f"The {words.plural(len(examples), 'example')} of the {part} part with the greatest loss "
        "among those predicted wrongly, worst first: true class → predicted class, and the probability "
        "p of the prediction.",
        alt=f"{words.plural(len(examples), 'picture')}; the worst is a {tiles[0].caption}.",
        image=grey_png(sheet.swapaxes(1, 2).reshape(lines * size[0], columns * size[1])),
        format="png",
        table=_wrong_table(history, examples),
        sheet=Sheet(columns, size[1] / size[0], tuple(tiles)),
    )


def _bars(history: History, part: str, examples: list[dict[str, Any]]) -> Figure:
    shown = examples[:_MOST_BARS]

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        loss = [e["loss"] if math.isfinite(e["loss"]) else 0 for e in shown]
        axes.barh(range(len(shown)), loss, height=0.7, color=ink.PALETTE[1])
        said = [f"{_name(history, e['true'])} → {_name(history, e['predicted'])}" for e in shown]
        axes.set_yticks(
            range(len(shown)), [f"{s}   #{e['index']}" for s, e in zip(said, shown, strict=True)]
        )
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("loss")

    worst = shown[0]
    return Figure(
        id="wrong",
        title="Most wrong examples",
        caption=f"The {words.plural(len(shown), 'example')} of the {part} part with the greatest loss: true → "
        "predicted, and the number of the example. The table adds their features.",
        alt=f"Bars of the loss; the worst is example {worst['index']}, {words.number(worst['loss'])}.",
        image=ink.svg(paint, 5.4, 1.0 + 0.24 * len(shown)),
        format="svg",
        table=_wrong_table(history, examples),
    )


def _wrong_table(history: History, examples: list[dict[str, Any]]) -> Table:
    features = (history.last("data") or {}).get("features") or []
    # A picture's pixels make no readable row.
    named = features if not examples[0].get("pixels") and examples[0].get("features") else []
    return table(
        ["example", "true", "predicted", "probability", "loss", *named],
        [
            [
                example["index"],
                _name(history, example["true"]),
                _name(history, example["predicted"]),
                words.percent(example.get("probability")),
                words.cell(example["loss"]),
                *(_cell(feature) for feature in (example["features"] if named else [])),
            ]
            for example in examples
        ],
    )


def _cell(feature: float | str | None) -> str:
    return words.short(feature) if isinstance(feature, str) else words.cell(feature)


def _name(history: History, target: float) -> str:
    """Name a class; a regression's target, or a class without a name, is its number."""
    names = (history.last("data") or {}).get("classes")
    if names and isinstance(target, int) and 0 <= target < len(names):
        return words.short(names[target], 14)
    return words.cell(target)


def boundary(history: History) -> Figure | Absent:
    """Draw what is predicted over the plane of two features, and the examples on it."""
    title = "Decision boundary"
    row = history.last("boundary")
    if row is None:
        features = (history.last("data") or {}).get("features")
        reason = f"the data have {len(features)} features" if features else "none was recorded"
        return Absent("boundary", title, f"it is drawn for two features and classes only; {reason}")
    k = row["classes"]
    names = history.classes(k)
    points = np.array(row["points"], dtype=float).reshape(-1, 3)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.grid(visible=False)
        _field(canvas, row, names)
        for j in range(k):
            mine = points[points[:, 2] == j]
            axes.scatter(
                mine[:, 0],
                mine[:, 1],
                s=22,
                color=ink.PALETTE[j % len(ink.PALETTE)],
                marker=ink.MARKERS[j % len(ink.MARKERS)],
                edgecolors=ink.PAPER,
                linewidths=0.6,
                label=words.short(names[j], 14),
                rasterized=len(points) > 400,
            )
        axes.set(xlabel=words.short(row["labels"][0]), ylabel=words.short(row["labels"][1]))
        axes.set(xlim=(row["x"][0], row["x"][-1]), ylim=(row["y"][0], row["y"][-1]))
        ink.legend(canvas, axes, columns=6)

    field = (
        "the predicted probability of the second class, with the line at ½"
        if k == 2
        else ("the predicted class")
    )
    return Figure(
        id="boundary",
        title=title,
        caption=f"Colour: {field}. Dots: {words.plural(len(points), 'example')}, with their true classes.",
        alt=f"The plane of {words.short(row['labels'][0])} and {words.short(row['labels'][1])}, coloured by "
        f"the prediction for {k} classes, with {words.plural(len(points), 'example')}.",
        image=ink.svg(paint, 5.4, 4.4),
        format="svg",
        table=table(
            [*map(str, row["labels"]), "true class"],
            [[words.cell(x), words.cell(y), names[int(j)]] for x, y, j in points.tolist()],
        ),
    )


def _field(canvas: Canvas, row: dict[str, Any], names: list[str]) -> None:
    """Colour the plane: field[i][j] belongs to (x[j], y[i])."""
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap, to_rgb

    axes = canvas.axes[0]
    field = np.array(row["field"], dtype=float)
    pale = [[1 - 0.45 * (1 - c) for c in to_rgb(colour)] for colour in ink.PALETTE]
    x, y = row["x"], row["y"]
    half_x, half_y = (x[-1] - x[0]) / (len(x) - 1) / 2, (y[-1] - y[0]) / (len(y) - 1) / 2
    where = (x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y)
    over = {"extent": where, "origin": "lower", "aspect": "auto", "interpolation": "none"}
    if row["classes"] == 2:
        shades = LinearSegmentedColormap.from_list("two", [pale[0], "white", pale[1]])
        picture = axes.imshow(field, cmap=shades, vmin=0, vmax=1, **over)
        if field.min() < 0.5 < field.max():
            axes.contour(x, y, field, levels=[0.5], colors=ink.INK, linewidths=1.4)
        bar = canvas.colorbar(picture, ax=axes, pad=0.02)
        bar.set_label(f"probability of {words.short(names[1], 14)}")
        bar.outline.set_visible(False)
        return
    shades = ListedColormap([pale[j % len(pale)] for j in range(row["classes"])])
    axes.imshow(field, cmap=shades, vmin=-0.5, vmax=row["classes"] - 0.5, **over)
    for j in range(1, row["classes"]):
        if field.min() < j - 0.5 < field.max():
            member = (field >= j).astype(float)
            axes.contour(x, y, member, levels=[0.5], colors=ink.INK, linewidths=1)
