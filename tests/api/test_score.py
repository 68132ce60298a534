"""POST /v1/score: the stream's own verdict, or why there is none, or where it will be."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamapp.api.access import Scope
from streamapp.api.waiting import Refused
from streamapp.domain.verdict import Verdict
from tests.api.parts import Api
from tests.api.verdicts import arrived, entry
from tests.sinks.verdicts import verdict

PAYMENT = {"tx_id": "t1", "user_id": "u1", "amount": 5, "timestamp": 1_546_300_800_000, "note": "x"}
VERDICT = verdict(7, tx_id="t1", user_id="u1")


@pytest.fixture
def slow(tmp_path: Path) -> Api:
    """An API that waits a short time only."""
    return Api(tmp_path, score_timeout_s=0.05)


def _post(api: Api, content: Any, path: str = "/v1/score", **more: Any) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return api.ask("POST", path, api.key(Scope.SCORE), content=body, **more)


def _answered_by(api: Api, *verdicts: Verdict) -> None:
    """Let the stream give these verdicts once their transactions have been sent."""
    api.publisher.on_publish = lambda: api.live.take(arrived(*verdicts))


def test_the_verdict_of_the_stream(api: Api) -> None:
    """Byte for byte; the transaction goes out as it came, keyed by its user, trace carried on."""
    _answered_by(api, verdict(6, tx_id="t1", user_id="another"), VERDICT)
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    answer = _post(api, PAYMENT, headers={"traceparent": trace})
    assert (200, entry(VERDICT).payload) == (answer.status_code, answer.content)
    [(topic, key, value, headers)] = api.publisher.records
    assert ("transactions", b"u1", PAYMENT) == (topic, key, json.loads(value))
    assert [("sent_at", True), ("traceparent", True)] == [(name, bool(v)) for name, v in headers]
    assert trace.encode() == dict(headers)["traceparent"]


def test_the_same_tx_id_again(api: Api) -> None:
    """The same verdict, and nothing is sent a second time."""
    _answered_by(api, VERDICT)
    first = _post(api, PAYMENT)
    again = _post(api, {**PAYMENT, "amount": 9})
    assert first.content == again.content
    assert 1 == len(api.publisher.records)


def test_the_same_tx_id_at_the_same_time(api: Api) -> None:
    """Sent once, answered to all."""
    key = api.key(Scope.SCORE)

    async def ask() -> Any:
        body = json.dumps(PAYMENT).encode()
        asked = [api.asked("POST", "/v1/score", key, content=body) for _ in range(5)]
        tasks = [asyncio.create_task(one) for one in asked]
        while not api.publisher.records:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        api.live.take(arrived(VERDICT))
        return await asyncio.gather(*tasks)

    assert {entry(VERDICT).payload} == {one.content for one in api.loop.run(ask())}
    assert 1 == len(api.publisher.records)


def test_no_verdict_in_time(slow: Api) -> None:
    """202 with a link, under which it is found when it has come."""
    answer = _post(slow, {**PAYMENT, "tx_id": "t/1 ü"})
    link = "/v1/verdicts/t%2F1%20%C3%BC"
    assert (202, link) == (answer.status_code, answer.headers["location"])
    assert {"tx_id": "t/1 ü", "verdict": link} == answer.json()
    plain = _post(slow, PAYMENT).headers["location"]
    reader = slow.key(Scope.READ)
    assert 404 == slow.ask("GET", plain, reader).status_code
    slow.live.take(arrived(VERDICT))
    assert entry(VERDICT).payload == slow.ask("GET", plain, reader).content


def test_refused_by_the_worker(api: Api) -> None:
    """A time too far ahead only the worker knows: its dead letter is the answer."""
    refused = Refused("time_ahead", "timestamp", "more than a day ahead of the stream")
    found = arrived()
    found.refused.append((("u1", "t1"), refused))
    api.publisher.on_publish = lambda: api.live.take(found)
    answer = _post(api, PAYMENT)
    assert (422, "time_ahead", "timestamp") == (
        answer.status_code,
        answer.json()["reason"],
        answer.json()["field"],
    )


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 422, "empty"),
        (b"{", 422, "not_json"),
        (b"[]", 422, "not_an_object"),
        (b'{"user_id": 3}', 422, "wrong_type"),
        (b'{"user_id": "\xff"}', 422, "not_utf8"),
        (json.dumps({**PAYMENT, "amount": -1}).encode(), 422, "out_of_range"),
        (json.dumps({**PAYMENT, "user_id": None}).encode(), 422, "wrong_type"),
        (b'{"a": ' * 5_000, 422, "not_json"),
        (b" " * (64 * 1024 + 1), 413, None),
    ],
)
def test_bad_input(api: Api, body: bytes, status: int, reason: str | None) -> None:
    """Refused as the worker would, before anything is sent."""
    answer = _post(api, body)
    assert (status, reason) == (answer.status_code, answer.json().get("reason"))
    assert [] == api.publisher.records


def test_broker_away(api: Api) -> None:
    """503 with when to come again; nothing is left waiting."""
    api.publisher.is_away = True
    answer = _post(api, PAYMENT)
    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
    assert {} == api.waiting._waits


def test_nobody_waits_for_ever(slow: Api) -> None:
    """A wait that timed out leaves nothing behind."""
    assert 202 == _post(slow, PAYMENT).status_code
    assert {} == slow.waiting._waits


def test_batch(api: Api) -> None:
    """Each has its own answer, in order; one that is refused changes no other."""
    others = [verdict(n, tx_id=f"t{n}", user_id="u1") for n in (8, 9)]
    _answered_by(api, *others)
    payments = [{**PAYMENT, "tx_id": "t8"}, {"tx_id": "bad"}, {**PAYMENT, "tx_id": "t9"}]
    answer = _post(api, {"transactions": payments}, "/v1/score/batch")
    results = answer.json()["results"]
    assert [200, 422, 200] == [one["status"] for one in results]
    assert ["t8", "t9"] == [results[n]["verdict"]["tx_id"] for n in (0, 2)]
    assert "missing_field" == results[1]["problem"]["reason"]
    assert msgspec.json.encode(others[0]) in answer.content


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b'{"transactions": []}', b'{"transactions": [1,]}', b'{"transactions": 1}'],
)
def test_bad_batches(api: Api, body: bytes) -> None:
    """Refused whole, and the answer says what is expected."""
    answer = _post(api, body, "/v1/score/batch")
    assert (422, "transactions") == (answer.status_code, answer.json()["field"])


def test_a_batch_counts_singly(tmp_path: Path) -> None:
    """A thousand transactions are a thousand of the rate; more than a thousand are refused."""
    api = Api(tmp_path, rate_per_s=100, rate_burst=1_000, score_timeout_s=0.05)
    key = api.key(Scope.SCORE)
    payments = [{**PAYMENT, "tx_id": str(n)} for n in range(1_001)]

    def post(count: int) -> Any:
        body = json.dumps({"transactions": payments[:count]}).encode()
        return api.ask("POST", "/v1/score/batch", key, content=body)

    assert 422 == post(1_001).status_code
    api.clock.now_s += 1
    assert {202} == {one["status"] for one in post(1_000).json()["results"]}
    api.clock.now_s += 1
    refused = post(500)
    assert (429, "4") == (refused.status_code, refused.headers["retry-after"])
