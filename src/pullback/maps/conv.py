"""Convolution of images."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp
from jax import lax

from ..arithmetic import factor
from ..errors import ConfigError
from ..initializer import Initializer, LeCun
from .core import Map
from .window import Padding, Pair, Window


@dataclass(frozen=True)
class Conv(Map):
    """Slide a window over each image, and map what it shows by one affine map.

    Forward:  y[n, p, q] = Σ_ij x[n, s p + i − l, s q + j − l] @ weight[i, j] + bias
              s the stride, l the padding before the axis; x is 0 outside of the image
    Reverse:  dweight[i, j] = Σ_npq x[n, s p + i − l, s q + j − l]ᵀ dy[n, p, q],
              dbias = Σ dy over the batch and all places,
              dx[n, u, v] = Σ dy[n, p, q] @ weight[i, j]ᵀ over s p + i − l = u, s q + j − l = v:
              convolutions again, of x with dy spread by the stride, and of dy, so spread, with the
              weight turned by half a circle
    Shapes:   x (n, h, w, c); y (n, p, q, width), p and q as `output_size` says; weight
              (*size, c, width); bias (width,)
    Source:   LeCun et al. 1998, §II; the sheets, Layer Dimension and Total params. As everywhere in
              this field it is a cross-correlation: the weight is not turned in the forward pass

    Args:
        width: the number of output channels.
        size: of the window, one number or (height, width).
        stride: from one place of the window to the next.
        padding: zeros around the image: "valid" is none, "same" as many as keep its size (divided
            by the stride, rounded up), and numbers are those at either end.
        bias: whether a bias is added; it begins at zero.
        initializer: draws the weight, with fans h w c and h w width for a window of h × w.

    Raises:
        ConfigError: width, size or stride is not positive, or padding is negative.
        ShapeError: x is no batch of images, or the window does not fit into them.

    >>> import jax
    >>> params, _ = Conv(5).init(jax.random.key(0), jnp.ones((8, 28, 28, 3)))
    >>> params["weight"].shape, params["bias"].shape
    ((3, 3, 3, 5), (5,))
    """

    width: int
    size: Pair = 3
    stride: Pair = 1
    padding: Padding = "valid"
    bias: bool = True
    initializer: Initializer = field(default=LeCun())

    def __post_init__(self):
        if self.width < 1:
            raise ConfigError(f"Conv's width must be at least 1, got {self.width}")
        self._window()

    def init(self, key, x):
        window = self._window()
        window.check(self, x)
        (high, wide), channels = window.size, x.shape[3]
        area = high * wide
        shape = (high, wide, channels, self.width)
        params = {
            "weight": self.initializer(key, shape, area * channels, area * self.width, x.dtype)
        }
        if self.bias:
            params["bias"] = jnp.zeros((self.width,), x.dtype)
        return params, {}

    def forward(self, params, state, x, run):
        window = self._window()
        y = _convolved(
            x,
            params["weight"],
            window_strides=window.stride,
            padding=window.around(x),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if self.bias:
            y = y + params["bias"][None, None, None]
        return y, x, state

    def reverse(self, params, saved, dy):
        dparams = {"weight": self._dweight(saved, dy)}
        if self.bias:
            dparams["bias"] = jnp.sum(dy, axis=(0, 1, 2))
        return dparams, self._dx(params["weight"], saved, dy)

    def _window(self) -> Window:
        return Window.of(self, self.size, self.stride, self.padding)

    def _dweight(self, x, dy):
        """Convolve x with dy: the batch takes the place of the channels, over which one adds."""
        window = self._window()
        # What remains of an axis beyond the last place of the window is cut off.
        edges = [
            (low, span + size - 1 - length - low) for size, length, low, span in window.axes(x)
        ]
        return _convolved(
            x,
            dy,
            window_strides=(1, 1),
            padding=edges,
            rhs_dilation=window.stride,
            dimension_numbers=("CHWN", "IHWO", "HWNC"),
        )

    def _dx(self, weight, x, dy):
        """Convolve dy, with zeros between its entries, with the weight turned by half a circle."""
        window = self._window()
        edges = [
            (size - 1 - low, length + low - span) for size, length, low, span in window.axes(x)
        ]
        return _convolved(
            dy,
            jnp.flip(weight, axis=(0, 1)),
            window_strides=(1, 1),
            padding=edges,
            lhs_dilation=window.stride,
            dimension_numbers=("NHWC", "HWOI", "NHWC"),
        )


def _convolved(x, kernel, **how):
    """Convolve; factors may be rounded, sums are in the type of x."""
    return lax.conv_general_dilated(
        factor(x), factor(kernel), preferred_element_type=x.dtype, **how
    )
