"""What is going on now: figures, models, and the stream of events that a console listens to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from streamapp.api.access import GuardedRoute, Scope, takes
from streamapp.api.line import Entry
from streamapp.api.live import Live
from streamapp.api.openapi import json_answer, problems
from streamapp.api.parts import parts_of
from streamapp.api.problems import Problem
from streamapp.domain.verdict import decode_verdict

router = APIRouter(route_class=GuardedRoute, tags=["live"], prefix="/v1")

#: Between two looks at what is new: people see no difference to at once.
_TICK_S: Final = 0.5
_TICKS_A_STATS: Final = 2
#: Anomalies told at one look; of more only the number, for nobody reads so fast.
_ANOMALIES_A_TICK: Final = 25
_RETRY_MS: Final = 1_000

_MODEL: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["version", "last_verdict"],
    "properties": {
        "version": {"type": "string"},
        "last_verdict": {
            "type": ["string", "null"],
            "description": "Event time of the newest verdict it made; null: none seen.",
        },
        "feature_contract": {"type": ["string", "null"]},
        "description": {"type": ["string", "null"]},
        "trained_on_rows": {"type": ["integer", "null"]},
    },
}
_MODELS: Final[dict[str, Any]] = {"type": "array", "items": _MODEL}
_STATS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["verdicts_total", "verdicts_per_s", "severity", "lag", "models"],
    "properties": {
        "verdicts_total": {"type": "integer", "description": "Since the API started."},
        "dead_letters_total": {"type": "integer"},
        "verdicts_per_s": {
            "type": "object",
            "description": "Over the last 1, 10 and 60 seconds.",
            "additionalProperties": {"type": "number"},
        },
        "dead_letters_last_minute": {"type": "integer"},
        "latency_ms": {
            "type": ["object", "null"],
            "description": "From sending to the API, last 10 s; of transactions with `sent_at`.",
            "additionalProperties": {"type": "number"},
        },
        "severity": {"type": "object", "additionalProperties": {"type": "integer"}},
        "scores": {
            "type": ["array", "null"],
            "description": "Shares of the last minute in ten bins of risk scores.",
            "items": {"type": "number"},
        },
        "scores_reference": {"type": "array", "items": {"type": "number"}},
        "cold_start_share": {"type": ["number", "null"]},
        "history_per_s": {
            "type": "array",
            "description": "Verdicts in each of the last seconds, the oldest first.",
            "items": {"type": "integer"},
        },
        "lag": {
            "type": ["object", "null"],
            "description": "Transactions not yet checkpointed, by partition; null: not known.",
            "additionalProperties": {"type": "integer"},
        },
        "workers": {"type": ["integer", "null"]},
        "models": _MODELS,
    },
}
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events `stats` (as /v1/stats) and `anomalies`, until the reader goes.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **problems(HTTPStatus.UNPROCESSABLE_ENTITY),
}


@router.get(
    "/stats",
    openapi_extra=takes(Scope.READ),
    responses={200: json_answer("Figures of the last two minutes.", _STATS)},
)
async def stats(request: Request) -> Response:
    """Gives rates, latency, severities, scores and lag as they are now."""
    return _json(parts_of(request).live.stats())


@router.get(
    "/models",
    openapi_extra=takes(Scope.READ),
    responses={
        200: json_answer(
            "The model this API is configured with, and those that verdicts name.",
            {"type": "object", "required": ["models"], "properties": {"models": _MODELS}},
        )
    },
)
async def models(request: Request) -> Response:
    """Lists the models and when each was last at work."""
    return _json({"models": parts_of(request).live.models.summaries()})


@router.get(
    "/models/{version}",
    openapi_extra=takes(Scope.READ),
    responses={
        200: json_answer(
            "The model with its card.",
            {
                **_MODEL,
                "properties": {
                    **_MODEL["properties"],
                    "features": {"type": "array", "items": {"type": "string"}},
                    "inputs": {"type": "array", "items": {"type": "string"}},
                    "hyperparameters": {"type": "object"},
                    "libraries": {"type": "object"},
                    "card": {
                        "type": "string",
                        "description": "Markdown: measured how well, when not to use it.",
                    },
                },
            },
        ),
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
async def model(
    request: Request, version: Annotated[str, Path(min_length=1, max_length=128)]
) -> Response:
    """Gives a model's card: how it was made and how it was measured."""
    found = parts_of(request).live.models.details(version)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "this API has no artifact of such a version")
    return _json(found)


@router.get("/stream", openapi_extra=takes(Scope.READ), responses=_EVENTS)
async def stream(
    request: Request, last_event_id: Annotated[str, Header(max_length=20)] = ""
) -> StreamingResponse:
    """Tells figures every second and anomalies as they come, as server-sent events.

    `Last-Event-ID` goes on from there, up to 200 anomalies back. A slow reader misses some, and is
    told how many.
    """
    parts = parts_of(request)
    if parts.live.listeners >= parts.settings.streams_max:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"{parts.settings.streams_max} listen already",
            headers={"Retry-After": "10"},
        )
    number = int(last_event_id) if last_event_id.isdecimal() else 0

    async def may_listen() -> bool:
        return await parts.guard.still_holds(request, Scope.READ)

    return StreamingResponse(
        _events(parts.live, number, may_listen),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    live: Live, number: int, may_listen: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """Nothing is queued for a reader: each look takes what is newest then."""
    with live.listening():
        yield b"retry: %d\n\n" % _RETRY_MS
        tick = 0
        count = 200 if number == 0 else _ANOMALIES_A_TICK
        while not live.stopping.is_set():
            number, missed, found = live.anomalies_since(number, count)
            count = _ANOMALIES_A_TICK
            if found:
                told = {"missed": missed, "anomalies": [told_of(one) for one in found]}
                yield _event("anomalies", told, number)
            if tick % _TICKS_A_STATS == 0:
                if not await may_listen():
                    return
                yield _event("stats", live.stats(), number)
            tick += 1
            await asyncio.sleep(_TICK_S)


def told_of(entry: Entry) -> dict[str, Any]:
    """What a row of the console shows; the rest is asked for when somebody looks."""
    line = entry.line
    try:
        reasons = decode_verdict(entry.payload).reasons
    except msgspec.DecodeError:  # of another writer's, with fewer fields than ours
        reasons = []
    return {
        "tx_id": line.tx_id,
        "user_id": line.user_id,
        "merchant_id": line.merchant_id,
        "timestamp": line.timestamp,
        "amount": line.amount,
        "currency": line.currency,
        "risk_score": line.risk_score,
        "severity": line.severity,
        "reason": reasons[0].text if reasons else "",
    }


def _event(name: str, data: dict[str, Any], number: int) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), msgspec.json.encode(data))


def _json(content: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
