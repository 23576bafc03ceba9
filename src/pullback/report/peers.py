"""What the report says and draws of a run over peers, in the place of what it says of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import figures, words
from .comparison import spent
from .figures import Absent, Figure, dealt, faults, graph, peers, rounds
from .figures.peers import worker_metric as worker_metric
from .history import History, value
from .verdict import TONES, Card, check_card, check_said, held_out, score_of

_SECTIONS: tuple[tuple[str, str, tuple[Callable[[History], Figure | Absent], ...]], ...] = (
    ("learning", "Learning", (peers.common_metric, peers.worker_metric, peers.worker_loss)),
    ("agreement", "Agreement", (rounds.consensus_distance, rounds.health)),
    (
        "peers",
        "Workers",
        (graph.traffic_graph, rounds.round_cost, dealt.labels, dealt.distances, faults.faults),
    ),
    ("outcomes", "Outcomes", (figures.confusion, figures.boundary, figures.most_wrong)),
    ("network", "Network", (figures.network, figures.augmented)),
    ("check", "Gradient check", (figures.check_scatter, figures.check_blocks)),
)

# Figures of what some runs over peers do not have; nothing is said of them where they are absent.
SHOWN = (_SECTIONS, {"confusion", "boundary", "wrong", "augmented", "faults", "distance"})

# Along what a comparison draws how well runs over peers do, beside the epochs.
COSTS = ("round", "bytes", "seconds")


def verdict(history: History) -> list[str]:
    """Say in a few sentences what was trained, by whom, what came of it and what it cost."""
    said = [_trained(history), _result(history), _spent(history), check_said(history)]
    return [sentence for sentence in said if sentence]


def _trained(history: History) -> str:
    network, data, row = history.last("network"), history.last("data"), history.peers
    if network is None or data is None or row is None:
        return "Nothing was trained: the run stopped before its network and data were recorded."
    examples = words.plural(data["train"], "example")
    done = words.plural(len(history.all("round")), "round")
    codec = row["codec"]["name"]
    return (
        f"A network of {words.plural(len(network['layers']), 'layer')} and "
        f"{words.plural(network['parameters'], 'parameter')} was trained on {data['name']} "
        f"({examples}) for {done} with {network['rule']} on {network['loss']}. {kind(row)}; the "
        f"algorithm is {row['algorithm']['name']}, the codec {codec}."
    )


def kind(row: Mapping[str, Any]) -> str:
    """Say what a network is: "6 workers and 5 links form the topology star"."""
    links = words.plural(row["survey"]["edges"], "link")
    workers = words.plural(row["workers"], "worker")
    return f"{workers} and {links} form the topology {row['topology']['name']}"


def _result(history: History) -> str:
    part, data = held_out(history), history.last("data")
    if part is None or data is None or history.final is None:
        return ""
    loss = words.number(value(history.final, part, "loss"))
    metric = "an accuracy of" if history.metric == "accuracy" else "R² ="
    reaches = "reaches"
    if history.status != "done":
        reaches = f"reached, at its last evaluation after round {history.final['round']},"
    low, high = spread(history, part)
    return (
        f"On the {words.plural(data[part], 'example')} of the {part} part the model that all "
        f"workers stand for {reaches} {metric} {score_of(history, part)} (loss {loss}); the "
        f"workers' own models {low} to {high}."
        + (" No part was held out: of new data this says nothing." * (part == "train"))
    )


def _spent(history: History) -> str:
    """Say what was sent, and how long it would take."""
    found = spent(history)
    if not history.all("round"):
        return ""
    return (
        f"They sent {words.plural(found['messages'], 'message')}, "
        f"{words.memory(found['bytes'])} in all; by the clock of the simulation this takes "
        f"{words.duration(found['simulated_seconds'])}."
    )


def spread(history: History, part: str) -> tuple[str, str]:
    """Say the lowest and the highest score of the workers' own models at the end."""
    rows = (history.final or {})["parts"][part]["workers"]
    found = sorted(float(row[history.metric]) for row in rows)
    say = words.percent if history.metric == "accuracy" else words.number
    return say(found[0]), say(found[-1])


def cards(history: History) -> list[Card]:
    """Sum the run up in numbers."""
    found, part, cost = [], held_out(history), spent(history)
    if part:
        name = "accuracy" if history.metric == "accuracy" else "R²"
        note = f"loss {words.number(value(history.final, part, 'loss'))}"
        found.append(Card(f"{part.capitalize()} {name}", score_of(history, part), note))
        low, high = spread(history, part)
        found.append(Card("Weakest worker", low, f"{high} the strongest"))
    found.append(check_card(history.last("check")))
    messages = words.plural(cost["messages"], "message")
    found.append(Card("Bytes sent", words.memory(cost["bytes"]), messages))
    took = f"here it took {words.duration(history.seconds)}" if history.timing else "by the clock"
    time = words.duration(cost["simulated_seconds"])
    found.append(Card("Simulated time", time, took))
    done = words.plural(len(history.all("round")), "round")
    tone = TONES.get(history.status, "unsure")
    found.append(Card("Status", history.status.capitalize(), done, tone))
    return found


def costs(history: History) -> dict[str, str]:
    """Say what a run over peers has cost in some cells of a table; dashes of another."""
    found: dict[str, Any] = {} if history.peers is None else spent(history)
    return {
        "rounds": words.count(found["rounds"]) if found else "–",
        "messages": words.count(found["messages"]) if found else "–",
        "bytes sent": words.memory(found.get("bytes")),
        "simulated time": words.duration(found.get("simulated_seconds")),
    }
