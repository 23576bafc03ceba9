"""Schedules: the learning rate as a function of the steps taken.

A schedule is called with a count of steps, from 0, and gives the rate of the step that comes next;
a constant rate is the plain number. Some count in epochs, or last as long as the run: what that is
in steps, only the run can tell, and `resolve` puts it in once.

Rates are computed in JAX's usual float (float32, or float64 where that is enabled). Counts up to 16
million are exact in float32, and no schedule multiplies its way along, so none drifts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import jax.numpy as jnp

from ..errors import ConfigError
from . import ranges

Unit = int | Literal["epoch"]
Length = int | Literal["run"]


@dataclass(frozen=True)
class Schedule:
    """A learning rate that depends on how many steps were taken."""

    def __call__(self, count):
        """The rate of the step that follows `count` steps; `count` may be an array of them."""
        raise NotImplementedError


def rate_at(learning_rate: float | Schedule, count):
    """What a learning rate, a number or a schedule, is after so many steps.

    >>> rate_at(0.1, 7), float(rate_at(InverseTime(0.5, 0.25), 4))
    (0.1, 0.25)
    """
    return learning_rate(count) if isinstance(learning_rate, Schedule) else learning_rate


@dataclass(frozen=True)
class InverseTime(Schedule):
    """Decay as one over time.

    Rate:    rate / (1 + decay · i),  i = ⌊count / unit⌋
    Source:  the notes §7.5, α₀/(1 + ηi) with i the epoch: unit = "epoch"; CA6 §3, α/(1 + βαℓ) with
             ℓ the iteration and α the initial step-size: decay = βα, 2.75e-5 in its table 1

    Args:
        rate: the first.
        decay: how much of it one unit of time takes, about.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: an argument is not a positive number.

    >>> [float(InverseTime(1.0, 0.5)(count)) for count in (0, 2, 6)]
    [1.0, 0.5, 0.25]
    """

    rate: float
    decay: float
    unit: Unit = 1

    def __post_init__(self):
        ranges.positive(self, "rate", "decay")
        ranges.whole(self, "unit", word="epoch")

    def __call__(self, count):
        return self.rate / (1 + self.decay * _periods(count, self.unit))


@dataclass(frozen=True)
class Exponential(Schedule):
    """Decay by one factor for each unit of time.

    Rate:    rate · factorⁱ,  i = ⌊count / unit⌋
    Source:  the notes §7.5, α₀ηⁱ with i the epoch: unit = "epoch"

    Args:
        rate: the first.
        factor: what it is multiplied by. Above 1 it grows, as in a range test.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: an argument is not a positive number.

    >>> [float(Exponential(1.0, 0.5, unit=10)(count)) for count in (0, 9, 10)]
    [1.0, 1.0, 0.5]
    """

    rate: float
    factor: float
    unit: Unit = 1

    def __post_init__(self):
        ranges.positive(self, "rate", "factor")
        ranges.whole(self, "unit", word="epoch")

    def __call__(self, count):
        return self.rate * _power(self.factor, _periods(count, self.unit))


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """Decay as one over the root of time.

    Rate:    rate / √(1 + i),  i = ⌊count / unit⌋
    Source:  the notes §7.5, α₀η/√i with i the epoch: unit = "epoch". They count epochs from 0,
             where that is infinite; here the first is number 1. Their α₀η is `rate`.

    Args:
        rate: the first.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: an argument is not a positive number.

    >>> [float(InverseSqrt(1.0)(count)) for count in (0, 3, 15)]
    [1.0, 0.5, 0.25]
    """

    rate: float
    unit: Unit = 1

    def __post_init__(self):
        ranges.positive(self, "rate")
        ranges.whole(self, "unit", word="epoch")

    def __call__(self, count):
        return self.rate / jnp.sqrt(1 + _periods(count, self.unit))


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Stay, then fall by a factor, again and again.

    Rate:    rate · factorᵏ,  k = ⌊count / (every · unit)⌋
    Source:  He et al. 2016, arXiv:1512.03385, §3.4: factor 0.1 "when the error plateaus"

    Args:
        rate: the first.
        factor: what it is multiplied by.
        every: how many units of time it stays.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: an argument is not a positive number.

    >>> [round(float(StepDecay(1.0, 0.1, every=30)(count)), 4) for count in (29, 30, 60)]
    [1.0, 0.1, 0.01]
    """

    rate: float
    factor: float
    every: int
    unit: Unit = 1

    def __post_init__(self):
        ranges.positive(self, "rate", "factor")
        ranges.whole(self, "every")
        ranges.whole(self, "unit", word="epoch")

    def __call__(self, count):
        return self.rate * _power(self.factor, _periods(count, self.every * steps_in(self.unit)))


@dataclass(frozen=True)
class Table(Schedule):
    """Decay by hand: at each of these times, this rate.

    Rate:    that of the last point with time ≤ ⌊count / unit⌋
    Source:  the notes §7.5, "manual decay"

    Args:
        points: pairs of a time and the rate from then on; the first time is 0.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: the times do not begin at 0 or do not rise; a rate is negative.

    >>> [round(float(Table(((0, 0.1), (10, 0.01)))(count)), 4) for count in (0, 9, 10)]
    [0.1, 0.1, 0.01]
    """

    points: tuple[tuple[int, float], ...]
    unit: Unit = 1

    def __post_init__(self):
        times = [time for time, _ in self.points]
        if times[:1] != [0] or any(b <= a for a, b in pairwise(times)):
            raise ConfigError(f"Table's times must rise from 0, got {times}")
        if not all(math.isfinite(rate) and rate >= 0 for _, rate in self.points):
            raise ConfigError(f"Table's rates must be numbers of at least 0, got {self.points}")
        ranges.whole(self, "unit", word="epoch")

    def __call__(self, count):
        times, rates = zip(*self.points, strict=True)
        now = jnp.asarray(count) // steps_in(self.unit)
        return jnp.array(rates, float)[jnp.searchsorted(jnp.array(times), now, side="right") - 1]


@dataclass(frozen=True)
class Cosine(Schedule):
    """Fall along half a cosine, and stay.

    Rate:    final + (rate − final) · (1 + cos πs)/2,  s = min(count / (length · unit), 1)
    Source:  Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, without restarts

    The last of `length` steps is taken a little above `final`; `final` itself is reached after it.

    Args:
        rate: the first.
        final: the last.
        length: how long the fall takes, in units of time, or "run" for all of the run.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: rate is not positive; final is negative; a length is not a positive number.

    >>> [round(float(Cosine(1.0, 0.2, length=10)(count)), 4) for count in (0, 5, 10, 99)]
    [1.0, 0.6, 0.2, 0.2]
    """

    rate: float
    final: float = 0.0
    length: Length = "run"
    unit: Unit = 1

    def __post_init__(self):
        ranges.positive(self, "rate")
        ranges.not_negative(self, "final")
        ranges.whole(self, "length", word="run")
        ranges.whole(self, "unit", word="epoch")

    def __call__(self, count):
        share = jnp.minimum(_float(count) / _span(self.length, self.unit), 1)
        return self.final + (self.rate - self.final) * _descent(share)


@dataclass(frozen=True)
class Warmup(Schedule):
    """Rise in a straight line, then follow another rate, whose time begins when the rise is over.

    Rate:    (count + 1)/(n + 1) · then(0) for count < n = length · unit;  then(count − n) after it
    Source:  Goyal et al. 2017, arXiv:1706.02677, §2.2

    The first step is not taken at rate 0, where nothing would move; a linear schedule of Optax or
    PyTorch begins there unless it is told otherwise.

    Args:
        length: how long the rise takes, in units of time.
        then: what follows: a number or a schedule. One that lasts as long as the run ends with it.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: length or unit is not a positive whole number; `then` is not a positive number.

    >>> [round(float(Warmup(4, 1.0)(count)), 4) for count in (0, 1, 3, 4, 99)]
    [0.2, 0.4, 0.8, 1.0, 1.0]
    """

    length: int
    then: float | Schedule
    unit: Unit = 1

    def __post_init__(self):
        ranges.whole(self, "length")
        ranges.whole(self, "unit", word="epoch")
        learning_rate(self, "then")

    def __call__(self, count):
        n = self.length * steps_in(self.unit)
        after = rate_at(self.then, jnp.maximum(jnp.asarray(count) - n, 0))
        return after * jnp.minimum((_float(count) + 1) / (n + 1), 1)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Rise to the rate and fall far below where it began, each along half a cosine.

    Rate:    rate · (start_factor + (1 − start_factor) · (1 − cos πs)/2),
                 s = count / (rise · n), for count < rise · n;
             rate · (final_factor + (1 − final_factor) · (1 + cos πs)/2),
                 s = (count − rise · n) / ((1 − rise) · n), after it;  n = length · unit
    Source:  Smith & Topin 2019, arXiv:1708.07120, with the two cosines of fastai, PyTorch's
             OneCycleLR and Optax's cosine_onecycle_schedule

    PyTorch turns one step sooner and lets the momentum fall while the rate rises; here the momentum
    stays.

    Args:
        rate: the highest.
        rise: the share of the time in which it rises.
        start_factor: the first rate, as a share of the highest.
        final_factor: the last one.
        length: how long it takes, in units of time, or "run" for all of the run.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: rate or a factor is not a positive number; rise is not in (0, 1); a length is
            not a positive number.

    >>> [round(float(OneCycle(1.0, length=10)(count)), 4) for count in (0, 3, 10)]
    [0.04, 1.0, 0.0]
    """

    rate: float
    rise: float = 0.3
    start_factor: float = 0.04
    final_factor: float = 4e-6
    length: Length = "run"
    unit: Unit = 1

    def __post_init__(self):
        ranges.positive(self, "rate", "start_factor", "final_factor")
        ranges.between(self, "rise")
        ranges.whole(self, "length", word="run")
        ranges.whole(self, "unit", word="epoch")

    def __call__(self, count):
        n = _span(self.length, self.unit)
        turn = self.rise * n
        rising = jnp.clip(1 - _float(count) / turn, 0, 1)
        falling = jnp.clip((_float(count) - turn) / (n - turn), 0, 1)
        up = self.start_factor + (1 - self.start_factor) * _descent(rising)
        down = self.final_factor + (1 - self.final_factor) * _descent(falling)
        return self.rate * jnp.where(_float(count) < turn, up, down)


def learning_rate(owner: object, name: str = "learning_rate") -> None:
    """Refuse a learning rate that is neither a schedule nor a positive number."""
    if not isinstance(getattr(owner, name), Schedule):
        ranges.positive(owner, name)


def _descent(share):
    """From 1 at 0 to 0 at 1, level at both ends: (1 + cos πs)/2, written so that it ends at 0."""
    return jnp.cos(0.5 * math.pi * share) ** 2


def _power(factor: float, exponent):
    """A power by way of the logarithm, which Python takes in float64: no error grows with time."""
    return jnp.exp(exponent * math.log(factor))


def _periods(count, unit: Unit):
    """How many whole units of time have gone by."""
    return _float(jnp.asarray(count) // steps_in(unit))


def _span(length: Length, unit: Unit) -> int:
    if isinstance(length, str):
        raise _unresolved("as long as the run")
    return length * steps_in(unit)


def steps_in(unit: Unit) -> int:
    """How many steps one unit of time has; those of an epoch only a resolved schedule knows."""
    if isinstance(unit, str):
        raise _unresolved("in epochs")
    return unit


def _unresolved(what: str) -> ConfigError:
    return ConfigError(
        f"a schedule is {what}, and what that is in steps is not known yet",
        next="call resolve(rule, steps_per_epoch, steps) first, or give numbers of steps",
    )


def _float(count):
    return jnp.asarray(count).astype(float)
