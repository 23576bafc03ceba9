"""Windows that slide over the height and width of images: what convolution and pooling share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..errors import ConfigError, ShapeError
from .core import Map

Pair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = Literal["same", "valid"] | int | tuple[int, int]


def output_size(
    length: int, size: int, stride: int = 1, padding: Literal["same", "valid"] | int = 0
) -> int:
    """How many places a window takes along an axis: ⌊(length + 2·padding − size)/stride⌋ + 1.

    Source: the sheets, Layer Dimension, for lengths that the stride divides; the windows that would
    stick out are left away.

    Args:
        length: of the axis.
        size: of the window.
        stride: from one place to the next.
        padding: zeros at either end; "valid" is 0, "same" is as many as give ⌈length/stride⌉
            places, the odd one at the far end.

    >>> output_size(28, 5), output_size(28, 3, stride=2, padding=1), output_size(28, 4, 1, "same")
    (24, 14, 28)
    """
    return (length + sum(_around(length, size, stride, padding)) - size) // stride + 1


def _around(
    length: int, size: int, stride: int, padding: Literal["same", "valid"] | int
) -> tuple[int, int]:
    """How many zeros stand before and after an axis."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        return total // 2, total - total // 2
    return padding, padding


@dataclass(frozen=True)
class Window:
    """A window of some height and width, and how it moves: each field a pair, height first."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[Literal["same", "valid"] | int, Literal["same", "valid"] | int]

    @classmethod
    def of(cls, map: Map, size: Pair, stride: Pair, padding: Padding) -> Window:
        """The window that a map's fields describe, where one number stands for a pair.

        Raises:
            ConfigError: a size or a stride is not positive, or a padding is negative.
        """
        kind = type(map).__name__
        for name, pair in (("size", _pair(size)), ("stride", _pair(stride))):
            if min(pair) < 1:
                raise ConfigError(f"{kind}'s {name} must be at least 1, got {pair}")
        if not isinstance(padding, str) and min(_pair(padding)) < 0:
            raise ConfigError(f"{kind}'s padding must be at least 0, got {padding}")
        return cls(
            _pair(size),
            _pair(stride),
            (padding, padding) if isinstance(padding, str) else _pair(padding),
        )

    def outputs(self, x) -> tuple[int, int]:
        """How many places the window takes along the height and the width of x (n, h, w, c)."""
        high, wide = (
            output_size(*axis)
            for axis in zip(x.shape[1:3], self.size, self.stride, self.padding, strict=True)
        )
        return high, wide

    def around(self, x) -> tuple[tuple[int, int], tuple[int, int]]:
        """The padding before and after the height and the width of x (n, h, w, c)."""
        high, wide = (
            _around(*axis)
            for axis in zip(x.shape[1:3], self.size, self.stride, self.padding, strict=True)
        )
        return high, wide

    def spans(self, x) -> tuple[int, int]:
        """How far its places reach in x, from the first to the last, both included."""
        high, wide = (
            (places - 1) * s + 1 for places, s in zip(self.outputs(x), self.stride, strict=True)
        )
        return high, wide

    def axes(self, x) -> list[tuple[int, int, int, int]]:
        """For height and width: window size, length of x, padding before it, and span."""
        lows = [low for low, _ in self.around(x)]
        return list(zip(self.size, x.shape[1:3], lows, self.spans(x), strict=True))

    def check(self, map: Map, x: Any) -> None:
        """Refuse what is no batch of images, and images that the window does not fit into.

        Raises:
            ShapeError: x is such.
        """
        kind = type(map).__name__
        if len(x.shape) != 4 or min(x.shape[1:]) < 1:
            raise ShapeError(
                f"{kind} wants images of shape (n, height, width, channels), got {tuple(x.shape)}",
                next="give the rows that shape by a Reshape before it",
            )
        if min(self.outputs(x)) < 1:
            raise ShapeError(
                f"{kind} has a window of {self.size}, larger than images of {tuple(x.shape[1:3])}",
                next="make the window smaller, or pad",
            )


def _pair(value: Pair) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
