"""Named arrays as the bytes of a safetensors file, and back, bit for bit.

The format is a length, a JSON header and the raw numbers: there is no code in it, and none is run
by reading it. Knows NumPy only; an array of JAX is taken as the array of NumPy that it gives.

Zeros:  an array of n entries of b bytes, k of them not zero, takes ⌈n/8⌉ + k b bytes instead of n b
        where that is less: a bit for each entry, the first entry in the highest bit of the first
        byte, and the entries that are not zero in their order. It then stands in the file as bytes
        (U8), and the header's metadata say under "sparse", as JSON, what it is: its name, type and
        shape. An entry is zero if all its bits are: −0.0 is not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from . import jsontext
from .errors import CheckpointError

_HEADER_BYTES = 1 << 24
_SPARSE = "sparse"

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "U32": np.dtype(np.uint32),
    "U64": np.dtype(np.uint64),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}


_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

# Of an array of NumPy, in every version of it.
_MOST_AXES = 32

# More than the metadata cost beside the name, type and shape of the first array in them.
_ENTRY = 64


def encode(tensors: Mapping[str, np.ndarray], sparse: bool = True) -> bytes:
    """Write arrays of any shape, 0-d and empty ones among them; equal arrays give equal bytes.

    Args:
        tensors: the arrays by name.
        sparse: whether zeros may be left out, where that makes the file smaller. Other programs
            that read safetensors know nothing of it.

    Raises:
        CheckpointError: an array holds something else than numbers of a known type.
    """
    plain, packed = {}, {}
    for name, value in tensors.items():
        # safetensors reads the memory as it lies: a transposed view must be laid out first.
        array = np.asarray(value, order="C")
        if array.dtype not in _DTYPES.values():
            known = ", ".join(str(dtype) for dtype in _DTYPES.values())
            raise CheckpointError(f"tensor '{name}' has dtype {array.dtype}, wanted one of {known}")
        if name == "__metadata__":
            raise CheckpointError("safetensors keeps the name '__metadata__' for itself")
        small = _packed(name, array) if sparse else None
        if small is not None:
            packed[name] = [_NAMES[array.dtype], list(array.shape)]
        plain[name] = array if small is None else small
    told = {_SPARSE: jsontext.encode(dict(sorted(packed.items())))} if packed else None
    return safetensors.numpy.save(plain, told)


def decode(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Read what `encode` wrote, sorted by name.

    Args:
        data: the bytes.
        where: the place that an error names.

    Raises:
        CheckpointError: these are not the bytes of a safetensors file, or not of one of ours.

    No array of more than 64 bytes for each byte of the file is made: where it says otherwise, it is
    refused before.
    """
    header = int.from_bytes(data[:8], "little")
    if header > _HEADER_BYTES:
        raise CheckpointError(f"a header of {header} bytes, {_HEADER_BYTES} at most", where=where)
    try:
        found = {
            name: np.frombuffer(told["data"], _DTYPES[told["dtype"]]).reshape(told["shape"])
            for name, told in safetensors.deserialize(data)
        }
    except KeyError as error:
        raise CheckpointError(f"tensors of unknown type {error}", where=where) from error
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise CheckpointError(f"no safetensors: {error}", where=where) from error
    for name, (dtype, shape) in _told_sparse(data[8 : 8 + header], found, where).items():
        found[name] = _unpacked(found[name], dtype, shape, f"{where}, array {name!r}")
    return {name: found[name] for name in sorted(found)}


def require_finite(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse arrays with which nothing can be predicted.

    Raises:
        CheckpointError: one holds a number that is not finite.
    """
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"array '{name}' holds a number that is not finite", where=where)


def _packed(name: str, array: np.ndarray) -> np.ndarray | None:
    """The bits and the entries that are not zero, or None if they are no smaller."""
    bits = _bits(array).ravel()
    some = bits != 0
    size = -(-bits.size // 8) + int(np.count_nonzero(some)) * array.itemsize
    # In the metadata, a text within a text, the quotes and backslashes of the entry are doubled.
    entry = 2 * len(jsontext.encode({name: [_NAMES[array.dtype], list(array.shape)]}))
    if size + entry + _ENTRY >= array.nbytes:
        return None
    return np.concatenate([np.packbits(some), bits[some].view(np.uint8)])


def _bits(array: np.ndarray) -> np.ndarray:
    """The same memory as whole numbers, of which 0 is the one without a bit."""
    return array.view(f"u{array.itemsize}")


def _told_sparse(
    header: bytes, found: Mapping[str, np.ndarray], where: str
) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """The type and shape of each array that stands there without its zeros, checked."""
    told: Any = json.loads(header).get("__metadata__")
    if not told or _SPARSE not in told:
        return {}
    try:
        entries = jsontext.decode(told[_SPARSE])
        sparse = {name: (_DTYPES[dtype], tuple(shape)) for name, (dtype, shape) in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError("what it says of left out zeros is broken", where=where) from error
    for name, (_, shape) in sparse.items():
        possible = all(type(length) is int and 0 <= length < 1 << 62 for length in shape)
        if not possible or len(shape) > _MOST_AXES or 0 in shape:
            raise CheckpointError(f"array {name!r} has an absurd shape", where=where)
        if name not in found or found[name].dtype != np.uint8 or found[name].ndim != 1:
            raise CheckpointError(f"no array {name!r} without its zeros", where=where)
    return sparse


def _unpacked(
    packed: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], where: str
) -> np.ndarray:
    count = math.prod(shape)
    mask = -(-count // 8)
    if mask > packed.size:
        raise CheckpointError(f"{packed.size} bytes cannot tell of {count} entries", where=where)
    # Within the file by now: only what it holds bits for is allocated.
    some = np.unpackbits(packed[:mask]).view(bool)
    wanted = int(np.count_nonzero(some[:count])) * dtype.itemsize
    if some[count:].any() or packed.size - mask != wanted:
        raise CheckpointError(
            f"its bits tell of {wanted} bytes that are not zero, it has {packed.size - mask}",
            where=where,
        )
    bits = np.zeros(count, f"u{dtype.itemsize}")
    bits[some[:count]] = packed[mask:].view(bits.dtype)
    if np.count_nonzero(bits) * dtype.itemsize != wanted:
        raise CheckpointError("an entry that is told not to be zero is zero", where=where)
    return bits.view(dtype).reshape(shape)
