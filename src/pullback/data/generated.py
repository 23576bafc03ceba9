"""Sources that need no file: scikit-learn's digits, and points drawn in the plane."""

from __future__ import annotations

import numpy as np

from .examples import Examples
from .rows import digest
from .streams import generator

_PLANE = ("x1", "x2")


def digits(dtype: np.dtype | type = np.float32) -> Examples:
    """Return the 1,797 handwritten digits of 8×8 pixels that come with scikit-learn.

    Shapes: x (1797, 64), grey levels 0..16 divided by 16; y (1797,) in 0..9
    Source: E. Alpaydin, C. Kaynak 1998, Optical Recognition of Handwritten Digits
    """
    from sklearn.datasets import load_digits

    # Where pandas is installed its types allow for frames, which are not asked for here.
    x, y = map(np.asarray, load_digits(return_X_y=True))
    return Examples(
        x=(x / 16).astype(dtype),
        y=y,
        classes=tuple("0123456789"),
        image=(8, 8),
        name="digits",
        checksum=digest(x, y),
    )


def circles(
    n: int = 500, noise: float = 0.1, seed: int = 0, dtype: np.dtype | type = np.float32
) -> Examples:
    """Return points on two circles about the origin, of radius 1 (outer) and 1/2 (inner).

    x = r (cos t, sin t) + noise · N(0, 1), t uniform in [0, 2π)

    Shapes: x (n, 2); y (n,), the even rows outer, the odd rows inner
    """
    random = generator(seed, "circles")
    y = np.arange(n) % 2
    turn = random.uniform(0, 2 * np.pi, n)
    radius = np.where(y == 0, 1.0, 0.5)
    x = radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return _plane(x + noise * random.normal(size=x.shape), y, ("outer", "inner"), "circles", dtype)


def moons(
    n: int = 500, noise: float = 0.1, seed: int = 0, dtype: np.dtype | type = np.float32
) -> Examples:
    """Return points on two interleaved half circles.

    upper: (cos t, sin t); lower: (1 − cos t, 1/2 − sin t), t uniform in [0, π);
    to each is added noise · N(0, 1)

    Shapes: x (n, 2); y (n,), the even rows upper, the odd rows lower
    """
    random = generator(seed, "moons")
    y = np.arange(n) % 2
    turn = random.uniform(0, np.pi, n)
    upper = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    x = np.where(y[:, None] == 0, upper, np.array([[1.0, 0.5]]) - upper)
    return _plane(x + noise * random.normal(size=x.shape), y, ("upper", "lower"), "moons", dtype)


def xor(
    n: int = 500, noise: float = 0.1, seed: int = 0, dtype: np.dtype | type = np.float32
) -> Examples:
    """Return points about the corners of the unit square, labelled by exclusive or.

    x = (a, b) + noise · N(0, 1), y = a xor b; four rows without noise are the truth table.

    Shapes: x (n, 2); y (n,)

    >>> table = xor(4, noise=0)
    >>> table.x.tolist(), table.y.tolist()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    """
    random = generator(seed, "xor")
    a, b = np.arange(n) // 2 % 2, np.arange(n) % 2
    corner = np.stack([a, b], axis=1)
    return _plane(
        corner + noise * random.normal(size=corner.shape), a ^ b, ("0", "1"), "xor", dtype
    )


def _plane(
    x: np.ndarray, y: np.ndarray, classes: tuple[str, ...], name: str, dtype: np.dtype | type
) -> Examples:
    return Examples(
        x.astype(dtype), y, classes=classes, features=_PLANE, name=name, checksum=digest(x, y)
    )
