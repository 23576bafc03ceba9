"""What a codec dropped is added to what is sent next."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Array, Float

from .core import Buffers, Codec, Shapes


class Fed(NamedTuple):
    """One vector sent with error feedback.

    Attributes:
        buffers: what travels.
        decoded: what they decode to, here as at the receiver.
        memory: what is still owed.
    """

    buffers: Buffers
    decoded: Float[Array, " d"]
    memory: Float[Array, " d"]


def error_feedback(
    codec: Codec, v: Float[Array, " d"], memory: Float[Array, " d"], key: Any, shapes: Shapes
) -> Fed:
    """Encode v and what is owed from before, and remember what the codec drops.

    Update:   p = v + memory;  m = C(p);  memory ← p − m
    Source:   Karimireddy et al. 2019, arXiv:1901.09847, algorithm 2

    Over the rounds, what was decoded and the memory add up to what was given: nothing is lost. The
    memory stays bounded for a codec that contracts; see `require_contraction`.

    Args:
        codec: C.
        v: what is to be sent: the step, with its learning rate.
        memory: zeros in the first round.
        key: of this message, for sender and receiver.
        shapes: of the tensors in v.

    >>> from pullback.peers.codec import TopK
    >>> import jax.numpy as jnp
    >>> v, nothing = jnp.array([3.0, 2.0]), jnp.zeros(2)
    >>> sent = error_feedback(TopK(k=1), v, nothing, None, ((2,),))
    >>> sent.decoded.tolist(), sent.memory.tolist()
    ([3.0, 0.0], [0.0, 2.0])
    """
    p = v + memory
    buffers = codec.encode(p, key, shapes)
    decoded = codec.decode(buffers, key, shapes, v.dtype)
    return Fed(buffers, decoded, p - decoded)
