"""Grey levels that stay bytes: the same numbers to the bit, from the first step to the last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import config, prepared
from pullback.data import Batches, Pixels, Rows, packed
from pullback.diagnose.units import layer_units
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import Affine, Selu, chain
from pullback.optim import SGD
from pullback.peers import FedAvg, Local, Simulation, Star
from pullback.peers.lanes import alike
from pullback.record import Record
from pullback.train import Batch, Part, Plan, Task, begin, fit
from pullback.train.measure import Sent, window
from pullback.tune import Together, Trial

LEVELS = np.random.default_rng(0).integers(0, 256, (3000, 784), np.uint8)
TASK = Task(chain(Affine(8), Selu(), Affine(3)), SoftmaxCrossEntropy(), SGD(0.1))


def numbers(dtype: type = np.float32) -> np.ndarray:
    return LEVELS.astype(dtype) / dtype(255)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_levels_come_back_to_the_bit_here_and_in_a_program(dtype):
    with jax.enable_x64(dtype is np.float64):
        x = numbers(dtype)
        grey = packed(x)
        assert isinstance(grey, Pixels)
        assert (grey.shape, grey.dtype, grey.ndim, len(grey)) == (x.shape, x.dtype, 2, len(x))
        assert grey.values.nbytes == x.size
        assert np.array_equal(grey[:], x)
        rows = np.array([5, 0, 2999])
        for read in (lambda a: a[rows], lambda a: window(a, 7, 20), lambda a: a[:]):
            inside = jax.jit(read)(jax.device_put(grey))
            assert inside.dtype == x.dtype
            assert np.array_equal(inside, np.asarray(read(jnp.asarray(x))))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x - x.mean(),
        lambda x: x * np.float32(255),
        lambda x: np.where(np.arange(x.size).reshape(x.shape) == x.size - 1, np.float32(0.5), x),
        lambda x: np.where(np.arange(x.size).reshape(x.shape) == x.size - 1, np.float32(np.nan), x),
        lambda x: x[:100],
    ],
    ids=["centred", "not divided", "one number between", "nan", "small"],
)
def test_all_else_is_left_as_it_is(spoil):
    x = spoil(numbers())
    assert packed(x) is x


def trained(x, **more):
    targets = np.eye(3, dtype=np.float32)[LEVELS[:, 0] % 3]
    batches = Batches(x, targets, None, 128, 0, float("inf"))
    record = Record()
    plan = Plan(2, evaluate_steps=10, **more)
    learner, _ = fit(TASK, batches, plan, parts={"train": batches}, record=record)
    return learner, list(record.rows("evaluation")), list(record.rows("step")), batches


def test_training_and_evaluation_are_the_same_to_the_bit():
    plain, packed_up = trained(numbers()), trained(packed(numbers()))
    for a, b in zip(jax.tree.leaves(plain[0]), jax.tree.leaves(packed_up[0]), strict=True):
        assert np.array_equal(a, b)
    assert plain[1:3] == packed_up[1:3]
    held = next(packed_up[3].epoch(0)).x
    assert isinstance(held, Pixels)
    assert held.values.dtype == np.uint8


def test_trials_together_and_open_units_take_them_too():
    *_, plain = trained(numbers())
    *_, grey = trained(packed(numbers()))
    ends = []
    for batches in (plain, grey):
        together = Together([Trial(TASK, batches, {"train": batches}, epochs=1)])
        ends.append(together.advance(together.steps_per_epoch)[0]["train"]["loss"])
    assert ends[0] == ends[1]
    params = begin(TASK, 0, numbers()[:1]).params
    found = [
        layer_units(TASK, params, {n.owner: {} for n in TASK.net.nodes}, chunks)
        for chunks in (Part(plain, True).chunks(), Part(grey, True).chunks())
    ]
    assert found[0] == found[1]


def test_workers_share_them_and_lanes_of_other_data_are_not_mixed_with_them():
    targets = np.eye(3, dtype=np.float32)[LEVELS[:, 0] % 3]
    ones = np.ones(len(targets), np.float32)
    made = [
        Simulation(
            TASK,
            FedAvg(),
            Star(4).schedule(),
            Batch(x, targets, ones),
            np.array_split(np.arange(len(x)), 4),
            local=Local(5),
        )
        for x in (numbers(), packed(numbers()))
    ]
    assert alike(made[0]) != alike(made[1])
    for each in made:
        each.run(2)
    assert isinstance(made[1].lane().data.x, Pixels)
    assert np.array_equal(made[0].models(), made[1].models())


def test_an_experiment_keeps_pictures_as_bytes_and_rows_on_disk_as_they_are():
    plan = config.parse({"network": {"hidden": [4]}, "check": {"enabled": False}}, "test")
    made = prepared.prepare(plan)
    part = made.loaded.train
    pictures = replace(part, x=numbers()[: len(part)].repeat(3, axis=0)[: len(part)], image=None)
    assert isinstance(next(made.batches(part).epoch(0)).x, np.ndarray)  # digits are few
    wide = np.tile(np.asarray(pictures.x), (1, 4))
    big = replace(pictures, x=wide, features=None)
    assert isinstance(next(made.batches(big).epoch(0)).x, Pixels)
    streamed = replace(big, x=Rows(wide))
    assert isinstance(next(made.batches(streamed).epoch(0)).x, np.ndarray)


@pytest.mark.parametrize("x", [numbers()[1:], packed(numbers())], ids=["numbers", "pixels"])
def test_what_is_resident_is_in_memory_once(x):
    """JAX on a processor takes the arrays as they are, and evaluation those of training."""
    targets = np.eye(3, dtype=np.float32)[LEVELS[: len(x), 0] % 3][:, ::-1]
    batches = Batches(x, targets, None, 128, 0, float("inf"))
    sent = Sent()
    data = sent(next(batches.epoch(0)))
    here: Any = (getattr(batches.x, "values", batches.x), batches.targets)
    there: Any = (getattr(data.x, "values", data.x), data.y)
    for a, b in zip(here, there, strict=True):
        assert a.ctypes.data == b.unsafe_buffer_pointer()
    np.testing.assert_array_equal(batches.x[:], x[:])
    np.testing.assert_array_equal(batches.targets, targets)
    assert sent(next(batches.epoch(1))) is data
    assert next(Part(batches, True, sent).chunks()) is data


def test_rows_are_taken_as_bytes():
    grey, rows = packed(numbers()), np.array([2999, 0, 5])
    assert isinstance(grey, Pixels)
    few = grey.take(rows)
    assert few.values.dtype == np.uint8
    np.testing.assert_array_equal(few[:], numbers()[rows])
    mask = LEVELS[:, 0] > 128
    np.testing.assert_array_equal(grey.take(mask)[:], numbers()[mask])
    np.testing.assert_array_equal(np.asarray(grey, np.float64), numbers().astype(np.float64))
    with pytest.raises(IndexError, match="rows 0 to 3000 of an array of 3000"):
        grey.take(np.array([0, 3000]))
