"""After the first epoch nothing is compiled again: told by JAX's own log of compilations."""

from __future__ import annotations

import logging

import jax
import numpy as np
import pytest

from pullback import config, experiment
from pullback.data import Batches
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Tanh, chain
from pullback.optim import SGD
from pullback.penalty import L2
from pullback.train import Plan, Task, fit


@pytest.fixture
def compiled(caplog):
    """A function that lists what was compiled since it was last asked."""
    jax.config.update("jax_log_compiles", True)
    caplog.set_level(logging.WARNING, "jax")

    def since() -> list[str]:
        found = [m.split(" with ")[0] for m in caplog.messages if m.startswith("Compiling ")]
        caplog.clear()
        return found

    yield since
    jax.config.update("jax_log_compiles", False)


def batches(n: int, size: int = 8, seed: int = 0) -> Batches:
    draw = np.random.default_rng(seed)
    x, labels = draw.normal(size=(n, 3)).astype(np.float32), draw.integers(0, 2, n)
    return Batches(x, np.eye(2, dtype=np.float32)[labels], None, size, 0, limit_bytes=float("inf"))


def task(width: int) -> Task:
    return Task(chain(Affine(width), Tanh(), Affine(2)), SoftmaxCrossEntropy(), SGD(0.1), L2(1e-3))


PLAN = Plan(epochs=4, evaluate_steps=3, checkpoint_steps=5)


def test_the_log_tells_of_a_compilation(compiled):
    jax.jit(lambda x: 2 * x + 17)(np.float32(1))
    assert len(compiled()) == 1
    assert compiled() == []


def test_nothing_is_compiled_after_the_first_epoch(compiled):
    source, found = batches(50), {}
    parts = {"train": source, "validation": batches(21)}
    assert 50 % 8

    def at_epoch(learner, progress):
        found[progress.epoch] = compiled()

    fit(task(11), source, PLAN, parts=parts, at_epoch=at_epoch)
    # One program for every stretch of steps, however it is cut, and one for each size of a part.
    for program, count in (("advance", 1), ("watched", 1), ("sums", 2)):
        assert found[1].count(f"Compiling jit({program})") == count
    assert found == {1: found[1], 2: [], 3: [], 4: []}


def test_a_second_fit_of_an_equal_task_compiles_nothing(compiled):
    fit(task(12), batches(50), PLAN, parts={"train": batches(50)})
    assert compiled()
    fit(task(12), batches(50, seed=1), PLAN, parts={"train": batches(50, seed=1)})
    assert compiled() == []
    fit(task(13), batches(50), PLAN)
    assert compiled()


def test_a_second_run_of_an_equal_experiment_compiles_nothing(compiled, tmp_path):
    plan = config.parse(
        {
            "data": {"source": "xor", "n": 90},
            "network": {"hidden": [9]},
            "train": {"epochs": 3, "batch_size": 8},
            "evaluate": {"steps": 3},
            "check": {"enabled": False},
        },
        "the test",
    )
    experiment.train(plan, tmp_path / "first")
    assert compiled()
    experiment.train(plan, tmp_path / "second")
    assert compiled() == []
