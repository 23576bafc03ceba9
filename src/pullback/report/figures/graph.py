"""A network of workers: who sends to whom, how much, and who has which share of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from ..history import History
from . import ink
from .figure import Absent, Figure, table
from .layout import positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Workers that are still labelled in the picture.
_LABELLED = 64
_THIN, _THICK = 0.8, 6.0


def planned_graph(row: Mapping[str, Any], partition: Mapping[str, Any] | None = None) -> Figure:
    """Draw the network before training, its links as wide as the bytes of a round."""
    return _graph(
        row,
        row["sends"],
        partition,
        title="Who sends to whom",
        what="in a round" + (", on average" if row["drawn"] or row["survey"]["period"] > 1 else ""),
    )


def traffic_graph(history: History) -> Figure | Absent:
    """Draw the network, its links as wide as the bytes that were really sent over them."""
    row, sent = history.last("peers"), history.last("traffic")
    title = "What was sent over each link"
    if row is None or sent is None:
        return Absent("graph", title, "what was sent is written down at the end of training")
    dealt = history.last("partition")
    return _graph(row, sent["links"], dealt, title=title, what="in the whole of training")


def _graph(
    row: Mapping[str, Any],
    sends: Sequence[Sequence[float]],
    partition: Mapping[str, Any] | None,
    title: str,
    what: str,
) -> Figure:
    n, hubs, shares, area = row["workers"], row["hubs"], row["survey"]["data_weights"], "weight"
    if partition is not None:
        whole, area = max(partition["examples"], 1), "share of the data"
        shares = [each["examples"] / whole for each in partition["workers"]]
    planned = {(int(src), int(dst)): (0.0, 0.0) for src, dst in row["links"]}
    sent = planned | {(int(src), int(dst)): (count, size) for src, dst, count, size in sends}
    most = max((size for _, size in sent.values()), default=0.0)
    place = positions(n, [list(ends) for ends in planned], hubs, row["topology"])

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.set_axis_off()
        axes.set_aspect("equal")
        _draw_links(axes, place, sent, n)
        _draw_workers(axes, place, hubs, shares)
        _draw_legend(canvas, axes, hubs, shares, most)
        height = float(np.ptp(place[:, 1]))
        axes.set_xlim(-1.22, 1.22)
        axes.set_ylim(-height / 2 - 0.22, height / 2 + 0.22)

    total, unit = sum(size for _, size in sent.values()), words.memory(round(most))
    hub_names = [str(i) for i in range(n) if hubs[i]]
    listed = f" Hubs: {_some(hub_names)}." if hub_names else ""
    flat = float(np.ptp(place[:, 1])) < 0.5
    return Figure(
        id="graph",
        title=title,
        caption=f"Workers with their numbers; an area is as large as the worker's {area}. "
        f"A line is as wide as the bytes sent over it {what}, both ways together; an arrow "
        f"goes one way.{listed}",
        alt=f"A network of {words.plural(n, 'worker')} and "
        f"{words.plural(len({frozenset(ends) for ends in planned}), 'link')}; {what} "
        f"{words.memory(round(total))} are sent, at most {unit} over one link one way.{listed}",
        image=ink.svg(paint, 5.4, 2.6 if flat else 4.9),
        format="svg",
        table=table(
            ["from", "to", "messages", "bytes"],
            [
                [src, dst, words.cell(count, 9), words.cell(size, 12)]
                for (src, dst), (count, size) in sorted(sent.items())
            ],
        ),
    )


def _some(names: Sequence[str], most: int = 12) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _draw_links(axes: Axes, place: np.ndarray, sent: Mapping, n: int) -> None:
    """Draw each link once; one that passes a worker on its way bends around it."""
    from matplotlib.patches import FancyArrowPatch

    pairs: dict[tuple[int, int], float] = {}
    for (src, dst), (_, size) in sent.items():
        ends = (min(src, dst), max(src, dst))
        pairs[ends] = pairs.get(ends, 0.0) + size
    most = max(pairs.values(), default=0.0) or 1.0
    for (a, b), size in pairs.items():
        ways = [ends for ends in ((a, b), (b, a)) if ends in sent]
        src, dst = ways[0]
        one_way = len(ways) == 1
        width = _THIN + (_THICK - _THIN) * size / most
        axes.add_patch(
            FancyArrowPatch(
                tuple(place[src]),
                tuple(place[dst]),
                arrowstyle="-|>" if one_way else "-",
                mutation_scale=7 + width,
                connectionstyle=f"arc3,rad={0.12 if _crosses(place, src, dst) else 0}",
                shrinkA=0,
                shrinkB=11 if one_way and n <= _LABELLED else 3 if one_way else 0,
                linewidth=min(width, 1.2 + 60 / len(pairs)),
                color="#9aa5b4",
                zorder=1,
            )
        )


def _crosses(place: np.ndarray, a: int, b: int) -> bool:
    """Whether a straight line between two workers passes over a third."""
    along = place[b] - place[a]
    length = float(along @ along)
    others = np.delete(place, [a, b], axis=0) - place[a]
    at = others @ along / max(length, 1e-12)
    off = np.abs(others[:, 0] * along[1] - others[:, 1] * along[0]) / max(length, 1e-12) ** 0.5
    return bool(((at > 0.02) & (at < 0.98) & (off < 0.03)).any())


def _areas(shares: Sequence[float]) -> np.ndarray:
    """The areas of the workers: in proportion to their shares, and no smaller than a number."""
    n = len(shares)
    mean = min(420.0, 7000 / n) if n <= _LABELLED else max(3.0, (600 / n) ** 2)
    return np.clip(mean * n * np.array(shares), 0.35 * mean, 4 * mean)


def _draw_workers(
    axes: Axes, place: np.ndarray, hubs: Sequence[bool], shares: Sequence[float]
) -> None:
    areas = _areas(shares)
    for kind, marker, colour in ((False, "o", ink.PALETTE[0]), (True, "s", ink.PALETTE[1])):
        chosen = np.array([bool(hub) == kind for hub in hubs])
        data = np.array(shares) > 0
        if not chosen.any():
            continue
        faces = [colour if has else ink.PAPER for has in data[chosen]]
        axes.scatter(
            *place[chosen].T,
            s=areas[chosen],
            marker=marker,
            c=faces,
            edgecolors=colour,
            linewidths=1.5,
            zorder=2,
        )
    if len(hubs) <= _LABELLED:
        for i, (x, y) in enumerate(place.tolist()):
            colour = ink.PAPER if shares[i] > 0 else ink.INK
            size = 9 if len(hubs) <= 24 else 6.5
            axes.text(
                x, y, str(i), ha="center", va="center_baseline", color=colour, size=size, zorder=3
            )


def _draw_legend(
    canvas: Canvas, axes: Axes, hubs: Sequence[bool], shares: Sequence[float], most: float
) -> None:
    """Explain marks and widths above the picture."""
    style: dict[str, Any] = {"linestyle": "", "markersize": 9, "markeredgewidth": 1.5}
    empty = [hub for hub, share in zip(hubs, shares, strict=True) if hub and share == 0]
    kinds = [("o", 0, True, "worker")] if not all(hubs) else []
    kinds += [("s", 1, True, "hub")] if sum(hubs) > len(empty) else []
    kinds += [("s", 1, False, "hub without data")] if empty else []
    for marker, colour, filled, label in kinds:
        edge = ink.PALETTE[colour]
        face = edge if filled else ink.PAPER
        axes.plot([], [], marker, mfc=face, mec=edge, label=label, **style)
    if most > 0:
        label = f"at most {words.memory(round(most))} each way"
        axes.plot([], [], color="#9aa5b4", linewidth=_THICK, label=label)
    ink.legend(canvas, axes, columns=4)
