"""What went wrong in a run over peers: as planned, and in fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import words
from ..history import History
from . import ink
from .curves import WIDTH
from .figure import Absent, Figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def faults(history: History) -> Figure | Absent:
    """Draw who was down when, as planned, and what went wrong in fact."""
    title, row, real = "What went wrong", history.last("peers"), history.all("fault")
    if row is None:
        return Absent("faults", title, "no network was recorded")
    plan, n = row["faults"], row["workers"]
    last = max([r["round"] for r in history.all("round")], default=0)
    gone = _planned(plan, last)
    if not (real or gone or plan["loss"] or plan["slow"]):
        return Absent("faults", title, "nothing went wrong, and nothing was planned to")

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for k, (worker, first, stop) in enumerate(gone):
            label = "down, as planned" if k == 0 else None
            style = {"color": ink.PALETTE[4], "alpha": 0.8, "label": label}
            axes.barh(worker, stop - first + 1, 0.6, left=first - 0.5, **style)
        for k, what in enumerate(dict.fromkeys(each["what"] for each in real)):
            some = [each for each in real if each["what"] == what]
            axes.plot(
                [each["round"] for each in some],
                [_whose(each) for each in some],
                ink.MARKERS[k % len(ink.MARKERS)],
                color=ink.ALARM if what == "dead" else ink.nth(k)["color"],
                label=f"{words.short(what, 16)} in fact",
            )
        axes.set(xlabel="round", ylabel="worker", ylim=(n - 0.4, -0.6), xlim=(0.4, last + 0.6))
        ink.whole_ticks(axes.xaxis)
        ink.whole_ticks(axes.yaxis)
        if gone or real:
            ink.legend(canvas, axes)

    lost = [["all", f"messages lost: {plan['loss']:.3g} of them", 1, last]] if plan["loss"] else []
    told = _told(plan, gone, real)
    return Figure(
        id="faults",
        title=title,
        caption=f"Rounds in which a worker was down, and faults that were met. {told}",
        alt=f"A line for each of {words.plural(n, 'worker')} over {words.plural(last, 'round')}. "
        f"{told}",
        image=ink.svg(paint, WIDTH, min(5.0, 1.6 + 0.22 * n)),
        format="svg",
        table=table(
            ["worker", "what", "from round", "to round"],
            [
                *([worker, "down, as planned", first, stop] for worker, first, stop in gone),
                *([worker, f"slow: {factor:g} times", 1, last] for worker, factor in plan["slow"]),
                *([_whose(e), f"{e['what']} in fact", e["round"], "–"] for e in real),
                *lost,
            ],
        ),
    )


def _planned(plan: Mapping[str, Any], last: int) -> list[tuple[int, int, int]]:
    """Who is down as planned: the worker, its first round so, counted from 1, and the last."""
    gone = [(worker, 0, joined) for worker, joined in plan["late"]]
    for crash in plan["crashes"]:
        worker, first, *end = crash
        gone.append((worker, first, end[0] if end and end[0] is not None else last))
    return [
        (worker, first + 1, min(stop, last)) for worker, first, stop in sorted(gone) if first < last
    ]


def _whose(fault: Mapping[str, Any]) -> int:
    """The worker of a fault; of a message, who did not get it."""
    return fault["worker"] if "worker" in fault else fault["dst"]


def _told(plan: Mapping[str, Any], gone: Sequence[tuple[int, int, int]], real: Sequence) -> str:
    """Count what was planned and what happened.

    >>> plan = {"loss": 0.1, "slow": [[1, 3.0]]}
    >>> _told(plan, [(2, 5, 7)], []).replace(words.THIN, " ")
    'Planned: 10.0 % of all messages lost, 1 worker down (3 rounds in all), 1 worker slow.'
    """
    said = []
    if plan["loss"]:
        said.append(f"{words.percent(plan['loss'])} of all messages lost")
    if gone:
        rounds = words.plural(sum(stop - first + 1 for _, first, stop in gone), "round")
        workers = words.plural(len({worker for worker, *_ in gone}), "worker")
        said.append(f"{workers} down ({rounds} in all)")
    if plan["slow"]:
        said.append(f"{words.plural(len(plan['slow']), 'worker')} slow")
    planned = f"Planned: {', '.join(said)}." if said else "Nothing was planned."
    return planned + (f" Met in fact: {words.plural(len(real), 'fault')}." if real else "")
