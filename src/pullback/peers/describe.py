"""A network of workers as one plain row: what a page before training, and the record, say of it."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np

from . import spectrum
from .algorithm import Algorithm, turns
from .algorithm.core import Turn, hubs
from .clock import Clock
from .codec import Codec, Dense
from .codec.core import Shapes
from .mixing import Mixing, Weights
from .phase import Schedule
from .survey import Sent, survey
from .topology import Topology

# Workers whose matrix is still written down.
_WRITTEN = 64
# Workers for which the disagreement of every round is still worked out, and its most rounds.
_FOLLOWED, _ROUNDS = 128, 200
# Rounds that are looked at where an algorithm draws who takes part.
_DRAWN = 100


def describe(
    topology: Topology,
    mixing: Mixing | None,
    weights: Weights | None,
    algorithm: Algorithm,
    codec: Codec,
    shapes: Shapes,
    dtype: Any,
    clock: Clock,
) -> dict[str, Any]:
    """Describe a network as JSON: its survey, its links, and how its workers come to agree.

    Args:
        topology: who speaks to whom.
        mixing: how; None for the usual.
        weights: the amounts of data of the workers; None for equal ones.
        algorithm: what is sent, in which stages, and by whom.
        codec: how it is sent.
        shapes: of a worker's tensors.
        dtype: of its numbers.
        clock: what links can carry.

    Returns:
        "workers" and "hubs"; "message_bytes", of the first message of a round; "survey", with what
        the algorithm really sends; "links" [src, dst] of a period; "sends" [src, dst, messages,
        bytes] of a round on average; "drawn", whether only some take part in a round; "relays", in
        how many rounds sums reach all, None of an algorithm that mixes; "matrix" of a period, None
        for many workers; "eigenvalues", the greatest first, as moduli of one round;
        "disagreement", see `disagreement`.

    Raises:
        ConfigError: the topology cannot be mixed so; some workers never hear of others.

    >>> from .algorithm import FedAvg
    >>> from .topology import Star
    >>> row = describe(Star(3), None, None, FedAvg(), Dense(), ((5,),), np.float32, Clock())
    >>> row["message_bytes"], row["survey"]["bytes"], row["links"], row["hubs"]
    (20, 80.0, [[0, 1], [0, 2], [1, 0], [2, 0]], [True, False, False])
    """
    schedule = topology.schedule(mixing, weights)
    period = [turns(algorithm, phases) for phases in schedule.rounds]
    drawn = not all(each.all() for each in algorithm.asked(period[0], 0, seed=0).send)
    looked = schedule.period * (-(-_DRAWN // schedule.period) if drawn else 1)
    sent = [
        _sent(algorithm, codec, shapes, dtype, period[t % schedule.period], t)
        for t in range(looked)
    ]
    seen = survey(topology, mixing, weights, clock=clock, sent=sent)
    product = schedule.product()
    return {
        "workers": schedule.n,
        "hubs": hubs(schedule).tolist(),
        "message_bytes": sent[0][0][2],
        "survey": seen.row(),
        "links": links(schedule),
        "sends": _sends(sent, schedule.n),
        "drawn": drawn,
        "relays": nx.diameter(topology.graph()) if algorithm.per_link else None,
        "matrix": _short(product) if schedule.n <= _WRITTEN else None,
        "eigenvalues": _moduli(product, schedule.period),
        "disagreement": disagreement(schedule) if schedule.n <= _FOLLOWED else None,
    }


def links(schedule: Schedule) -> list[list[int]]:
    """Return who sends to whom in a period, as [src, dst] in order; each once.

    >>> from .topology import Path
    >>> links(Path(3).schedule())
    [[0, 1], [1, 0], [1, 2], [2, 1]]
    """
    ends = {
        (src, dst)
        for each in schedule.phases
        for src, dst in zip(each.src.tolist(), each.dst.tolist(), strict=True)
    }
    return [list(each) for each in sorted(ends)]


def disagreement(schedule: Schedule) -> dict[str, list[float]]:
    """Return what is left of disagreement after 0, 1, 2 … rounds of mixing alone.

    Of a vector of the workers' values, disagreement is its distance from their mean, both weighted
    by the implied weights π: ‖D(x − 1πᵀx)‖, D = diag √π. It is followed down to 10⁻⁴, for 200
    rounds at most.

    Worst:    ‖D (M_t − 1πᵀ) D⁻¹‖₂, M_t the product of t rounds: from the least lucky start
    Typical:  ‖D (M_t − 1πᵀ) D⁻¹‖_F / √(n − 1): the root of the mean square over all starts
    Push-sum: M_t is divided by its row sums, as z = x/w is

    >>> from .topology import Complete
    >>> disagreement(Complete(4).schedule())["worst"]
    [1.0, 0.0]
    """
    mass = schedule.phases[0].on_loss == "mass"
    weights = spectrum.implied_weights(schedule)
    counts = weights > 0
    root = np.sqrt(weights[counts])
    free = max(int(counts.sum()) - 1, 1)
    product, worst, typical = np.eye(schedule.n), [], []
    for t in range(_ROUNDS + 1):
        now = product / product.sum(1, keepdims=True) if mass else product
        rest = root[:, None] * (now[np.ix_(counts, counts)] - weights[counts]) / root
        worst.append(float(np.linalg.norm(rest, 2)))
        typical.append(float(np.linalg.norm(rest) / np.sqrt(free)))
        if worst[-1] < 1e-4:
            break
        product = schedule.matrix(t) @ product
    return {"worst": _short(worst), "typical": _short(typical)}


def _moduli(product: np.ndarray, period: int) -> list[float]:
    """The moduli of the eigenvalues of a period, as of one round; what is rounding is 0."""
    moduli = np.sort(np.abs(np.linalg.eigvals(product)))[::-1]
    return _short(np.where(moduli < 1e-12, 0.0, moduli ** (1 / period)))


def _sent(
    algorithm: Algorithm, codec: Codec, shapes: Shapes, dtype: Any, turn: tuple[Turn, ...], t: int
) -> list[Sent]:
    """What is sent in round t, turn by turn."""
    asked, found = algorithm.asked(turn, t, seed=0), []
    for (stage, phase), send in zip(turn, asked.send, strict=True):
        cost = (codec if stage.coded else Dense()).cost(stage.shapes(shapes), dtype)
        found.append((phase.src[send], phase.dst[send], cost.total))
    return found


def _sends(sent: list[list[Sent]], n: int) -> list[list[float]]:
    """Messages and bytes of each link in a round, on average."""
    messages, sizes = np.zeros((2, n, n))
    for src, dst, size in (each for phases in sent for each in phases):
        np.add.at(messages, (src, dst), 1 / len(sent))
        np.add.at(sizes, (src, dst), (size or 0) / len(sent))
    ends = np.argwhere(messages).tolist()
    return [[i, j, *_short([messages[i, j], sizes[i, j]])] for i, j in ends]


def _short(numbers: Any) -> Any:
    """Numbers as lists, in nine digits: fewer characters in the record, and no rounding errors."""
    numbers = np.asarray(numbers)
    if numbers.ndim > 1:
        return [_short(each) for each in numbers]
    return [0.0 if abs(each) < 1e-14 else float(f"{each:.9g}") for each in numbers.tolist()]
