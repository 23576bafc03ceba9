"""What curves over many workers and many rounds share: bands, bins, and axes with units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EACH = 10
"""Workers that still have a curve each."""
BINS = 500
"""Points of a curve over rounds."""

# Along what the success of a network is drawn: the key of a row, and the name of its axis.
ALONG = {
    "epoch": "epochs",
    "round": "rounds",
    "bytes": "bytes sent",
    "seconds": "simulated time",
}
_UNITS: dict[str, tuple[tuple[float, str], ...]] = {
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
    "seconds": ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")),
}


def scale(along: str, most: float) -> tuple[float, str]:
    """Return the unit that suits values up to `most` along an axis, and the axis' name with it.

    >>> scale("bytes", 5e6), scale("round", 80)
    ((1000000.0, 'bytes sent (MB)'), (1.0, 'rounds'))
    """
    for size, unit in _UNITS.get(along, ()):
        if most >= size:
            return float(size), f"{ALONG[along]} ({unit})"
    return 1.0, ALONG[along]


def few_ticks(axes: Axes) -> None:
    """Leave a narrow panel room for its ticks."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, prune="upper"))


def draw_each(axes: Axes, x: Sequence[float], each: np.ndarray) -> None:
    """Draw a curve for each worker; of many the middle one, the middle half and the whole range."""
    if len(each) <= EACH:
        for n, curve in enumerate(each):
            style = ink.nth(n) | {"linewidth": 1.2}
            ink.curve(axes, x, curve.tolist(), label=f"worker {n}", **style)
            if np.isfinite(curve).any() and not np.isfinite(curve).all():
                # Between two rounds without a value a line has no length.
                axes.plot(x, curve, ".", markersize=3, color=style["color"])
        return
    low, first, middle, third, high = _spread(each)
    band = {"color": ink.PALETTE[5], "linewidth": 0}
    axes.fill_between(x, low, high, alpha=0.3, label="least to greatest", **band)
    axes.fill_between(x, first, third, alpha=0.55, label="middle half", **band)
    ink.curve(axes, x, middle.tolist(), color=ink.PALETTE[0], label="median worker")


def _spread(each: np.ndarray) -> np.ndarray:
    """The least, quartiles and greatest over the workers, at each point; nan where none has one."""
    found = np.full((5, each.shape[1]), np.nan)
    there = np.isfinite(each).any(0)
    found[:, there] = np.nanquantile(
        np.where(np.isfinite(each), each, np.nan)[:, there], (0, 0.25, 0.5, 0.75, 1), axis=0
    )
    return found


def band_note(n: int) -> str:
    """Say what bands are, where there are any."""
    return "" if n <= EACH else f" Bands: over the {n} workers."


def worker_columns(n: int) -> list[str]:
    """The columns of a table of workers: each, or of many what is drawn."""
    if n <= EACH:
        return [f"worker {i}" for i in range(n)]
    return ["least", "median", "greatest"]


def worker_cells(column: np.ndarray) -> list[float]:
    """What stands in them at one point."""
    if len(column) <= EACH:
        return column.tolist()
    low, _, middle, _, high = _spread(column[:, None])[:, 0].tolist()
    return [low, middle, high]


def mean_of(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is finite; nan where nothing is."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(-1) / there.sum(-1)


def greatest(values: np.ndarray) -> np.ndarray:
    """The greatest along the last axis; nan where one is."""
    return values.max(-1)


def binned(
    rounds: Sequence[int], values: np.ndarray, sum_up: Callable[[np.ndarray], np.ndarray]
) -> tuple[list[float], np.ndarray]:
    """Values (k, R) over rounds, in bins in order where there are many; the last one is whole."""
    n = len(rounds)
    width = -(-n // BINS)
    if width == 1:
        return list(map(float, rounds)), values
    cuts = list(range(0, n, width))
    middle = [float(np.mean(rounds[cut : cut + width])) for cut in cuts]
    return middle, np.stack([sum_up(values[:, cut : cut + width]) for cut in cuts], axis=1)


def bin_note(n: int, how: str = "means") -> str:
    """Say that rounds were taken together, where they were."""
    width = -(-n // BINS)
    return f" Drawn are {how} over {width} rounds each." if width > 1 else ""


def log_curve(axes: Axes, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
    """Draw what is positive; a value of 0 has no logarithm, and leaves a gap."""
    ink.curve(axes, x, [value if value > 0 else math.nan for value in y], **style)


def log_axis(axes: Axes, values: Sequence[float], name: str) -> None:
    """Make the vertical axis logarithmic, if there is anything to draw on it."""
    if any(value > 0 for value in values):
        axes.set_yscale("log")
        ink.log_ticks(axes.yaxis)
        axes.set_ylabel(f"{name} (log scale)")
    else:
        axes.set_ylabel(name)
        axes.set_ylim(-0.05, 1)
