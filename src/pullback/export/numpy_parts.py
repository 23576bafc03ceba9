"""What a written predictor calls where a map is no single line of NumPy.

`pullback.export.numpy_file` copies those of these functions that a network needs into the file that
it writes, as they stand here: they know nothing but NumPy and the standard library.
"""

from __future__ import annotations

import math

import numpy as np


def sigmoid(x):
    """1/(1 + e⁻ˣ); no exponential overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def softmax(x):
    """e^x / Σ e^x along the last axis; the largest is taken out, so that nothing overflows."""
    small = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return small / np.sum(small, axis=-1, keepdims=True)


def log_softmax(x):
    """The logarithm of softmax: x − log Σ e^x along the last axis."""
    below = x - np.max(x, axis=-1, keepdims=True)
    return below - np.log(np.sum(np.exp(below), axis=-1, keepdims=True))


def normal_cdf(x):
    """Φ(x) = erfc(−x/√2)/2, the normal distribution function."""
    return (np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2).astype(x.dtype)


def sinc(x):
    """sin(x)/x, and 1 at 0."""
    divisor = np.where(x == 0, 1, x).astype(x.dtype)
    return np.where(x == 0, 1, np.sin(divisor) / divisor).astype(x.dtype)


def exponential_below(x, below):
    """X where x > 0, else below · (eˣ − 1)."""
    return np.where(x > 0, x, below * np.expm1(np.minimum(x, 0)))


def soft_exponential(x, alpha, max_slope):
    """−ln(1 − α(x + α))/α for α < 0, x for α = 0, (e^(αx) − 1)/α + α for α > 0.

    Where its slope would exceed max_slope it goes on along its tangent.
    """
    size = np.abs(alpha)
    s = x + np.minimum(alpha, 0)
    up = np.minimum(np.maximum(alpha, 0) * s, math.log(max_slope))
    down = np.maximum(np.maximum(-alpha, 0) * s, 1 / max_slope - 1)
    inside = up + down == size * s
    begin = np.where(inside, s, (up + down) / np.where(size == 0, 1, size).astype(x.dtype))
    growth = np.where(up == 0, 1, np.expm1(up) / np.where(up == 0, 1, up)).astype(x.dtype)
    decay = np.where(down == 0, 1, np.log1p(down) / np.where(down == 0, 1, down)).astype(x.dtype)
    return begin * growth * decay + np.maximum(alpha, 0) + max_slope * (s - begin)


def windows(x, size, stride, padding, fill):
    """What a window of (height, width) shows at each of its places: (n, p, q, c, height, width).

    The images x are (n, h, w, c); padding is ((above, below), (left, right)), filled with `fill`.
    """
    x = np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=fill)
    shown = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
    return shown[:, :: stride[0], :: stride[1]]


def convolution(x, weight, stride, padding):
    """y[n, p, q] = Σ_ij x[n, s p + i − l, s q + j − l] @ weight[i, j], x being 0 outside."""
    shown = windows(x, weight.shape[:2], stride, padding, 0)
    return np.tensordot(shown, weight, axes=((4, 5, 3), (0, 1, 2)))


def max_pool(x, size, stride, padding):
    """The largest entry of each window, channel by channel."""
    return np.max(windows(x, size, stride, padding, -np.inf), axis=(4, 5))


def average_pool(x, size, stride, padding):
    """The mean of each window, channel by channel, over what lies inside of the image."""
    inside = windows(np.ones((1, *x.shape[1:3], 1), x.dtype), size, stride, padding, 0)
    total = np.sum(windows(x, size, stride, padding, 0), axis=(4, 5))
    return total / np.sum(inside, axis=(4, 5))


def layer_norm(x, gain, shift, eps):
    """Y = gain · (x − μ)/√(σ² + eps) + shift; μ and σ² are over the last axis."""
    u = x - np.mean(x, axis=-1, keepdims=True)
    return gain * (u / np.sqrt(np.mean(u * u, axis=-1, keepdims=True) + eps)) + shift


def direction(z):
    """z/‖z‖ for each row, and zeros for a row of zeros."""
    top = np.max(np.abs(z), axis=-1, keepdims=True)
    z = z / np.where(top > 0, top, 1).astype(z.dtype)
    return z / np.where(top > 0, np.linalg.norm(z, axis=-1, keepdims=True), 1).astype(z.dtype)


def encode(rows, columns):
    """The rows of a table as a matrix: numbers as they are, a category as a column of 0 and 1.

    `columns` gives the categories of each column by its name, or None where it holds numbers.
    """
    features = []
    for name, categories in columns.items():
        cells = [row[name].strip() for row in rows]
        if categories is None:
            features.append([float(cell) for cell in cells])
            continue
        unknown = set(cells) - set(categories)
        if unknown:
            raise ValueError(f"column {name!r} holds {sorted(unknown)}, wanted {categories}")
        features += [[float(cell == category) for cell in cells] for category in categories]
    return np.array(features).T
