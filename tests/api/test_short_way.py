"""The short way answers as the long one does, and takes what is asked most."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from streamapp.api.access import Scope
from streamapp.api.short_way import ShortWay
from tests.api.parts import Api
from tests.api.verdicts import arrived
from tests.sinks.verdicts import verdict

KNOWN = {"tx_id": "t1", "user_id": "u1", "amount": 5, "timestamp": 1_546_300_800_000}
SHORT = [
    "/v1/verdicts/t1",
    "/v1/verdicts/t%20%C3%BC",
    "/v1/verdicts/nothing",
    "/v1/verdicts/same",
    "/v1/verdicts/a%00b",
    f"/v1/verdicts/{'x' * 128}",
    "/v1/users/u1/verdicts",
    "/v1/users/nobody/verdicts?limit=1",
    "/v1/users/u1/verdicts?limit=200",
    "/v1/anomalies",
    "/v1/anomalies?limit=3",
]
LONG = [
    f"/v1/verdicts/{'x' * 129}",
    "/v1/verdicts/",
    "/v1/verdicts/a/b",
    "/v1/verdicts/a%2Fb",
    "/v1/verdicts/same?user_id=u1",
    "/v1/verdicts/t1?limit=1",
    "/v1/users/u1/verdicts?limit=201",
    "/v1/users/u1/verdicts?limit=0",
    "/v1/users/u1/verdicts?limit=01",
    "/v1/users/u1/verdicts?limit=1&limit=2",
    "/v1/users//verdicts",
    "/v1/anomalies?severity=HIGH",
    "/v1/anomalies/",
    "/v1/score",
]


@pytest.fixture
def asked(api: Api, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask the short way, and the long one: both answers, and whether the first was short."""
    api.live.take(
        arrived(
            *(verdict(n, user_id=f"u{n % 2}") for n in range(6)),
            verdict(7, tx_id="t1", user_id="u1"),
            verdict(8, tx_id="t ü", user_id="u1"),
            *(verdict(9 + n, tx_id="same", user_id=f"u{n}") for n in range(2)),
        )
    )
    seen: list[bool] = []
    whole = FastAPI.__call__

    async def long_way(app: FastAPI, *call: Any) -> None:
        seen.append(True)
        await whole(app, *call)

    monkeypatch.setattr(FastAPI, "__call__", long_way)

    def ask(*words: Any, **more: Any) -> tuple[httpx.Response, httpx.Response, bool]:
        seen.clear()
        first = api.ask(*words, **more)
        is_short = not seen
        monkeypatch.setattr(ShortWay, "of", lambda *_: None)
        second = api.ask(*words, **more)
        monkeypatch.undo()
        monkeypatch.setattr(FastAPI, "__call__", long_way)
        return first, second, is_short

    return ask


@pytest.mark.parametrize("path", SHORT + LONG)
@pytest.mark.parametrize("bearer", ["reader", "scorer", "nobody"])
def test_the_same_answer(api: Api, asked: Any, path: str, bearer: str) -> None:
    """Found, not found, or denied: status, headers and body; the plain forms by the short way."""
    keys = {"reader": api.key(Scope.READ), "scorer": api.key(Scope.SCORE), "nobody": None}
    first, second, is_short = asked("GET", path, keys[bearer])
    assert (first.status_code, first.headers, first.content) == (
        second.status_code,
        second.headers,
        second.content,
    )
    assert (path in SHORT) == is_short


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "is_short"),
    [
        ("POST", "/v1/score", KNOWN, 200, True),
        ("POST", "/v1/score", {**KNOWN, "amount": -1, "tx_id": "t2"}, 422, True),
        ("POST", "/v1/score", {"note": "x" * 70_000}, 413, True),
        ("POST", "/v1/score?what_if=false", KNOWN, 200, False),
        ("POST", "/v1/verdicts/t1", {}, 405, False),
    ],
)
def test_the_same_answer_to_scores(
    api: Api, asked: Any, method: str, path: str, body: Any, status: int, is_short: bool
) -> None:
    """Likewise of what is sent."""
    content = json.dumps(body).encode()
    first, second, was_short = asked(method, path, api.key(Scope.SCORE), content=content)
    assert (status, is_short) == (first.status_code, was_short)
    assert (first.status_code, first.content) == (second.status_code, second.content)
