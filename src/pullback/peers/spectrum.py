"""How fast and to what a schedule brings its workers to agree, from its matrices alone.

M is the product of a period of k rounds. Where a schedule keeps agreement, M 1 = 1; where it keeps
sums, 1ᵀM = 1ᵀ, and all that is said of M here holds of Mᵀ.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from ..errors import ConfigError
from .phase import Schedule

# A contraction below this is rounding: the mean is exact after a period.
_EXACT = 1e-12


def implied_weights(schedule: Schedule) -> Float[np.ndarray, " n"]:
    """Return the weights of the workers in the objective that is minimised in fact.

    Implied:  π with πᵀM = πᵀ, Σ π = 1: workers come to agree on Σ_i π_i x_i

    For push-sum they are equal, since it divides.

    Raises:
        ConfigError: there is more than one π, because workers do not all come to agree.

    >>> from .phase import gossip
    >>> uneven = gossip(np.array([[0.5, 0.5], [0.25, 0.75]]))
    >>> implied_weights(Schedule(((uneven,),))).round(3).tolist()
    [0.333, 0.667]
    """
    return _fixed(schedule.product())


def gap(schedule: Schedule) -> float:
    """Return the spectral gap of a round: by how much of itself disagreement shrinks at least.

    Gap:      1 − ‖M − 1πᵀ‖^(1/k),  ‖A‖ = ‖D A D⁻¹‖₂, D = diag √π: with equal π, 1 − ‖W − J‖₂

    Over workers with a weight of 0, such as a hub without data, nothing is said: nobody is led by
    what they had.

    >>> from .phase import gossip
    >>> round(gap(Schedule(((gossip(np.array([[0.75, 0.25], [0.25, 0.75]])),),))), 12)
    0.5
    """
    transient, period = _transient(schedule), schedule.period
    return 1 - _root(float(np.linalg.norm(transient, 2)), period)


def long_run_gap(schedule: Schedule) -> float:
    """Return the gap that counts after many rounds: with the spectral radius in place of the norm.

    It is never smaller than `gap`, and the same where M is symmetric or was weighed for unequal
    shares as Metropolis and Hastings do.
    """
    transient = _transient(schedule)
    return 1 - _root(float(np.abs(np.linalg.eigvals(transient)).max()), schedule.period)


def effective_neighbours(schedule: Schedule, memory: float = 0.99) -> float:
    """Return with how many others, in effect, a worker averages out its noise.

    Number:   1/(1 − γ) over the mean of diag V,  V = W(γV + I)Wᵀ, of a period's rounds on average.
              With a symmetric W: 1/(1 − γ) / mean_k λ_k²/(1 − γλ_k²)
    Source:   Vogels, Hendrikx & Jaggi 2022, arXiv:2206.03093, §3: the variance of a walk that
              forgets, x ← W(√γ x + noise), alone and together

    All workers agreeing at once gives n; none hearing any other gives 1. It tells apart what the
    gap does not: a large ring has almost none, and still many neighbours in effect.

    Args:
        schedule: must keep agreement.
        memory: γ in [0, 1): how much of the noise is still there a round later.

    Raises:
        ConfigError: memory is out of range; the schedule keeps sums, not agreement.

    >>> from .phase import gossip
    >>> round(effective_neighbours(Schedule(((gossip(np.full((4, 4), 0.25)),),))), 9)
    4.0
    """
    if not 0 <= memory < 1:
        raise ConfigError(f"memory must be in [0, 1), got {memory}")
    if schedule.phases[0].on_loss == "mass":
        raise ConfigError("effective neighbours are of schedules that keep agreement, not sums")
    n, rounds = schedule.n, [schedule.matrix(t) for t in range(schedule.period)]

    def walk(variance):
        total = 0.0
        for w in rounds:
            variance = w @ (memory * variance + np.eye(n)) @ w.T
            total += np.trace(variance) / n
        return variance, total / len(rounds)

    # Where the walk settles: V = C + B C Bᵀ + B²C(B²)ᵀ + …, twice as many terms at each turn.
    settled, _ = walk(np.zeros((n, n)))
    jump = math.sqrt(memory) ** len(rounds) * schedule.product()
    while np.abs(jump).max() > 1e-20:
        settled, jump = settled + jump @ settled @ jump.T, jump @ jump
    return 1 / (1 - memory) / float(walk(settled)[1])


def _fixed(dense: np.ndarray) -> np.ndarray:
    """π with πᵀ dense = πᵀ and Σ π = 1."""
    n = len(dense)
    system = np.vstack([dense.T - np.eye(n), np.ones(n)])
    if np.linalg.matrix_rank(system[:-1], tol=_EXACT * n) < n - 1:
        raise ConfigError("these workers do not all come to agree: some never hear of others")
    fixed = np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)[0]
    return np.where(np.abs(fixed) < _EXACT, 0, fixed)


def _transient(schedule: Schedule) -> np.ndarray:
    """What M does beside bringing all to agree, in coordinates in which its norm is the plain one.

    Where π_i is 0, worker i and those that matter have nothing in common: none of these hears it.
    """
    dense = schedule.product()
    if schedule.phases[0].on_loss == "mass":
        dense = dense.T
    weights = _fixed(dense)
    counts = weights > 0
    root = np.sqrt(weights[counts])
    part = dense[np.ix_(counts, counts)] - weights[counts]
    return root[:, None] * part / root


def _root(contraction: float, period: int) -> float:
    return 0.0 if contraction < _EXACT else contraction ** (1 / period)
