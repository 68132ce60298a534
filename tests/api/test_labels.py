"""POST /v1/labels: onto its topic as it came, or refused with the words of the decoder."""

import json
from typing import Any

import pytest

from streamapp.api.access import Scope
from tests.api.parts import Api

LABEL = {
    "tx_id": "t1",
    "user_id": "payer-1",
    "is_fraud": True,
    "timestamp": "2026-03-01T12:00:00Z",
    "label_time": "2026-03-09T08:00:00Z",
}


def _post(api: Api, content: bytes) -> Any:
    return api.ask("POST", "/v1/labels", api.key(Scope.LABEL), content=content)


def test_a_label_goes_to_its_topic(api: Api) -> None:
    """Byte for byte, keyed by its user; the answer says that the broker has it."""
    content = json.dumps(LABEL).encode()
    assert 202 == _post(api, content).status_code
    assert [("labels", b"payer-1", content, ())] == api.publisher.records


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"is_fraud": None}, "wrong_type", "is_fraud"),
        ({"is_fraud": 1}, "wrong_type", "is_fraud"),
        ({"user_id": ""}, "out_of_range", "user_id"),
        ({"label_time": "yesterday"}, "out_of_range", "label_time"),
        ({"label_time": -1}, "out_of_range", "label_time"),
    ],
)
def test_what_is_no_label_is_refused(
    api: Api, changes: dict[str, Any], reason: str, field: str
) -> None:
    """422 with reason and field; nothing is sent, and no value comes back."""
    answer = _post(api, json.dumps({**LABEL, **changes}).encode())
    found = answer.json()
    assert (422, reason, field) == (answer.status_code, found["reason"], found["field"])
    assert "payer-1" not in answer.text
    assert [] == api.publisher.records


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b"\xff"])
def test_what_is_no_object_is_refused(api: Api, content: bytes) -> None:
    """The same."""
    assert 422 == _post(api, content).status_code
    assert [] == api.publisher.records


def test_a_broker_away(api: Api) -> None:
    """503 with when to come again."""
    api.publisher.is_away = True
    answer = _post(api, json.dumps(LABEL).encode())
    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])


def test_a_key_that_scores_does_not_teach(api: Api) -> None:
    """Nor one that reads or administers."""
    key = api.key(Scope.READ, Scope.SCORE, Scope.ADMIN)
    assert 403 == api.ask("POST", "/v1/labels", key, content=json.dumps(LABEL)).status_code
