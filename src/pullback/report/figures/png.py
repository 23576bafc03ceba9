"""A grey picture as PNG, pixel for pixel (Portable Network Graphics, 3rd edition, W3C 2025)."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTH, _GREY = 8, 0


def grey_png(pixels: np.ndarray) -> bytes:
    r"""Encode pixels, (height, width) of uint8, without scaling them.

    >>> grey_png(np.zeros((2, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, _DEPTH, _GREY, 0, 0, 0)
    unfiltered = np.zeros((height, 1), np.uint8)  # each line starts with its filter: none
    lines = np.hstack([unfiltered, pixels.astype(np.uint8)]).tobytes()
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
