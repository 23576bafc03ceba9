"""What can go wrong, said in one sentence: what, got, wanted, where, what to do next.

Every error a user can cause is a `PullbackError` and carries the exit code with which the command
line ends. Its text is one line, so that it reads the same in a traceback, in a log, and on a
terminal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class PullbackError(Exception):
    """An error that its reader can mend.

    Args:
        what: the sentence: what is wrong, what was got, what was wanted.
        where: the place, such as "node 'tower/affine1'" or a file and its row.
        next: what to do about it.

    >>> print(ShapeError("Affine wants (n, d), got (8,)", where="node 'a'", next="give a batch"))
    Affine wants (n, d), got (8,), in node 'a'; give a batch
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, next: str | None = None):
        super().__init__(what)
        self.what, self.where, self.next = what, where, next

    def __str__(self) -> str:
        place = f", in {self.where}" if self.where else ""
        advice = f"; {self.next}" if self.next else ""
        return f"{self.what}{place}{advice}"

    def __reduce__(self):
        return _rebuild, (type(self), self.what, self.where, self.next)

    def at(self, where: str) -> PullbackError:
        """Return the same error, told with the place where it arose (the innermost place wins)."""
        return type(self)(self.what, where=self.where or where, next=self.next)


def _rebuild(kind, what, where, next):
    return kind(what, where=where, next=next)


class ConfigError(PullbackError, ValueError):
    """A setting, a constructor's argument, or the wiring of a network is wrong."""

    exit_code = 2


class ShapeError(PullbackError, ValueError):
    """An array has not the shape that a map, a loss or a rule wants."""

    exit_code = 2


class DataError(PullbackError, ValueError):
    """Data are missing, broken, or not what their name says."""

    exit_code = 3


class DivergedError(PullbackError, ArithmeticError):
    """Training met a value that is not finite.

    Attributes:
        last: the last finite learner and its progress, where training can go on with other
            settings.
    """

    exit_code = 4
    last: Any = None


class CheckpointError(PullbackError, RuntimeError):
    """A checkpoint or a run is broken, incomplete, or belongs to another experiment."""

    exit_code = 5


class ThresholdError(PullbackError, AssertionError):
    """A check failed: a gradient, a stated threshold, or a published figure was missed."""

    exit_code = 6


class OutputError(PullbackError, OSError):
    """Something could not be written: a full disk, a read-only folder, an existing run."""

    exit_code = 7


class PeerError(PullbackError, RuntimeError):
    """A worker of a network was silent beyond its deadline, or ended while others needed it."""

    exit_code = 8


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list them all.

    >>> nearest("sigmod", ["sigmoid", "tanh"])
    "did you mean 'sigmoid'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(known)
