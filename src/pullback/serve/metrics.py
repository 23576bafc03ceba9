"""What the service counts, in the text format of Prometheus (version 0.0.4).

All of it happens on the event loop, so that nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

# Seconds: from a small network's answer to a wait at a full desk.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one process; a scraper sees them start anew with it."""

    def __init__(self):
        self.requests: Counter[tuple[str, int]] = Counter()
        self.refused: Counter[int] = Counter()
        self.rows = self.in_flight = 0
        self._seconds: dict[str, list[int]] = {}
        self._total: dict[str, float] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request that has its answer."""
        self.requests[route, status] += 1
        counts = self._seconds.setdefault(route, [0] * (len(BOUNDS) + 1))
        counts[bisect_left(BOUNDS, seconds)] += 1
        self._total[route] = self._total.get(route, 0.0) + seconds

    def text(self, waiting: int) -> str:
        """All counts, and how many requests wait or are at work."""
        lines = _head("requests_total", "counter", "Requests by route and status.")
        for (route, status), count in sorted(self.requests.items()):
            lines.append(f'pullback_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += _head("request_seconds", "histogram", "From the head of a request to its answer.")
        for route, counts in sorted(self._seconds.items()):
            lines += self._histogram(route, counts)
        lines += _head("refused_bodies_total", "counter", "Bodies refused, by status.")
        for status, count in sorted(self.refused.items()):
            lines.append(f'pullback_refused_bodies_total{{status="{status}"}} {count}')
        for name, kind, about, value in (
            ("rows_predicted_total", "counter", "Rows predicted.", self.rows),
            ("requests_in_flight", "gauge", "Requests without an answer yet.", self.in_flight),
            (
                "requests_waiting",
                "gauge",
                "Requests that wait for the device or are on it.",
                waiting,
            ),
        ):
            lines += [*_head(name, kind, about), f"pullback_{name} {value}"]
        return "\n".join(lines) + "\n"

    def _histogram(self, route: str, counts: list[int]) -> list[str]:
        name, label, below, lines = "pullback_request_seconds", f'route="{route}"', 0, []
        for bound, count in zip((*BOUNDS, "+Inf"), counts, strict=True):
            below += count
            lines.append(f'{name}_bucket{{{label},le="{bound}"}} {below}')
        lines.append(f"{name}_sum{{{label}}} {self._total[route]!r}")
        return [*lines, f"{name}_count{{{label}}} {below}"]


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP pullback_{name} {about}", f"# TYPE pullback_{name} {kind}"]
