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
        with tempfile.TemporaryDirectory() as folder:
            self._file = Path(folder) / "x.npy"
            np.save(self._file, self.x)
            super().train(epochs, pause)

    def _inputs(self):
        from pullback.data import Rows
        from pullback.data.arrays import open_npy

        return Rows(open_npy(self._file)), LIMIT_BYTES


CONTENDERS = (Pullback, PullbackStreamed)
