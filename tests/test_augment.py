"""Augmentation: against NumPy and SciPy, by its statistics, and in the middle of training."""

from __future__ import annotations

import dataclasses
import logging
import math
import tomllib
from dataclasses import asdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from pullback import augment, config, examine, tree
from pullback.augment import Augmentation, Compose, Cutout, Flip, Mixup, Noise, Warp
from pullback.augment.resample import bilinear
from pullback.augment.warp import _uniform, displacements, gaussian, inverse, moved
from pullback.data import Batches
from pullback.errors import ConfigError
from pullback.loss import Hinge, SoftmaxCrossEntropy
from pullback.maps import Affine, Relu, Run, chain, key_for
from pullback.optim import SGD
from pullback.prepared import prepare
from pullback.record import Record
from pullback.train import Batch, Plan, Progress, Task, begin, fit, step
from pullback.train.measure import measure
from pullback.train.step import augmented

KEY = jax.random.key(0)
N, HEIGHT, WIDTH = 7, 9, 8
CASES = [
    Warp(shift=2, rotate=20, scale=0.2, shear=10),
    Warp(elastic=20, smoothness=2.0),
    Cutout(3),
    Flip(vertical=True),
    Noise(0.1),
    Mixup(0.5),
]


def pictures(n=N, height=HEIGHT, width=WIDTH, channels=1, seed=0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.random((n, height, width, channels)).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def call(augmentation: Augmentation, key, x, y, weight):
    return augmentation(key, x, y, weight)


def changed(augmentation: Augmentation, x, key=KEY):
    """The inputs that an augmentation makes of these, as an array of NumPy."""
    ones = np.ones((len(x), 2), x.dtype)
    return np.asarray(call(augmentation, key, x, ones, ones[:, 0])[0])


def test_every_augmentation_has_a_case():
    kinds = {
        kind
        for kind in vars(augment).values()
        if isinstance(kind, type) and issubclass(kind, Augmentation)
    }
    assert kinds - {Augmentation, Compose} == {type(case) for case in CASES}
    assert set(config.AUGMENTATIONS.values()) == {type(case) for case in CASES}


# What is true of each of them


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_key_decides_all_of_it(case):
    x = pictures()
    one = changed(case, x)
    assert one.shape == x.shape
    assert one.dtype == x.dtype
    assert np.array_equal(one, changed(case, x))
    assert not np.array_equal(one, changed(case, x, jax.random.key(1)))
    assert np.isfinite(one).all()


@pytest.mark.parametrize("case", CASES[:-1], ids=str)
def test_equal_examples_are_changed_apart_and_no_example_depends_on_another(case):
    x = np.repeat(pictures(1), N, axis=0)
    one = changed(case, x)
    # A flip has four outcomes only.
    assert len(np.unique(one.reshape(N, -1), axis=0)) >= (2 if isinstance(case, Flip) else N - 2)
    other = x.copy()
    other[1:] = pictures(N - 1, seed=5)
    assert np.array_equal(one[0], changed(case, other)[0])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_float64_stays_float64(case):
    with jax.enable_x64(True):
        assert changed(case, pictures().astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize("case", [Warp(), Warp(smoothness=1.0), Noise(0.0)], ids=str)
def test_strengths_of_zero_change_nothing(case):
    x = pictures(channels=2)
    assert np.array_equal(changed(case, x), x)


# Warp: the reading of a picture


def warped(x, angle=0.0, slant=0.0, stretch=(1.0, 1.0), shift=(0.0, 0.0), field=(0.0, 0.0)):
    """One picture (1, h, w, c) read by a given map, and a given field."""
    amounts = np.array([angle, slant, *stretch, *shift], np.float32)[:, None]
    return np.asarray(_warped(x, amounts, *(np.full(x.shape[:3], f, np.float32) for f in field)))


@jax.jit
def _warped(x, amounts, down, right):
    matrix = inverse(amounts[0], amounts[1], amounts[2:4])
    rows, columns = moved(matrix, amounts[4:6], *x.shape[1:3])
    return bilinear(x, rows + down, columns + right)


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (-3, 0), (0, -1), (8, 7), (20, 0)])
def test_a_shift_by_whole_pixels_is_exact(shift):
    x = pictures(1)
    framed = np.pad(x[0, :, :, 0], 20)
    wanted = np.roll(framed, shift, axis=(0, 1))[20 : 20 + HEIGHT, 20 : 20 + WIDTH]
    assert np.array_equal(warped(x, shift=shift)[0, :, :, 0], wanted)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turn_by_90_degrees_is_that_of_numpy(quarters):
    x = pictures(1, height=8)
    found = warped(x, angle=quarters * math.pi / 2)
    wanted = np.rot90(x[0, :, :, 0], quarters)
    np.testing.assert_allclose(found[0, :, :, 0], wanted, atol=1e-5)


def test_scaling_by_two_shows_the_middle_half():
    ramp = np.arange(9.0, dtype=np.float32)
    x = np.broadcast_to(ramp[:, None], (9, 8)).reshape(1, 9, 8, 1)
    taller = warped(x, stretch=(2.0, 1.0))
    np.testing.assert_allclose(taller[0, :, 3, 0], 4 + (ramp - 4) / 2, atol=1e-6)


def test_a_slant_moves_what_is_below_the_centre_to_the_right():
    x = np.zeros((1, 9, 9, 1), np.float32)
    x[:, :, 4] = 1
    found = warped(x, slant=math.pi / 4)
    np.testing.assert_allclose(found[0, :, :, 0], np.eye(9), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_random_warps_are_those_of_scipy(seed):
    draw = np.random.default_rng(seed)
    x = pictures(1, channels=2, seed=seed)
    angle, slant = draw.uniform(-1, 1, 2)
    stretch, shift = draw.uniform(0.5, 1.5, 2), draw.uniform(-3, 3, 2)
    key = key_for(KEY, str(seed))
    u = np.asarray(_uniform(key, (HEIGHT, 2 * WIDTH), jnp.float32))
    field = 9 * np.asarray(displacements(key, (1, HEIGHT, WIDTH), 1.5, jnp.float32))
    found = warped(x, angle, slant, stretch, shift, field)

    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    shear = np.array([[1, 0], [np.tan(slant), 1]])
    # Rows count downwards, so the turn of the usual matrix is with the clock.
    back = np.linalg.inv(rotation @ shear @ np.diag(stretch))
    centre = np.array([(HEIGHT - 1) / 2, (WIDTH - 1) / 2])[:, None, None]
    p = np.mgrid[:HEIGHT, :WIDTH] - centre - shift[:, None, None]
    wanted = np.einsum("ij,jhw->ihw", back, p) + centre
    smooth = [
        scipy.ndimage.gaussian_filter(one, 1.5, mode="constant", truncate=10)
        for one in u.reshape(HEIGHT, 2, WIDTH).swapaxes(0, 1)
    ]
    wanted = wanted + 9 * np.stack(smooth)
    for channel in range(2):
        read = scipy.ndimage.map_coordinates(
            x[0, :, :, channel], wanted, order=1, mode="grid-constant", cval=0
        )
        np.testing.assert_allclose(found[0, :, :, channel], read, atol=1e-5)


def test_no_value_leaves_the_range_of_the_picture_and_zero():
    x = 1 + pictures(50)
    found = changed(Warp(shift=3, rotate=90, scale=0.5, shear=30, elastic=50), x)
    assert found.min() == 0
    assert found.max() <= x.max()


# Warp: what it draws


def read_map(warp: Warp, n=600, size=33):
    """The inverse map of each of many pictures: its matrix, and the point at its centre.

    A picture whose two channels are the row and the column of each pixel tells from where it was
    read.
    """
    place = np.mgrid[:size, :size].astype(np.float32).transpose(1, 2, 0)
    found = changed(warp, np.broadcast_to(place[None], (n, size, size, 2)))
    half = size // 2
    centre = found[:, half, half] - half
    down, right = found[:, half + 1, half] - half, found[:, half, half + 1] - half
    return np.stack([down - centre, right - centre], axis=2), centre


def correlation(one, other) -> float:
    return float(np.mean((one - one.mean()) * (other - other.mean())) / (one.std() * other.std()))


def uniform_within(values, bound):
    """Values are as if drawn uniformly from ±bound."""
    assert np.abs(values).max() <= bound * 1.001
    assert np.abs(values.mean()) < 0.1 * bound
    assert np.std(values) == pytest.approx(bound / math.sqrt(3), rel=0.08)


def test_each_picture_is_shifted_by_its_own_amounts():
    matrix, centre = read_map(Warp(shift=2.5))
    np.testing.assert_allclose(matrix, np.broadcast_to(np.eye(2), matrix.shape), atol=1e-4)
    uniform_within(centre[:, 0], 2.5)
    uniform_within(centre[:, 1], 2.5)
    assert abs(correlation(*centre.T)) < 0.15


def test_each_picture_is_turned_by_its_own_angle():
    matrix, centre = read_map(Warp(rotate=30))
    assert np.abs(centre).max() < 1e-4
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=1e-3)
    np.testing.assert_allclose(matrix[:, 0, 0], matrix[:, 1, 1], atol=1e-3)
    uniform_within(np.degrees(np.arctan2(matrix[:, 0, 1], matrix[:, 0, 0])), 30)


def test_height_and_width_are_scaled_apart():
    matrix, centre = read_map(Warp(scale=0.4))
    assert np.abs(centre).max() < 1e-4
    factors = 1 / np.stack([matrix[:, 0, 0], matrix[:, 1, 1]])
    uniform_within(factors[0] - 1, 0.4)
    uniform_within(factors[1] - 1, 0.4)
    assert abs(correlation(*factors)) < 0.15
    assert np.abs(matrix[:, 0, 1]).max() < 1e-4


def test_columns_are_slanted():
    matrix, _ = read_map(Warp(shear=20))
    uniform_within(np.degrees(np.arctan(-matrix[:, 1, 0])), 20)
    assert np.abs(matrix[:, 0] - np.array([[1, 0]])).max() < 1e-4


def test_all_amounts_of_a_warp_are_drawn_apart():
    back, centre = read_map(Warp(shift=2, rotate=30, scale=0.2, shear=10))
    matrix = np.linalg.inv(back)
    shift = -np.einsum("nij,nj->ni", matrix, centre)
    # The matrix is rotation · shear · scaling: its second column is turned and stretched alone.
    angle = np.arctan2(-matrix[:, 0, 1], matrix[:, 1, 1])
    cos, sin = np.cos(angle), np.sin(angle)
    stretch = cos * matrix[:, 0, 0] + sin * matrix[:, 1, 0], np.hypot(*matrix[:, :, 1].T)
    slant = np.arctan((cos * matrix[:, 1, 0] - sin * matrix[:, 0, 0]) / stretch[0])
    amounts = [*shift.T, np.degrees(angle), stretch[0] - 1, stretch[1] - 1, np.degrees(slant)]
    for i, (amount, bound) in enumerate(zip(amounts, (2, 2, 30, 0.2, 0.2, 10), strict=True)):
        uniform_within(amount, bound)
        assert all(abs(correlation(amount, other)) < 0.12 for other in amounts[:i])


def test_an_elastic_warp_moves_rows_and_columns_apart():
    _, centre = read_map(Warp(elastic=20, smoothness=2.0))
    wanted = 20 / (2 * math.sqrt(3 * math.pi) * 2.0)
    assert centre.std(axis=0) == pytest.approx([wanted, wanted], rel=0.1)
    assert abs(correlation(*centre.T)) < 0.15


def test_what_one_strength_draws_does_not_depend_on_another():
    turned, _ = read_map(Warp(rotate=30), n=9)
    both, _ = read_map(Warp(rotate=30, shift=2), n=9)
    np.testing.assert_allclose(turned, both, atol=1e-4)


def test_the_elastic_field_has_the_statistics_of_its_definition():
    n, size, smoothness = 400, 28, 3.0
    field = np.asarray(displacements(KEY, (n, size, size), smoothness, jnp.float32))
    assert field.shape == (2, n, size, size)
    inside = field[:, :, 9:19, 9:19]
    wanted = 1 / (2 * math.sqrt(3 * math.pi) * smoothness)
    assert inside.std() == pytest.approx(wanted, rel=0.05)
    assert abs(inside.mean()) < 0.1 * wanted
    # A Gaussian's own convolution: neighbours at a distance r correlate by exp(−r²/4σ²).
    for apart in (1, 3, 6):
        by = np.mean(inside[..., apart:] * inside[..., :-apart]) / inside.var()
        assert by == pytest.approx(math.exp(-(apart**2) / (4 * smoothness**2)), abs=0.06)
    # The two directions, and two pictures, have nothing to do with each other.
    assert abs(np.mean(inside[0] * inside[1])) < 0.1 * inside.var()
    assert abs(np.mean(inside[:, 1:] * inside[:, :-1])) < 0.1 * inside.var()
    assert abs(np.mean(field[..., 0] ** 2)) < 0.7 * inside.var()


def test_what_is_drawn_is_uniform():
    u = np.asarray(_uniform(KEY, (3, 20001), jnp.float32))
    assert u.shape == (3, 20001)
    assert np.abs(u).max() < 1
    counts = np.histogram(u, bins=8, range=(-1, 1))[0]
    assert np.abs(counts / u.size - 1 / 8).max() < 0.005
    # The four numbers of one word are independent.
    whole = u.reshape(-1)[:60000].reshape(-1, 4)
    assert np.abs(np.corrcoef(whole.T) - np.eye(4)).max() < 0.03


def test_the_gaussian_has_sum_one_where_it_is_whole():
    matrix = gaussian(41, 2.0)
    assert matrix[20].sum() == pytest.approx(1, abs=1e-12)
    assert np.array_equal(matrix, matrix.T)
    assert 0.5 < matrix[0].sum() < 0.65


# The others


def test_flips():
    x = pictures(400, channels=2)
    found = changed(Flip(), x)
    mirrored = (found == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (found == x).all(axis=(1, 2, 3))).all()
    assert 0.4 < mirrored.mean() < 0.6
    found = changed(Flip(horizontal=False, vertical=True), x)
    mirrored = (found == x[:, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (found == x).all(axis=(1, 2, 3))).all()
    assert 0.4 < mirrored.mean() < 0.6
    both = changed(Flip(vertical=True), x)
    outcomes = [x, x[:, ::-1], x[:, :, ::-1], x[:, ::-1, ::-1]]
    shares = [(both == one).all(axis=(1, 2, 3)).mean() for one in outcomes]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0.15


@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_is_a_square_around_a_pixel(size):
    x = np.ones((3000, HEIGHT, WIDTH, 1), np.float32)
    hole = changed(Cutout(size), x)[..., 0] == 0
    wanted = np.zeros((HEIGHT * WIDTH, HEIGHT, WIDTH), bool)
    for i in range(HEIGHT):
        for j in range(WIDTH):
            low, left = i - size // 2, j - size // 2
            rows, columns = slice(max(low, 0), low + size), slice(max(left, 0), left + size)
            wanted[i * WIDTH + j, rows, columns] = True
    which = (hole[:, None] == wanted[None]).all(axis=(2, 3))
    assert (which.sum(axis=1) == 1).all()
    # Each pixel is the centre as often: 3000/72 ≈ 42 times, ± 6.5.
    counts = which.sum(axis=0)
    assert counts.min() > 15
    assert counts.max() < 75


def test_noise_is_normal():
    x = pictures(100)
    found = changed(Noise(0.3), x) - x
    assert found.std() == pytest.approx(0.3, rel=0.02)
    assert abs(found.mean()) < 0.015
    assert np.mean(np.abs(found) < 0.3) == pytest.approx(0.683, abs=0.01)


def mixed(alpha, weight, key=KEY):
    """A mixture of examples that tell their number: x, y, weight, and the λ of each."""
    n = len(weight)
    x, y = jnp.eye(n), jnp.eye(n)[:, ::-1]
    x, y, weight = Mixup(alpha)(key, x, y, jnp.asarray(weight, jnp.float32))
    return *map(np.asarray, (x, y, weight)), np.asarray(x[np.arange(n), np.arange(n)])


def test_mixup_mixes_an_example_with_the_next_one():
    x, y, weight, share = mixed(0.4, np.ones(6))
    place = np.eye(6)
    wanted = share[:, None] * place + (1 - share)[:, None] * np.roll(place, -1, axis=0)
    np.testing.assert_allclose(x, wanted, atol=1e-6)
    np.testing.assert_allclose(y, wanted[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weight, 1, atol=1e-6)


def test_mixup_of_weighted_examples_is_the_mixture_of_their_losses():
    given = np.array([1, 3, 0, 0.5, 0, 0, 2], np.float32)
    _, y, weight, share = mixed(1.0, given)
    z = jax.random.normal(KEY, (7, 7))
    loss = SoftmaxCrossEntropy()
    found = weight * np.asarray(loss.terms(z, jnp.asarray(y)).sum(axis=1))
    own = np.asarray(loss.terms(z, jnp.eye(7)[:, ::-1]).sum(axis=1))
    other = np.asarray(loss.terms(z, jnp.roll(jnp.eye(7)[:, ::-1], -1, axis=0)).sum(axis=1))
    wanted = share * given * own + (1 - share) * np.roll(given, -1) * other
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert weight[4] == 0
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.4, 1.0, 8.0])
def test_the_shares_of_mixup_are_of_the_beta_distribution(alpha):
    x = (np.arange(2000) % 2)[:, None].astype(np.float32)
    share = changed(Mixup(alpha), x)[:, 0]
    share = np.where(np.arange(2000) % 2, share, 1 - share)
    # Not at the very ends, to which float32 rounds; 0.03 is the 5 % bound of Kolmogorov.
    points = np.linspace(0.001, 0.999, 99)
    found = np.mean(share[None] <= points[:, None], axis=1)
    assert np.abs(found - scipy.stats.beta(alpha, alpha).cdf(points)).max() < 0.03
    assert abs(correlation(share[1:], share[:-1])) < 0.05


# In turn


def test_compose_gives_pictures_and_takes_them_back():
    x = pictures().reshape(N, -1)
    found = changed(Compose((Cutout(3), Noise(0.0)), (HEIGHT, WIDTH, 1)), x)
    assert found.shape == x.shape
    hole = found.reshape(N, HEIGHT, WIDTH) == 0
    assert hole.any(axis=(1, 2)).all()
    assert all(np.ptp(np.argwhere(one)[:, 1]) <= 2 for one in hole)


def test_two_equal_augmentations_in_turn_draw_apart():
    x = np.zeros((300, 4), np.float32)
    found = changed(Compose((Noise(1.0), Noise(1.0))), x)
    assert found.std() == pytest.approx(math.sqrt(2), rel=0.1)


def test_they_are_applied_in_order():
    x = np.ones((50, HEIGHT, WIDTH, 1), np.float32)
    assert (changed(Compose((Noise(1.0), Cutout(3)), x.shape[1:]), x) == 0).any()
    assert not (changed(Compose((Cutout(3), Noise(1.0)), x.shape[1:]), x) == 0).any()


# What is refused


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Warp(shift=-1), "shift must be a number of at least 0, got -1"),
        (lambda: Warp(rotate=math.inf), "rotate must be a number"),
        (lambda: Warp(scale=1.0), "scale must be below 1"),
        (lambda: Warp(shear=90), "shear must be below 90"),
        (lambda: Warp(elastic=1, smoothness=0), "smoothness must be positive"),
        (lambda: Flip(horizontal=False), "wants a direction"),
        (lambda: Cutout(0), "size must be at least 1"),
        (lambda: Noise(-0.1), "scale must be a number of at least 0"),
        (lambda: Mixup(0.0), "alpha must be a positive number"),
    ],
)
def test_what_cannot_be_is_refused(build, said):
    with pytest.raises(ConfigError, match=said):
        build()


XOR = {"source": "xor", "n": 40}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"augment": [{"name": "warp", "shift": 1}], "data": XOR}, "Warp wants pictures"),
        ({"augment": ["flip"]}, "classes of 'digits' overlap: a mirrored 2 looks like a 5"),
        ({"augment": [{"name": "cutout", "size": 8}]}, "can hide a whole picture of 8 × 8"),
        (
            {"augment": [{"name": "warp", "shift": 1}], "data": {"standardize": True}},
            "a background of 0",
        ),
        (
            {"augment": [{"name": "mixup", "alpha": 0.2}], "train": {"batch_size": 1}},
            "at least 2 examples",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused(table, said):
    with pytest.raises(ConfigError, match=said) as refusal:
        prepare(config.parse(table, "the test"))
    assert "in the key 'augment'" in str(refusal.value)


def test_mixup_wants_a_loss_that_takes_shares_of_classes():
    target = np.full((1, 2), 0.5)
    setting = augment.Setting(None, "xor", True, SoftmaxCrossEntropy(), target, 32)
    Mixup(0.2).check(setting)
    with pytest.raises(ConfigError, match="shares of several classes, and Hinge"):
        Mixup(0.2).check(setting._replace(loss=Hinge()))


def test_what_fits_is_prepared():
    table = {
        "augment": [
            {"name": "flip", "allow_digits": True},
            {"name": "warp", "shift": 1, "elastic": 8, "smoothness": 2.0},
            {"name": "noise", "scale": 0.1},
        ]
    }
    plan = config.parse(table, "the test")
    prepared = prepare(plan)
    steps = Flip(allow_digits=True), Warp(shift=1, elastic=8, smoothness=2.0), Noise(0.1)
    assert prepared.task.augment == Compose(steps, (8, 8, 1))
    assert config.parse(tomllib.loads(plan.toml()), "its file") == plan
    few = prepared.loaded.train.take(np.arange(30))
    row = examine.augmented_row(prepared.task, few, prepared.columns, 0)
    assert row["pixels"].shape == (5, 10, 64)
    assert row["labels"] == [int(few.y[i]) for i in row["examples"]]
    original = np.asarray(few.x)[row["examples"]]
    np.testing.assert_allclose(row["pixels"][0], 255 * original, atol=0.51)
    assert len(np.unique(row["pixels"][:, 0], axis=0)) == 5


def test_noise_and_mixup_take_rows_of_any_data():
    prepare(config.parse({"augment": [{"name": "noise", "scale": 0.1}], "data": XOR}, "the test"))
    table = {"augment": [{"name": "mixup", "alpha": 1.0}], "data": XOR | {"standardize": True}}
    augmented = prepare(config.parse(table, "the test")).task.augment
    assert augmented == Compose((Mixup(1.0),), None)


# In training


STEPS = (Warp(shift=1, rotate=10, elastic=4, smoothness=1.0), Mixup(0.3))
TASK = Task(
    chain(Affine(6), Relu(), Affine(3)),
    SoftmaxCrossEntropy(),
    SGD(0.2),
    augment=Compose(STEPS, (5, 4, 1)),
)
PLAIN = dataclasses.replace(TASK, augment=Compose())


def batches(seed=0) -> Batches:
    draw = np.random.default_rng(seed)
    x, labels = draw.random((50, 20)).astype(np.float32), draw.integers(0, 3, 50)
    return Batches(x, np.eye(3, dtype=np.float32)[labels], None, 8, 0, limit_bytes=float("inf"))


def batch_of(source: Batches) -> Batch:
    chunk = next(source.epoch(0))
    return Batch(*(jnp.asarray(a[chunk.order[0]]) for a in (chunk.x, chunk.y, chunk.weight)))


def same_bits(one, other) -> bool:
    one, other = tree.named(one), tree.named(other)
    assert one.keys() == other.keys()
    return all(np.asarray(one[n]).tobytes() == np.asarray(other[n]).tobytes() for n in one)


def close(one, other):
    """Equal but for the rounding of two programs."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_step_sees_the_augmented_batch_and_nothing_else_changes():
    source, run = batches(), Run(key_for(KEY, "step"), True)
    learner, batch = begin(TASK, 0, source.like()), batch_of(source)
    seen = augmented(TASK, batch, run)
    assert not np.array_equal(seen.x, batch.x)
    assert not np.array_equal(seen.y, batch.y)
    assert same_bits(seen, augmented(TASK, batch, run))
    assert not same_bits(seen, augmented(TASK, batch, Run(key_for(KEY, "next"), True)))
    take = jax.jit(step, static_argnums=0)
    after, told = take(TASK, learner, batch, run)
    wanted, of_seen = take(PLAIN, learner, seen, run)
    close(after, wanted)
    close(told.outputs, of_seen.outputs)
    with pytest.raises(AssertionError, match="Mismatched"):
        close(after, take(PLAIN, learner, batch, run)[0])


def test_evaluation_sees_the_data_as_they_are():
    source = batches()
    learner, batch = begin(TASK, 0, source.like()), batch_of(source)
    one = measure(TASK, learner.params, learner.state, batch)
    assert same_bits(one, measure(PLAIN, learner.params, learner.state, batch))


class Stopped:
    """Stop after so many steps, and hold what a checkpoint would."""

    def __init__(self, steps: int):
        self.steps, self.reached, self.held = steps, 0, None

    def listen(self, tick):
        self.reached = tick.progress.step

    def interrupted(self):
        return self.reached >= self.steps

    def save(self, learner, progress, kept):
        leaves = {name: np.array(leaf) for name, leaf in tree.named(learner).items()}
        self.held = leaves, asdict(progress)


PLAN = Plan(epochs=4)


class Telling(logging.Handler):
    """Keeps the beginning of each line of a log."""

    def __init__(self, told: list[str]):
        super().__init__()
        self.told = told

    def emit(self, record):
        self.told.append(record.getMessage().split(" with ")[0])


@pytest.fixture(scope="module")
def unbroken():
    """An augmented run: the learner, the records, and what was compiled in each epoch."""
    source, record, told, compiled = batches(), Record(), [], {}
    handler = Telling(told)

    def at_epoch(learner, progress):
        compiled[progress.epoch] = [line for line in told if line.startswith("Compiling ")]
        told.clear()

    logging.getLogger("jax").addHandler(handler)
    jax.config.update("jax_log_compiles", True)
    try:
        learner, _ = fit(
            TASK, source, PLAN, parts={"train": source}, record=record, at_epoch=at_epoch
        )
    finally:
        jax.config.update("jax_log_compiles", False)
        logging.getLogger("jax").removeHandler(handler)
    return learner, record, compiled


@pytest.mark.parametrize("steps", [1, 7, 12])
def test_an_augmented_run_that_was_stopped_ends_with_the_same_bits(steps, unbroken):
    learner, whole, _ = unbroken
    source, parted, stop = batches(), Record(), Stopped(steps)
    parts = {"train": source}
    fit(
        TASK,
        source,
        PLAN,
        parts=parts,
        record=parted,
        save=stop.save,
        listen=stop.listen,
        interrupted=stop.interrupted,
    )
    assert stop.held is not None
    leaves, stored = stop.held
    progress = Progress(**stored)
    assert steps <= progress.step < 28
    held = tree.restore(begin(TASK, 0, source.like()), leaves)
    resumed, end = fit(
        TASK, source, PLAN, parts=parts, learner=held, progress=progress, record=parted
    )
    assert (end.epoch, end.step) == (4, 28)
    assert same_bits(learner, resumed)
    assert list(whole.rows()) == list(parted.rows())


def test_augmentation_is_part_of_the_one_program(unbroken):
    compiled = unbroken[2]
    assert compiled[1].count("Compiling jit(advance)") == 1
    assert [compiled[epoch] for epoch in (2, 3, 4)] == [[], [], []]
