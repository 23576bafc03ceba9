"""The service on a socket: until it is told to end."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .. import jsontext
from ..errors import ConfigError
from ..model import Model
from .app import application
from .limits import Limits

# Seconds beyond the timeout of a body in which what has begun is still answered at the end.
_PATIENCE = 5


class Listener:
    """A socket that listens until the block ends: a taken port is told before a model is loaded.

    Raises:
        ConfigError: the address cannot be had.
    """

    def __init__(self, host: str, port: int):
        try:
            family, *_, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            made = socket.create_server(address[:2], family=family)
        except (OSError, UnicodeError) as error:
            number = getattr(error, "errno", None) or 0
            # What names failed to mean has negative numbers, and a sentence of its own.
            reason = os.strerror(number) if number > 0 else getattr(error, "strerror", str(error))
            raise ConfigError(
                f"cannot listen on {host}, port {port}: {reason}",
                next="give another --host or --port (0 takes a free one)",
            ) from error
        # Asked of the system again, the protocol is TCP and no longer 0. Only so does asyncio turn
        # off Nagle's algorithm, which lets each answer wait 40 ms for an acknowledgement.
        self.socket = socket.socket(fileno=made.detach())
        self.host, self.port = self.socket.getsockname()[:2]

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def url(self) -> str:
        """Where the service is asked."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether this machine alone can reach it."""
        return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback


def run(
    listener: Listener,
    model: Model,
    name: str,
    limits: Limits,
    *,
    ready: Callable[[], None],
    interrupted: Callable[[], bool],
) -> None:
    """Serve a model until `interrupted` says so; requests that have begun are answered first.

    Raises:
        Exception: what went wrong while the model was made ready.
    """
    failures: list[Exception] = []
    app = application(model, name, limits, ready=ready, failed=failures.append)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=partial(_Connection, head_timeout=limits.timeout),  # pyright: ignore[reportArgumentType]
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(limits.timeout) + _PATIENCE,
    )
    server = _Server(config, lambda: interrupted() or bool(failures))
    asyncio.run(server.serve([listener.socket]))
    if failures:
        raise failures[0]


class _Server(uvicorn.Server):
    """Ends when it is asked to; who called it has the signals, and decides what they mean."""

    def __init__(self, config: uvicorn.Config, asked: Callable[[], bool]):
        super().__init__(config)
        self._asked = asked

    def capture_signals(self) -> Any:
        """Leave the signals to who called: uvicorn would take them, and raise them at its end."""
        return nullcontext()

    async def on_tick(self, counter: int) -> bool:
        """Say, ten times a second, whether to end."""
        return await super().on_tick(counter) or self._asked()


class _Connection(H11Protocol):
    """Gives each head as long to arrive as a body; uvicorn alone would wait for ever."""

    def __init__(self, *arguments: Any, head_timeout: float, **options: Any):
        super().__init__(*arguments, **options)
        self._head_timeout, self._late = head_timeout, None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._late is None:
            self._late = self.loop.call_later(self._head_timeout, self.transport.close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form in which all is refused."""
        body = jsontext.encode({"error": "the request is no HTTP/1.1"}).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
