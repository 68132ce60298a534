"""GET /v1/explain: a verdict with what stands behind it, made again from what it records."""

import httpx
import msgspec
import pytest

from streamapp.api.access import Scope
from streamapp.api.feed import Arrived
from streamapp.api.line import entry_of
from streamapp.domain.verdict import Versions, decode_verdict
from streamapp.engine.questions import PROFILE_PATH
from streamapp.features.profile import empty_profiles, seal
from streamapp.features.profile_view import view
from streamapp.replay.partitioner import partition_of
from streamapp.scoring import Pipeline
from tests.api.parts import Api

OWNER = "http://10.0.0.1:6066"


@pytest.fixture(scope="module")
def published() -> bytes:
    """A verdict of the shipped model."""
    payment = {"tx_id": "t1", "user_id": "u1", "amount": 12.5, "timestamp": 1_546_300_800_000}
    scored = Pipeline.load().process([b"u1"], [msgspec.json.encode(payment)])
    return next(iter(scored.payloads))


def _explained(api: Api, payload: bytes, path: str = "/v1/explain/t1") -> httpx.Response:
    found = entry_of(payload)
    assert found is not None
    api.live.take(Arrived(entries=[found]))
    return api.ask("GET", path, api.key(Scope.READ))


def test_a_verdict_made_again(api: Api, published: bytes) -> None:
    """The very bytes; what is usual comes from the owner of the user's partition."""
    told = {"partition": 0, **view(seal(empty_profiles(1)[0]))}
    api.group.owners = {partition_of(b"u1", 4): OWNER}
    api.group.answers[OWNER + PROFILE_PATH] = [httpx.Response(200, json=told)]
    answer = _explained(api, published)
    assert 200 == answer.status_code
    assert published in answer.content
    assert told["typical"] == answer.json()["typical"]
    again = answer.json()["recomputation"]
    assert (True, None, []) == (again["reproduced"], again["why"], again["differs"])
    assert ["scores.half_space_trees", "reasons"] == again["as_recorded"]


def test_without_an_owner(api: Api, published: bytes) -> None:
    """All else is told."""
    answer = _explained(api, published)
    assert (200, None) == (answer.status_code, answer.json()["typical"])
    assert answer.json()["recomputation"]["reproduced"]


def test_a_verdict_that_was_changed(api: Api, published: bytes) -> None:
    """What does not follow from its features is named."""
    changed = msgspec.structs.replace(decode_verdict(published), risk_score=99.5)
    again = _explained(api, msgspec.json.encode(changed)).json()["recomputation"]
    assert (False, ["risk_score"]) == (again["reproduced"], again["differs"])


def test_a_model_that_is_not_here(api: Api, published: bytes) -> None:
    """It is said, not guessed."""
    other = msgspec.structs.replace(
        decode_verdict(published), versions=Versions("other", "none", "other", "2")
    )
    again = _explained(api, msgspec.json.encode(other)).json()["recomputation"]
    assert again["reproduced"] is None
    assert "model" in again["why"]


def test_no_such_transaction(api: Api, published: bytes) -> None:
    """404."""
    assert 404 == _explained(api, published, "/v1/explain/t2").status_code
