"""Scores: one transaction, or up to a thousand."""

from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Query, Request, Response

from streamapp.api.access import Caller, GuardedRoute, Scope, takes
from streamapp.api.body import read_body
from streamapp.api.openapi import json_answer, problems, schema_ref
from streamapp.api.parts import parts_of
from streamapp.api.problems import Problem
from streamapp.api.scoring import Pending, transaction_of
from streamapp.api.traces import trace_of
from streamapp.domain.transaction import PAYLOAD_BYTES_MAX

router = APIRouter(route_class=GuardedRoute, tags=["score"])

BATCH_BYTES_MAX: Final = 2 * 1024 * 1024
BATCH_MAX: Final = 1_000

_PENDING: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["tx_id", "verdict"],
    "properties": {
        "tx_id": {"type": "string"},
        "verdict": {"type": "string", "description": "Where it will be found."},
    },
}
_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"type": "integer", "description": "As POST /v1/score would have answered."},
        "verdict": schema_ref("Verdict"),
        "pending": _PENDING,
        "problem": schema_ref("Problem"),
    },
}
_BODY_PROBLEMS: Final = problems(
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


def _takes_body(schema: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {**takes(Scope.SCORE), "requestBody": body}


@router.post(
    "/v1/score",
    openapi_extra=_takes_body(schema_ref("Transaction")),
    responses={
        200: json_answer("The verdict, byte for byte as published.", schema_ref("Verdict")),
        202: json_answer("Taken, but no verdict within the time limit.", _PENDING),
        **_BODY_PROBLEMS,
    },
)
async def score(
    request: Request,
    what_if: Annotated[bool, Query(description="Score it without sending it.")] = False,
) -> Response:
    """Sends a transaction through the stream and answers with its verdict.

    The same `tx_id` of the same user gives the first verdict again, whatever else is sent. With
    `what_if` nothing is sent or changed: the user's worker says what the verdict would be now; its
    `source` is the topic `what-if`.
    """
    payload = await read_body(request, PAYLOAD_BYTES_MAX)
    if what_if:
        user_id = transaction_of(payload).user_id
        return _json(await parts_of(request).owners.what_if(user_id, payload))
    outcome = await parts_of(request).scoring.score(payload, trace_of(request))
    if isinstance(outcome, Pending):
        where = _where(outcome)
        content = msgspec.json.encode({"tx_id": outcome.tx_id, "verdict": where})
        return _json(content, HTTPStatus.ACCEPTED, {"Location": where})
    return _json(outcome)


@router.post(
    "/v1/score/batch",
    openapi_extra=_takes_body(
        {
            "type": "object",
            "required": ["transactions"],
            "properties": {
                "transactions": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": BATCH_MAX,
                    "items": schema_ref("Transaction"),
                }
            },
        }
    ),
    responses={
        200: json_answer(
            "What became of each, in order.",
            {
                "type": "object",
                "required": ["results"],
                "properties": {"results": {"type": "array", "items": _RESULT}},
            },
        ),
        **_BODY_PROBLEMS,
    },
)
async def score_batch(
    request: Request,
    what_if: Annotated[bool, Query(description="Not taken here: ask one by one.")] = False,
) -> Response:
    """Sends up to 1,000 transactions and answers with what became of each.

    One that is refused or late does not change the others. Each counts for the caller's rate.
    """
    if what_if:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "what_if takes one at a time", field="what_if"
        )
    payloads = _transactions(await read_body(request, BATCH_BYTES_MAX))
    parts, caller = parts_of(request), request.state.caller
    assert isinstance(caller, Caller)
    parts.guard.limits.charge(caller.id, len(payloads) - 1)
    outcomes = await parts.scoring.score_all(payloads, trace_of(request))
    return _json(msgspec.json.encode({"results": [_result(one) for one in outcomes]}))


class _Batch(msgspec.Struct):
    transactions: list[msgspec.Raw]


def _transactions(body: bytes) -> list[bytes]:
    try:
        found = msgspec.json.decode(body, type=_Batch).transactions
    except (msgspec.DecodeError, RecursionError):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            'expected {"transactions": [...]} with an object for each',
            field="transactions",
        ) from None
    if not 1 <= len(found) <= BATCH_MAX:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{len(found)} transactions; expected 1 to {BATCH_MAX}",
            field="transactions",
        )
    return [bytes(one) for one in found]


def _result(outcome: bytes | Pending | Problem) -> dict[str, Any]:
    if isinstance(outcome, Problem):
        return {"status": outcome.status.value, "problem": outcome.content()}
    if isinstance(outcome, Pending):
        pending = {"tx_id": outcome.tx_id, "verdict": _where(outcome)}
        return {"status": HTTPStatus.ACCEPTED.value, "pending": pending}
    return {"status": HTTPStatus.OK.value, "verdict": msgspec.Raw(outcome)}


def _where(pending: Pending) -> str:
    return f"/v1/verdicts/{quote(pending.tx_id, safe='')}"


def _json(
    content: bytes, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    return Response(content, status.value, headers, "application/json")
