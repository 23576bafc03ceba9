"""What a contender is: one library at work on one workload.

A contender lives alone in a process of its own, so that thread pools do not fight, and imports its
library only when it is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..workloads import Workload

Pause = Callable[[], None]


class Contender:
    """A library at work on one workload.

    Args:
        work: the workload.
        x: inputs (n, d), float32; nobody else holds them, so that who packs them may let them go.
        labels: class indices (n,).
    """

    name: str
    package: str

    @classmethod
    def lacks(cls, work: Workload) -> str | None:
        """Say what of the workload the library cannot do, or None."""
        return None

    def __init__(self, work: Workload, x: Any, labels: np.ndarray):
        """Keep the work; a subclass imports its library."""
        self.work, self.x, self.labels = work, x, labels
        self.classes = int(labels.max()) + 1

    def one_hot(self) -> np.ndarray:
        """Return the classes as targets, (n, classes) float32."""
        return np.eye(self.classes, dtype=np.float32)[self.labels]

    def about(self) -> str:
        """Return version, threads and what differs from the workload."""
        raise NotImplementedError

    def train(self, epochs: int, pause: Pause) -> None:
        """Train from fresh weights, without evaluation; pause after each epoch's last step."""
        raise NotImplementedError

    def fit(self) -> None:
        """Train from fresh weights for the workload's whole fit."""
        self.train(self.work.fit_epochs, lambda: None)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the class of each row."""
        raise NotImplementedError


def processors() -> int:
    """Return how many processors this process may use; XLA makes a thread for each."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
