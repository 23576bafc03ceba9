"""Products as exact as their arrays, on every device; or of factors rounded to bfloat16, if asked.

The maps multiply by what stands here, so that a step says once how exact its products are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

# Of JAX's configuration, as set or as a context in force says.
SETTING = "jax_default_matmul_precision"

# How the factors of a product are taken: as they are, or rounded.
Products = Literal["full", "bfloat16"]
_products: ContextVar[Products] = ContextVar("products", default="full")


@contextmanager
def full_precision() -> Iterator[None]:
    """Within, products of float32 are float32; as a decorator, in all that a function traces.

    JAX lets a GPU round the factors of a product to TensorFloat-32, which has 10 bits after the
    point for 23: products then err by 3·10⁻⁴ and not by 5·10⁻⁷ (of 1024 × 1024, on an H200). Here
    that is a choice of the user's: what `jax_default_matmul_precision` says, or the variable
    JAX_DEFAULT_MATMUL_PRECISION, such as "tensorfloat32", is left as it is. Arithmetic on a
    processor is full anyway.

        @jax.jit
        @full_precision()
        def product(x, w):
            return x @ w
    """
    if getattr(jax.config, SETTING) is not None:
        yield
        return
    with jax.default_matmul_precision("highest"):
        yield


@contextmanager
def products(kind: Products) -> Iterator[None]:
    """Within, the products of maps are taken so in all that is traced.

    "bfloat16" rounds the factors of float32 products to bfloat16, which has 7 bits after the point,
    and adds up in float32: each product errs by 2⁻⁸ of itself at most. Everything else, the weights
    above all, stays float32. Whoever compiles a program within must know the kind by the
    arguments that are static in it, as a step does by its `Task`: JAX does not know this context.
    """
    before = _products.set(kind)
    try:
        yield
    finally:
        _products.reset(before)


def factor(x):
    """Return x as a factor of a product: rounded if the step says so.

    >>> with products("bfloat16"):
    ...     print(factor(jnp.float32(1.001)), factor(jnp.float32(1.001)).dtype)
    1 bfloat16
    """
    rounds = _products.get() == "bfloat16" and x.dtype == jnp.float32
    return x.astype(jnp.bfloat16) if rounds else x


def product(x, w):
    """Return x @ w of two matrices.

    >>> x, w = jnp.full((1, 2), 1.001), jnp.ones((2, 1))
    >>> with products("bfloat16"):
    ...     rounded = product(x, w)
    >>> product(x, w).item(), rounded.item(), rounded.dtype.name
    (2.002000093460083, 2.0, 'float32')
    """
    left, right = factor(x), factor(w)
    if left.dtype == x.dtype:
        return x @ w
    return _rounded(left, right, x.dtype)


def product_over_batch(x, dy):
    """Return xᵀ @ dy: the derivative by the weight of x @ weight, summed over the batch.

    A processor with units for bfloat16 is fast where what is summed over lies together in memory,
    which the batch does not: rounded, xᵀ is laid out anew.

    >>> product_over_batch(jnp.ones((4, 2)), jnp.ones((4, 3))).tolist()
    [[4.0, 4.0, 4.0], [4.0, 4.0, 4.0]]
    """
    left, right = factor(x), factor(dy)
    if left.dtype == x.dtype:
        return x.T @ dy
    turned = left.T
    if jax.default_backend() == "cpu":
        turned = with_layout_constraint(turned, Layout(major_to_minor=(0, 1)))
    return _rounded(turned, right, x.dtype)


def product_over_outputs(dy, w):
    """Return dy @ wᵀ: the derivative by x of x @ w, summed over the outputs.

    XLA has kernels of rounded factors for a processor which read w as it lies, but on the way to
    them makes float32 of what is turned first.

    >>> product_over_outputs(jnp.ones((2, 3)), jnp.ones((4, 3))).tolist()
    [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]
    """
    left, right = factor(dy), factor(w)
    if left.dtype == dy.dtype:
        return dy @ w.T
    return _rounded(left, right, dy.dtype, over=1)


def _rounded(left, right, dtype, over=0):
    """Sum over the last axis of left, and over the first of right or the one that is told."""
    return lax.dot_general(
        left,
        right,
        (((1,), (over,)), ((), ())),
        precision=lax.Precision.DEFAULT,
        preferred_element_type=dtype,
    )
