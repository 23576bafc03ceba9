"""What goes around all routes: requests are counted, and unread bodies are dealt with."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits
from .metrics import Metrics

ROUTES = ("/predict", "/health", "/metrics")

# How much of a refused body is read and thrown away, in bodies of the greatest size.
_DRAINED = 2


class Counted:
    """Counts requests, and lets nobody be cut off in mid-body without an answer.

    A connection that is closed while its client still sends is reset, and the answer can be lost on
    its way. So what is left of a refused body is read first, within limits. Is it longer or slower,
    the connection is closed: what comes on it must not be taken for the next request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, limits: Limits):
        self._app, self._metrics, self._limits = app, metrics, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)
        status, began = 500, time.perf_counter()

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if body.unread and status != 408:
                    await body.drain(_DRAINED * self._limits.max_bytes, self._limits.timeout)
                if body.unread:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        self._metrics.in_flight += 1
        try:
            await self._app(scope, body.receive, counted)
        finally:
            self._metrics.in_flight -= 1
            route = scope["path"] if scope["path"] in ROUTES else "other"
            self._metrics.answered(route, status, time.perf_counter() - began)


class _Body:
    """The body of a request on its way, and whether some of it is still to come."""

    def __init__(self, scope: Scope, receive: Receive):
        headers = Headers(scope=scope)
        self._receive, self._told = receive, headers.get("content-length", "0")
        self.unread = "transfer-encoding" in headers or self._told != "0"
        # Who asks before sending sends nothing if the answer is no.
        self._waits = headers.get("expect", "").lower() == "100-continue"

    async def receive(self) -> Message:
        message = await self._receive()
        self.unread, self._waits = self.unread and message.get("more_body", False), False
        return message

    async def drain(self, most: int, seconds: float) -> None:
        """Read to the end, unless that is too far."""
        if self._waits or not self._told.isdigit() or len(self._told) > 15:
            return
        if int(self._told) > most:
            return
        read = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.unread and read <= most:
                    read += len((await self.receive()).get("body", b""))
