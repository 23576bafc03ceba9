"""Memory that compiling leaves behind."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import pytest

import pullback.train  # noqa: F401, which asks for it
from pullback import memory


@pytest.fixture
def given(monkeypatch):
    """How often memory was given back."""
    calls = []
    monkeypatch.setattr(memory, "_trim", calls.append)
    return calls


@pytest.mark.skipif(memory._trim is None, reason="the C library has no malloc_trim")
def test_a_longer_compilation_gives_back_and_nothing_else_does(given, monkeypatch):
    for event, seconds, wanted in (
        (memory._COMPILED, memory.LEAST, [0]),
        (memory._COMPILED, memory.LEAST / 2, []),
        ("/jax/another", 9.0, []),
    ):
        jax.monitoring.record_event_duration_secs(event, seconds)
        assert given == wanted
        given.clear()
    monkeypatch.setattr(memory, "LEAST", 0.0)
    jax.jit(lambda x: x * 3 + 1)(jnp.ones(7))
    assert given


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux")
def test_what_is_called_is_there_or_left_alone():
    assert memory._trim is None or memory._trim(0) in (0, 1)
