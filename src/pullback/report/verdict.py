"""The verdict on a run, in words: what was trained, how well it does, whether its derivatives are right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from . import words
from .history import History, value

Tone = Literal["good", "bad", "unsure", "plain"]


@dataclass(frozen=True)
class Card:
    """One number of the summary.

    Attributes:
        label: what it is.
        value: the number, said.
        note: a line beneath it.
        tone: good and bad are told by a sign and a word too, never by colour alone.
    """

    label: str
    value: str
    note: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Notice:
    """What a reader must know before believing a number of the page."""

    title: str
    text: str


def verdict(history: History) -> list[str]:
    """Say in a few sentences what was trained and what came of it."""
    said = [_trained(history), _result(history), _best(history)]
    check = history.last("check")
    if check is None or check["ok"]:  # one that failed is the matter of a notice
        said.append(_checked(history))
    return [sentence for sentence in said if sentence]


def _trained(history: History) -> str:
    network, data = history.last("network"), history.last("data")
    if network is None or data is None:
        return "Nothing was trained: the run stopped before its network and data were recorded."
    sizes = words.plural(data["train"], "example")
    kind = "" if not data["classes"] else f", {words.plural(len(data['classes']), 'class')}"
    return (
        f"A network of {words.plural(len(network['layers']), 'layer')} and "
        f"{words.plural(network['parameters'], 'parameter')} was trained on {data['name']} ({sizes}{kind}) "
        f"for {_epochs(history)} with {network['rule']} on {network['loss']}{_penalty(network)}."
    )


def _penalty(network: dict[str, Any]) -> str:
    return f" and the penalty {network['penalty']}" if network.get("penalty") else ""


def _epochs(history: History) -> str:
    """Say how far training came: full epochs, or steps where it stopped inside the first."""
    last = history.result or history.final
    if last is None:
        return "less than one evaluation"
    epochs = last["epochs"] if history.result else last["epoch"]
    if epochs:
        return (
            words.plural(int(epochs), "epoch") if epochs == int(epochs) else f"{epochs:.2f} epochs"
        )
    return words.plural(last["steps" if history.result else "step"], "step")


def _result(history: History) -> str:
    part = held_out(history)
    if part is None or history.final is None:
        return ""
    good = _said(history, value(history.final, part, history.metric))
    loss = words.number(value(history.final, part, "loss"))
    what = "an accuracy of " if history.metric == "accuracy" else "R² = "
    data = history.last("data")
    examples = (
        f"the {words.plural(data[part], 'example')} of the {part} part"
        if data
        else f"the {part} part"
    )
    warning = "; no part was held out, so this says nothing of new data" if part == "train" else ""
    return f"On {examples} it reaches {what}{good} (loss {loss}){warning}."


def _best(history: History) -> str:
    best, final = history.best, history.final
    if best is None or final is None:
        return ""
    low, end = best["validation"]["loss"], value(final, "validation", "loss")
    if end == low:
        return f"The validation loss was lowest at the end: {words.number(low)}."
    return (
        f"The validation loss was lowest, {words.number(low)}, after epoch "
        f"{words.number(best['epoch'])}; at the end it is {words.number(end)}."
    )


def _checked(history: History) -> str:
    check = history.last("check")
    if check is None:
        return "Its derivatives were not checked."
    blocks = words.plural(len(check["blocks"]), "block")
    if check["ok"]:
        return (
            f"Every derivative was right: in {blocks} of parameters the analytic values agree with central "
            f"differences to {words.number(check['worst'])} (relative; threshold "
            f"{words.number(check['threshold'])})."
        )
    wrong = sum(not block["ok"] for block in check["blocks"])
    return (
        f"Its derivatives are wrong: {wrong} of {blocks} of parameters disagree with central differences, "
        f"the worst by {words.number(check['worst'])} (relative; threshold {words.number(check['threshold'])})."
    )


def notices(history: History) -> list[Notice]:
    """List what went wrong: an end that was not the planned one, or a failed check."""
    result, found = history.result, []
    said = (result or {}).get("message")
    if result is None:
        last = history.all("step") or history.evaluations
        where = (
            f"its last row is of step {words.count(last[-1]['step'])}"
            if last
            else "it has no rows yet"
        )
        text = (
            f"There is no result.json: the run was stopped from outside, or still goes on; {where}."
        )
        found.append(Notice("Unfinished", text))
    elif history.status == "diverged":
        found.append(Notice("Diverged", said or "A value was not finite, and training stopped."))
    elif history.status == "interrupted":
        found.append(Notice("Interrupted", said or "Training was stopped before its planned end."))
    check = history.last("check")
    if check and not check["ok"]:
        found.append(Notice("Gradient check failed", _checked(history)))
    return found


def held_out(history: History) -> str | None:
    """Name the part whose result counts: test, else validation, else train."""
    final = history.final or {}
    return next((part for part in ("test", "validation", "train") if final.get(part)), None)


def _said(history: History, found: float) -> str:
    return words.percent(found) if history.metric == "accuracy" else words.number(found)


def cards(history: History) -> list[Card]:
    """The summary in numbers."""
    found = []
    part, final = held_out(history), history.final
    if part and final:
        name = "accuracy" if history.metric == "accuracy" else "R²"
        good = value(final, part, history.metric)
        note = f"loss {words.number(value(final, part, 'loss'))}"
        found.append(Card(f"{part.capitalize()} {name}", _said(history, good), note))
    if history.best:
        epoch = f"epoch {words.number(history.best['epoch'])}"
        loss = words.number(history.best["validation"]["loss"])
        found.append(Card("Best validation loss", loss, epoch))
    found.append(_check_card(history))
    network = history.last("network")
    if network:
        note = f"{words.plural(len(network['layers']), 'layer')}, {words.memory(network['bytes'])}"
        found.append(Card("Parameters", words.count(network["parameters"]), note))
    if history.timing:
        found.append(_time_card(history))
    found.append(_status_card(history))
    return found


def _check_card(history: History) -> Card:
    check = history.last("check")
    if check is None:
        return Card("Gradient check", "Not run", "`pullback check` does it", "unsure")
    note = f"worst {words.number(check['worst'])}"
    return Card(
        "Gradient check", *(("Passed", note, "good") if check["ok"] else ("Failed", note, "bad"))
    )


def _time_card(history: History) -> Card:
    """Tell the seconds of the epochs; the rate is the median, for the first epoch compiles."""
    rates = sorted(row["examples_per_second"] for row in history.timing)
    total = math.fsum(row["seconds"] for row in history.timing)
    seconds = (history.result or {}).get("seconds") or total
    rate = words.count(round(rates[len(rates) // 2]))
    return Card("Time", words.duration(seconds), f"{rate} examples per second")


def _status_card(history: History) -> Card:
    tone: Tone = {"done": "good", "diverged": "bad"}.get(history.status, "unsure")  # type: ignore
    return Card("Status", history.status.capitalize(), _epochs(history), tone)
