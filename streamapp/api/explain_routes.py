"""Why a verdict is what it is: what it says, what is usual for its user, and it made again."""

from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from streamapp.api.access import GuardedRoute, Scope, takes
from streamapp.api.openapi import json_answer, problems, schema_ref
from streamapp.api.parts import Parts, parts_of
from streamapp.api.problems import Problem
from streamapp.api.profile_routes import typical_of
from streamapp.api.verdict_routes import Identifier, Maybe, one_verdict
from streamapp.domain.verdict import decode_verdict
from streamapp.scoring.recomputation import AS_RECORDED, Recomputation, recompute

router = APIRouter(route_class=GuardedRoute, tags=["verdicts"], prefix="/v1")

_TEXTS: Final = {"type": "array", "items": {"type": "string"}}
_EXPLANATION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["verdict", "typical", "recomputation"],
    "properties": {
        "verdict": schema_ref("Verdict"),
        "typical": {
            "type": ["object", "null"],
            "description": "Of this user now; null where nobody who knows answers.",
            "additionalProperties": {"type": "number"},
        },
        "recomputation": {
            "type": "object",
            "required": ["reproduced", "why", "differs", "as_recorded"],
            "properties": {
                "reproduced": {
                    "type": ["boolean", "null"],
                    "description": "The verdict's very bytes came again; null: can't be tried.",
                },
                "why": {"type": ["string", "null"], "description": "Why it can't be tried."},
                "differs": {**_TEXTS, "description": "Fields that came out otherwise."},
                "as_recorded": {**_TEXTS, "description": "What is taken as it stands."},
            },
        },
    },
}


@router.get(
    "/explain/{tx_id}",
    openapi_extra=takes(Scope.READ),
    responses={
        200: json_answer("The verdict, and what stands behind it.", _EXPLANATION),
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
async def explain(request: Request, tx_id: Identifier, user_id: Maybe = None) -> Response:
    """Gives the first verdict on a transaction with what is typical of its user, made again.

    It is made from the recorded features by the model that the verdict names. The half-space trees'
    state of that time is not kept, so their score and the reasons are taken as recorded.
    """
    parts = parts_of(request)
    payload = await one_verdict(request, tx_id, user_id)
    again = await run_in_threadpool(_recomputed, parts, payload)
    content = {
        "verdict": msgspec.Raw(payload),
        "typical": await _typical(parts, decode_verdict(payload).user_id),
        "recomputation": {
            "reproduced": again.reproduced,
            "why": again.why,
            "differs": again.differs,
            "as_recorded": AS_RECORDED,
        },
    }
    return Response(msgspec.json.encode(content), media_type="application/json")


def _recomputed(parts: Parts, payload: bytes) -> Recomputation:
    verdict = decode_verdict(payload)
    model = parts.live.models.artifact(verdict.versions.models)
    if model is None:
        return Recomputation(None, "the model that made it can't be read here")
    return recompute(payload, verdict, model, parts.policy)


async def _typical(parts: Parts, user_id: str) -> dict[str, float] | None:
    try:
        found = await parts.owners.profile(user_id)
    except Problem:
        return None
    return None if found is None else typical_of(found)
