"""Schedules: against closed forms in float64 and against Optax, in steps and in epochs."""

from __future__ import annotations

import math
from dataclasses import replace

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pullback.errors import ConfigError
from pullback.optim import (
    SGD,
    Adam,
    Chain,
    ClipByNorm,
    Cosine,
    Exponential,
    InverseSqrt,
    InverseTime,
    IterateAverage,
    OneCycle,
    StepDecay,
    Table,
    Warmup,
    resolve,
)
from pullback.report.figures.rate import learning_rate

COUNTS = np.concatenate([np.arange(70), [99, 100, 101, 499, 500, 501, 999, 1000, 1001, 10**6]])

CLOSED = [
    (InverseTime(0.1, 0.02), lambda t: 0.1 / (1 + 0.02 * t)),
    (InverseTime(0.1, 0.5, unit=7), lambda t: 0.1 / (1 + 0.5 * (t // 7))),
    (Exponential(0.1, 0.9999), lambda t: 0.1 * 0.9999**t),
    (Exponential(0.1, 0.97, unit=5000), lambda t: 0.1 * 0.97 ** (t // 5000)),
    (InverseSqrt(0.1), lambda t: 0.1 / math.sqrt(1 + t)),
    (InverseSqrt(0.1, unit=9), lambda t: 0.1 / math.sqrt(1 + t // 9)),
    (StepDecay(0.1, 0.5, every=30), lambda t: 0.1 * 0.5 ** (t // 30)),
    (StepDecay(0.1, 0.5, every=3, unit=50), lambda t: 0.1 * 0.5 ** (t // 150)),
    (
        Table(((0, 0.1), (3, 0.05), (10, 0.0)), unit=10),
        lambda t: 0.1 if t < 30 else 0.05 if t < 100 else 0.0,
    ),
    (
        Cosine(0.1, 0.01, length=500),
        lambda t: 0.01 + 0.09 * (1 + math.cos(math.pi * min(t / 500, 1))) / 2,
    ),
    (Warmup(9, 0.1), lambda t: 0.1 * min(t + 1, 10) / 10),
    (
        Warmup(3, InverseTime(0.1, 0.1), unit=3),
        lambda t: 0.1 * (t + 1) / 10 if t < 9 else 0.1 / (1 + 0.1 * (t - 9)),
    ),
]

OPTAX = [
    (Exponential(0.1, 0.99), optax.exponential_decay(0.1, 1, 0.99)),
    (Exponential(0.1, 0.9, unit=13), optax.exponential_decay(0.1, 13, 0.9, staircase=True)),
    (StepDecay(0.1, 0.3, every=40), optax.exponential_decay(0.1, 40, 0.3, staircase=True)),
    (Cosine(0.1, 0.002, length=500), optax.cosine_decay_schedule(0.1, 500, alpha=0.02)),
    (Warmup(20, 0.1), optax.linear_schedule(0.1 / 21, 0.1, 20)),
    (
        Warmup(20, Cosine(0.1, length=480)),
        optax.warmup_cosine_decay_schedule(0.1 / 21, 0.1, 20, 500),
    ),
    (OneCycle(0.1, length=500), optax.cosine_onecycle_schedule(500, 0.1)),
    (
        OneCycle(0.3, 0.2, 0.1, 0.001, length=20, unit=50),
        optax.cosine_onecycle_schedule(1000, 0.3, 0.2, 10, 100),
    ),
    (
        Table(((0, 0.1), (30, 0.02), (60, 0.01))),
        optax.piecewise_constant_schedule(0.1, {30: 0.2, 60: 0.5}),
    ),
]


@pytest.mark.parametrize(("schedule", "closed"), CLOSED, ids=[str(one) for one, _ in CLOSED])
def test_against_the_closed_form(schedule, closed):
    wanted = [closed(int(t)) for t in COUNTS]
    with jax.enable_x64(True):
        wide = schedule(COUNTS)
        assert wide.dtype == np.float64
        np.testing.assert_allclose(wide, wanted, rtol=1e-12, atol=1e-15)
    narrow = schedule(COUNTS.astype(np.int32))
    assert narrow.dtype == np.float32
    # A float32 cannot hold what is below 1e-38, nor the last digits of a rate that falls to 0.
    np.testing.assert_allclose(narrow, wanted, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize(("ours", "theirs"), OPTAX, ids=lambda each: str(each)[:40])
@jax.numpy_dtype_promotion("standard")  # Optax promotes implicitly
def test_against_optax(ours, theirs):
    counts = COUNTS[COUNTS < 5000]
    with jax.enable_x64(True):
        wanted = jax.jit(jax.vmap(theirs))(counts)
        np.testing.assert_allclose(ours(counts), wanted, rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("schedule", cases.SCHEDULES, ids=str)
def test_one_count_inside_a_compiled_loop_is_that_count_outside(schedule):
    whole = resolve(schedule, 4, 40)
    walked = jax.lax.map(whole, jnp.arange(41))
    at_once = whole(jnp.arange(41))
    assert walked.shape == at_once.shape == (41,)
    np.testing.assert_allclose(walked, at_once, rtol=3e-6, atol=1e-9)
    assert np.isfinite(at_once).all()
    assert (np.asarray(at_once) >= 0).all()


def test_an_unresolved_time_is_refused_with_a_sentence():
    with pytest.raises(ConfigError, match=r"in epochs, and what that is in steps is not known"):
        InverseTime(0.1, 1.0, unit="epoch")(0)
    with pytest.raises(ConfigError, match=r"as long as the run, .* call resolve\(rule"):
        Cosine(0.1)(0)


def test_resolve_puts_steps_in_wherever_a_time_stands():
    inner = Warmup(2, OneCycle(0.1), unit="epoch")
    rule = IterateAverage(Chain((ClipByNorm(1.0), Adam(inner))), start=3, unit="epoch")
    optax_rule = optax.adam(0.1)
    whole = resolve(rule, 10, 100)
    assert whole.unit == 10
    assert whole.rule.rules[0] == ClipByNorm(1.0)
    assert whole.rule.rules[1] == Adam(Warmup(2, OneCycle(0.1, length=80), unit=10))
    assert resolve(whole, 7, 70) == whole
    assert resolve(optax_rule, 10, 100) is optax_rule
    assert resolve(Cosine(0.1, unit="epoch"), 10, 100) == Cosine(0.1, length=100)
    assert resolve(Cosine(0.1, length=3, unit="epoch"), 10, 100) == Cosine(0.1, length=3, unit=10)
    short = resolve(SGD(Warmup(50, Cosine(0.1))), 10, 20)
    assert short.learning_rate.then.length == 1


def test_an_epoch_has_one_rate_and_a_warm_up_rises_within_it():
    halved = resolve(Exponential(1.0, 0.5, unit="epoch"), 4, 40)
    assert halved(jnp.arange(9)).tolist() == [1.0] * 4 + [0.5] * 4 + [0.25]
    rising = np.asarray(resolve(Warmup(2, 1.0, unit="epoch"), 4, 40)(jnp.arange(10)))
    np.testing.assert_allclose(rising, [*(np.arange(1, 9) / 9), 1, 1], rtol=1e-6)


def test_the_diminishing_step_of_ca6():
    # α/(1 + βαℓ), α = 0.0275, β = 0.001: after the 1,200 iterations of its exercise 6b.
    rate = InverseTime(0.0275, decay=0.001 * 0.0275)
    assert float(rate(1200)) == pytest.approx(0.0275 / 1.033)


def test_a_product_along_the_way_would_drift():
    # What the schedules do not do: multiply on in float32.
    factor = np.float32(0.99999)
    drifted = np.float32(0.1)
    for _ in range(100_000):
        drifted *= factor
    exact = 0.1 * 0.99999**100_000
    assert abs(drifted / exact - 1) > 1e-4
    assert abs(float(Exponential(0.1, 0.99999)(100_000)) / exact - 1) < 1e-6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: InverseTime(0.0, 1.0), r"InverseTime's rate must be a positive number, got 0.0"),
        (lambda: InverseTime(0.1, -1.0), "decay must be a positive number"),
        (lambda: Exponential(0.1, float("inf")), "factor must be a positive number, got inf"),
        (lambda: InverseSqrt(float("nan")), "rate must be a positive number, got nan"),
        (lambda: StepDecay(0.1, 0.5, 0), "every must be a whole number of at least 1, got 0"),
        (lambda: Table(((1, 0.1),)), r"Table's times must rise from 0, got \[1\]"),
        (lambda: Table(((0, 0.1), (5, 0.1), (5, 0.2))), "must rise from 0"),
        (lambda: Table(()), "must rise from 0"),
        (lambda: Table(((0, -0.1),)), "rates must be numbers of at least 0"),
        (lambda: Cosine(0.1, -1.0), "final must be a number of at least 0, got -1.0"),
        (lambda: Cosine(0.1, length=0), "length must be a whole number of at least 1 or 'run'"),
        (lambda: replace(Cosine(0.1), unit=0), "unit must be a whole number .* or 'epoch', got 0"),
        (lambda: Warmup(5, 0.0), "Warmup's then must be a positive number, got 0.0"),
        (lambda: OneCycle(0.1, rise=1.0), r"rise must be in \(0, 1\), got 1.0"),
        (lambda: OneCycle(0.1, start_factor=0.0), "start_factor must be a positive number"),
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize("schedule", cases.SCHEDULES, ids=str)
def test_every_schedule_has_a_picture(schedule):
    figure = learning_rate(schedule, steps_per_epoch=12, epochs=10)
    assert figure.image.startswith(b"<?xml")
    assert type(schedule).__name__ in figure.alt
    drawn = np.array([float(row[1]) for row in figure.table.rows])
    steps = np.array([int(row[0]) for row in figure.table.rows])
    np.testing.assert_allclose(drawn, resolve(schedule, 12, 120)(steps), rtol=1e-3)
