"""The body of a request: read within its limits, whatever its headers say, and taken for JSON."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request

from .limits import BODIES_HELD, Limits, RefusedError, busy


class Bodies:
    """The bodies that are held at once, which together have a limit too."""

    def __init__(self, limits: Limits):
        self._limits, self._held = limits, 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """Read a body whole. It counts as held until the block ends.

        Raises:
            RefusedError: it is of another kind, too long, too slow, or ends early.
        """
        _check_headers(request, self._limits.max_bytes)
        body = bytearray()
        try:
            await self._whole(body, request)
            yield body
        finally:
            self._held -= len(body)

    async def _whole(self, body: bytearray, request: Request) -> None:
        seconds = self._limits.timeout
        try:
            async with asyncio.timeout(seconds):
                await self._fill(body, request)
        except TimeoutError:
            raise RefusedError(408, f"the body did not arrive within {seconds:g} s") from None
        except ClientDisconnect:
            raise RefusedError(400, "the body ended early") from None

    async def _fill(self, body: bytearray, request: Request) -> None:
        most = self._limits.max_bytes
        async for chunk in request.stream():
            if len(body) + len(chunk) > most:
                raise _too_long(most)
            if self._held + len(chunk) > BODIES_HELD * most:
                raise busy("too many bodies are being read; ask again")
            body += chunk
            self._held += len(chunk)


def _check_headers(request: Request, most: int) -> None:
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        raise RefusedError(
            415, f"the body is JSON, of type application/json, got {kind.strip()[:80]!r}"
        )
    charset = rest.strip().lower().replace('"', "")
    if charset not in ("", "charset=utf-8"):
        raise RefusedError(415, f"the body is JSON in UTF-8, got {charset[:80]!r}")
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise RefusedError(415, f"the body is not compressed, got {coding[:80]!r}")
    told = request.headers.get("content-length")
    if told is None:
        return
    if not (told.isascii() and told.isdigit()):
        raise RefusedError(400, f"content-length is a number, got {told[:80]!r}")
    # Python refuses to read thousands of digits.
    if len(told) > 15 or int(told) > most:
        raise _too_long(most)


def _too_long(most: int) -> RefusedError:
    return RefusedError(413, f"the body is longer than {most} bytes")


def decode(body: bytes | bytearray) -> Any:
    """Read strict JSON (RFC 8259) in UTF-8; a member that stands twice in an object is refused.

    Raises:
        RefusedError: the body is something else, or nested too deeply.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"byte {error.start} of the body is not UTF-8") from None
    collects = gc.isenabled()
    # A body of millions of empty lists, soon refused, would else be searched for cycles again and
    # again while nothing else runs: 5 s for 8 MiB, and not 0.3.
    gc.disable()
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise RefusedError(400, "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise RefusedError(400, f"the body is no JSON: {error.msg}, at {at}") from None
    except ValueError as error:  # ours below, and Python's of numbers of thousands of digits
        raise RefusedError(400, f"the body is no JSON: {error}") from None
    finally:
        if collects:
            gc.enable()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"an object has the member {name[:80]!r} twice")
        found[name] = value
    return found


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")
