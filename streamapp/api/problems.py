"""Every error as application/problem+json (RFC 9457). No answer repeats what was sent."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"

#: Parameters named in one answer; a request has fewer.
_ERRORS_MAX: Final = 20

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "description": "about:blank: `status` and `title` say it all."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {
            "type": "string",
            "description": "What to change; never a value of the request.",
        },
        "reason": {
            "type": "string",
            "description": "Of a refused transaction, as in dead letters.",
        },
        "field": {"type": "string", "description": "The field or parameter at fault."},
    },
}


class Problem(Exception):
    """An answer that is an error. `detail` must not repeat values of the request."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: str,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.members = {"detail": detail, **members}

    def content(self) -> dict[str, Any]:
        """The members of the document."""
        title = self.status.phrase
        return {"type": "about:blank", "title": title, "status": self.status.value, **self.members}

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(
            self.content(), self.status.value, headers=self.headers, media_type=MEDIA_TYPE
        )


#: Errors that have a handler of their own.
FORESEEN: Final = (Problem, HTTPException, RequestValidationError)


def status_of(error: Exception) -> int:
    """The status a foreseen error is answered with."""
    if isinstance(error, Problem):
        return error.status.value
    return error.status_code if isinstance(error, HTTPException) else 422


def answer_problems(app: FastAPI) -> None:
    """Have `app` answer every error as a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def unforeseen(error: Exception) -> Problem:
    """An error of ours: its kind is logged, its text, which may hold anything, is not."""
    log.error("request_failed", kind=type(error).__name__)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of ours; its kind is in the log")


async def _problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [f"{one['loc'][-1]}: {one['msg']}" for one in error.errors()[:_ERRORS_MAX]]
    field = str(error.errors()[0]["loc"][-1])
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(found), field=field).response()


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return Problem(status, status.description or status.phrase, headers=error.headers).response()
