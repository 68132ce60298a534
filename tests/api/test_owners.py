"""Profiles and what-if: asked of whoever owns the user's partition now."""

import json
from http import HTTPStatus
from typing import Any

import httpx
import msgspec
import pytest

from streamapp.api.access import Scope
from streamapp.engine.questions import BUSY, MOVED, PROFILE_PATH, UNKNOWN, WHAT_IF_PATH
from streamapp.features.profile import empty_profiles, seal
from streamapp.features.profile_view import view
from streamapp.replay.partitioner import partition_of
from tests.api.parts import SECRET, Api
from tests.sinks.verdicts import verdict

USER = "u1"
PARTITION = partition_of(USER.encode(), 4)
PAYMENT = {"tx_id": "t1", "user_id": USER, "amount": 5, "timestamp": 1_546_300_800_000}
FIRST, SECOND = "http://10.0.0.1:6066", "http://10.0.0.2:6066"
TOLD = msgspec.json.encode({"partition": PARTITION, **view(seal(empty_profiles(1)[0]))})


def _owned(api: Api, url: str, path: str, *answers: httpx.Response) -> None:
    api.group.owners = {PARTITION: url}
    api.group.answers[url + path] = list(answers)


def _profile(api: Api) -> httpx.Response:
    return api.ask("GET", f"/v1/users/{USER}/profile", api.key(Scope.READ))


def _what_if(api: Api, payment: Any = PAYMENT, path: str = "/v1/score") -> httpx.Response:
    body = json.dumps(payment).encode()
    return api.ask("POST", f"{path}?what_if=true", api.key(Scope.SCORE), content=body)


def test_the_profile_as_its_owner_tells_it(api: Api) -> None:
    """The owner of the user's partition is asked, with the secret, and no other."""
    _owned(api, FIRST, PROFILE_PATH, httpx.Response(200, content=TOLD))
    answer = _profile(api)
    assert (200, 0, USER) == (
        answer.status_code,
        answer.json()["events"],
        answer.json()["user_id"],
    )
    assert "1970-01-01T00:00:00.000Z" == answer.json()["first_time"]
    [request] = api.group.requests
    assert f"Bearer {SECRET}" == request.headers["Authorization"]
    assert {"partition": PARTITION, "user_id": USER} == json.loads(request.content)


def test_nobody_of_that_name(api: Api) -> None:
    """404."""
    _owned(api, FIRST, PROFILE_PATH, httpx.Response(UNKNOWN))
    assert 404 == _profile(api).status_code


def test_an_owner_that_has_moved(api: Api) -> None:
    """It says so, the group is looked at again, and the new one is asked."""
    _owned(api, FIRST, PROFILE_PATH, httpx.Response(MOVED))

    def take_over() -> None:
        _owned(api, SECOND, PROFILE_PATH, httpx.Response(200, content=TOLD))

    api.group.on_look = take_over
    assert 200 == _profile(api).status_code
    assert ["10.0.0.1", "10.0.0.2"] == [one.url.host for one in api.group.requests]


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ([], "does not answer"),
        ([httpx.Response(MOVED)], "moves"),
        ([httpx.Response(BUSY)], "too much"),
        ([httpx.Response(HTTPStatus.UNAUTHORIZED)], "API_SECRET"),
        ([httpx.Response(HTTPStatus.BAD_REQUEST)], "does not take"),
    ],
)
def test_no_owner_in_time(api: Api, answers: list[httpx.Response], word: str) -> None:
    """503 that says why and when to come again."""
    _owned(api, FIRST, PROFILE_PATH, *answers)
    answer = _profile(api)
    assert (503, "5") == (answer.status_code, answer.headers["Retry-After"])
    assert word in answer.json()["detail"]
    assert len(api.group.requests) > 1 - (not answers)


def test_no_owner_at_all(api: Api) -> None:
    """503 too, for both."""
    assert [503, 503] == [_profile(api).status_code, _what_if(api).status_code]


def test_what_if_sends_nothing(api: Api) -> None:
    """The owner's verdict, byte for byte; no transaction goes out."""
    content = msgspec.json.encode(verdict(3, tx_id="t1", user_id=USER))
    _owned(api, FIRST, WHAT_IF_PATH, httpx.Response(200, content=content))
    answer = _what_if(api)
    assert (200, content) == (answer.status_code, answer.content)
    assert [] == api.publisher.records
    asked = json.loads(api.group.requests[0].content)
    assert PAYMENT == json.loads(asked["transaction"])


def test_what_if_of_what_would_be_refused(api: Api) -> None:
    """By the API or by the owner: 422 with the words of the dead letter."""
    refused = {"reason": "time_ahead", "field": "timestamp", "detail": "too far ahead"}
    _owned(api, FIRST, WHAT_IF_PATH, httpx.Response(422, json=refused))
    answer = _what_if(api)
    assert (422, refused) == (
        answer.status_code,
        {name: answer.json()[name] for name in refused},
    )
    answer = _what_if(api, {**PAYMENT, "amount": -1})
    assert (422, "out_of_range") == (answer.status_code, answer.json()["reason"])
    assert 1 == len(api.group.requests)


def test_what_if_of_many_is_refused(api: Api) -> None:
    """Rather than sent as if it were no question."""
    answer = _what_if(api, {"transactions": [PAYMENT]}, "/v1/score/batch")
    assert (422, "what_if") == (answer.status_code, answer.json()["field"])
    assert [] == api.publisher.records
