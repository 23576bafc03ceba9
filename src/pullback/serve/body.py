"""The body of a request: read within its limits, whatever its headers say, and taken for JSON."""

from __future__ import annotations

import asyncio
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
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read a body whole. It counts as held until the block ends.

        Raises:
            RefusedError: it is of another kind, too long, too slow, or ends early.
        """
        _check_headers(request, self._limits.max_bytes)
        body = bytearray()
        try:
            await self._whole(body, request)
            yield bytes(body)
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
        most, excess = self._limits.max_bytes, 0
        async for chunk in request.stream():
            # A sender that is cut off in mid-body may never see why: as much again is read and
            # thrown away, so that a body of up to twice the limit gets its answer.
            if excess or len(body) + len(chunk) > most:
                excess += len(chunk)
                if excess > most:
                    break
            elif self._held + len(chunk) > BODIES_HELD * most:
                raise busy("too many bodies are being read; ask again")
            else:
                body += chunk
                self._held += len(chunk)
        if excess:
            raise _too_long(most)


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
    # Who asks before sending is told at once; who sends unasked may be in the midst of it.
    if len(told) > 15 or int(told) > (most if _asks(request) else 2 * most):
        raise _too_long(most)


def _asks(request: Request) -> bool:
    return request.headers.get("expect", "").lower() == "100-continue"


def _too_long(most: int) -> RefusedError:
    return RefusedError(413, f"the body is longer than {most} bytes")


def decode(body: bytes) -> Any:
    """Read strict JSON (RFC 8259) in UTF-8; a member that stands twice in an object is refused.

    Raises:
        RefusedError: the body is something else, or nested too deeply.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"byte {error.start} of the body is not UTF-8") from None
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise RefusedError(400, "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise RefusedError(400, f"the body is no JSON: {error.msg}, at {at}") from None
    except ValueError as error:  # ours below, and Python's of numbers of thousands of digits
        raise RefusedError(400, f"the body is no JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"an object has the member {twice[:80]!r} twice")
    return found


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")
