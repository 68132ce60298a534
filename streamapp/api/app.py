"""The application: its routes, its errors, its document."""

from functools import cache, partial

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from streamapp.api import (
    console_routes,
    explain_routes,
    key_routes,
    label_routes,
    live_routes,
    profile_routes,
    score_routes,
    verdict_routes,
)
from streamapp.api.access import GuardedRoute, takes
from streamapp.api.openapi import document
from streamapp.api.parts import Parts
from streamapp.api.problems import answer_problems
from streamapp.api.system_routes import system_routes


def create_app(parts: Parts) -> FastAPI:
    """The application on these parts."""
    app = bare_app(metrics_public=parts.settings.metrics_public)
    app.state.parts = parts
    app.state.guard = parts.guard
    app.state.tracer = parts.tracer
    return app


def bare_app(*, metrics_public: bool = False) -> FastAPI:
    """The routes without anything behind them: enough for the document."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    answer_problems(app)
    for router in (*routers(metrics_public=metrics_public), _document_route(app)):
        app.include_router(router)
    return app


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
