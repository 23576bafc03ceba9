"""The range test of the learning rate: one run in which the rate grows from step to step."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..config import Experiment
from ..data import Batches
from ..errors import ConfigError, DivergedError
from ..model import precision
from ..optim import Exponential, Schedule
from ..optim.core import Rated
from ..prepared import prepare
from ..train import Batch, Task, begin
from ..train.step import stream
from ..train.stretch import Stretch, advance

# The loss has diverged where its average is so many times what it was at the start. To average,
# one of more than four times the start counts as that, so that none outweighs all its neighbours.
DIVERGED, MOST = 1.5, 4.0
# Losses are averaged over this share of the steps, to each side, by a Gaussian.
WIDTH = 0.02
# Less than this share of the first loss is no fall, nor are less than three standard errors.
FALL, CERTAIN = 0.02, 3.0


@dataclass(frozen=True)
class RateRange:
    """The loss at growing learning rates, up to where it diverged.

    Source: Smith 2017, arXiv:1506.01186, §3.3; the point of steepest descent after Gugger 2018.

    Attributes:
        name: the experiment.
        rates: the rate of each step.
        losses: the loss of each step's mini-batch before its update, without the penalty.
        smooth: the losses, averaged with their neighbours.
        diverged: the rate at which the loss diverged; None, if it did not.
        steepest: the rate at which it falls fastest per decade; None, if it falls nowhere.
        lowest: the rate at which it is lowest; None likewise.
    """

    name: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    diverged: float | None
    steepest: float | None
    lowest: float | None

    @property
    def tenth(self) -> float | None:
        """An order of magnitude below the lowest: the more careful of the two suggestions."""
        return None if self.lowest is None else self.lowest / 10

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return dataclasses.asdict(self) | {"tenth": self.tenth}

    def __str__(self) -> str:
        tried = f"{len(self.rates)} steps, rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        end = "The loss did not diverge."
        if self.diverged is not None:
            end = f"The loss diverged at {self.diverged:.2g}."
        if self.steepest is None or self.lowest is None:
            return (
                f"{tried}: the loss nowhere fell by {100 * FALL:g} % and beyond its noise. {end} "
                "Try: more steps, larger batches or other bounds, or see whether the derivatives "
                "are right (`pullback check`)."
            )
        said = (
            f"{tried}: the loss falls fastest at {self.steepest:.2g} and is lowest at "
            f"{self.lowest:.2g}. {end} Try: learning_rate = {self.steepest:.2g}, or more "
            f"carefully {self.tenth:.2g}, a tenth of the lowest."
        )
        if self.lowest == self.rates[-1] and self.diverged is None:
            said += " It was still falling at the end: raise --high."
        return said


def rate_range(
    experiment: Experiment,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 200,
    data_dir: Path | None = None,
) -> RateRange:
    """Train with a learning rate that grows exponentially, and look where the loss falls.

    All steps are one compiled program, which ends at the first loss that is not finite. The
    experiment's own schedule is set aside; all else of its rule stays.

    Args:
        experiment: what to train.
        low: the first rate.
        high: the last.
        steps: how many steps; they go through the training part as often as they need to.
        data_dir: where data sets lie.

    Raises:
        ConfigError: the bounds or the steps make no range, the rule has no learning rate, or the
            training part does not fit into memory.
        DataError: the data are missing or broken.
        DivergedError: not even the first loss is finite.
    """
    if not 0 < low < high < math.inf:
        raise ConfigError(f"a range of rates wants 0 < low < high, got {low:g} and {high:g}")
    if steps < 10:
        raise ConfigError(f"a range test wants at least 10 steps, got {steps}")
    experiment.refuse_peers("a range test")
    with precision(experiment):
        prepared = prepare(experiment, data_dir)
        growing = Exponential(low, (high / low) ** (1 / (steps - 1)))
        task = dataclasses.replace(prepared.task, rule=with_rate(prepared.task.rule, growing))
        batches = prepared.batches(prepared.loaded.train)
        losses = _losses(task, batches, steps, experiment.seed, prepared.like)
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    return read_range(experiment.name, rates, losses)


def _losses(task: Task, batches: Batches, steps: int, seed: int, like) -> np.ndarray:
    """The losses of so many full batches; those after one that is not finite are nan."""
    if batches.streams:
        raise ConfigError(
            "a range test wants training data that fit into memory",
            next="raise data.stream_above_mb, or test on a part of the file",
        )
    chunks = itertools.chain.from_iterable(map(batches.epoch, itertools.count()))
    lines = [next(chunks) for _ in range(-(-steps // (len(batches.targets) // batches.batch_size)))]
    data = jax.device_put(Batch(lines[0].x, lines[0].y, lines[0].weight))
    order = np.concatenate([chunk.order for chunk in lines])[:steps]
    stretch = Stretch(order, order[0, :0], np.int32(steps), np.int32(0))
    learner, key = begin(task, seed, like), stream(seed, "masks")
    _, outputs, _ = advance(task, learner, data, stretch, np.int32(0), np.int32(steps), key)
    losses = np.asarray(outputs, np.float64)[:steps].sum(axis=1)
    lost = np.flatnonzero(~np.isfinite(losses))
    if lost.size and lost[0] == 0:
        raise DivergedError(
            f"the first loss is {losses[0]}, before any update",
            next="see whether inputs, targets and first weights are of a usual size",
        )
    if lost.size:
        losses[lost[0] :] = np.nan
    return losses


def with_rate(rule: Any, schedule: Schedule) -> Any:
    """A rule with another learning rate, wherever in it that lies.

    Raises:
        ConfigError: it has none of ours.

    >>> from pullback.optim import SGD, Chain, ClipByNorm
    >>> with_rate(Chain((ClipByNorm(1.0), SGD(0.1))), Exponential(1e-3, 2.0)).rules[1]
    SGD(learning_rate=Exponential(rate=0.001, factor=2.0, unit=1))
    """
    changed = _with_rate(rule, schedule)
    if changed == rule:
        raise ConfigError(
            f"{rule} has no learning rate to change", next="take a rule that has one, such as sgd"
        )
    return changed


def _with_rate(part: Any, schedule: Schedule) -> Any:
    if type(part) is tuple:
        return tuple(_with_rate(each, schedule) for each in part)
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return part
    values = {
        field.name: _with_rate(getattr(part, field.name), schedule)
        for field in dataclasses.fields(part)
    }
    if isinstance(part, Rated):
        values["learning_rate"] = schedule
    return dataclasses.replace(part, **values)


def read_range(name: str, rates: np.ndarray, losses: np.ndarray) -> RateRange:
    """Find in the losses where they diverge, fall fastest, and are lowest.

    Args:
        name: the experiment.
        rates: the rate of each step, growing by one factor.
        losses: the loss of each; nan from where it was not finite any more.
    """
    level = float(np.nanmedian(losses[: max(len(losses) // 10, 1)]))
    start = abs(level)
    width = max(1.0, WIDTH * len(losses))
    finite = np.isfinite(losses)
    capped = np.where(finite, np.minimum(losses, MOST * start), MOST * start)
    smooth = _smoothed(capped, width)
    gone = ~finite | (smooth > DIVERGED * start)
    end = max(int(gone.argmax()), 1) if gone.any() else len(losses)
    diverged = float(rates[end]) if gone.any() else None
    # Averaged again without what came after, which would blur into the last of them.
    rates, losses, smooth = rates[:end], losses[:end], _smoothed(capped[:end], width)
    lowest = steepest = None
    if end > 1:
        at = int(smooth.argmin())
        if at and level - smooth[at] > max(FALL * start, CERTAIN * _noise(losses, smooth, width)):
            lowest = float(rates[at])
            steepest = float(rates[np.gradient(smooth[: at + 1]).argmin()])
    return RateRange(
        name,
        tuple(rates.tolist()),
        tuple(losses.tolist()),
        tuple(smooth.tolist()),
        diverged,
        steepest,
        lowest,
    )


def _noise(losses: np.ndarray, smooth: np.ndarray, width: float) -> float:
    """The standard error of an average, over as many losses as a Gaussian holds: 2√π · width.

    It is told by the first half of the steps, where the rates are too small to change much.
    """
    half = max(len(losses) // 2, 1)
    return float(np.std(losses[:half] - smooth[:half])) / math.sqrt(2 * math.sqrt(math.pi) * width)


def _smoothed(values: np.ndarray, width: float) -> np.ndarray:
    """Averages over neighbours, weighted by a Gaussian: centred, so that they do not lag."""
    apart = np.arange(len(values))[:, None] - np.arange(len(values))[None, :]
    weights = np.exp(-0.5 * (apart / width) ** 2)
    return weights @ values / weights.sum(axis=1)
