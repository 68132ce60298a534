"""Keys over HTTP: to see them, and to take one back at once. They are made on the command line."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from streamapp.api.access import Caller, GuardedRoute, Scope, takes
from streamapp.api.keys import KeyFileError
from streamapp.api.openapi import problems
from streamapp.api.parts import parts_of
from streamapp.api.problems import Problem

router = APIRouter(route_class=GuardedRoute, tags=["keys"], prefix="/v1/keys")


class Key(BaseModel):
    """An API key without its secret, which nobody has kept."""

    id: str
    name: str
    scopes: list[Scope]
    created: datetime
    expires: datetime
    revoked: datetime | None


class Keys(BaseModel):
    """All keys, the oldest first."""

    keys: list[Key]


@router.get("", openapi_extra=takes(Scope.ADMIN))
async def list_keys(request: Request) -> Keys:
    """Lists the keys there are. Written to the audit topic."""
    parts = parts_of(request)
    await parts.audit.record(_caller(request), "keys_listed")
    ring = await run_in_threadpool(parts.key_file.read)
    return Keys(
        keys=[
            Key(
                id=one.id,
                name=one.name,
                scopes=sorted(one.scopes),
                created=one.created,
                expires=one.expires,
                revoked=one.revoked,
            )
            for one in ring.records
        ]
    )


@router.post(
    "/{key_id}/revoke",
    status_code=204,
    openapi_extra=takes(Scope.ADMIN),
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
async def revoke_key(
    request: Request, key_id: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
) -> Response:
    """Revokes a key; it opens nothing from a second later on. Written to the audit topic."""
    parts = parts_of(request)
    await parts.audit.record(_caller(request), "key_revoked", key_id)
    try:
        await run_in_threadpool(parts.key_file.revoke, key_id, parts.now())
    except KeyFileError:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such key in the file of keys") from None
    return Response(status_code=204)


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller
