"""Named arrays as the bytes of a safetensors file, and back, bit for bit.

The format is a length, a JSON header and the raw numbers: there is no code in it, and none is run
by reading it. Knows NumPy only; an array of JAX is taken as the array of NumPy that it gives.
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from .errors import CheckpointError

_HEADER_BYTES = 1 << 24

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


def encode(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Write arrays of any shape, 0-d and empty ones among them; equal arrays give equal bytes.

    Raises:
        CheckpointError: an array holds something else than numbers of a known type.
    """
    plain = {}
    for name, value in tensors.items():
        # safetensors reads the memory as it lies: a transposed view must be laid out first.
        array = np.asarray(value, order="C")
        if array.dtype not in _DTYPES.values():
            known = ", ".join(str(dtype) for dtype in _DTYPES.values())
            raise CheckpointError(f"tensor '{name}' has dtype {array.dtype}, wanted one of {known}")
        if name == "__metadata__":
            raise CheckpointError("safetensors keeps the name '__metadata__' for itself")
        plain[name] = array
    return safetensors.numpy.save(plain)


def decode(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Read what `encode` wrote, sorted by name.

    Args:
        data: the bytes.
        where: the place that an error names.

    Raises:
        CheckpointError: these are not the bytes of a safetensors file, or not of one of ours.
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
    return {name: found[name] for name in sorted(found)}
