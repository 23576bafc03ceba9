"""Pages of a diagnosis, a range test and a learning curve: words first, then the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_text
from . import words
from .figures import Absent, Figure
from .figures import diagnosis as drawn
from .figures.learning_curve import learning_curve
from .figures.rate_range import rate_range
from .page import Section, render
from .verdict import Card, Tone

if TYPE_CHECKING:
    from ..diagnose import Diagnosis, Finding, LearningCurve, RateRange

_TONES: dict[str, Tone] = {"low": "good", "moderate": "bad", "high": "bad", "unknown": "unsure"}


def write_diagnosis(diagnosis: Diagnosis, out: Path) -> Path:
    """Write a diagnosis as one self-contained page.

    Raises:
        OutputError: it cannot be written.
    """
    found = diagnosis.judgement
    variance = "–" if found.variance is None else words.percent(found.variance)
    cards = [
        Card("Bias", found.bias_grade, words.percent(found.bias), _TONES[found.bias_grade]),
        Card("Variance", found.variance_grade, variance, _TONES[found.variance_grade]),
    ]
    figures = [draw(diagnosis) for draw in (drawn.errors, drawn.units, drawn.layer_signal)]
    said = [str(found), diagnosis.measured]
    return _write(out, "diagnosis", diagnosis.run, said, figures, cards, diagnosis.findings)


def write_rate_range(found: RateRange, out: Path) -> Path:
    """Write a range test as one self-contained page.

    Raises:
        OutputError: it cannot be written.
    """
    return _write(out, "learning-rate range test", found.name, [str(found)], [rate_range(found)])


def write_learning_curve(found: LearningCurve, out: Path) -> Path:
    """Write a learning curve as one self-contained page.

    Raises:
        OutputError: it cannot be written.
    """
    return _write(out, "learning curve", found.name, [found.promise], [learning_curve(found)])


def _write(
    out: Path,
    kind: str,
    name: str,
    sentences: Sequence[str],
    figures: Sequence[Figure | Absent],
    cards: Sequence[Card] = (),
    findings: Sequence[Finding] | None = None,
) -> Path:
    section = Section.of("figures", "Figures", figures)
    page = render(
        "diagnosis.html",
        title=f"{name}, {kind}",
        kind=kind,
        name=name,
        sentences=sentences,
        cards=cards,
        findings=findings,
        section=section,
    )
    write_text(out, page)
    return out
