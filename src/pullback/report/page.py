"""One HTML page: every figure inside, no script, no request, and no word of a user's as markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import write_bytes, write_text, writing
from . import figures, peers, words
from .comparison import differences, flat
from .figures import Absent, Figure
from .history import History, distinct_names, value
from .seeds import Group, grouped
from .verdict import (
    Card,
    Notice,
    cards,
    check_card,
    epoch_of,
    held_out,
    notices,
    score_of,
    verdict,
)

_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)

_SECTIONS: tuple[tuple[str, str, tuple[Callable[[History], Figure | Absent], ...]], ...] = (
    ("network", "Network", (figures.network, figures.augmented)),
    (
        "learning",
        "Learning",
        (figures.loss_curves, figures.metric_curves, figures.step_loss, figures.output_loss),
    ),
    ("outcomes", "Outcomes", (figures.confusion, figures.boundary, figures.most_wrong)),
    ("inside", "Inside", (figures.delta_flow, figures.update_ratio, figures.weight_ridges)),
    ("check", "Gradient check", (figures.check_scatter, figures.check_blocks)),
)


@dataclass(frozen=True)
class Section:
    """A part of the page: its figures, and one line for each that could not be drawn."""

    id: str
    title: str
    figures: list[Figure]
    absent: list[Absent]

    @property
    def placed(self) -> list[tuple[Figure, str]]:
        """The figures, each with its place: wide, half of a pair, or alone beside its caption."""
        places: list[tuple[Figure, str]] = []
        for is_wide, group in groupby(self.figures, key=lambda figure: figure.wide):
            drawn = list(group)
            places += [(figure, "wide" if is_wide else "half") for figure in drawn]
            if not is_wide and len(drawn) % 2:
                places[-1] = (drawn[-1], "alone")
        return places

    @classmethod
    def of(cls, id: str, title: str, drawn: Sequence[Figure | Absent]) -> Section:
        """Part what was drawn from what was not."""
        return cls(
            id,
            title,
            [figure for figure in drawn if isinstance(figure, Figure)],
            [figure for figure in drawn if isinstance(figure, Absent)],
        )


@dataclass(frozen=True)
class Summary:
    """What the page says of one run in words and numbers."""

    id: str
    name: str
    status: str
    sentences: list[str]
    notices: list[Notice]
    cards: list[Card]
    settings: str
    versions: list[tuple[str, str]]

    @classmethod
    def of(cls, history: History, id: str, name: str) -> Summary:
        """Sum up a run."""
        return cls(
            id,
            name,
            history.status,
            verdict(history) if history.peers is None else peers.verdict(history),
            notices(history),
            cards(history) if history.peers is None else peers.cards(history),
            history.settings,
            list(flat(history.meta)),
        )


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the report of a run, or the comparison of several, as one self-contained page.

    The report of one run also leaves each figure as a file in the folder `figures` of the run.

    Args:
        runs: folders of runs, finished or not.
        out: the page; an older one is replaced.

    Returns:
        `out`.

    Raises:
        ConfigError: no run was named.
        CheckpointError: a folder holds no run, or a file of it is broken.
        OutputError: the page or a figure cannot be written.
    """
    if not runs:
        raise ConfigError(
            "a report wants at least one run, got none", next="name the folder of a run"
        )
    histories = [History.read(Path(run)) for run in runs]
    if len(histories) == 1:
        page = _one(histories[0])
    else:
        page = _several(histories)
    write_text(out, page)
    return out


def _one(history: History) -> str:
    chosen, optional = (_SECTIONS, set()) if history.peers is None else peers.SHOWN
    sections = [
        Section.of(id, title, _without(optional, [draw(history) for draw in draws]))
        for id, title, draws in chosen
    ]
    sections = [each for each in sections if each.figures or each.absent]
    folder = history.folder.figures
    with writing(folder):
        folder.mkdir(exist_ok=True)
    for section in sections:
        for figure in section.figures:
            write_bytes(folder / f"{figure.id}.{figure.format}", figure.image)
    run = Summary.of(history, "run", history.name)
    return render("run.html", title=history.name, run=run, sections=sections)


def _without(optional: set[str], drawn: Sequence[Figure | Absent]) -> list[Figure | Absent]:
    """Leave out what could not be drawn and need not be."""
    return [each for each in drawn if isinstance(each, Figure) or each.id not in optional]


def _several(histories: Sequence[History]) -> str:
    names = distinct_names(histories)
    over_peers = any(history.peers for history in histories)
    row = _peers_row if over_peers else _row
    return render(
        "comparison.html",
        title=f"{words.plural(len(histories), 'run')} compared",
        rows=[row(name, history) for name, history in zip(names, histories, strict=True)],
        worded="w1 w2 w3" if over_peers else "w1 w2 w4 w9",
        groups=[_group_row(group) for group in grouped(histories) if len(group.runs) > 1],
        differences=differences(histories),
        names=names,
        section=Section.of("curves", "Curves", overlays(histories)),
        runs=[
            (
                Summary.of(history, f"run-{n}", name),
                Section.of(f"run-{n}-figures", "", [_curves(history)]),
            )
            for n, (name, history) in enumerate(zip(names, histories, strict=True), start=1)
        ],
    )


def overlays(histories: Sequence[History]) -> list[Figure | Absent]:
    """Draw the curves of several runs over each other; of runs over peers by what they cost too."""
    each = (figures.held_out_loss, figures.held_out_metric, figures.training_loss)
    # Where no part was held out, the held-out loss is the training loss: one figure, not two.
    drawn = {figure.id: figure for figure in (draw(histories) for draw in each)}
    if any(history.peers for history in histories):
        more = [figures.held_out_metric(histories, along) for along in peers.COSTS]
        drawn |= {figure.id: figure for figure in more}
    return list(drawn.values())


def _curves(history: History) -> Figure | Absent:
    """Draw what one of several runs is known by."""
    return figures.loss_curves(history) if history.peers is None else peers.worker_metric(history)


def _row(name: str, history: History) -> dict[str, str]:
    """Say a run in one line of the table of a comparison."""
    part, best = held_out(history), history.best
    network, check = history.last("network"), history.last("check")
    return {
        "run": name,
        "status": history.status,
        "parameters": words.count(network["parameters"]) if network else "–",
        "part": part or "–",
        "accuracy or R²": score_of(history, part) if part else "–",
        "loss": words.number(value(history.final, part, "loss")) if part else "–",
        "best validation loss": words.number(best["validation"]["loss"]) if best else "–",
        "at epoch": epoch_of(best),
        "gradient check": check_card(check).value.lower(),
        "training time": words.duration(history.seconds),
    }


def _peers_row(name: str, history: History) -> dict[str, str]:
    """Say a run in one line of a comparison with runs over peers: what it cost, not its best."""
    row, cost = _row(name, history), peers.costs(history)
    first = {key: row[key] for key in ("run", "status", "part", "accuracy or R²", "loss")}
    return first | cost | {key: row[key] for key in ("gradient check", "training time")}


def _group_row(group: Group) -> dict[str, str]:
    """Say runs that differ only in the seed in one line of the table of groups."""
    first = group.runs[0]
    part = held_out(first)
    row = {"runs": group.name, "part": part or "–"}
    if part is None:
        return row
    for key in ("loss", first.metric):
        found = group.final(part, key)
        row[key] = f"{words.number(found.mean)} ± {words.number(found.deviation)}"
        row[f"{key}, 95 % interval"] = f"{words.number(found.low)} to {words.number(found.high)}"
    return row


def render(template: str, beside: Path | None = None, **page: Any) -> str:
    """Fill a template of ours, or of `beside`; all pages are made here, under one policy."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    ours = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader([ours] if beside is None else [ours, beside]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ordinal": words.ordinal,
        "code": _code,
        "prose": _prose,
    }
    return environment.get_template(template).render(policy=_POLICY, **page)


def _prose(text: str) -> Any:
    """Paragraphs, which blank lines part, as markup; what stands in backquotes is set as code."""
    from markupsafe import Markup

    return Markup("\n").join(
        Markup("<p>{}</p>").format(_code(each)) for each in text.strip().split("\n\n")
    )


def _code(text: str) -> Any:
    """A text as markup, with what stands in backquotes set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", str(escape(text))))
