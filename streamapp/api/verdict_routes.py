"""Verdicts that were given: of one transaction, of one user, and the anomalies."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from streamapp.api.access import GuardedRoute, Scope, takes
from streamapp.api.openapi import json_answer, problems, schema_ref
from streamapp.api.parts import parts_of
from streamapp.api.problems import Problem
from streamapp.api.verdict_store import (
    PAGE_DEFAULT,
    PAGE_MAX,
    CursorError,
    Page,
    Place,
    StoreAway,
    Wanted,
    place_of,
)
from streamapp.domain.transaction import epoch_ms, rfc3339
from streamapp.domain.verdict import Severity

router = APIRouter(route_class=GuardedRoute, tags=["verdicts"], prefix="/v1")

IDENTIFIER_MAX: Final = 128
Identifier = Annotated[str, Path(min_length=1, max_length=IDENTIFIER_MAX)]
Maybe = Annotated[str | None, Query(min_length=1, max_length=IDENTIFIER_MAX)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str | None, Query(max_length=512, description="`next` of the page before.")]

_PAGE: Final = json_answer(
    "A page, newest event time first.",
    {
        "type": "object",
        "required": ["verdicts", "next"],
        "properties": {
            "verdicts": {"type": "array", "items": schema_ref("Verdict")},
            "next": {
                "type": ["string", "null"],
                "description": "`cursor` of the next page; null at the end.",
            },
        },
    },
)


@router.get(
    "/verdicts/{tx_id}",
    openapi_extra=takes(Scope.READ),
    responses={
        200: json_answer("The first verdict on it.", schema_ref("Verdict")),
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
async def verdict(request: Request, tx_id: Identifier, user_id: Maybe = None) -> Response:
    """Gives the first verdict on a transaction.

    409 where several users have one under this `tx_id`: say whose with `user_id`.
    """
    found = await one_verdict(request, tx_id, user_id)
    return Response(found, media_type="application/json")


async def one_verdict(request: Request, tx_id: str, user_id: str | None) -> bytes:
    """The first verdict on a transaction. Raises Problem: 404, 409, 422, 503."""
    _refuse_nul(tx_id, user_id)
    found: list[bytes] = await _asked(lambda: parts_of(request).live.of_transaction(tx_id, user_id))
    if not found:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no verdict on such a transaction (yet)")
    if len(found) > 1:
        raise Problem(
            HTTPStatus.CONFLICT, "several users have this tx_id: give user_id", field="user_id"
        )
    return found[0]


@router.get(
    "/users/{user_id}/verdicts",
    openapi_extra=takes(Scope.READ),
    responses={200: _PAGE, **problems(HTTPStatus.UNPROCESSABLE_ENTITY)},
)
async def of_user(
    request: Request, user_id: Identifier, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Response:
    """Gives the verdicts on a user's transactions; an empty page where there are none."""
    _refuse_nul(user_id)
    after = _place(cursor)
    return _page(await _asked(lambda: parts_of(request).live.of_user(user_id, limit, after)))


@router.get(
    "/anomalies",
    openapi_extra=takes(Scope.READ),
    responses={200: _PAGE, **problems(HTTPStatus.UNPROCESSABLE_ENTITY)},
)
async def anomalies(
    request: Request,
    severity: Severity | None = None,
    user_id: Maybe = None,
    merchant_id: Maybe = None,
    since: Annotated[datetime | None, Query(description="Event time, included.")] = None,
    until: Annotated[datetime | None, Query(description="Event time, not included.")] = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Gives the verdicts that are anomalies, narrowed by what is asked."""
    _refuse_nul(user_id, merchant_id)
    wanted = Wanted(severity, user_id, merchant_id, _time("since", since), _time("until", until))
    after = _place(cursor)
    return _page(await _asked(lambda: parts_of(request).live.anomalies(wanted, limit, after)))


async def _asked(ask: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await ask()
    except StoreAway as error:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": "5"}
        ) from None


def _page(page: Page) -> Response:
    verdicts = [msgspec.Raw(payload) for payload in page.payloads]
    content = msgspec.json.encode({"verdicts": verdicts, "next": page.next_cursor})
    return Response(content, media_type="application/json")


def _place(cursor: str | None) -> Place | None:
    try:
        return place_of(cursor)
    except CursorError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), field="cursor") from None


def _refuse_nul(*texts: str | None) -> None:
    """PostgreSQL holds no U+0000, so nothing is found under it anywhere."""
    if any(text and "\0" in text for text in texts):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "U+0000 can't be looked up")


def _time(name: str, given: datetime | None) -> str | None:
    if given is None:
        return None
    if given.tzinfo is None or not 1970 < given.year < 9999:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{name}: expected RFC 3339 with an offset, from 1971 to 9998",
            field=name,
        )
    return rfc3339(epoch_ms(given.astimezone(UTC)))
