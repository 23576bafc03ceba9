"""Where a worker gets its part of the data from: it loads it where it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data import DataSpec, load
from ...errors import DataError
from ...train import Batch


@dataclass(frozen=True)
class Source:
    """The training part of a data set, of which every worker loads its own rows by itself.

    Args:
        spec: what to load.
        columns: of the targets.
        dtype: "float32" or "float64".
        data_dir: the directory of the published data sets, on each machine; see
            `pullback.data.data_directory`.
        checksum: of the content that is expected; empty for any.

    >>> found = Source(DataSpec(source="xor", n=8, noise=0.1), 1)(np.arange(3))
    >>> found.x.shape, found.y.shape, found.weight.tolist()
    ((3, 2), (3, 1), [1.0, 1.0, 1.0])
    """

    spec: DataSpec
    columns: int
    dtype: str = "float32"
    data_dir: Path | str | None = None
    checksum: str = ""

    def __call__(self, rows: np.ndarray) -> Batch:
        """Load these rows.

        Raises:
            DataError: the data are absent, broken, or not those expected.
        """
        loaded = load(self.spec, self.data_dir, np.dtype(self.dtype))
        if self.checksum and loaded.checksum != self.checksum:
            raise DataError(
                f"the data '{loaded.name}' have the checksum {loaded.checksum[:12]}…, wanted "
                f"{self.checksum[:12]}…",
                where="the process of a worker",
                next="put the same files on every machine",
            )
        part = loaded.train
        weight = np.ones(len(part)) if part.weight is None else part.weight
        targets = part.targets(np.dtype(self.dtype), self.columns)
        return Batch(part.x[rows], targets[rows], weight[rows].astype(self.dtype))
