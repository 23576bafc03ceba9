"""The page of paths: surfaces with what walks over them, and what the sheets and notes claim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import early_stopping
from ..files import write_bytes, write_text, writing
from ..paths import Picture, plateau_magnitudes
from .figures import Figure
from .figures.early_stopping import early_stopping as drawn_stopping
from .figures.paths import surface_paths, update_magnitudes
from .page import Section, render

PAGE = "paths.html"


def write_paths(pictures: Sequence[Picture], out: Path) -> Path:
    """Write paths.html, and each figure beside it as SVG, into a folder; return the page.

    Raises:
        OutputError: it cannot be written.
    """
    surfaces = [surface_paths(picture) for picture in pictures]
    claims: list[Figure] = [
        update_magnitudes(plateau_magnitudes()),
        drawn_stopping(_stopped()),
    ]
    sections = [
        Section.of("surfaces", "Surfaces", surfaces),
        Section.of("claims", "What the sources claim", claims),
    ]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for figure in (*surfaces, *claims):
        write_bytes(out / f"{figure.id}.{figure.format}", figure.image)
    write_text(out / PAGE, render("paths.html", title="Paths", sections=sections))
    return out / PAGE


def _stopped() -> early_stopping.Comparison:
    steps = np.unique(np.geomspace(1, 10_000, 33).round().astype(int)).tolist()
    return early_stopping.compare(*early_stopping.example(), 0.1, steps)
