"""The application: its routes, its errors, its document."""

from collections.abc import Callable
from functools import cache, partial
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from streamapp.api import (
    console_routes,
    explain_routes,
    key_routes,
    label_routes,
    live_routes,
    metrics,
    profile_routes,
    score_routes,
    verdict_routes,
)
from streamapp.api.access import GuardedRoute, takes
from streamapp.api.openapi import document
from streamapp.api.parts import Parts
from streamapp.api.problems import Problem, answer_problems
from streamapp.api.short_way import ShortWay, answer
from streamapp.api.system_routes import system_routes

#: Of what asks for work; whether the process lives is answered under any pressure.
_WORK: Final = "/v1/"


class Application(FastAPI):
    """The routes, some of them also by a short way; all that are work only while it keeps up."""

    def __init__(self, *, metrics_public: bool, is_pressed: Callable[[], bool]) -> None:
        super().__init__(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        answer_problems(self)
        own = routers(metrics_public=metrics_public)
        for router in (*own, _document_route(self)):
            self.include_router(router)
        self._short_way = ShortWay(own)
        self._is_pressed = is_pressed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and self._is_pressed() and scope["path"].startswith(_WORK):
            metrics.LIMITED.labels("pressure").inc()
            await _too_much().response()(scope, receive, send)
        elif (handler := self._short_way.of(scope)) is None:
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await answer(handler, scope, receive, send)


def create_app(parts: Parts) -> FastAPI:
    """The application on these parts."""
    app = Application(
        metrics_public=parts.settings.metrics_public,
        is_pressed=lambda: parts.pressure.is_too_high,
    )
    app.state.parts = parts
    app.state.guard = parts.guard
    app.state.tracer = parts.tracer
    return app


def bare_app(*, metrics_public: bool = False) -> FastAPI:
    """The routes without anything behind them: enough for the document."""
    return Application(metrics_public=metrics_public, is_pressed=lambda: False)


def routers(*, metrics_public: bool = False) -> list[APIRouter]:
    """Every route but that of the document itself."""
    return [
        system_routes(metrics_public=metrics_public),
        score_routes.router,
        label_routes.router,
        verdict_routes.router,
        explain_routes.router,
        profile_routes.router,
        live_routes.router,
        key_routes.router,
        console_routes.router,
    ]


def _document_route(app: FastAPI) -> APIRouter:
    router = APIRouter(route_class=GuardedRoute)
    made = cache(partial(document, app))

    @router.get("/openapi.json", include_in_schema=False, openapi_extra=takes(None))
    async def openapi(_request: Request) -> Response:
        return JSONResponse(made())

    return router


def _too_much() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "more is asked than can be answered; nothing was done",
        headers={"Retry-After": "1"},
    )
