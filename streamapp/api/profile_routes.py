"""What is known of one user, from the worker that knows it."""

import hashlib
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from streamapp.api.access import Caller, GuardedRoute, Scope, takes
from streamapp.api.openapi import json_answer, problems
from streamapp.api.parts import parts_of
from streamapp.api.problems import Problem
from streamapp.api.verdict_routes import Identifier
from streamapp.domain.transaction import rfc3339
from streamapp.features.contract import TYPICAL_NAMES

router = APIRouter(route_class=GuardedRoute, tags=["users"], prefix="/v1/users/{user_id}")

_TIME: Final = {"type": "string", "format": "date-time"}
_NUMBER: Final = {"type": "number"}
_INTEGER: Final = {"type": "integer"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


PROFILE: Final = _object(
    user_id={"type": "string"},
    partition=_INTEGER,
    source_offset={**_INTEGER, "description": "Of the last transaction in it."},
    events=_INTEGER,
    is_new={"type": "boolean", "description": "Too few events to know what is usual."},
    first_time=_TIME,
    last_time=_TIME,
    typical=_object(**dict.fromkeys(TYPICAL_NAMES, _NUMBER)),
    weekdays={
        "type": "array",
        "items": _INTEGER,
        "description": "Events by weekday, Monday first.",
    },
    recent={
        "type": "array",
        "description": "The last events, oldest first.",
        "items": _object(time=_TIME, amount=_NUMBER, risk_score=_NUMBER),
    },
)


ERASED: Final = _object(
    remains={
        "type": "array",
        "description": "What is not erased at once, or not at all.",
        "items": _object(
            where={"type": "string"},
            what={"type": "string"},
            until={
                "type": ["string", "null"],
                "format": "date-time",
                "description": "By the topic's settings; null: nothing of ours ends it.",
            },
        ),
    }
)


class _Recent(msgspec.Struct, frozen=True):
    time_ms: int
    amount: float
    risk_score: float


class _View(msgspec.Struct, frozen=True):
    """A profile as its owner tells it (`features.profile_view.view`)."""

    partition: int
    source_offset: int
    events: int
    is_new: bool
    first_time_ms: int
    last_time_ms: int
    typical: dict[str, float]
    weekdays: list[int]
    recent: list[_Recent]


@router.get(
    "/profile",
    openapi_extra=takes(Scope.READ),
    responses={
        200: json_answer("The profile as it is now, committed or about to be.", PROFILE),
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
async def profile(request: Request, user_id: Identifier) -> Response:
    """Gives what the stream knows of a user, asked of the worker that owns the user's partition.

    503 with Retry-After while no worker does.
    """
    found = await parts_of(request).owners.profile(user_id)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "nothing is known of such a user")
    return Response(msgspec.json.encode(shown(user_id, found)), media_type="application/json")


@router.delete(
    "/profile",
    status_code=202,
    openapi_extra=takes(Scope.ADMIN),
    responses={
        202: json_answer("The erasure is in the stream; the rest follows it.", ERASED),
        **problems(HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
async def erase(request: Request, user_id: Identifier) -> Response:
    """Has the stream forget a user, in order with the user's transactions.

    The profile goes from memory, local state and changelog, verdicts from PostgreSQL, Redis and
    this API. A user who comes back starts as new. Written to the audit topic, by a hash of the id.
    """
    parts = parts_of(request)
    caller: Caller = request.state.caller
    target = hashlib.sha256(user_id.encode()).hexdigest()
    await parts.audit.record(caller, "user_erased", target)
    content = msgspec.json.encode({"remains": await parts.erasing.erase(user_id)})
    return Response(content, HTTPStatus.ACCEPTED.value, media_type="application/json")


def typical_of(content: bytes) -> dict[str, float]:
    """What is typical of a user, of a profile as its owner tells it."""
    return msgspec.json.decode(content, type=_View).typical


def shown(user_id: str, content: bytes) -> dict[str, Any]:
    """A profile as it is answered, times in RFC 3339."""
    told = msgspec.json.decode(content, type=_View)
    return {
        "user_id": user_id,
        "partition": told.partition,
        "source_offset": told.source_offset,
        "events": told.events,
        "is_new": told.is_new,
        "first_time": rfc3339(told.first_time_ms),
        "last_time": rfc3339(told.last_time_ms),
        "typical": told.typical,
        "weekdays": told.weekdays,
        "recent": [
            {"time": rfc3339(one.time_ms), "amount": one.amount, "risk_score": one.risk_score}
            for one in told.recent
        ],
    }
