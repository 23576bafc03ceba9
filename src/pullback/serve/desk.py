"""Where requests wait for the device, which works on one of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .limits import busy

T = TypeVar("T")


class Desk:
    """One thread beside the event loop, and a bounded queue before it.

    Attributes:
        waiting: how many are in the queue or at work.
    """

    def __init__(self, most: int):
        self._most, self._thread, self.waiting = most, ThreadPoolExecutor(1, "predict"), 0

    async def ask(self, work: Callable[[], T]) -> T:
        """Have something done, after all that was asked for before.

        Raises:
            RefusedError: too many wait already.
        """
        if self.waiting >= self._most:
            raise busy(f"{self.waiting} requests wait already, and no more may; ask again")
        self.waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(work))
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Drop what waits. What is at work comes to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)
