"""Inputs that are larger than the memory they may take, read from a file while training goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from .contenders import Pullback

# A third of MNIST as float32: its chunks are read, while others are trained on, six times an epoch.
LIMIT_BYTES = 64e6


class PullbackStreamed(Pullback):
    """This library, reading a memory-mapped file in chunks; its ratio is resident / streamed."""

    name = "streamed"

    def about(self):  # noqa: D102
        return f"{super().about()}, at most {LIMIT_BYTES / 1e6:.0f} MB of inputs in memory"

    def train(self, epochs, pause):  # noqa: D102
        from pullback.data.arrays import open_npy
        from pullback.data.rows import Rows

        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "x.npy", self.x)
            self.x = Rows(open_npy(Path(folder) / "x.npy"))
            super().train(epochs, pause)

    def _limit_bytes(self):
        return LIMIT_BYTES


CONTENDERS = (Pullback, PullbackStreamed)
