"""Codecs: what travels, bit for bit and byte for byte, against definitions written in NumPy."""

from __future__ import annotations

import functools
import math
import struct
import typing

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.config import spelled
from pullback.errors import ConfigError, DataError, DivergedError, PullbackError, ShapeError
from pullback.peers import codec as room
from pullback.peers.codec import (
    Codec,
    Cost,
    Dense,
    LowRank,
    Quantise,
    RandomK,
    Sign,
    TopK,
    bits,
    error_feedback,
    exact,
    overhead,
    pack,
    places,
    require_contraction,
    unpack,
)

SHAPES = ((2, 3, 5), (3,))  # a kernel, 6 by 5 as a matrix; no tensor fills whole bytes
D = 33
NETWORK = ((784, 200), (200,), (200, 200), (200,), (200, 10), (10,))

# Each is compiled once, in one dtype: that is what the time of this file goes to.
CASES = [
    (Dense(), "float64"),
    (Dense("float32"), "float64"),
    (Dense("float16"), "float32"),
    (Dense("bfloat16"), "float64"),
    (TopK(0.1), "float64"),
    (TopK(k=3, index="plain"), "float32"),
    (TopK(0.5), "float64"),
    (RandomK(0.3), "float64"),
    (Sign(), "float64"),
    (Quantise(8), "float32"),
    (Quantise(3, contract=True), "float64"),
    (LowRank(2, iterations=2), "float64"),
]
ALL = pytest.mark.parametrize(("codec", "dtype"), CASES, ids=str)
EACH = [Dense("bfloat16"), TopK(), RandomK(), Sign(), Quantise(8), LowRank()]


@pytest.fixture(autouse=True)
def wide():
    """float64 is there, for those who ask for it."""
    with jax.enable_x64(True):
        yield


# The definitions, in NumPy.


def halves(v):
    """The sum of the definition: the second half added to the first, again and again."""
    while v.size > 1:
        half = (v.size + 1) // 2
        v = v[:half] + np.pad(v[half:], (0, 2 * half - v.size))
    return v[0]


def tensors(v, shapes=SHAPES):
    return np.split(v, np.cumsum([math.prod(shape) for shape in shapes])[:-1])


def first(x, k):
    """The places of the k largest, of equal ones those that come first."""
    return np.argsort(-x.astype(np.float64), kind="stable")[:k]


def only(v, at):
    kept = np.zeros_like(v)
    kept[at] = v[at]
    return kept


def k_of(codec, d):
    return codec.k or max(1, round(codec.share * d))


def dense(codec, v, key, shapes):
    kinds = {"same": v.dtype, "bfloat16": ml_dtypes.bfloat16}
    return v.astype(kinds.get(codec.dtype, codec.dtype)).astype(v.dtype)


def top_k(codec, v, key, shapes):
    return only(v, first(np.abs(v), k_of(codec, v.size)))


def random_k(codec, v, key, shapes):
    draws = np.asarray(jax.random.bits(key, (2 + v.size,), jnp.uint32))[2:]
    k = k_of(codec, v.size)
    return only(v, first(draws, k)) * v.dtype.type(1 if codec.contract else v.size / k)


def sign(codec, v, key, shapes):
    scales = [halves(np.abs(t)) * t.dtype.type(1 / t.size) for t in tensors(v, shapes)]
    signed = [np.where(t >= 0, s, -s) for t, s in zip(tensors(v, shapes), scales, strict=True)]
    return np.concatenate(signed)


def quantise(codec, v, key, shapes):
    s, out = 2 ** (codec.bits - 1) - 1, []
    draws = np.asarray(jax.random.uniform(key, v.shape, v.dtype))
    for t, draw in zip(tensors(v, shapes), tensors(draws, shapes), strict=True):
        kind = t.dtype.type
        unit = kind(2.0 ** np.floor(np.log2(np.abs(t).max() or 1)))
        norm = np.sqrt(halves((t / unit) ** 2))
        x = np.minimum(np.abs(t) / unit * (kind(s) / norm if norm else kind(0)), kind(s))
        level = np.floor(x) + (draw < x - np.floor(x))
        omega = min(t.size / s**2, math.sqrt(t.size) / s)
        step = norm * unit * kind(1 / (s * (1 + omega if codec.contract else 1)))
        out.append(step * (np.sign(t) * level).astype(t.dtype))
    return np.concatenate(out)


def low_rank(codec, v, key, shapes):
    out = []
    for place, (t, shape) in enumerate(zip(tensors(v, shapes), shapes, strict=True)):
        m, n = (math.prod(shape[:-1]), shape[-1]) if len(shape) > 1 else (1, 1)
        if codec.rank * (m + n) >= m * n:
            out.append(t)
            continue
        matrix = t.reshape(m, n)
        at = jax.random.fold_in(key, place)
        p = q = np.asarray(jax.random.normal(at, (n, codec.rank), t.dtype))
        for _ in range(codec.iterations):
            p = np.linalg.qr(matrix @ q)[0]
            q = matrix.T @ p
        out.append((p @ q.T).reshape(-1))
    return np.concatenate(out)


REFERENCES = {
    Dense: dense,
    TopK: top_k,
    RandomK: random_k,
    Sign: sign,
    Quantise: quantise,
    LowRank: low_rank,
}


def reference(codec, v, key, shapes=SHAPES):
    return REFERENCES[type(codec)](codec, v, key, shapes)


# One program for each codec and dtype: rounds one after the other, three workers at once.


@functools.cache
def program(codec, dtype):
    def one(v, key):
        buffers = codec.encode(v, key, SHAPES)
        return buffers, codec.decode(buffers, key, SHAPES, dtype)

    def rounds(v, keys):
        return jax.lax.scan(lambda carry, each: (carry, jax.vmap(one)(*each)), 0, (v, keys))[1]

    return jax.jit(rounds)


KEYS = jax.random.split(jax.random.key(3), 3)


def vectors(dtype, seed=0):
    return np.random.default_rng(seed).standard_normal((3, D)).astype(dtype)


def together(codec, v):
    """What three workers send, and what it decodes to."""
    sent = program(codec, str(v.dtype))(v[None], KEYS[None])
    buffers, decoded = jax.tree.map(lambda x: np.asarray(x[0]), sent)
    return buffers, decoded


def alone(codec, v, key=KEYS[0], shapes=SHAPES):
    """What one worker sends, and what it decodes to, without a compiled program around it."""
    buffers = codec.encode(jnp.asarray(v), key, shapes)
    return jax.device_get(buffers), np.asarray(codec.decode(buffers, key, shapes, v.dtype))


def same(a, b):
    """Equal bits, but for 0 and −0, and of any nan."""
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)


def close(codec, a, b):
    """Equal bits; of a product of matrices, equal to rounding."""
    if isinstance(codec, LowRank):
        return np.allclose(a, b, rtol=0, atol=1e-13 if a.dtype == np.float64 else 1e-5)
    return same(a, b)


def public():
    kinds = [kind for kind in vars(room).values() if isinstance(kind, type)]
    return {kind for kind in kinds if issubclass(kind, Codec)} - {Codec}


def test_every_public_codec_has_cases_and_a_definition():
    assert public() == {type(codec) for codec, _ in CASES} == set(REFERENCES)
    assert public() == {type(codec) for codec in EACH}
    assert {spelled(kind) for kind in public()} == {
        "dense",
        "low-rank",
        "quantise",
        "random-k",
        "sign",
        "top-k",
    }


@ALL
def test_what_is_decoded_is_the_definition_bit_for_bit(codec, dtype):
    for v in (vectors(dtype), np.round(2 * vectors(dtype, 1))):  # the second is full of ties
        for row, key, got in zip(v, KEYS, together(codec, v)[1], strict=True):
            assert got.dtype == dtype
            assert close(codec, got, reference(codec, row, key))


@pytest.mark.parametrize(
    "codec", [TopK(0.1), RandomK(0.3), Sign(), Quantise(3, contract=True)], ids=str
)
def test_one_worker_alone_sends_what_it_sends_among_many(codec):
    v = vectors("float64")
    among, by_itself = together(codec, v), alone(codec, v[1], KEYS[1])
    for a, b in zip(*map(jax.tree.leaves, (among, by_itself)), strict=True):
        assert close(codec, a[1], b)


@ALL
def test_zeros_and_constants(codec, dtype):
    v = np.zeros((3, D), dtype)
    v[1], v[2] = 0.7, -3
    sent = together(codec, v)[1]
    assert not sent[0].any()
    for row, key, got in zip(v, KEYS, sent, strict=True):
        assert close(codec, got, reference(codec, row, key))
    if isinstance(codec, Sign):
        assert np.allclose(sent, v)


def test_one_parameter():
    v, key, shapes = np.array([-0.3]), KEYS[0], ((1,),)

    def each(v, key):
        sent = [codec.encode(v, key, shapes) for codec in EACH]
        back = [c.decode(b, key, shapes, v.dtype) for c, b in zip(EACH, sent, strict=True)]
        return sent, back

    for codec, buffers, got in zip(EACH, *jax.device_get(jax.jit(each)(v, key)), strict=True):
        assert same(got, reference(codec, v, key, shapes))
        assert sum(b.nbytes for b in buffers.values()) == codec.cost(shapes, v.dtype).total


def test_all_entries_kept_are_all_entries():
    v, shapes = np.array([0.5, 0, -2]), ((2,), (1,))
    for codec in (TopK(k=3), RandomK(1.0)):
        whole = jax.jit(lambda v, codec=codec: alone_traced(codec, v, shapes))
        assert same(whole(v), v)
        assert codec.distortion(shapes) == 0


def alone_traced(codec, v, shapes, key=KEYS[0]):
    return codec.decode(codec.encode(v, key, shapes), key, shapes, v.dtype)


def test_the_scale_of_a_vector_does_not_matter():
    # The square of 1e25 overflows float32, that of 1e-25 vanishes in it.
    codec, v = Quantise(8), vectors("float32")
    for power in (2.0**83, 2.0**-83):
        scaled = v * np.float32(power)
        assert same(together(codec, scaled)[1], together(codec, v)[1] * np.float32(power))


# Bytes.


@ALL
def test_the_cost_is_the_bytes_sent(codec, dtype):
    row = {name: b[0] for name, b in together(codec, vectors(dtype))[0].items()}
    layout = codec.layout(SHAPES, dtype)
    told = {name: (spec.shape, spec.dtype) for name, spec in layout.items()}
    assert told == {name: (b.shape, b.dtype) for name, b in row.items()}
    assert all(b.ndim == 1 for b in row.values())
    cost = codec.cost(SHAPES, dtype)
    assert cost.total == sum(b.nbytes for b in row.values())
    assert len(pack(row)) == cost.total + overhead(layout)


@pytest.mark.parametrize(
    ("codec", "total", "cost"),
    [
        (Dense("float32"), 796_840, Cost(796_840)),
        (Dense("float16"), 398_420, Cost(398_420)),
        (Quantise(8), 199_234, Cost(199_210, header=24)),
        (Quantise(4), 99_629, Cost(99_605, header=24)),
        (Sign(), 24_926, Cost(24_902, header=24)),
        (TopK(k=1992, index="plain"), 15_936, Cost(7_968, 7_968)),
        (TopK(0.01), 12_450, Cost(7_968, 4_482)),
        (RandomK(0.01), 7_976, Cost(7_968, header=8)),
        (TopK(0.1), 104_586, Cost(79_684, 24_902)),
        (TopK(0.1, index="packed"), 124_507, Cost(79_684, 44_823)),
        (LowRank(2), 14_392, Cost(4 * (2 * (984 + 400 + 210) + 410))),
    ],
    ids=str,
)
def test_bytes_of_the_published_network(codec, total, cost):
    assert codec.cost(NETWORK, "float32") == cost
    layout = codec.layout(NETWORK, "float32")
    assert cost.total == total == sum(b.size * b.dtype.itemsize for b in layout.values())


@given(d=st.integers(1, 10**6), part=st.floats(0, 1))
@settings(deadline=None, max_examples=100)
def test_the_index_is_the_smallest_of_three(d, part):
    k = max(1, round(part * d))
    least = min(4 * k, math.ceil(k * math.ceil(math.log2(d)) / 8), math.ceil(d / 8))
    assert TopK(k=k).cost(((d,),), "float32") == Cost(4 * k, least)


# Error: what is lost, and what is not.


@functools.cache
def many(codec):
    """A program that decodes a vector once for each of many keys."""
    return jax.jit(jax.vmap(lambda v, key: alone_traced(codec, v, SHAPES, key), in_axes=(None, 0)))


def decoded_with_many_keys(codec, v=None):
    """A vector, and what it decodes to under 2000 keys."""
    v = vectors("float64")[0] if v is None else v
    return v, np.asarray(many(codec)(v, jax.random.split(jax.random.key(7), 2000)))


def least(x):
    """The lowest mean that five standard errors allow."""
    return x.mean(axis=0) - 5 * x.std(axis=0) / math.sqrt(len(x))


@pytest.mark.parametrize("codec", [RandomK(0.3), Quantise(2)], ids=str)
def test_an_unbiased_codec_is_right_on_average(codec):
    assert codec.unbiased
    v, decoded = decoded_with_many_keys(codec)
    off = np.abs(decoded.mean(axis=0) - v)
    assert (off <= 5 * decoded.std(axis=0) / math.sqrt(len(decoded)) + 1e-12).all()
    # A peer's quantiser sent the mean for the maximum, and had a slope of a fifth.
    slopes = decoded @ v / (v @ v)
    assert abs(slopes.mean() - 1) <= 5 * slopes.std() / math.sqrt(len(slopes))


def test_errors_are_within_what_is_told():
    for codec in (RandomK(0.3), Quantise(2), LowRank(1)):
        v, decoded = decoded_with_many_keys(codec)
        lost = ((decoded - v) ** 2).sum(axis=1)
        assert least(lost) <= codec.distortion(SHAPES) * (v @ v)
        assert lost.mean() > 0.1 * codec.distortion(SHAPES) * (v @ v)
    assert RandomK(0.3).distortion(SHAPES) == 33 / 10 - 1
    assert Quantise(2).contraction(SHAPES) == 0
    assert LowRank(1).contraction(SHAPES) == pytest.approx(1 / 5)
    assert not LowRank(1).unbiased


def test_random_entries_lose_exactly_their_variance():
    v, decoded = decoded_with_many_keys(RandomK(0.3))
    lost = ((decoded - v) ** 2).sum(axis=1)
    assert least(lost) <= 2.3 * (v @ v) <= -least(-lost)


def test_to_contract_is_to_divide_by_one_plus_the_variance():
    v = vectors("float64")[0]
    for make in (functools.partial(RandomK, 0.3), functools.partial(Quantise, 3)):
        unbiased, contracting = make(), make(contract=True)
        for t, shrunk, shape in zip(
            tensors(alone(unbiased, v)[1]), tensors(alone(contracting, v)[1]), SHAPES, strict=True
        ):
            where = SHAPES if make.func is RandomK else (shape,)
            omega = unbiased.distortion(where)
            assert np.allclose(shrunk * (1 + omega), t, rtol=1e-12)
            assert contracting.contraction(where) == pytest.approx(1 / (1 + omega))
        assert not contracting.unbiased


@pytest.mark.parametrize(("bits_", "d", "omega"), [(8, 10, 10 / 127**2), (2, 100, 10.0)])
def test_the_variance_of_quantising(bits_, d, omega):
    assert Quantise(bits_).distortion(((2,), (d,))) == pytest.approx(omega)


def test_the_energy_that_top_k_loses_is_that_of_the_tail():
    v, codec = vectors("float64"), TopK(0.1)
    for row, got in zip(v, together(codec, v)[1], strict=True):
        tail = np.sort(np.abs(row))[:-3]
        assert ((got - row) ** 2).sum() == pytest.approx((tail**2).sum(), rel=1e-14)
        assert (tail**2).sum() <= (1 - codec.contraction(SHAPES)) * (row @ row)
    # Where all are alike the bound is met.
    got = together(codec, np.ones((3, D)))[1][0]
    assert D - got.sum() == pytest.approx(codec.distortion(SHAPES) * D)


def test_top_k_is_of_magnitudes_and_of_the_first_among_equals():
    v = np.array([[5, -4, 3, -2, 1, 0.5], [1, -2, 2, -2, 2, 0]])
    got = jax.jit(jax.vmap(lambda v: alone_traced(TopK(k=3), v, ((2, 2), (2,)))))(v)
    # Two peers kept the largest signed values, or the smallest.
    assert got.tolist() == [[5, -4, 3, 0, 0, 0], [0, -2, 2, -2, 0, 0]]


def test_what_signs_lose_is_known_exactly():
    v = vectors("float64")
    for row, sent in zip(v, together(Sign(), v)[1], strict=True):
        for t, got in zip(tensors(row), tensors(sent), strict=True):
            lost = t @ t - np.abs(t).sum() ** 2 / t.size
            assert ((got - t) ** 2).sum() == pytest.approx(lost, rel=1e-13)
            assert lost <= (1 - Sign().contraction(SHAPES)) * (t @ t)
    # The worst tensor has one entry that is not 0: there the bound is met.
    spike = np.eye(3, D)
    lost = ((together(Sign(), spike)[1] - spike) ** 2).sum(axis=1)
    assert lost == pytest.approx(1 - Sign().contraction(SHAPES))


def test_the_sign_of_zero_is_plus():
    v = np.ones((3, D))
    v[:, -3:] = [0.0, -0.0, -3.0]
    assert together(Sign(), v)[1][0, -3:].tolist() == [1, 1, -1]


def test_a_matrix_of_low_rank_is_sent_whole():
    rng, v = np.random.default_rng(5), vectors("float64")
    v[0, :30] = (rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5))).reshape(-1)
    lost = np.abs(together(LowRank(2, iterations=2), v)[1] - v).max(axis=1)
    assert lost[0] < 1e-13
    assert lost[1] > 0.1


def test_what_low_rank_loses():
    # With orthonormal columns every direction is as good: the bound is met by any key.
    turn = np.zeros(D)
    turn[:30] = np.linalg.qr(np.random.default_rng(6).standard_normal((6, 5)))[0].reshape(-1)
    lost = ((decoded_with_many_keys(LowRank(1), turn)[1] - turn) ** 2).sum(axis=1)
    assert lost / 5 == pytest.approx(LowRank(1).distortion(SHAPES))
    # No matrix of that rank is nearer than the best one.
    v, decoded = decoded_with_many_keys(LowRank(1))
    tail = np.linalg.svd(v[:30].reshape(6, 5))[1] ** 2
    assert tail[1:].sum() <= ((decoded - v) ** 2).sum(axis=1).min()
    lost = ((together(LowRank(2, iterations=2), vectors("float64"))[1][0] - v) ** 2).sum()
    assert tail[2:].sum() <= lost


def test_rounding_is_within_the_distortion_told():
    for codec, bound in ((Dense("float16"), 2.0**-22), (Dense("bfloat16"), 2.0**-16)):
        v = vectors("float64")[0]
        assert codec.distortion(SHAPES) == bound
        lost = ((alone(codec, v)[1] - v) ** 2).sum()
        assert 0.01 * bound * (v @ v) < lost <= bound * (v @ v)
    assert Dense("float32").distortion(SHAPES) == 2.0**-48
    assert Dense().contraction(SHAPES) == 1


def test_float16_keeps_what_is_below_its_normal_numbers():
    v = np.array([6e-8, 1e-6, 7e4])
    with np.errstate(over="ignore"):
        wanted = v.astype(np.float16).astype(float)
    got = np.asarray(jax.jit(lambda v: alone_traced(Dense("float16"), v, ((3,),)))(v))
    assert same(got, wanted)
    assert got[0] > 0
    assert np.isinf(got[2])


def test_a_rounding_is_hidden_from_the_compiler():
    # On a processor it is kept anyway; the programs of an accelerator may drop what is undone.
    program = jax.make_jaxpr(lambda v: alone_traced(Dense("bfloat16"), v, ((3,),)))(np.ones(3))
    assert "optimization_barrier" in str(program)


def test_no_entry_passes_the_last_level():
    # With a draw of 0 every fraction is rounded up; an entry that is its tensor's norm has none.
    v = np.random.default_rng(0).standard_normal((1000, 1)).astype(np.float32)
    codec, none = Quantise(8), jnp.zeros(1, np.float32)
    symbols = np.asarray(jax.jit(jax.vmap(lambda v: codec._rounded(v, none)[1]))(v))
    assert symbols.max() == 254
    assert symbols.min() == 0


def test_who_wants_a_contraction_is_told_when_there_is_none():
    require_contraction(TopK(), SHAPES, "error feedback")
    with pytest.raises(ConfigError, match="error feedback wants a codec that contracts, Quantise"):
        require_contraction(Quantise(2), NETWORK, "error feedback")
    require_contraction(Quantise(2, contract=True), NETWORK, "error feedback")


# What is not finite, and what no encoder wrote.


@ALL
def test_what_is_not_finite_stays_so_and_is_refused_at_the_door(codec, dtype):
    for place in (0, D - 1):
        v = vectors(dtype)
        v[0, place], v[1, place], v[2, place] = np.nan, np.inf, -np.inf
        buffers, decoded = together(codec, v)
        assert not np.isfinite(decoded).all(axis=1).any()
        for i in range(3):
            with pytest.raises(DivergedError, match=r"holds .* wanted finite numbers"):
                pack({name: b[i] for name, b in buffers.items()})
    v[1:] = 1.0
    assert np.isfinite(together(codec, v)[1][1:]).all()


@pytest.mark.parametrize("codec", [TopK(k=3, index="plain"), TopK(k=3, index="packed")], ids=str)
def test_indices_that_no_encoder_writes_decode_to_nan(codec):
    v = vectors("float64")[0]
    buffers = alone(codec, v)[0]

    def written(indices):
        numbers = jnp.asarray(indices, jnp.uint32)
        index = numbers if codec.index == "plain" else bits.pack_bits(numbers, 6)
        return np.asarray(codec.decode(buffers | {"index": index}, None, SHAPES, v.dtype))

    assert np.isfinite(written([0, 1, 32])).all()
    for wrong in ([0, 1, 33], [0, 1, 1], [2, 1, 0]):
        assert np.isnan(written(wrong)).all()
    if codec.index == "plain":
        assert np.isnan(written([0, 1, 2**32 - 1])).all()


def test_a_bitmap_of_another_count_decodes_to_nan():
    codec, v = TopK(0.5), vectors("float64")[0]
    buffers = alone(codec, v)[0]
    assert buffers["index"].size == 5
    more = buffers | {"index": buffers["index"] | 7}
    fewer = buffers | {"index": buffers["index"] & 7}
    for wrong in (more, fewer):
        assert np.isnan(codec.decode(wrong, None, SHAPES, v.dtype)).all()


def test_a_symbol_that_no_encoder_writes_decodes_to_nan():
    codec, v = Quantise(8), vectors("float64")[0]
    buffers = alone(codec, v)[0]
    symbols = buffers["symbols"].copy()
    symbols[0] = 255  # of 255 symbols the last is 254
    got = tensors(np.asarray(codec.decode(buffers | {"symbols": symbols}, None, SHAPES, v.dtype)))
    assert np.isnan(got[0]).all()
    assert np.isfinite(got[1]).all()


def test_another_key_decodes_random_entries_to_nan():
    codec, v = RandomK(0.3), vectors("float64")[0]
    buffers = alone(codec, v, KEYS[0])[0]
    assert np.isnan(codec.decode(buffers, KEYS[1], SHAPES, v.dtype)).all()


# Settings and shapes.


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Dense(typing.cast(typing.Any, "float8")), "dtype must be 'same' or 'float32'"),
        (lambda: TopK(0.0), r"TopK's share must be in \(0, 1\], got 0.0"),
        (lambda: RandomK(1.5), r"RandomK's share must be in \(0, 1\], got 1.5"),
        (lambda: TopK(float("nan")), "share must be"),
        (lambda: TopK(k=0), "TopK's k must be a whole number of at least 1, got 0"),
        (lambda: RandomK(k=-1), "RandomK's k must be"),
        (lambda: TopK(index=typing.cast(typing.Any, "elias")), "index must be 'smallest' or"),
        (lambda: Quantise(1), "bits must be a whole number from 2 to 16, got 1; Sign sends"),
        (lambda: Quantise(17), "bits must be"),
        (lambda: LowRank(0), "rank must be a whole number"),
        (lambda: LowRank(iterations=0), "iterations must be a whole number"),
        (lambda: TopK(k=34).cost(SHAPES, "float32"), "k = 34 is above the 33 parameters"),
    ],
)
def test_settings_are_refused_in_one_sentence(make, told):
    with pytest.raises(ConfigError, match=told):
        make()


def test_a_share_is_rounded_and_keeps_one_at_least():
    shapes = ((100,),)
    assert [TopK(s).kept(shapes)[0] for s in (0.29, 0.001, 1.0)] == [29, 1, 100]
    assert RandomK(0.5, k=3).kept(shapes) == (3, 100)


def test_a_vector_of_other_shapes_is_refused():
    for codec in EACH:
        with pytest.raises(ShapeError, match=r"\(33,\), got \(32,\)"):
            codec.encode(np.ones(32), KEYS[0], SHAPES)
        with pytest.raises(ShapeError, match="got shapes"):
            codec.cost(((3,), (0, 2)), "float32")
        with pytest.raises(ConfigError, match="float32 or float64, got float16"):
            codec.encode(np.ones(33, np.float16), KEYS[0], SHAPES)


# The parts.


@pytest.mark.parametrize("width", [0, 3, 18, 32])
def test_bits_are_those_of_numpy(width):
    numbers = np.random.default_rng(0).integers(0, 2**width, 13, dtype=np.uint32)
    single = (numbers[:, None] >> np.arange(max(width, 1), dtype=np.uint32)) & 1
    wanted = np.packbits(single[:, :width].astype(np.uint8), bitorder="little")
    packed = bits.pack_bits(jnp.asarray(numbers), width)
    assert np.array_equal(packed, wanted)
    assert packed.size == bits.byte_count(13, width)
    assert np.array_equal(bits.unpack_bits(packed, width, 13), numbers)


@given(x=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 3), min_size=9, max_size=9))
@settings(deadline=None, max_examples=25)
def test_the_largest_are_those_of_a_stable_sort(x):
    numbers = np.array(x, np.uint32)
    for k in (4, 9):
        mask = np.asarray(places.largest(jnp.asarray(numbers), k))
        wanted = np.sort(first(numbers, k))
        assert np.array_equal(np.flatnonzero(mask), wanted)
        assert np.array_equal(places.indices(jnp.asarray(mask), k), wanted)


def test_a_norm_is_the_same_in_every_program():
    # A sum of jnp is not: the compiler chooses its order, and joins squares with sums.
    v = np.random.default_rng(0).standard_normal((500, D)).astype(np.float32)

    def norm(v):
        return math.prod(exact.norm(v))

    mapped, one = jax.jit(jax.vmap(norm))(v), jax.jit(norm)
    for row, got in zip(v, np.asarray(mapped), strict=True):
        assert got == np.asarray(one(row)) == np.sqrt(halves(row * row))
        assert got == pytest.approx(np.linalg.norm(row), rel=1e-6)


def test_norms_of_the_largest_and_the_smallest():
    for x in (np.finfo(np.float32).max, np.finfo(np.float32).tiny, 0):
        assert float(math.prod(exact.norm(jnp.full(1, x, jnp.float32)))) == x


# Error feedback.


@pytest.mark.parametrize("codec", [TopK(0.1), Sign(), Quantise(3, contract=True)], ids=str)
def test_nothing_is_lost_with_error_feedback(codec):
    v = vectors("float64")
    memory = received = jnp.zeros(D)
    for row, key in zip(v, KEYS, strict=True):
        fed = error_feedback(codec, jnp.asarray(row), memory, key, SHAPES)
        again = codec.decode(fed.buffers, key, SHAPES, row.dtype)
        assert same(again, fed.decoded)
        assert same(again, reference(codec, row + np.asarray(memory), key))
        memory, received = fed.memory, received + fed.decoded
    assert np.abs(received + memory - v.sum(axis=0)).max() < 1e-14


# The wire.

WHERE = "the message of worker 3 in round 12"


@ALL
def test_a_message_is_what_was_sent(codec, dtype):
    row = {name: b[0] for name, b in together(codec, vectors(dtype))[0].items()}
    data = pack(row)
    back = unpack(data, codec.layout(SHAPES, dtype))
    assert list(back) == sorted(row)
    for name, array in back.items():
        assert array.dtype == row[name].dtype
        assert array.tobytes() == row[name].tobytes()
    assert pack(dict(reversed(row.items()))) == data


MESSAGE = {
    "index": np.arange(5, dtype=np.uint8),
    "values": np.array([1, 2.5, -3], np.float32),
}
DATA = pack(MESSAGE)


def test_the_bytes_of_a_message():
    head = b"PBMS\x01\x02" + b"\x05index\x00\x05\0\0\0" + b"\x06values\x05\x03\0\0\0"
    assert DATA == head + bytes(range(5)) + struct.pack("<3f", 1, 2.5, -3)
    assert overhead(MESSAGE) == len(head)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "a message of 0 bytes, too short for any"),
        (b"PBM", "too short for any"),
        (b"\x80\x04\x95" + DATA[3:], "begins with b'.*', wanted b'PBMS'"),
        (DATA[:4] + b"\x02" + DATA[5:], "version 2, wanted 1"),
        (DATA[:-1], f"a message of {len(DATA) - 1} bytes, wanted {len(DATA)}"),
        (DATA + b"\0", f"a message of {len(DATA) + 1} bytes, wanted {len(DATA)}"),
        (DATA[:20], "wanted"),
        (pack({"index": MESSAGE["index"], "values": np.ones(4, np.float32)}), r"\[4\].*\[3\]"),
        (pack({"index": MESSAGE["index"], "values": np.ones(3)}), r"float64\[3\].*float32\[3\]"),
        (pack({"index": MESSAGE["index"]}), r"a message of \['index' uint8\[5\]\], wanted"),
        (pack(MESSAGE | {"z": np.ones(1)}), "wanted"),
        # Four thousand million entries of an unknown dtype, told by 40 bytes.
        (b"PBMS\x01\xff" + b"\x05index\x63\xff\xff\xff\xff" * 4, r"dtype 99\[4294967295\]"),
    ],
    ids=lambda part: "" if isinstance(part, bytes) else part,
)
def test_a_message_that_is_not_as_expected_is_refused(data, told):
    with pytest.raises(DataError, match=told) as refused:
        unpack(data, MESSAGE, WHERE)
    assert str(refused.value).endswith(f", in {WHERE}")


@given(at=st.integers(0, len(DATA) - 1), to=st.integers(0, 255), cut=st.integers(0, len(DATA)))
@settings(deadline=None, max_examples=300)
def test_a_spoiled_message_is_refused_or_read_in_its_shape(at, to, cut):
    spoiled = bytearray(DATA)
    spoiled[at] = to
    try:
        found = unpack(spoiled, MESSAGE)
    except (DataError, DivergedError):
        assert spoiled != DATA
    else:
        assert at >= overhead(MESSAGE) or spoiled == DATA
        assert {n: (b.shape, b.dtype) for n, b in found.items()} == {
            n: (b.shape, b.dtype) for n, b in MESSAGE.items()
        }
    if cut < len(DATA):
        with pytest.raises(DataError):
            unpack(DATA[:cut], MESSAGE)


@given(data=st.binary(max_size=80))
@settings(deadline=None, max_examples=100)
def test_random_bytes_are_refused(data):
    for noise in (data, DATA[:6] + data):
        with pytest.raises(PullbackError):
            unpack(noise, {"values": jax.ShapeDtypeStruct((100,), np.float64)})


def test_what_is_not_finite_is_refused_at_both_doors():
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64):
        values = np.array([1, np.nan, np.inf], dtype)
        with pytest.raises(DivergedError, match="'values' of a message holds nan at entry 1"):
            pack({"values": values})
        good = pack({"values": np.ones(3, dtype)})
        bad = good[: -values.nbytes] + values.tobytes()
        with pytest.raises(DivergedError, match=r"nan at entry 1, wanted .*, in worker 3"):
            unpack(bad, {"values": jax.ShapeDtypeStruct((3,), dtype)}, "worker 3")


def test_only_vectors_of_numbers_are_sent():
    with pytest.raises(DataError, match=r"'v' is object\[1\], wanted a vector"):
        pack({"v": np.array([print])})
    with pytest.raises(DataError, match=r"'v' is float32\[2, 2\]"):
        pack({"v": np.ones((2, 2), np.float32)})
