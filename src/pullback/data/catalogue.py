"""What can be trained on, and where it lies."""

from __future__ import annotations

from pathlib import Path

from .registry import known
from .store import data_directory, find_folder

_INCLUDED = {
    "digits": "1,797 handwritten digits of 8×8 pixels, included",
    "circles": "points on two circles about the origin, drawn",
    "moons": "points on two interleaved half circles, drawn",
    "xor": "points about the corners of a square, labelled by exclusive or, drawn",
    "file": "a file of your own: .csv, .parquet, .npz or .npy",
}


def listing(data_dir: Path | str | None = None) -> list[dict[str, str | None]]:
    """Return one row per source: its name, what it is about, and the folder of its files or None.

    >>> listing()[0]["name"]
    'digits'
    """
    directory = data_directory(data_dir)
    rows: list[dict[str, str | None]] = [
        {"name": name, "about": about, "folder": None} for name, about in _INCLUDED.items()
    ]
    for published in known():
        folder = find_folder(published, directory)
        place = f"in {folder}" if folder else f"absent; pullback data fetch {published.name}"
        rows.append(
            {
                "name": published.name,
                "about": f"{published.title}, {place}",
                "folder": None if folder is None else str(folder),
            }
        )
    return rows
