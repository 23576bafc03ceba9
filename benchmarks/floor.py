"""The least that a step can take on this machine: its products, and its weights read and written.

A product is timed alone, by the fastest library that is here, on arrays of the shapes of the step;
all products of a step come one after another, so that what one leaves in the caches helps the next
as in training. To that comes one pass over all weights, which the update reads and writes, at the
speed of a copy of so many bytes. Activations, gathers and everything else count nothing. Nor does
the gradient of the weights where a batch is one example: an outer product, which an update could
make as it goes over the weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .workloads import Workload

# Seconds for which each library is timed; the least of its times counts.
_SECONDS = 2.0


class Floor(NamedTuple):
    """What a step must do, and the least time for it.

    Attributes:
        gflop: of all its products, in thousands of millions of operations.
        gflops: how many of these a second the products alone reach.
        fastest: whose products these are.
        products: their microseconds.
        update: the microseconds of reading and writing the weights.
    """

    gflop: float
    gflops: float
    fastest: str
    products: float
    update: float

    @property
    def step(self) -> float:
        """Microseconds of a step."""
        return self.products + self.update


def floor(work: Workload, d: int, classes: int) -> Floor:
    """Measure the floor of a workload with inputs (n, d).

    Forward and reverse by the weight cost n · d_in · d_out multiplications each for every layer,
    and so does the reverse by the input for all but the first. Of bfloat16 products PyTorch's alone
    are timed, which must be here.
    """
    widths = list(pairwise((d, *work.hidden, classes)))
    each = 4 if work.batch > 1 else 2
    flop = sum((each + (2 if i else 0)) * work.batch * a * b for i, (a, b) in enumerate(widths))
    ways = {"numpy": _numpy(work.batch, widths)} if work.products == "full" else {}
    if find_spec("torch"):
        ways["torch"] = _torch(work.batch, widths, work.products)
    least = {name: _least(way) for name, way in ways.items()}
    fastest = min(least, key=least.__getitem__)
    seconds = least[fastest]
    held = np.zeros(sum(a * b for a, b in widths), np.float32)
    copy = np.empty_like(held)
    update = _least(lambda: np.copyto(copy, held))
    return Floor(flop / 1e9, flop / 1e9 / seconds, fastest, seconds * 1e6, update * 1e6)


def _numpy(batch: int, widths: list[tuple[int, int]]) -> Callable[[], object]:
    random = np.random.default_rng(0)
    arrays = [
        [random.standard_normal(shape).astype(np.float32) for shape in shapes]
        for shapes in _shapes(batch, widths)
    ]
    return _products(arrays, np.matmul)


def _torch(batch: int, widths: list[tuple[int, int]], products: str) -> Callable[[], object]:
    import torch  # pyright: ignore[reportMissingImports]

    dtype = torch.bfloat16 if products == "bfloat16" else torch.float32
    arrays = [[torch.randn(s).to(dtype) for s in shapes] for shapes in _shapes(batch, widths)]
    return _products(arrays, torch.mm)


def _products(layers: list[list[Any]], multiply: Callable[..., Any]) -> Callable[[], object]:
    """All products of a step on the x, the weight and the dy of each layer."""
    # What a product gives is kept from call to call: to clear new memory is no work of a step.
    out = [(multiply(x, w), multiply(x.T, dy), multiply(dy, w.T)) for x, w, dy in layers]

    def go():
        for (x, w, _), (y, _, _) in zip(layers, out, strict=True):
            multiply(x, w, out=y)
        for i in range(len(layers) - 1, -1, -1):
            (x, w, dy), (_, dw, dx) = layers[i], out[i]
            if len(x) > 1:
                multiply(x.T, dy, out=dw)
            if i:
                multiply(dy, w.T, out=dx)

    return go


def _shapes(batch: int, widths: list[tuple[int, int]]):
    return [((batch, a), (a, b), (batch, b)) for a, b in widths]


def _least(work: Callable[[], object]) -> float:
    """Seconds of the fastest of many calls."""
    work()
    found, ends = [], time.perf_counter() + _SECONDS
    while not found or time.perf_counter() < ends:
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)
