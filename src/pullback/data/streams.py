"""Random numbers by name: each stream is a function of the seed, its name and its counters.

No generator is kept between calls, so an interrupted run has no state of the data to restore.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, stream: str, *counters: int) -> np.random.Generator:
    """Return the generator of a named stream.

    key = the first 128 bits of SHA-256("seed/stream/counter/…"), of a Philox counter generator.

    >>> int(generator(0, "order", 3).integers(1000)) == int(generator(0, "order", 3).integers(1000))
    True
    """
    text = "/".join([str(seed), stream, *map(str, counters)])
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))
