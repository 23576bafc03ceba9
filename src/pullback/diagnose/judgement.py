"""Bias, variance, both or neither: judged from the errors on the training and validation part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError
from .finding import Finding, percent

Grade = Literal["low", "moderate", "high", "unknown"]
Verdict = Literal["bias", "variance", "both", "neither", "unknown"]

# The notes' ε, "a small percentage", and the multiple of it from which on they speak of "high".
TOLERANCE, HIGH = 0.01, 10.0
# Standard errors by which two errors must differ, to be told apart at all.
CERTAIN = 2.0

BIAS_NEXT = (
    "a bigger network, a longer training, or another architecture or rule; where there is "
    "regularisation, less of it"
)
VARIANCE_NEXT = (
    "more data (`pullback learning-curve` says what they would bring) or augmentation; "
    "regularisation, such as a penalty, dropout or early stopping; or another architecture"
)


@dataclass(frozen=True)
class Judgement:
    """How far the errors are from the best that can be hoped for, and from one another.

    An error is the share of wrong classes, or for numbers 1 − R², the share of the variance that
    is not explained.

    Bias:      E(train) − best
    Variance:  E(validation) − max(E(train), best): an error that is below the best was learned by
               heart, and only what lies above the best can be won back
    Grades:    low below ε, moderate from ε on, high from 10 ε on; a variance within two standard
               errors of the two shares is low, whatever its size
    Verdict:   what is not low. Bias is to be mended first.
    Source:    the notes §4. They take the best error as 0 (remark 4.1), leave errors between ε and
               10 ε without a name, and ask E(validation) ≲ 10 ε of a high variance, so that one of
               20 ε would have none; their ε(x, y) is 1 for the right answer, where an error counts
               the wrong ones.

    Attributes:
        train: E(train).
        validation: E(validation); None where no part is held out.
        best: the error that is assumed to be the best possible.
        tolerance: ε.
        noise: the standard error of E(validation) − E(train); None for numbers.
    """

    train: float
    validation: float | None
    best: float
    tolerance: float
    noise: float | None

    @property
    def bias(self) -> float:
        """How much worse than the best error the training error is."""
        return _difference(self.train, self.best)

    @property
    def variance(self) -> float | None:
        """How much worse than the training error the validation error is."""
        if self.validation is None:
            return None
        return _difference(self.validation, max(self.train, self.best))

    @property
    def bias_grade(self) -> Grade:
        """Low, moderate or high."""
        return self._grade(self.bias)

    @property
    def variance_grade(self) -> Grade:
        """Low, moderate or high; unknown without a validation part."""
        if self.variance is None:
            return "unknown"
        if self.noise is not None and self.variance <= CERTAIN * self.noise:
            return "low"
        return self._grade(self.variance)

    @property
    def verdict(self) -> Verdict:
        """Which of the two there is."""
        biased, spread = self.bias_grade != "low", self.variance_grade
        if spread == "unknown":
            return "bias" if biased else "unknown"
        if spread == "low":
            return "bias" if biased else "neither"
        return "both" if biased else "variance"

    def findings(self) -> list[Finding]:
        """What is not low, bias first."""
        found, numbers = [], {"train": self.train, "best": self.best, "tolerance": self.tolerance}
        if self.bias_grade != "low":
            says = (
                f"it is {self.bias_grade}: the training error, {percent(self.train)}, is "
                f"{percent(self.bias)} above the best error, assumed to be {percent(self.best)}."
            )
            found.append(Finding("bias", says, BIAS_NEXT, numbers | {"bias": self.bias}))
        if self.validation is not None and self.variance_grade != "low":
            assert self.variance is not None
            than = "training" if self.train >= self.best else "best"
            says = (
                f"it is {self.variance_grade}: the validation error, {percent(self.validation)}, "
                f"is {percent(self.variance)} above the {than} error{self._certainty()}."
            )
            numbers = numbers | {"validation": self.validation, "variance": self.variance}
            found.append(Finding("variance", says, VARIANCE_NEXT, numbers))
        return found

    def __str__(self) -> str:
        best = f"the best error is assumed to be {percent(self.best)}, ε is "
        best += f"{percent(self.tolerance)}."
        if self.validation is None:
            return (
                f"Training error {percent(self.train)}; {best} Bias is {self.bias_grade}; "
                "without a validation part, variance cannot be told."
            )
        assert self.variance is not None
        return (
            f"Training error {percent(self.train)}, validation error {percent(self.validation)}; "
            f"{best} Bias is {self.bias_grade} ({percent(self.bias)}), variance "
            f"{self.variance_grade} ({percent(self.variance)}{self._certainty()})."
        )

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "verdict": self.verdict,
            "train": self.train,
            "validation": self.validation,
            "best": self.best,
            "tolerance": self.tolerance,
            "bias": self.bias,
            "variance": self.variance,
            "noise": self.noise,
            "bias_grade": self.bias_grade,
            "variance_grade": self.variance_grade,
        }

    def _certainty(self) -> str:
        if self.noise is None:
            return ""
        return f", where {CERTAIN:g} standard errors are {percent(CERTAIN * self.noise)}"

    def _grade(self, excess: float) -> Grade:
        if excess < self.tolerance:
            return "low"
        return "high" if excess >= _rounded(HIGH * self.tolerance) else "moderate"


def judge(
    train: float,
    validation: float | None,
    *,
    best: float = 0.0,
    tolerance: float = TOLERANCE,
    counts: tuple[int, int] | None = None,
) -> Judgement:
    """Judge two errors.

    Args:
        train: the error on the training part.
        validation: that on the validation part; None where there is none.
        best: the error that is assumed to be the best possible, such as a human's.
        tolerance: ε, the excess from which on an error counts.
        counts: how many training and validation examples there are; None where the errors are no
            shares of examples.

    Raises:
        ConfigError: best is not in [0, 1); tolerance is not in (0, 1).

    >>> judge(0.002, 0.05).verdict, judge(0.12, 0.125).verdict, judge(0.12, 0.25).verdict
    ('variance', 'bias', 'both')
    """
    if not 0 <= best < 1:
        raise ConfigError(f"the best error must be in [0, 1), got {best}")
    if not 0 < tolerance < 1:
        raise ConfigError(f"the tolerance must be in (0, 1), got {tolerance}")
    noise = None
    if counts is not None and validation is not None:
        shares = zip((train, validation), counts, strict=True)
        noise = math.sqrt(sum(share * (1 - share) / count for share, count in shares))
    return Judgement(train, validation, best, tolerance, noise)


def _difference(a: float, b: float) -> float:
    return _rounded(a - b)


def _rounded(x: float) -> float:
    """Without the last bits: 0.03 − 0.02 is not less than 0.01."""
    return round(x, 12)
