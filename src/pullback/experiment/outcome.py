"""How a training ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import DivergedError, PullbackError, ThresholdError
from ..prepared import PARTS
from ..record import Record
from ..runs import RunFolder
from .precision import told

# The precision of a run that an older version began, or ended.
_UNSAID = {"asked": None, "products": "full"}


@dataclass(frozen=True)
class Outcome:
    """How training ended: the folder, what result.json says, and the error if there was one."""

    folder: Path
    result: dict[str, Any]
    error: PullbackError | None = None

    def text(self) -> str:
        """A few lines for a reader."""
        final = self.result["final"] or {}
        lines = [
            f"{self.result['status']}: {self._length()}, "
            f"{self.result['steps']} steps, {self.result['seconds']:.1f} s"
        ]
        precision = self.result.get("precision", _UNSAID)
        if precision["asked"] in ("bfloat16", "auto"):
            lines.append(f"{'precision':<11} {told(precision)}")
        lines += [f"{name:<11} {describe(final[name])}" for name in PARTS if name in final]
        check = self.result["check"]
        if check is not None:
            verdict = "every derivative is right" if check["ok"] else "A DERIVATIVE IS WRONG"
            lines.append(f"{'check':<11} {verdict}: worst relative error {check['worst']:.1e}")
        return "\n".join(lines)

    def _length(self) -> str:
        epochs, rounds = self.result["epochs"], self.result.get("rounds")
        return f"{epochs} epochs" if rounds is None else f"{rounds} rounds, {epochs:.3g} epochs"


def describe(row: dict[str, Any]) -> str:
    """One evaluation in words."""
    score = f"accuracy {row['accuracy']:.4f}" if "accuracy" in row else f"R² {row['r2']:.4f}"
    return f"loss {row['loss']:.4f}  {score}"


def closing(
    folder: RunFolder, record: Record, error: PullbackError | None, stopped: bool, seconds: float
) -> dict[str, Any]:
    """Return what result.json says of the end of every training."""
    check = checked(record)
    return {
        "status": status(stopped, error),
        "precision": files.read_json(folder.meta).get("precision", _UNSAID),
        "check": check and {"ok": check["ok"], "worst": check["worst"]},
        "seconds": seconds,
        "message": None if error is None else str(error),
    }


def status(stopped: bool, error: PullbackError | None) -> str:
    """Return the word for how a training ended."""
    if stopped:
        return "interrupted"
    return "diverged" if isinstance(error, DivergedError) else "done"


def failed_check(record: Record) -> ThresholdError | None:
    """Return the error of a run whose gradient check failed, if it did."""
    check = checked(record)
    if check is None or check["ok"]:
        return None
    return ThresholdError(
        f"trained, but the gradient check failed: worst relative error {check['worst']:.1e}, "
        f"wanted below {check['threshold']:.0e}",
        next="`pullback check` shows the entries",
    )


def checked(record: Record) -> dict[str, Any] | None:
    """Return the row of the gradient check, if there was one."""
    return next(iter(record.rows("check")), None)
