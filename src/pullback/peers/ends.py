"""The links of a phase as each worker sees them: who is at the other end, and under what number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from .phase import Phase


class Ends(NamedTuple):
    """The links of every worker, in the order of its neighbours' numbers; k is the most of any.

    Shapes: all (n, k); who has fewer links has 0 in the places that are left, and False in `there`.

    Attributes:
        there: which are links at all.
        neighbour: who is at the other end.
        far: the number that the link has there.
        edge: the number of the phase's message that comes over it.
    """

    there: Bool[np.ndarray, "n k"]
    neighbour: Int[np.ndarray, "n k"]
    far: Int[np.ndarray, "n k"]
    edge: Int[np.ndarray, "n k"]

    @classmethod
    def of(cls, phase: Phase) -> Ends:
        """Return those of a phase in which every edge goes both ways.

        >>> from .phase import phase
        >>> path = phase({(0, 1): 0.3, (1, 0): 0.3, (1, 2): 0.3, (2, 1): 0.3}, n=3)
        >>> ends = Ends.of(path)
        >>> ends.neighbour.tolist(), ends.far.tolist(), ends.there[0].tolist()
        ([[1, 0], [0, 2], [1, 0]], [[0, 0], [0, 0], [1, 0]], [True, False])
        """
        # Edges are sorted by (dst, src): those into a worker stand together, in the right order.
        degree = np.bincount(phase.dst, minlength=phase.n)
        first = np.cumsum(degree) - degree
        number = np.arange(phase.edges) - first[phase.dst]
        at = phase.dst, number

        def table(values, kind: type = np.int32):
            found = np.zeros((phase.n, degree.max(initial=0)), kind)
            found[at] = values
            return found

        return cls(
            table(True, bool),
            table(phase.src),
            table(number[phase.back]),
            table(np.arange(phase.edges)),
        )
