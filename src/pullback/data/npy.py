r"""NPY, NumPy's format of one array: what its header says, read without evaluating anything.

    \x93NUMPY version | length | {'descr': …, 'fortran_order': …, 'shape': (…), } | data

NumPy's own reader parses the header as Python; here it must match one pattern, or is refused.
Source: NumPy Enhancement Proposal 1, and numpy.lib.format for versions 2 and 3
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import IO, Literal

import numpy as np

from ..errors import DataError

_HEADER = re.compile(
    rb"\s*\{\s*'descr'\s*:\s*'([<>|=](?:[biuf]\d{1,2}|U\d{1,7}))'\s*,"
    rb"\s*'fortran_order'\s*:\s*(True|False)\s*,"
    rb"\s*'shape'\s*:\s*\(([\d, ]*)\)[\s,]*\}\s*"
)
_LONGEST_HEADER = 10_000
_MOST_AXES = 32
_LONGEST_AXIS = 2**62


@dataclass(frozen=True)
class Header:
    """What a NPY file claims to hold.

    Args:
        dtype: the type of the numbers or texts.
        shape: the sizes of the axes.
        order: "C" if the last axis varies fastest, "F" if the first.
        offset: where the data begin.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int

    @property
    def size(self) -> int:
        """The bytes of the whole file, if the claim is true."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes]) -> Header:
    """Read the header from the start of a stream.

    Raises:
        DataError: it is none, or claims anything but plain numbers or text.
    """
    start = stream.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY":
        raise DataError("this is not NPY: its first bytes are others")
    if start[6] not in (1, 2, 3):
        raise DataError(f"NPY of version {start[6]} is not known")
    width, code = (2, "<H") if start[6] == 1 else (4, "<I")
    length = stream.read(width)
    if len(length) < width or (count := struct.unpack(code, length)[0]) > _LONGEST_HEADER:
        raise DataError("the header of the NPY ends early or is too long")
    found = _HEADER.fullmatch(stream.read(count))
    if found is None:
        raise DataError("the header of the NPY is broken, or names other than numbers and text")
    try:
        dtype = np.dtype(found[1].decode())
        shape = tuple(int(size) for size in found[3].split(b",") if size.strip())
    except (TypeError, ValueError) as error:
        raise DataError("the header of the NPY names an unknown type or no sizes") from error
    if len(shape) > _MOST_AXES or max(shape, default=0) > _LONGEST_AXIS:
        raise DataError(f"the header of the NPY claims the absurd shape {shape}")
    return Header(dtype, shape, "F" if found[2] == b"True" else "C", 8 + width + count)
