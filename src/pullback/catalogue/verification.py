"""What a check of the whole catalogue found: a row for each case and mode, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

DIFFERENCES, AUTODIFF, FLOAT32 = 1e-7, 1e-12, 1e-5


@dataclass(frozen=True)
class Row:
    """One case in one mode.

    Attributes:
        kind: map, loss or penalty.
        name: the class.
        case: names the case.
        mode: how it was run.
        entries: how many derivatives were compared.
        differences: the relative error against central differences, the worst of its arrays.
        autodiff: likewise, against autodiff.
        float32: how far float32 is from float64, relative to the largest entry or 1; None where
            the two draw different random numbers, and only finiteness was checked.
    """

    kind: str
    name: str
    case: str
    mode: str
    entries: int
    differences: float
    autodiff: float
    float32: float | None

    @property
    def ok(self) -> bool:
        """Whether all three errors are below their thresholds; nan is not."""
        precise = self.float32 is None or self.float32 <= FLOAT32
        return self.differences < DIFFERENCES and self.autodiff < AUTODIFF and precise


@dataclass(frozen=True)
class Verification:
    """The outcome: a row for each case and mode."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether every row is."""
        return all(row.ok for row in self.rows)

    @property
    def derivatives(self) -> int:
        """How many derivatives were compared."""
        return sum(row.entries for row in self.rows)

    def worst(self, error: str) -> float:
        """The largest of one error: differences, autodiff or float32."""
        found = (getattr(row, error) for row in self.rows)
        return max((each for each in found if each is not None), key=_size, default=0.0)

    def __str__(self) -> str:
        """A line for each class, the cases that fail, and the verdict."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.kind, row.name), []).append(row)
        width = max((len(name) for _, name in groups), default=0)
        lines = [
            f"{'':8} {'':{width}} checks derivatives  differences  autodiff  float32",
        ]
        for (kind, name), rows in groups.items():
            worst = Verification(tuple(rows))
            lines.append(
                f"{kind:8} {name:{width}} {len(rows):6} {worst.derivatives:11}  "
                f"{worst.worst('differences'):11.1e}  {worst.worst('autodiff'):8.1e}  "
                f"{worst.worst('float32'):7.1e}  {'ok' if worst.ok else 'WRONG'}"
            )
            lines += [f"  {row.case}, {row.mode}: {_errors(row)}" for row in rows if not row.ok]
        verdict = "every derivative is right" if self.ok else "a derivative is wrong"
        lines.append(
            f"{verdict}: {len(groups)} classes, {len(self.rows)} checks, "
            f"{self.derivatives} derivatives\n"
            f"worst relative errors: central differences {self.worst('differences'):.1e} "
            f"(threshold {DIFFERENCES:.0e}), autodiff {self.worst('autodiff'):.1e} "
            f"({AUTODIFF:.0e}), float32 {self.worst('float32'):.1e} ({FLOAT32:.0e})"
        )
        return "\n".join(lines)

    def row(self) -> dict[str, Any]:
        """The outcome as plain data."""
        errors = ("differences", "autodiff", "float32")
        return {
            "ok": self.ok,
            "thresholds": dict(zip(errors, (DIFFERENCES, AUTODIFF, FLOAT32), strict=True)),
            "worst": {error: self.worst(error) for error in errors},
            "checks": len(self.rows),
            "derivatives": self.derivatives,
            "rows": [vars(row) | {"ok": row.ok} for row in self.rows],
        }


def _size(error: float) -> float:
    """An error for comparison: nan is as wrong as can be."""
    return math.inf if math.isnan(error) else error


def _errors(row: Row) -> str:
    narrow = "not compared" if row.float32 is None else f"{row.float32:.1e}"
    return f"differences {row.differences:.1e}, autodiff {row.autodiff:.1e}, float32 {narrow}"
