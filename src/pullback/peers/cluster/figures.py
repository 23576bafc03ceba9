"""What a simulation measures of a round in its program, from what workers tell of theirs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...tree import shortest
from ..algorithm import Algorithm
from ..algorithm.core import mean, size

NOTHING: dict[str, Any] = {"distance": None, "drift": None, "health": {}}
"""Those of a round that is not measured."""


def wants_all(algorithm: Algorithm) -> bool:
    """Whether its health is a sum over all workers, down or not."""
    return type(algorithm).health is not Algorithm.health


def figures(
    algorithm: Algorithm, answers: dict[int, Any], there: np.ndarray, shares: np.ndarray
) -> dict[str, Any]:
    """Return distance, drift and health, as in the row of a round.

    Args:
        algorithm: of the run.
        answers: by worker, what `Member.look` has told.
        there: (n,), who took part in the round to its end.
        shares: (n,), of the objective.
    """
    present = sorted(answers)
    took_part = [i for i in present if there[i]]
    slots = {
        name: jnp.stack([jnp.asarray(answers[i][0][name]) for i in present])
        for name in answers[present[0]][0]
    }
    models = jax.vmap(algorithm.model)(slots) if wants_all(algorithm) else slots["model"]
    dtype = models.dtype
    counted = jnp.asarray(there[present], dtype) / len(took_part)
    apart = jnp.sum((models - mean(models, counted)[None]) ** 2, 1)
    drift = None
    if algorithm.keeps_mean:
        weights = jnp.asarray(shares[took_part], dtype)
        stages = zip(*(answers[i][1] for i in took_part), strict=True)
        moved = [jnp.stack([jnp.asarray(each) for each in stage]) for stage in stages]
        drift = shortest(sum(size(mean(each, weights)) for each in moved))
    health: dict[str, Any] = {}
    if wants_all(algorithm):
        found = algorithm.health(slots, jnp.asarray(shares[present], dtype))
        complete = len(present) == len(there)
        health = {name: shortest(value) if complete else np.nan for name, value in found.items()}
    return {"distance": shortest(jnp.sqrt(counted @ apart)), "drift": drift, "health": health}
