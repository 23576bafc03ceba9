"""A few entries, the others taken as 0: the largest ones, or some at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import ConfigError
from ...optim import ranges
from . import places
from .core import Codec, Cost, Shapes, length, only_if, sound, vector
from .exact import pattern


@dataclass(frozen=True)
class Sparse(Codec):
    """A codec that keeps k entries of the whole vector.

    k is share · d, rounded, and 1 at least, unless it is given.
    """

    share: float = 0.01
    k: int | None = None

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise ConfigError(f"{type(self).__name__}'s share must be in (0, 1], got {self.share}")
        if self.k is not None:
            ranges.whole(self, "k")

    def kept(self, shapes: Shapes) -> tuple[int, int]:
        """The k entries kept, and the d of the vector.

        Raises:
            ConfigError: k is above d.
        """
        d = length(shapes)
        k = max(1, round(self.share * d)) if self.k is None else self.k
        if k > d:
            raise ConfigError(
                f"{type(self).__name__}'s k = {k} is above the {d} parameters",
                next="take Dense to send all",
            )
        return k, d


@dataclass(frozen=True)
class TopK(Sparse):
    """Keep the k entries of the largest magnitude; of equal ones those that come first.

    Codec:    C(v)_i = v_i for those, 0 for the others
    Bytes:    those of k values and of their indices: 4k "plain"; ⌈k⌈log₂ d⌉/8⌉ "packed";
              ⌈d/8⌉ as a "bitmap"
    Error:    ‖C(v) − v‖² is the energy of what is dropped, ≤ (1 − k/d)‖v‖²
    Source:   Stich et al. 2018, arXiv:1809.07599, §2, over the whole vector

    Values travel in the dtype of the parameters, in the order of their indices.

    Args:
        share: the part of the entries that is kept.
        k: how many are kept, in place of the share.
        index: how the indices are written; "smallest" takes what is shortest for k and d.

    Raises:
        ConfigError: share is not in (0, 1]; k is below 1, or above the parameters; an unknown word
            for index.

    >>> codec, shapes, v = TopK(k=2), ((4,),), jnp.array([1.0, -3.0, 0.5, 2.0])
    >>> codec.decode(codec.encode(v, None, shapes), None, shapes, v.dtype).tolist()
    [0.0, -3.0, 0.0, 2.0]
    """

    index: Literal["smallest", "plain", "packed", "bitmap"] = "smallest"

    def __post_init__(self):
        super().__post_init__()
        ranges.one_of(self, "index", ("smallest", *places.FORMS))

    def encode(self, v, key, shapes):
        v = vector(v, shapes)
        k, d = self.kept(shapes)
        # What is not finite has the largest patterns, so that it is always among those kept.
        chosen = places.largest(pattern(v), k)
        at = places.indices(chosen, k)
        return {"values": v[at], "index": places.write(self._form(k, d), chosen, at)}

    def decode(self, buffers, key, shapes, dtype):
        k, d = self.kept(shapes)
        at, written = places.read(self._form(k, d), buffers["index"], k, d)
        return only_if(written, jnp.zeros(d, dtype).at[at].set(buffers["values"]))

    def cost(self, shapes, dtype):
        k, d = self.kept(shapes)
        return Cost(k * np.dtype(dtype).itemsize, places.byte_count(self._form(k, d), k, d))

    def distortion(self, shapes):
        k, d = self.kept(shapes)
        return 1 - k / d

    def _form(self, k: int, d: int) -> str:
        return places.smallest(k, d) if self.index == "smallest" else self.index


@dataclass(frozen=True)
class RandomK(Sparse):
    """Keep k entries drawn from the key: the receiver draws the same, and no index travels.

    Codec:    C(v)_i = (d/k) v_i for those drawn, 0 for the others; v_i if it is to contract
    Bytes:    those of k values, and 8 of a header, which tell the receiver whether its key is the
              sender's: with another it decodes to nan, and never to entries in wrong places
    Error:    E C(v) = v with E‖C(v) − v‖² = (d/k − 1)‖v‖²; (1 − k/d)‖v‖² if it is to contract
    Source:   Stich et al. 2018, arXiv:1809.07599, §2; the factor d/k makes it unbiased

    Args:
        share: the part of the entries that is kept.
        k: how many are kept, in place of the share.
        contract: divide by 1 + ω = d/k, so that the error is smaller, and no longer 0 on average.

    Raises:
        ConfigError: share is not in (0, 1]; k is below 1, or above the parameters.

    >>> codec, shapes, key = RandomK(0.5), ((4,),), jax.random.key(0)
    >>> sent = codec.encode(jnp.ones(4), key, shapes)
    >>> float(codec.decode(sent, key, shapes, jnp.float32).sum())
    4.0
    """

    contract: bool = False

    def encode(self, v, key, shapes):
        v = vector(v, shapes)
        k, d = self.kept(shapes)
        check, chosen = self._drawn(key, k, d)
        values = v[places.indices(chosen, k)]
        return {
            "values": only_if(sound(v), values if self.contract else values * (d / k)),
            "check": check,
        }

    def decode(self, buffers, key, shapes, dtype):
        k, d = self.kept(shapes)
        check, chosen = self._drawn(key, k, d)
        at = places.indices(chosen, k)
        agreed = jnp.all(check == buffers["check"])
        return only_if(agreed, jnp.zeros(d, dtype).at[at].set(buffers["values"]))

    def cost(self, shapes, dtype):
        k, _ = self.kept(shapes)
        return Cost(k * np.dtype(dtype).itemsize, header=8)

    def distortion(self, shapes):
        k, d = self.kept(shapes)
        return 1 - k / d if self.contract else d / k - 1

    @property
    def unbiased(self):
        return not self.contract

    def _drawn(self, key, k: int, d: int):
        """Eight bytes that another key would not give, and the mask of the entries drawn."""
        draws = jax.random.bits(key, (2 + d,), jnp.uint32)
        return draws[:2], places.largest(draws[2:], k)
