"""The verdict on a run, in words: what was trained, how well it does, what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from . import words
from .history import History, value

Tone = Literal["good", "bad", "unsure", "plain"]
TONES: dict[str, Tone] = {"done": "good", "diverged": "bad"}


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
    said = [_trained(history), _result(history), _ended(history), _best(history)]
    return [sentence for sentence in [*said, check_said(history)] if sentence]


def check_said(history: History) -> str:
    """Say that the derivatives are right, or unknown; one that is wrong is told in a notice."""
    check = history.last("check")
    if check is None:
        return "Its derivatives were not checked."
    return _right(check) if check["ok"] else ""


def _trained(history: History) -> str:
    network, data = history.last("network"), history.last("data")
    if network is None or data is None:
        return "Nothing was trained: the run stopped before its network and data were recorded."
    sizes = words.plural(data["train"], "example")
    if data["classes"]:
        sizes += f", {words.plural(len(data['classes']), 'class')}"
    rule = f"{network['rule']} on {network['loss']}"
    if network["penalty"] != "none":
        rule += f" and the penalty {network['penalty']}"
    return (
        f"A network of {words.plural(len(network['layers']), 'layer')} and "
        f"{words.plural(network['parameters'], 'parameter')} was trained on {data['name']} "
        f"({sizes}) for {trained_for(history)} with {rule}."
    )


def trained_for(history: History) -> str:
    """Say how far training came: in epochs, or in steps where it stopped inside the first."""
    rows = history.all("step") or history.evaluations
    epochs = len(history.timing)
    if epochs or not rows:
        return words.plural(epochs, "epoch")
    return words.plural(rows[-1]["step"], "step")


def _result(history: History) -> str:
    part, data = held_out(history), history.last("data")
    if part is None or data is None:
        return ""
    score, loss = score_of(history, part), words.number(value(history.final, part, "loss"))
    what = f"an accuracy of {score}" if history.metric == "accuracy" else f"R² = {score}"
    reaches = "it reaches"
    if history.status != "done":
        reaches = f"it reached, at its last evaluation after epoch {epoch_of(history.final)},"
    examples = words.plural(data[part], "example")
    said = f"On the {examples} of the {part} part {reaches} {what} (loss {loss})."
    return said + (" No part was held out: of new data this says nothing." * (part == "train"))


def _best(history: History) -> str:
    best = history.best
    if best is None:
        return ""
    if (history.last("end") or {}).get("keep") == "best":
        return ""
    low, end = best["validation"]["loss"], value(history.final, "validation", "loss")
    if end == low:
        return f"The validation loss was lowest at the end: {words.number(low)}."
    return (
        f"The validation loss was lowest, {words.number(low)}, after epoch {epoch_of(best)}; "
        f"at the end it is {words.number(end)}."
    )


_REASONS = {
    "epochs": "Training went on to its last epoch",
    "steps": "Training took all its steps",
    "patience": "Training stopped early, as its evaluations grew no better",
    "target": "Training stopped as soon as it was good enough",
    "stuck": "Training stopped where its method found no step that lowers the loss",
    "diverged": "Training diverged",
}


def _ended(history: History) -> str:
    """Why training ended, and with which weights, where that is not as planned or not the last."""
    end = history.last("end")
    if end is None or (end["reason"] in ("epochs", "diverged") and end["keep"] == "last"):
        return ""
    which = "last" if end["keep"] == "last" else "best"
    return f"{_REASONS[end['reason']]}; its weights are the {which} ones, of epoch {epoch_of(end)}."


def _right(check: dict[str, Any]) -> str:
    blocks = words.plural(len(check["blocks"]), "block")
    return (
        f"Every derivative that was checked is right: in {blocks} of parameters they agree "
        f"with central differences to {words.number(check['worst'])} (relative; threshold "
        f"{words.number(check['threshold'])})."
    )


def notices(history: History) -> list[Notice]:
    """List what went wrong: an end that was not the planned one, or a failed check."""
    found = []
    if history.result is None:
        found.append(_unfinished(history))
    elif history.status != "done":
        message = history.result["message"] or "training stopped before its planned end"
        found.append(Notice(history.status.capitalize(), f"{message[0].upper()}{message[1:]}."))
    check = history.last("check")
    if check and not check["ok"]:
        found.append(_wrong(check))
    if check and check.get("notes"):  # older runs have none
        found.append(Notice("Units that stay equal", _sentences(check["notes"])))
    return found


def _sentences(notes: list[str]) -> str:
    return " ".join(f"{note[0].upper()}{note[1:]}." for note in notes)


def _unfinished(history: History) -> Notice:
    rows = history.all("step") or history.evaluations
    unit = "step" if history.peers is None else "round"
    last = f"its last row is of {unit} {words.count(rows[-1][unit])}" if rows else "it has no rows"
    return Notice(
        "Unfinished",
        f"The run has no result.json: it was stopped, or is still going; {last}. "
        f"If it was stopped, `pullback resume` goes on with it.",
    )


def _wrong(check: dict[str, Any]) -> Notice:
    wrong = sum(not block["ok"] for block in check["blocks"])
    return Notice(
        "Gradient check failed",
        f"{wrong} of {words.plural(len(check['blocks']), 'block')} of parameters disagree with "
        f"central differences, the worst by {words.number(check['worst'])} (relative; threshold "
        f"{words.number(check['threshold'])}). Do not trust what was trained with them.",
    )


def held_out(history: History) -> str | None:
    """Name the part whose result counts: test, else validation, else train."""
    final = history.final or {}
    return next((part for part in ("test", "validation", "train") if final.get(part)), None)


def score_of(history: History, part: str) -> str:
    """Say the last accuracy, or R², of a part."""
    found = value(history.final, part, history.metric)
    return words.percent(found) if history.metric == "accuracy" else words.number(found)


def epoch_of(evaluation: dict[str, Any] | None) -> str:
    """Say the epoch of an evaluation."""
    return words.number(evaluation["epoch"] if evaluation else None)


def cards(history: History) -> list[Card]:
    """Sum the run up in numbers."""
    found, part = [], held_out(history)
    if part:
        name = "accuracy" if history.metric == "accuracy" else "R²"
        note = f"loss {words.number(value(history.final, part, 'loss'))}"
        found.append(Card(f"{part.capitalize()} {name}", score_of(history, part), note))
    if history.best:
        loss = words.number(history.best["validation"]["loss"])
        found.append(Card("Best validation loss", loss, f"epoch {epoch_of(history.best)}"))
    found.append(check_card(history.last("check")))
    network = history.last("network")
    if network:
        note = f"{words.plural(len(network['layers']), 'layer')}, {words.memory(network['bytes'])}"
        found.append(Card("Parameters", words.count(network["parameters"]), note))
    if history.timing:
        found.append(_time_card(history))
    tone = TONES.get(history.status, "unsure")
    found.append(Card("Status", history.status.capitalize(), trained_for(history), tone))
    return found


def check_card(check: dict[str, Any] | None) -> Card:
    """Say whether the derivatives were right; not to know is not to be right."""
    if check is None:
        return Card("Gradient check", "Not run", "nothing is known", "unsure")
    note = f"worst {words.number(check['worst'])}"
    if check["ok"]:
        return Card("Gradient check", "Passed", note, "good")
    return Card("Gradient check", "Failed", note, "bad")


def _time_card(history: History) -> Card:
    """Tell the time of all epochs, and the median rate: the first epoch compiles."""
    rates = sorted(row["examples_per_second"] for row in history.timing)
    rate = words.count(round(rates[len(rates) // 2]))
    return Card("Training time", words.duration(history.seconds), f"{rate} examples/s")
