"""The order of the data: every row once an epoch, in chunks of one shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.data import Batches, Rows
from pullback.data.batches import order
from pullback.errors import ConfigError, ShapeError

WIDTH = 3
ROW_BYTES = WIDTH * 4


def numbered(n):
    """Rows that carry their own number, in x, in the targets and in the weights."""
    x = np.repeat(np.arange(1, n + 1, dtype=np.float32)[:, None], WIDTH, axis=1)
    return x, x[:, :1] * 10, x[:, 0] * 100


def batches(n, batch_size, limit=None, seed=0, disk=False):
    x, y, weight = numbered(n)
    source = Rows(x) if disk else x
    return Batches(source, y, weight, batch_size, seed, float("inf") if limit is None else limit)


def steps_of(chunk):
    """The rows of each step, as the trainer finds them."""
    steps = list(chunk.order[: chunk.full])
    if chunk.has_rest:
        steps.append(chunk.rest)
    assert len(steps) == chunk.steps
    return steps


def visited(source, epoch):
    """The numbers of the rows in the order of an epoch, step by step."""
    steps, first, last = [], 0, False
    for chunk in source.epoch(epoch):
        assert not last
        assert chunk.first == first
        first, last = first + chunk.steps, chunk.last
        for rows in steps_of(chunk):
            assert rows.dtype == np.int32
            x, y, weight = chunk.x[rows], chunk.y[rows], chunk.weight[rows]
            np.testing.assert_array_equal(y[:, 0], 10 * x[:, 0])
            np.testing.assert_array_equal(weight, 100 * x[:, 0])
            steps.append(x[:, 0].astype(int).tolist())
    assert last
    return steps


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 12),
    st.none() | st.integers(1, 40),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_epoch_visits_every_row_once(n, batch_size, limit_rows, epoch, disk):
    limit = None if limit_rows is None else limit_rows * ROW_BYTES
    source = batches(n, batch_size, limit, disk=disk)
    steps = visited(source, epoch)
    assert len(steps) == source.steps_per_epoch
    assert sorted(row for step in steps for row in step) == list(range(1, n + 1))
    assert [len(step) for step in steps[:-1]] == [batch_size] * (len(steps) - 1)
    assert len(steps[-1]) == (n % batch_size or batch_size)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 70), st.integers(1, 12), st.integers(1, 40))
def test_all_chunks_have_one_shape_within_the_limit(n, batch_size, limit_rows):
    source = batches(n, batch_size, limit_rows * ROW_BYTES)
    chunks = [chunk for epoch in range(3) for chunk in source.epoch(epoch)]
    arrays = ("x", "y", "weight", "order", "rest")
    shapes = {tuple(getattr(c, a).shape for a in arrays) for c in chunks}
    assert len(shapes) == 1
    chunk = chunks[0]
    assert chunk.rest.shape == (n % batch_size,)
    assert chunk.resident == (n <= limit_rows)
    if not chunk.resident:
        assert len(chunk.x) % batch_size == 0
        assert len(chunk.x) == batch_size or 2 * chunk.x[:].nbytes <= limit_rows * ROW_BYTES


def test_padding_counts_nothing():
    chunks = list(batches(10, 2, 8 * ROW_BYTES).epoch(0))
    assert [chunk.steps for chunk in chunks] == [2, 2, 1]
    assert (chunks[-1].x[2:] == 0).all()
    assert (chunks[-1].weight[2:] == 0).all()
    assert sum(float(chunk.weight.sum()) for chunk in chunks) == sum(range(1, 11)) * 100


@pytest.mark.parametrize("limit", [None, 12 * ROW_BYTES])
def test_the_order_is_a_function_of_seed_and_epoch(limit):
    one, same, other = (batches(50, 4, limit, seed) for seed in (7, 7, 8))
    list(one.epoch(5))  # what was drawn before changes nothing
    assert visited(one, 0) == visited(same, 0)
    assert visited(one, 0) != visited(one, 1)
    assert visited(one, 0) != visited(other, 0)


def test_resident_arrays_are_the_same_in_every_epoch():
    source = batches(10, 3)
    (a,), (b,) = source.epoch(0), source.epoch(1)
    assert a.x is b.x
    assert a.y is b.y
    assert a.weight is b.weight
    assert a.resident
    np.testing.assert_array_equal(np.concatenate([*a.order, a.rest]), order(0, 0, 10))


def test_the_resident_order_is_uniform():
    first = np.zeros(6)
    for epoch in range(1200):
        first[order(0, epoch, 6)[0]] += 1
    np.testing.assert_allclose(first, 200, atol=60)
    assert order(0, 0, 6).dtype == np.int32


def test_streaming_mixes_chunks_across_epochs():
    """The rows that share a chunk with row 1 differ between epochs, because the start moves."""
    source = batches(40, 2, 16 * ROW_BYTES)
    mates = set()
    for epoch in range(20):
        for chunk in source.epoch(epoch):
            rows = {int(v) for v in chunk.x[:, 0]} - {0}
            if 1 in rows:
                mates.add(frozenset(rows))
    assert len(mates) > 5


def test_streamed_rows_are_read_prepared():
    x, y, weight = numbered(20)
    rows = Rows(x.astype(np.uint8)).prepared(lambda a: a.astype(np.float32), np.dtype(np.float32))
    source = Batches(rows, y, weight, 3, 0, 10 * ROW_BYTES)
    assert source.streams
    assert sorted(row for step in visited(source, 0) for row in step) == list(range(1, 21))
    assert {chunk.x.dtype for chunk in source.epoch(0)} == {np.dtype(np.float32)}
    small = Batches(rows, y, weight, 3, 0, 20 * ROW_BYTES)
    assert not small.streams
    assert isinstance(next(small.epoch(0)).x, np.ndarray)


def test_weights_default_to_one_in_the_targets_type():
    x, y, _ = numbered(5)
    (chunk,) = Batches(x, y.astype(np.float64), None, 2, 0, 1e9).epoch(0)
    assert chunk.weight.tolist() == [1] * 5
    assert chunk.weight.dtype == np.float64


def test_arguments_are_checked():
    x, y, weight = numbered(5)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        Batches(x, y, weight, 0, 0, 1e9)
    with pytest.raises(ShapeError, match=r"\(5, 4, 5\) rows"):
        Batches(x, y[:4], weight, 2, 0, 1e9)
