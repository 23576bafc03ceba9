"""The columns of a file before anything is made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Raw:
    """Columns as they were read.

    Args:
        columns: name → (n,) cells: str objects, or float64 with nan where a value is missing.
        rows: (n,) the row of the file that each comes from, as its user counts.
        checksum: SHA-256 of the file.
    """

    columns: dict[str, np.ndarray]
    rows: np.ndarray
    checksum: str
