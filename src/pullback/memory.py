"""What compiling leaves behind is given back to the system."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"

# Seconds of compiling from which on there is something to give back; that takes some 10 ms.
LEAST = 0.1


def give_back_after_compiling() -> None:
    """From now on, give back what each longer compilation of this process has let go.

    A compiler takes tens of megabytes in threads of its own. The C library of most Linux systems
    keeps what they let go for such threads, where the arrays of training do not find it: a process
    would hold the sum of both. Other C libraries are left to themselves.
    """
    if _trim is not None:
        jax.monitoring.register_event_duration_secs_listener(_hear)


def _hear(event: str, duration_secs: float, **_: Any) -> None:
    if event == _COMPILED and duration_secs >= LEAST:
        _trim(0)


# Of glibc; None elsewhere.
_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
