"""The OpenAPI 3.1 document: what FastAPI knows of the routes, and the messages' own schemas."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

import streamapp
from streamapp.api.access import PUBLIC, SCOPE_EXTENSION, SECURITY_SCHEME
from streamapp.api.problems import MEDIA_TYPE, SCHEMA
from streamapp.contract.json_schema import components

Document = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_PROBLEM: Final = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}
#: What any route may answer that takes a key.
_GUARDED: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def schema_ref(name: str) -> Document:
    """A reference to one of the document's schemas."""
    return {"$ref": _REF.format(name=name)}


def json_answer(description: str, schema: Document) -> Document:
    """A JSON answer of a route, for its `responses`."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def problems(*statuses: HTTPStatus) -> dict[int | str, Document]:
    """Errors of a route, for its `responses`."""
    return {
        status.value: {"description": status.phrase, "content": _PROBLEM} for status in statuses
    }


def document(app: FastAPI) -> Document:
    """The whole document."""
    made = get_openapi(
        title="streamapp",
        version=streamapp.__version__,
        openapi_version="3.1.0",
        summary="Asks for scores, verdicts and what is going on; errors are problem+json.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
    )
    parts = made.setdefault("components", {})
    parts["schemas"] = {**components(_REF), **parts.get("schemas", {}), "Problem": SCHEMA}
    parts["securitySchemes"] = {
        SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`streamapp keys create`), or a token of the identity "
            "provider. Each route names the scope it takes.",
        }
    }
    for operations in made["paths"].values():
        for operation in operations.values():
            _add_denials(operation)
    return made


def _add_denials(operation: Document) -> None:
    if operation.get(SCOPE_EXTENSION) != PUBLIC:
        for status, plain in problems(*_GUARDED).items():
            answer = {**plain}
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                answer["headers"] = {
                    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
                }
            operation["responses"].setdefault(str(status), answer)
