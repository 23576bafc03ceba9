"""What a request may cost, and how it is refused when it is wrong or asks for more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConfigError

# Bodies of the greatest size that are held at once; a body that would need more is refused.
BODIES_HELD = 16


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how many may wait.

    Args:
        max_bytes: the greatest body.
        max_rows: the most rows in it.
        timeout: seconds in which a head, and then its body, must have arrived.
        max_waiting: the most requests that wait for the one prediction that runs, itself included.

    Raises:
        ConfigError: a limit allows nothing.
    """

    max_bytes: int = 8 << 20
    max_rows: int = 1000
    timeout: float = 10.0
    max_waiting: int = 64

    def __post_init__(self):
        for name in ("max_bytes", "max_rows", "max_waiting"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (0 < self.timeout and math.isfinite(self.timeout)):
            raise ConfigError(f"timeout must be positive and finite, got {self.timeout:g}")


class RefusedError(Exception):
    """A request is refused: with a status of HTTP, one sentence, and headers that go with it."""

    def __init__(self, status: int, what: str, headers: Mapping[str, str] | None = None):
        super().__init__(what)
        self.status, self.what, self.headers = status, what, dict(headers or {})


def busy(what: str) -> RefusedError:
    """Refuse a request that may well be answered a second later."""
    return RefusedError(503, what, {"retry-after": "1"})
