"""Arrays without their zeros: as small as promised, the same bits, and nothing believed."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pullback import tensors
from pullback.errors import CheckpointError

KINDS = ["bool", "u1", "i8", "f2", "f4", "f8", ml_dtypes.bfloat16]


def same_bits(a, b):
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def thinned(shape, zeros, dtype=np.float32):
    """Normal numbers, of which this share is 0."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(shape) < zeros, 0, rng.standard_normal(shape)).astype(dtype)


def arrays(zeros=0.9):
    """A network of 784-300-10 with this share of zeros in its weights."""
    widths = {"affine1": (784, 300), "affine2": (300, 10)}
    return {
        f"params/{name}/{part}": thinned(shape if part == "weight" else shape[1:], zeros)
        for name, shape in widths.items()
        for part in ("weight", "bias")
    }


def test_a_network_of_nine_tenths_zeros_takes_a_bit_each_and_the_rest():
    network = arrays()
    some = {name: int(np.count_nonzero(a)) for name, a in network.items()}
    formula = sum(-(-a.size // 8) + 4 * some[name] for name, a in network.items())
    dense = sum(a.nbytes for a in network.values())
    data = tensors.encode(network)
    assert len(data) - formula < 1000  # the header, and the small biases as they are
    assert len(data) < 0.14 * dense
    again = tensors.decode(data, "here")
    assert all(same_bits(again[name], network[name]) for name in network)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("zeros", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_the_bits_come_back_and_the_file_never_grows(kind, zeros):
    held = {"w": thinned((70, 51), zeros, kind), 'b"\\é': thinned((17,), zeros, kind)}
    data = tensors.encode(held)
    assert len(data) <= len(tensors.encode(held, sparse=False))
    again = tensors.decode(data, "here")
    assert all(same_bits(again[name], held[name]) for name in held)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=4),
        st.sampled_from("bool u1 i4 f2 f4 f8".split()).flatmap(
            lambda kind: hnp.arrays(
                kind, hnp.array_shapes(min_dims=0, min_side=0, max_side=40), fill=st.just(0)
            )
        ),
        max_size=3,
    )
)
@settings(deadline=None, max_examples=50)
def test_any_arrays_come_back_and_never_take_more(held):
    data = tensors.encode(held)
    assert len(data) <= len(tensors.encode(held, sparse=False))
    again = tensors.decode(data, "here")
    assert all(same_bits(again[name], held[name]) for name in held)


def test_what_has_a_bit_is_not_zero():
    w = np.zeros(1000, np.float32)
    w[[3, 500, 999]] = -0.0, np.nan, 1e-45
    data = tensors.encode({"w": w})
    assert len(data) < 500
    assert same_bits(tensors.decode(data, "here")["w"], w)


def test_other_programs_get_whole_arrays():
    network = arrays()
    plain = safetensors.numpy.load(tensors.encode(network, sparse=False))
    assert all(same_bits(plain[name], network[name]) for name in network)


def test_files_of_before_still_load():
    network = arrays()
    again = tensors.decode(safetensors.numpy.save(network), "here")
    assert all(same_bits(again[name], network[name]) for name in network)


MASK = np.packbits([1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
GOOD = np.concatenate([MASK, np.array([1, 2], np.float32).view(np.uint8)])
TOLD = {"w": ["F32", [10]]}

EVIL = {
    "fewer values than bits": (GOOD[:-4], TOLD),
    "more values than bits": (np.append(GOOD, GOOD[-4:]), TOLD),
    "half a value": (GOOD[:-1], TOLD),
    "a bit behind the end": (np.concatenate([[MASK[0] & 0x7F, 1], GOOD[2:]]), TOLD),
    "a zero told not to be": (np.concatenate([GOOD[:-4], [0, 0, 0, 0]]), TOLD),
    "an absurd length": (GOOD, {"w": ["F32", [10**15]]}),
    "absurd lengths": (GOOD, {"w": ["F64", [10**18] * 30]}),
    "no integer of a computer": (GOOD, {"w": ["F32", [10**400]]}),
    "lengths around a zero": (GOOD[:0], {"w": ["F32", [0, 10**17]]}),
    "too many axes": (GOOD, {"w": ["F32", [1] * 200]}),
    "a negative length": (GOOD, {"w": ["F32", [-10]]}),
    "two negative lengths": (GOOD, {"w": ["F32", [-2, -5]]}),
    "a length that is no number": (GOOD, {"w": ["F32", ["10"]]}),
    "a fraction": (GOOD, {"w": ["F32", [10.0]]}),
    "an unknown type": (GOOD, {"w": ["O", [10]]}),
    "an array that is not there": (GOOD, {"v": ["F32", [10]]}),
    "numbers for bytes": (GOOD[:8].view(np.float32), TOLD),
    "a matrix for bytes": (GOOD[:, None], TOLD),
    "a list": (GOOD, ["w"]),
    "a number": (GOOD, 7),
    "no shape": (GOOD, {"w": ["F32"]}),
    "no pair": (GOOD, {"w": 7}),
}


def forged(array, told):
    text = told if isinstance(told, str) else json.dumps(told)
    return safetensors.numpy.save({"w": np.ascontiguousarray(array)}, {"sparse": text})


def test_the_forger_can_write_what_is_right():
    assert tensors.decode(forged(GOOD, TOLD), "here")["w"].tolist() == [1, 0, 0, 2, *[0] * 6]


@pytest.mark.parametrize("name", [*EVIL, "no JSON", "deep JSON"])
def test_a_malformed_array_is_refused(name):
    deep = {"no JSON": "{", "deep JSON": "[" * 100_000}
    array, told = EVIL.get(name) or (GOOD, deep[name])
    with pytest.raises(CheckpointError, match="here"):
        tensors.decode(forged(array.astype(array.dtype), told), "here")


def test_random_bytes_never_end_in_another_error():
    rng = np.random.default_rng(0)
    whole = np.frombuffer(tensors.encode({"w": thinned(400, 0.9)}), np.uint8)
    for _ in range(2000):
        changed = whole.copy()
        changed[rng.integers(0, len(whole), rng.integers(1, 4))] = rng.integers(0, 256)
        try:
            tensors.decode(changed.tobytes(), where="here")
        except CheckpointError:
            continue
