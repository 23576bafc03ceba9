"""Products as exact as their arrays, on every device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax

# Of JAX's configuration, as set or as a context in force says.
SETTING = "jax_default_matmul_precision"


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
