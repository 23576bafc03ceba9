"""The contract of a codec: a worker's vector as the buffers that travel, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ...errors import ConfigError, ShapeError

# The shapes of a worker's tensors, in the order in which they lie in its vector.
Shapes = tuple[tuple[int, ...], ...]

# What travels: vectors by name, all of lengths and dtypes that the shapes alone decide.
Buffers = dict[str, Array]
# Their lengths and dtypes by name, as jax.ShapeDtypeStruct; arrays of them serve as well.
Layout = Mapping[str, Any]


@dataclass(frozen=True)
class Cost:
    """The bytes of one encoded vector.

    Attributes:
        payload: the numbers.
        index: where in the vector they stand.
        header: what is sent once for a tensor, or for the vector: scales, a check of the key.

    >>> Cost(payload=8, index=2, header=4).total
    14
    """

    payload: int
    index: int = 0
    header: int = 0

    @property
    def total(self) -> int:
        """All of them together."""
        return self.payload + self.index + self.header


@dataclass(frozen=True)
class Codec:
    """A map C from vectors to vectors that need fewer bytes: C(v) = decode(encode(v)).

    A subclass holds its settings only. All it draws is of the key, which sender and receiver
    derive alike from the seed, the round, the phase and the sender. `encode` and `decode` may be
    compiled, mapped over workers and scanned over rounds.

    Two rules hold for every codec. A vector with an entry that is not finite gives a C(v) with an
    entry that is not finite: nan never becomes a number. And buffers that no encoder writes (an
    index out of range, another key) decode to nan.
    """

    def encode(self, v: Float[Array, " d"], key: Any, shapes: Shapes) -> Buffers:
        """The buffers to send.

        Raises:
            ShapeError: v is not the vector of these shapes.
            ConfigError: v is neither float32 nor float64, or a setting does not suit its length.
        """
        raise NotImplementedError

    def decode(self, buffers: Buffers, key: Any, shapes: Shapes, dtype: Any) -> Float[Array, " d"]:
        """C(v), from the buffers, the key of their sender, and the dtype of v."""
        raise NotImplementedError

    def cost(self, shapes: Shapes, dtype: Any) -> Cost:
        """The bytes of the buffers, by formula."""
        raise NotImplementedError

    def distortion(self, shapes: Shapes) -> float:
        """The least number known with E‖C(v) − v‖² ≤ distortion · ‖v‖² for all v, but for rounding.

        For an unbiased codec this is what papers call its variance ω.
        """
        raise NotImplementedError

    @property
    def unbiased(self) -> bool:
        """Whether E C(v) = v, over the keys."""
        return False

    def contraction(self, shapes: Shapes) -> float:
        """The δ of E‖C(v) − v‖² ≤ (1 − δ)‖v‖²; 0 if nothing of the kind is known."""
        return max(0.0, 1.0 - self.distortion(shapes))

    def layout(self, shapes: Shapes, dtype: Any) -> Layout:
        """The lengths and dtypes of the buffers, which their receiver can expect."""
        v = jax.ShapeDtypeStruct((length(shapes),), np.dtype(dtype))
        return jax.eval_shape(lambda v: self.encode(v, jax.random.key(0), shapes), v)


def sizes(shapes: Shapes) -> tuple[int, ...]:
    """The number of entries of each tensor.

    Raises:
        ShapeError: there is no tensor, or one of them is empty.

    >>> sizes(((2, 3), (3,), ()))
    (6, 3, 1)
    """
    found = tuple(math.prod(shape) for shape in shapes)
    if not all(found) or not found:
        raise ShapeError(
            f"a codec wants tensors with an entry at least, got shapes {shapes}",
            next="leave empty tensors out",
        )
    return found


def length(shapes: Shapes) -> int:
    """The number d of entries of the vector."""
    return sum(sizes(shapes))


def pieces(v: Array, lengths: tuple[int, ...]) -> list[Array]:
    """Cut a vector into parts of these lengths: the inverse of concatenation."""
    ends = np.cumsum(lengths)
    return [v[end - size : end] for size, end in zip(lengths, ends, strict=True)]


def vector(v: Any, shapes: Shapes) -> Array:
    """The same as an array of JAX, if it is the vector of these shapes in float32 or float64."""
    v = jnp.asarray(v)
    if v.shape != (length(shapes),):
        raise ShapeError(
            f"a codec wants the vector of its tensors, ({length(shapes)},), got {v.shape}",
            next="ravel the parameters whose shapes are given",
        )
    if v.dtype not in (np.float32, np.float64):
        raise ConfigError(
            f"a codec wants a vector of float32 or float64, got {v.dtype}",
            next="keep the parameters in float32 and let Dense send them in fewer bits",
        )
    return v


def sound(v: Array) -> Bool[Array, ""]:
    """Whether all entries are finite."""
    return jnp.all(jnp.isfinite(v))


def only_if(flag: Bool[Array, ""], x: Array) -> Array:
    """The same array, or nan everywhere: a failure inside a compiled function is a value."""
    return jnp.where(flag, x, jnp.full_like(x, jnp.nan))


def require_contraction(codec: Codec, shapes: Shapes, owner: str) -> None:
    """Refuse a codec that may leave an error as large as what it was given.

    Args:
        codec: what is to be used.
        shapes: of the tensors.
        owner: what wants a contraction, such as "error feedback".

    Raises:
        ConfigError: no contraction is known of the codec.
    """
    if codec.contraction(shapes) <= 0:
        name = type(codec).__name__
        raise ConfigError(
            f"{owner} wants a codec that contracts, {name}'s error may be "
            f"{codec.distortion(shapes):.3g} times the square of its vector",
            next="set contract = true, or send more"
            if hasattr(codec, "contract")
            else f"let {name} send more",
        )
