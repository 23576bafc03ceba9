"""IDX: what is written is read, and whatever is broken is one sentence."""

import gzip
import itertools
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.data.idx import read_idx
from pullback.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    """Encode by the format's definition, not by the reader's tables."""
    head = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    return (
        head
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def write(folder, content, name="a-idx"):
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["a-idx", "a-idx.gz"])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(7,), (3, 2, 4), (0, 5)])
def test_reads_what_was_written(tmp_path, dtype, shape, name):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    read = read_idx(write(tmp_path, idx(array), name))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert read.dtype.isnative


WHOLE = idx(np.arange(24, dtype="u1").reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "magic number is absent"),
        (WHOLE[:3], "magic number is 00 00 08"),
        (b"\x89PNG" + WHOLE, "magic number is 89 50 4e 47"),
        (b"\0\0\x07\x01" + WHOLE[4:], "magic number is 00 00 07 01"),
        (b"\0\0\x08\0", "magic number is 00 00 08 00"),
        (WHOLE[:9], "header ends early: 3 sizes"),
        (WHOLE[:-1], "wants 24 bytes"),
        (WHOLE + b"!", "has more"),
    ],
)
@pytest.mark.parametrize("name", ["a-idx", "a-idx.gz"])
def test_broken_content_is_one_sentence(tmp_path, content, says, name):
    path = write(tmp_path, content, name)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    message = str(caught.value)
    assert says in message or (name == "a-idx" and "more than the file can hold" in message)
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["a-idx", "a-idx.gz"])
@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 3, (2**32 - 1,), (10**9, 1)])
def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path, sizes, name):
    head = bytes([0, 0, 0x0E, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    path = write(tmp_path, head + bytes(100), name)
    tracemalloc.start()
    with pytest.raises(DataError, match="more than the file can hold"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = write(tmp_path, idx(np.zeros(5, "u1")) + bytes(200 << 20), "bomb-idx.gz")
    tracemalloc.start()
    with pytest.raises(DataError, match="has more"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_gzip_under_the_wrong_name(tmp_path):
    (tmp_path / "a-idx").write_bytes(gzip.compress(WHOLE))
    with pytest.raises(DataError, match="the file is gzip"):
        read_idx(tmp_path / "a-idx")
    (tmp_path / "a-idx.gz").write_bytes(WHOLE)
    with pytest.raises(DataError, match="the file is not gzip"):
        read_idx(tmp_path / "a-idx.gz")


def test_an_absent_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_idx(tmp_path / "absent.gz")


def gzip_content(packed: bytes) -> bytes | None:
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        return None


def test_no_damaged_archive_is_accepted(tmp_path):
    """Every truncation and every flipped bit that could change the content is noticed."""
    packed = gzip.compress(WHOLE)
    path = tmp_path / "a-idx.gz"
    for cut in range(len(packed)):
        path.write_bytes(packed[:cut])
        with pytest.raises(DataError):
            read_idx(path)
    for place, bit in itertools.product(range(10, len(packed)), range(8)):
        damaged = bytearray(packed)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        if gzip_content(bytes(damaged)) == WHOLE:  # bits that fill up a byte mean nothing
            continue
        with pytest.raises(DataError):
            read_idx(path)


@settings(max_examples=200)
@given(st.binary(max_size=64))
def test_arbitrary_bytes_never_escape(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "a-idx"
    path.write_bytes(b"\0\0" + content)
    try:
        read_idx(path)
    except DataError as error:
        said = str(error)
        assert "\n" not in said
