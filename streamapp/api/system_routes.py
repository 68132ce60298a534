"""Whether the API lives, can answer, and its metrics."""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streamapp.api.access import GuardedRoute, Scope, takes
from streamapp.api.parts import parts_of

_TEXT: Final = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def system_routes(*, metrics_public: bool) -> APIRouter:
    """The routes that watch the process."""
    router = APIRouter(route_class=GuardedRoute, tags=["system"])
    router.get(
        "/healthz",
        response_class=PlainTextResponse,
        openapi_extra=takes(None),
        responses={200: {"description": "It lives.", **_TEXT}},
    )(healthz)
    router.get(
        "/readyz",
        response_class=PlainTextResponse,
        openapi_extra=takes(None),
        responses={
            200: {"description": "It can answer.", **_TEXT},
            503: {"description": "It can't; the text says why.", **_TEXT},
        },
    )(readyz)
    router.get(
        "/metrics",
        response_class=PlainTextResponse,
        openapi_extra=takes(None if metrics_public else Scope.READ),
        responses={200: {"description": "In the text format of Prometheus.", **_TEXT}},
    )(metrics)
    return router


async def healthz() -> Response:
    """Says that the process answers."""
    return PlainTextResponse("alive\n")


async def readyz(request: Request) -> Response:
    """Says whether requests can be answered: keys are readable and verdicts are read."""
    why = parts_of(request).why_not_ready()
    if why is None:
        return PlainTextResponse("ready\n")
    return PlainTextResponse(f"not ready: {why}\n", 503)


async def metrics() -> Response:
    """The metrics of this process; none of them names a person."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
