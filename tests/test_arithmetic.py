"""Products keep the precision of their arrays wherever the program runs, unless a user says so."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.arithmetic import SETTING, full_precision
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Conv, Flatten, Tanh, chain
from pullback.optim import SGD
from pullback.train import Batch, Task, begin
from pullback.train.measure import measure
from pullback.train.stretch import Stretch, advance


def precisions(text: str) -> set[str]:
    """What the products of a lowered program ask for."""
    lines = [line for line in text.splitlines() if "dot_general" in line or "convolution" in line]
    assert lines
    return {word for line in lines for word in ("DEFAULT", "HIGH,", "HIGHEST") if word in line}


@pytest.fixture
def work():
    net = chain(Conv(2, 3), Tanh(), Flatten(), Affine(2))
    task = Task(net, SoftmaxCrossEntropy(), SGD(0.1))
    draw = np.random.default_rng(0)
    x = draw.normal(size=(12, 5, 5, 1)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[draw.integers(0, 2, 12)]
    return task, Batch(x, y, np.ones(12, np.float32))


def lowered_training(task, data) -> str:
    learner = begin(task, 0, data.x[:1])
    stretch = Stretch(jnp.arange(12).reshape(3, 4), jnp.arange(0), jnp.int32(3), jnp.int32(0))
    return advance.lower(task, learner, data, stretch, 0, 3, jax.random.key(0)).as_text()


def test_training_and_evaluation_ask_for_full_products(work):
    task, data = work
    assert precisions(lowered_training(task, data)) == {"HIGHEST"}
    learner = begin(task, 0, data.x[:1])
    text = measure.lower(task, learner.params, learner.state, data).as_text()
    assert precisions(text) == {"HIGHEST"}


def test_what_the_user_says_is_kept(work):
    with jax.default_matmul_precision("tensorfloat32"):
        assert "HIGHEST" not in precisions(lowered_training(*work))


def test_nothing_outside_is_changed():
    before = getattr(jax.config, SETTING)
    with full_precision():
        assert getattr(jax.config, SETTING) == "highest"
    assert getattr(jax.config, SETTING) == before
