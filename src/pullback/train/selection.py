"""Selection: which weights are kept, and when training ends before its epochs are over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..errors import ConfigError
from ..tree import Tree


class Kept(NamedTuple):
    """The weights that were judged best, and their state."""

    params: Tree
    state: Tree


@dataclass(frozen=True)
class Selection:
    """What judges an evaluation, how long to wait for a better one, and what is kept.

    Source: Training Deep Nets, early stopping; Goodfellow et al. 2016, Algorithm 7.1.

    Args:
        part: the part of the data that judges.
        metric: what is measured on it: a loss is to fall; an accuracy or an R² is to rise.
        patience: stop after so many evaluations in a row without a better one; 0 for never.
        min_delta: how much better than the best an evaluation must be, to count as better.
        target: stop as soon as the metric is this good; None for never.
        keep: the weights that training ends with: the last ones, or those of the best evaluation,
            whatever ended it. "auto" keeps the best where there is a patience.

    Raises:
        ConfigError: patience or min_delta is negative; min_delta or target is not finite.

    >>> Selection(metric="accuracy", min_delta=0.01).better(0.955, than=0.95)
    False
    """

    part: Literal["train", "validation", "test"] = "validation"
    metric: Literal["loss", "accuracy", "r2"] = "loss"
    patience: int = 0
    min_delta: float = 0.0
    target: float | None = None
    keep: Literal["auto", "last", "best"] = "auto"

    def __post_init__(self):
        if self.patience < 0:
            raise ConfigError(f"patience must be at least 0, got {self.patience}")
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0):
            raise ConfigError(f"min_delta must be a number of at least 0, got {self.min_delta}")
        if self.target is not None and not math.isfinite(self.target):
            raise ConfigError(f"target must be a finite number, got {self.target}")

    @property
    def keeps_best(self) -> bool:
        """Whether training ends with the best weights."""
        return self.keep == "best" or (self.keep == "auto" and self.patience > 0)

    @property
    def judges(self) -> bool:
        """Whether anything depends on it."""
        return bool(self.patience) or self.target is not None or self.keeps_best

    def refuse(self, parts, metrics) -> None:
        """Refuse a part that is not evaluated, or a metric that is not measured.

        Raises:
            ConfigError: one of the two.
        """
        if self.part not in parts:
            raise ConfigError(
                f"the selection is by the {self.part} part, evaluated are: "
                f"{', '.join(parts) or 'none'}",
                next="name a part that there is, and evaluate it",
            )
        if self.metric not in metrics:
            raise ConfigError(
                f"the selection is by {self.metric}, measured are: {', '.join(metrics)}",
                next="name a metric that is measured",
            )

    def value(self, evaluation: dict[str, Any]) -> float | None:
        """The number that judges, or None where it was not measured."""
        return evaluation.get(self.part, {}).get(self.metric)

    def better(self, value: float, than: float) -> bool:
        """Whether a value is better than another by more than `min_delta`."""
        return self.cost(than) - self.cost(value) > self.min_delta

    def reached(self, value: float) -> bool:
        """Whether a value is as good as the target."""
        return self.target is not None and self.cost(value) <= self.cost(self.target)

    def cost(self, value: float) -> float:
        """The value as something that is to fall."""
        return value if self.metric == "loss" else -value
