"""Convolution and pooling: by hand, by the sheets' formulas, at ties, and against two oracles."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback import config, experiment, report, tree
from pullback.check import check_map
from pullback.errors import ConfigError, ShapeError
from pullback.initializer import Normal
from pullback.maps import (
    Affine,
    AveragePool,
    Conv,
    Flatten,
    Map,
    MaxPool,
    Relu,
    Reshape,
    Run,
    chain,
    output_size,
    skip,
)


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def forward(map: Map, params, x):
    y, saved, _ = map.forward(params, {}, jnp.asarray(x), Run())
    return y, saved


def assert_right(map: Map, x, seed: int = 0):
    errors = check_map(map, x, seed=seed)
    assert all(error < 1e-9 for error in errors.differences.values()), errors
    assert all(error < 1e-12 for error in errors.autodiff.values()), errors


# --- sizes and counts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "places"),
    [
        # The sheets: (W − W_f + 2 pad)/stride + 1.
        ((32, 5, 1, 0), 28),
        ((28, 3, 1, 1), 28),
        ((227, 11, 4, 0), 55),
        ((28, 2, 2, 0), 14),
        # A stride that does not divide leaves out what would stick out.
        ((28, 3, 2, 1), 14),
        ((7, 2, 2, 0), 3),
        ((28, 5, 1, "valid"), 24),
        ((28, 4, 3, "same"), 10),
        ((2, 5, 1, 0), -2),
    ],
)
def test_output_size(axis, places):
    assert output_size(*axis) == places


def test_parameters_are_those_of_the_sheets():
    # (3 × 3 × 3 + 1) × 5 = 140: one bias for each filter; a max-pool has none.
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    count = tree.count(Conv(5, 3).init(jax.random.key(0), x)[0])
    assert count == (3 * 3 * 3 + 1) * 5 == 140
    assert tree.count(Conv(5, 3, bias=False).init(jax.random.key(0), x)[0]) == 135
    assert tree.count(MaxPool().init(jax.random.key(0), x)[0]) == 0


@pytest.mark.parametrize("padding", ["same", "valid", 1, (2, 0)])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("kind", [lambda *a: Conv(4, *a), MaxPool, AveragePool])
def test_every_map_gives_the_size_that_output_size_says(kind, stride, padding):
    map, x = kind((3, 4), stride, padding), jax.ShapeDtypeStruct((2, 7, 9, 2), jnp.float32)
    y = chain(map).shapes(x)[f"{type(map).__name__.lower()}1"]
    s = stride if isinstance(stride, tuple) else (stride, stride)
    p = padding if isinstance(padding, tuple) else (padding, padding)
    assert y.shape[1:3] == (output_size(7, 3, s[0], p[0]), output_size(9, 4, s[1], p[1]))


def test_neurons_are_height_times_width_times_filters():
    net = chain(Conv(6, 5), MaxPool(2))
    shapes = net.shapes(jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32))
    assert shapes["conv1"].shape[1:] == (28, 28, 6)
    assert shapes["maxpool1"].shape[1:] == (14, 14, 6)


# --- values ----------------------------------------------------------------------------------


def test_a_convolution_by_hand():
    x = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[None, :, :, None]
    weight = jnp.array([[1.0, 10], [100, 1000]])[:, :, None, None]
    params = {"weight": weight, "bias": jnp.array([0.5])}
    y, saved = forward(Conv(1, 2), params, x)
    assert y[0, :, :, 0].tolist() == [[5421.5, 6532.5], [8754.5, 9865.5]]
    dy = jnp.array([[1.0, 0], [0, 2]])[None, :, :, None]
    dparams, dx = Conv(1, 2).reverse(params, saved, dy)
    assert dx[0, :, :, 0].tolist() == [[1, 10, 0], [100, 1002, 20], [0, 200, 2000]]
    assert dparams["weight"][:, :, 0, 0].tolist() == [[11, 14], [20, 23]]
    assert dparams["bias"].tolist() == [3]


def padded(x, kind: Map, fill=0.0):
    (high, wide) = kind._window().around(x)  # pyright: ignore[reportAttributeAccessIssue]
    return np.pad(x, [(0, 0), high, wide, (0, 0)], constant_values=fill)


WINDOWS = [(3, 1, "valid"), ((2, 3), (2, 1), "same"), (3, 2, (1, 2)), (2, 3, 0), (2, 3, "same")]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", [lambda *a: Conv(3, *a), MaxPool, AveragePool])
def test_values_are_those_of_a_plain_loop(kind, window):
    map, x = kind(*window), images(2, 6, 7, 2).astype(np.float32)
    params, _ = map.init(jax.random.key(0), x)
    y, _ = forward(map, params, x)
    size, stride = (a if isinstance(a, tuple) else (a, a) for a in window[:2])
    wide, there = padded(x, map), padded(np.ones_like(x), map)
    low = padded(x, map, -np.inf)
    for p, q in np.ndindex(*y.shape[1:3]):
        corner = (p * stride[0], q * stride[1])
        view = (slice(None), *(slice(i, i + k) for i, k in zip(corner, size, strict=True)))
        if isinstance(map, Conv):
            expected = np.einsum("nijc,ijcd->nd", wide[view], np.asarray(params["weight"]))
        elif isinstance(map, MaxPool):
            expected = low[view].max(axis=(1, 2))
        else:
            expected = wide[view].sum(axis=(1, 2)) / there[view].sum(axis=(1, 2))
        np.testing.assert_allclose(y[:, p, q], expected, rtol=2e-5, atol=1e-6)


def test_same_padding_gives_the_odd_zero_to_the_far_end():
    params = {"weight": jnp.ones((1, 2, 1, 1))}
    y, _ = forward(Conv(1, (1, 2), padding="same", bias=False), params, np.ones((1, 1, 3, 1)))
    assert y.ravel().tolist() == [2, 2, 1]


def test_padding_does_not_count_in_an_average():
    y, _ = forward(AveragePool(3, 1, 1), {}, np.ones((1, 3, 4, 2)))
    np.testing.assert_allclose(y, 1, rtol=1e-6)


def test_a_convolution_of_one_pixel_is_an_affine_map_of_every_pixel():
    x = images(2, 3, 4, 5).astype(np.float32)
    params, _ = Conv(6, 1, initializer=Normal(1.0)).init(jax.random.key(0), x)
    y, _ = forward(Conv(6, 1), params, x)
    rows = {"weight": params["weight"][0, 0], "bias": params["bias"]}
    z, _ = forward(Affine(6), rows, x.reshape(-1, 5))
    np.testing.assert_allclose(y.reshape(-1, 6), z, rtol=1e-5, atol=1e-5)


def test_fans_are_those_of_a_window():
    @dataclass(frozen=True)
    class Fans(Normal):
        def __call__(self, key, shape, fan_in, fan_out, dtype):
            return jnp.full(shape, 1000.0 * fan_in + fan_out, dtype)

    params, _ = Conv(7, (2, 3), initializer=Fans()).init(
        jax.random.key(0), np.zeros((1, 4, 4, 5), np.float32)
    )
    assert float(params["weight"].max()) == 1000 * (2 * 3 * 5) + 2 * 3 * 7


# --- derivatives -----------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", [lambda *a: Conv(2, *a), MaxPool, AveragePool])
def test_reverse_for_strides_and_paddings(kind, window):
    assert_right(kind(*window), images(2, 5, 4, 2))


@settings(deadline=None, max_examples=12)
@given(
    kind=st.sampled_from([lambda *a: Conv(2, *a), MaxPool, AveragePool]),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["same", "valid", 0]),
    shape=st.tuples(st.integers(3, 5), st.integers(3, 5), st.integers(1, 2)),
    seed=st.integers(0, 2**31),
)
def test_reverse_for_any_window(kind, size, stride, padding, shape, seed):
    assert_right(kind(size, stride, padding), images(1, *shape, seed=seed), seed=seed)


@dataclass(frozen=True)
class Unturned(Conv):
    """A weight that is not turned in the reverse."""

    def _dx(self, weight, x, dy):
        return super()._dx(jnp.flip(weight, axis=(0, 1)), x, dy)


@dataclass(frozen=True)
class Shifted(Conv):
    """A weight gradient from the image one row further down."""

    def _dweight(self, x, dy):
        return super()._dweight(jnp.roll(x, 1, axis=1), dy)


@dataclass(frozen=True)
class AllTied(MaxPool):
    """Every entry of a window gets the cotangent."""

    def reverse(self, params, saved, dy):
        return {}, AveragePool(self.size, self.stride, self.padding).reverse({}, saved[1], dy)[1]


@dataclass(frozen=True)
class CountedPadding(AveragePool):
    """The reverse of an average in which padding counts."""

    def reverse(self, params, saved, dy):
        high, wide = self._window().size
        return {}, super().reverse({}, saved, dy * self._inside(saved) / (high * wide))[1]


@pytest.mark.parametrize(
    "mutant",
    [Unturned(2), Shifted(2, padding=1), AllTied(2), CountedPadding(2, 1, 1)],
    ids=lambda mutant: type(mutant).__name__,
)
def test_the_oracles_reject_a_wrong_reverse(mutant):
    errors = check_map(mutant, images(2, 4, 4, 2))
    assert max(errors.differences.values()) > 1e-3
    assert max(errors.autodiff.values()) > 1e-3


@pytest.mark.parametrize("window", [(2, 2), (2, 1), (3, 1)], ids=str)
def test_of_equal_entries_the_first_in_row_major_order_takes_the_gradient(window):
    map, x = MaxPool(*window), np.zeros((1, 3, 4, 1), np.float32)
    y, saved = forward(map, {}, x)
    _, dx = map.reverse({}, saved, jnp.ones_like(y))
    expected = np.zeros_like(x)
    for p, q in np.ndindex(*y.shape[1:3]):
        expected[0, p * window[1], q * window[1]] = 1
    np.testing.assert_array_equal(dx, expected)


def test_a_tie_below_the_first_row_goes_to_the_left():
    x = np.array([[0.0, 1], [2, 2]])[None, :, :, None]
    y, saved = forward(MaxPool(2), {}, x)
    assert MaxPool(2).reverse({}, saved, 3 * y)[1].ravel().tolist() == [0, 0, 6, 0]


def test_a_max_pool_does_not_hide_nan():
    x = np.zeros((1, 2, 2, 1), np.float32)
    for at in np.ndindex(2, 2):
        broken = x.copy()
        broken[0, *at, 0] = np.nan
        assert np.isnan(forward(MaxPool(2), {}, broken)[0]).all()


def test_padding_never_wins():
    y, saved = forward(MaxPool(3, 1, 1), {}, np.full((1, 2, 2, 1), -5.0))
    assert y.ravel().tolist() == [-5] * 4
    dx = MaxPool(3, 1, 1).reverse({}, saved, jnp.ones_like(y))[1]
    assert dx.ravel().tolist() == [4, 0, 0, 0]


def test_pools_keep_little():
    x = np.zeros((4, 8, 8, 3), np.float32)
    y, saved = forward(MaxPool(2), {}, x)
    assert tree.nbytes(saved) == y.size
    assert tree.nbytes(forward(AveragePool(2), {}, x)[1]) == 0
    # One byte counts 256 entries of a window, and no more.
    for size, dtype in (((16, 16), jnp.uint8), ((16, 17), jnp.int32)):
        kept = jax.eval_shape(lambda v, k=size: forward(MaxPool(k), {}, v)[1], images(1, 16, 17, 1))
        assert kept[0].dtype == dtype


def test_a_skip_goes_over_convolutions():
    net = chain(
        Reshape((4, 4, 1)),
        Conv(2, padding="same"),
        skip(Relu(), Conv(2, padding="same")),
        MaxPool(),
        Flatten(),
        Affine(3),
    )
    assert_right(net, images(2, 16))


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Conv(0), "Conv's width must be at least 1, got 0"),
        (lambda: Conv(1, 0), r"Conv's size must be at least 1, got \(0, 0\)"),
        (lambda: Conv(1, (3, 0)), "size must be at least 1"),
        (lambda: Conv(1, 3, 0), "stride must be at least 1"),
        (lambda: Conv(1, padding=-1), "padding must be at least 0, got -1"),
        (lambda: Conv(1, padding=(0, -1)), "padding must be at least 0"),
        (lambda: MaxPool(2, padding=2), "padding must be smaller than its size 2, got 2"),
        (lambda: AveragePool((3, 1), padding=(1, 1)), "padding must be smaller than its size"),
        (lambda: MaxPool(2, 0), "MaxPool's stride must be at least 1"),
        (lambda: Reshape(()), "shape of one example"),
        (lambda: Reshape((2, 0)), "shape of one example"),
    ],
)
def test_constructors_refuse_what_makes_no_sense(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("map", "shape", "sentence"),
    [
        (Conv(1), (5, 784), r"wants images .* got \(5, 784\), in node 'conv1'; .* by a Reshape"),
        (MaxPool(), (5, 7, 7), "MaxPool wants images"),
        (Conv(1, 5), (5, 4, 9, 1), r"window of \(5, 5\), larger than images of \(4, 9\)"),
        (AveragePool(5), (5, 4, 4, 1), "larger than images"),
        (Reshape((4, 5)), (3, 21), r"examples of 20 entries for \(4, 5\), got 21 in \(21,\)"),
    ],
)
def test_shape_errors_name_the_node(map, shape, sentence):
    with pytest.raises(ShapeError, match=sentence):
        chain(map).init(jax.random.key(0), jnp.zeros(shape))


# --- a whole experiment ----------------------------------------------------------------------


LAYERS = [
    {"name": "reshape", "shape": [8, 8, 1]},
    {"name": "conv", "width": 6, "size": [3, 3], "padding": "same", "initializer": "he"},
    "relu",
    {"name": "max-pool", "size": 2},
    {
        "name": "recompute",
        "layers": [{"name": "conv", "width": 8, "stride": 2, "padding": 1}, "relu"],
    },
    {"name": "average-pool", "stride": 1, "padding": "same"},
    "flatten",
    {"name": "affine", "width": 10},
]


def test_a_convolutional_experiment_is_checked_trained_and_drawn(tmp_path):
    plan = config.parse(
        {
            "network": {"layers": LAYERS},
            "train": {"epochs": 10},
            "check": {"examples": 4, "entries": 4, "directions": 1},
        },
        "test",
    )
    outcome = experiment.train(plan, tmp_path / "run")
    assert outcome.error is None
    assert outcome.result["check"]["ok"]
    assert outcome.result["final"]["test"]["accuracy"] > 0.8
    again = experiment.evaluate(tmp_path / "run")
    assert again["test"] == outcome.result["final"]["test"]
    page = report.write_report([tmp_path / "run"], tmp_path / "report.html").read_text("utf-8")
    assert "8 × 8 × 6" in page
    assert "Recompute(conv1, relu1)" in page


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            {"name": "conv", "width": 3, "size": "a"},
            r"layers\[0\].size: .*got 'a'",
        ),
        (
            {"name": "conv", "width": 3, "size": [1, "x"]},
            r"layers\[0\].size\[1\]: .*got 'x'",
        ),
        ({"name": "conv", "width": 3, "size": [1, 2, 3]}, r"layers\[0\].size: .*at most 2 items"),
        ({"name": "conv", "width": 3, "padding": "full"}, r"padding: .*'same' or 'valid' or"),
        ({"name": "max-pool", "stride": True}, r"layers\[0\].stride: .*got True"),
        ({"name": "reshape", "shape": 28}, r"layers\[0\].shape: should be a list, got 28"),
    ],
)
def test_windows_in_an_experiment_file_are_refused_in_one_sentence(layer, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config.parse({"network": {"layers": [layer]}}, "test")


def test_windows_survive_the_way_through_a_file():
    e = config.parse({"network": {"layers": LAYERS}}, "test")
    assert config.parse(tomllib.loads(e.toml()), "test") == e
    first = e.network.build(10).nodes[1].map
    assert isinstance(first, Conv)
    assert (first.size, first.stride, first.padding) == ((3, 3), 1, "same")
