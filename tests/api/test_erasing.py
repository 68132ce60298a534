"""DELETE of a profile: one record in the stream, said to the audit topic, and what remains."""

import hashlib
from datetime import timedelta
from pathlib import Path

import msgspec

from streamapp.api.access import Scope
from streamapp.api.feed import Arrived
from streamapp.api.line import Forgotten
from streamapp.domain.erasure import erasure
from tests.api.parts import NOW, Api, actions
from tests.api.verdicts import arrived, entry
from tests.sinks.verdicts import verdict

PATH = "/v1/users/u1/profile"


def test_an_erasure_goes_into_the_stream(api: Api) -> None:
    """Keyed as the user's transactions are; the audit topic has the caller and no name."""
    key = api.key(Scope.ADMIN)
    answer = api.ask("DELETE", PATH, key)
    assert 202 == answer.status_code
    [_, (topic, record_key, value, _)] = api.publisher.records
    assert ("transactions", b"u1", erasure("u1")) == (topic, record_key, value)
    hashed = hashlib.sha256(b"u1").hexdigest()
    assert [(f"key:{key.split('_')[1]}", "user_erased", hashed)] == actions(api.publisher.records)


def test_what_remains_is_said(api: Api) -> None:
    """By the topics' own settings: a week and the hour that a segment may grow; else for ever."""
    answer = api.ask("DELETE", PATH, api.key(Scope.ADMIN))
    remains = {one["where"]: one["until"] for one in answer.json()["remains"]}
    week = msgspec.to_builtins(NOW + timedelta(days=7, hours=1))
    for name in ("transactions", "verdicts", "anomalies", "transactions.dlq", "labels"):
        assert week == remains[f"topic {name}"]
    assert remains["topic g.state"] is None
    assert remains["Parquet files"] is None


def test_a_broker_that_is_away(api: Api) -> None:
    """503, and nothing is said to be done."""
    api.publisher.is_away = True
    answer = api.ask("DELETE", PATH, api.key(Scope.ADMIN))
    assert (503, "5") == (answer.status_code, answer.headers["Retry-After"])


def test_the_api_forgets(api: Api) -> None:
    """Verdicts of before are found no more, in any way; those after it are."""
    key = api.key(Scope.READ)
    before = [verdict(n, tx_id=f"t{n}", user_id=f"u{n % 2}") for n in range(6)]
    api.live.take(arrived(*before))
    api.live.take(Arrived(entries=[Forgotten("u1"), Forgotten("nobody")]))
    assert 404 == api.ask("GET", "/v1/verdicts/t1", key).status_code
    assert [] == api.ask("GET", "/v1/users/u1/verdicts", key).json()["verdicts"]
    anomalies = api.ask("GET", "/v1/anomalies", key).json()["verdicts"]
    assert {"u0"} == {one["user_id"] for one in anomalies}
    assert {"u0"} == {one.line.user_id for one in api.live.anomalies_since(0, 100)[2]}
    api.live.take(Arrived(entries=[entry(verdict(9, tx_id="t1", user_id="u1"))]))
    assert 200 == api.ask("GET", "/v1/verdicts/t1", key).status_code


def test_the_oldest_still_goes_first(tmp_path: Path) -> None:
    """Bounds hold after an erasure."""
    api = Api(tmp_path, recent_verdicts_max=1_000)
    api.live.take(arrived(*(verdict(n, user_id=f"u{n % 3}") for n in range(1_000))))
    api.live.take(Arrived(entries=[Forgotten("u1")]))
    api.live.take(arrived(*(verdict(n, user_id=f"u{n % 3}") for n in range(1_000, 2_000))))
    assert 1_000 == len(api.live._recent)
