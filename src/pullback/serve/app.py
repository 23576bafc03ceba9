"""The routes of the service, as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .. import __version__, jsontext
from ..errors import DataError
from ..model import Model
from .body import Bodies, decode
from .counted import ROUTES, Counted
from .desk import Desk
from .limits import Limits, RefusedError, busy
from .metrics import FORMAT, Metrics
from .predictor import Predictor
from .rows import read

# Characters of a sentence: one that repeats a request's own words could else be as long as it.
_LONGEST = 1000


class Service:
    """What the routes share: the model, the desk before it, and the counts."""

    def __init__(self, model: Model, name: str, limits: Limits):
        self.name, self.limits, self.metrics = name, limits, Metrics()
        self.bodies, self.desk = Bodies(limits), Desk(limits.max_waiting)
        self.predictor = Predictor(model, limits.max_rows)
        self.ready = False

    async def warm(self) -> None:
        """Compile all programs, one after another, so that an end need not wait for the last."""
        for size in self.predictor.sizes:
            await self.desk.ask(lambda size=size: self.predictor.warm(size))
        self.ready = True

    async def predict(self, request: Request) -> Response:
        """POST /predict."""
        if not self.ready:
            raise busy("the model is being made ready; ask again")
        try:
            async with self.bodies.read(request) as body:
                answer, rows = await self.desk.ask(lambda: self._answer(body))
        except RefusedError as error:
            self.metrics.refused[error.status] += 1
            raise
        self.metrics.rows += rows
        return Response(answer, media_type="application/json")

    def _answer(self, body: bytearray) -> tuple[str, int]:
        try:
            model = self.predictor.model
            raw = read(decode(body), model.preparation, self.limits.max_rows)
            found = self.predictor(model.prepare(raw))
        except DataError as error:
            raise RefusedError(422, str(error)) from None
        return jsontext.encode(found.json()), len(found)

    async def health(self, request: Request) -> Response:
        """GET /health."""
        preparation = self.predictor.model.preparation
        inputs: dict[str, Any] = {"shape": list(preparation.shape)}
        if preparation.encoder is not None:
            inputs = {"columns": preparation.encoder.to_json()}
        classes = preparation.classes
        told = {
            "status": "ready" if self.ready else "starting",
            "run": self.name,
            "version": __version__,
            "classes": None if classes is None else list(classes),
            "inputs": inputs,
            "max_rows": self.limits.max_rows,
            "max_bytes": self.limits.max_bytes,
        }
        return _json(told, 200 if self.ready else 503)

    async def told(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(self.metrics.text(self.desk.waiting), media_type=FORMAT)


def application(
    model: Model,
    name: str,
    limits: Limits,
    *,
    ready: Callable[[], None] = lambda: None,
    failed: Callable[[Exception], None] = lambda error: None,
) -> Starlette:
    """Return the service of a model. It answers at once, and predicts as soon as it is ready.

    Args:
        model: what predicts.
        name: what the model is called where it is asked for.
        limits: what a request may cost.
        ready: called when all programs are compiled.
        failed: called with the error if that failed.
    """
    service = Service(model, name, limits)

    async def warm() -> None:
        try:
            await service.warm()
        except Exception as error:
            failed(error)
        else:
            ready()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        warming = asyncio.create_task(warm())
        yield
        warming.cancel()
        with suppress(asyncio.CancelledError):
            await warming
        service.desk.close()

    app = Starlette(
        routes=[
            Route("/predict", service.predict, methods=["POST"]),
            Route("/health", service.health, methods=["GET"]),
            Route("/metrics", service.told, methods=["GET"]),
        ],
        middleware=[Middleware(Counted, metrics=service.metrics, limits=limits)],
        exception_handlers={
            RefusedError: _refused,
            HTTPException: _no_route,
            Exception: _defect,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _json(told: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(jsontext.encode(told), status, headers, "application/json")


def _refusal(status: int, what: str, headers: dict[str, str] | None = None) -> Response:
    """Return the one form in which all is refused."""
    text = what if len(what) <= _LONGEST else f"{what[:_LONGEST]}…"
    return _json({"error": text}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _refusal(error.status, error.what, error.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"there is no such route; there are {', '.join(ROUTES)}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        what = f"{request.method} does not go with {request.url.path}; {allowed} does"
    return _refusal(error.status_code, what, dict(error.headers or {}))


async def _defect(request: Request, error: Exception) -> Response:
    return _refusal(500, "a defect of the service; its log tells more")
