"""Reading over HTTP: verdicts, pages, models, figures, the stream of events."""

import asyncio
import json
import math
from typing import Any

import numpy as np
import pytest

from streamapp.api.access import Scope
from streamapp.api.figures import Figures, Seen
from streamapp.api.live_routes import _events
from streamapp.domain.verdict import Severity
from streamapp.scoring.artifact import load
from streamapp.scoring.calibration import risk_score, risk_tail_share
from streamapp.scoring.default_model import default_model_dir
from tests.api.parts import NOW, Api, Clock
from tests.api.verdicts import arrived
from tests.sinks.verdicts import verdict


@pytest.fixture
def reader(api: Api) -> Any:
    """GET with a key that may read, once some verdicts have come."""
    api.live.take(arrived(*(verdict(n, user_id=f"user-{n % 2}") for n in range(6))))
    key = api.key(Scope.READ)
    return lambda path: api.ask("GET", path, key)


def test_pages_over_http(reader: Any) -> None:
    """`next` leads through all of them."""
    found, path = [], "/v1/anomalies?limit=4&user_id=user-0"
    first = reader("/v1/anomalies?limit=4").json()
    rest = reader(f"/v1/anomalies?limit=4&cursor={first['next']}").json()
    found = [one["tx_id"] for page in (first, rest) for one in page["verdicts"]]
    assert [f"tx-0-{n}" for n in (5, 4, 3, 2, 1, 0)] == found
    assert rest["next"] is None
    assert ["tx-0-4", "tx-0-2", "tx-0-0"] == [v["tx_id"] for v in reader(path).json()["verdicts"]]
    own = reader("/v1/users/user-1/verdicts?limit=2").json()["verdicts"]
    assert ["tx-0-5", "tx-0-3"] == [one["tx_id"] for one in own]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/anomalies?cursor=abc", "cursor"),
        ("/v1/anomalies?limit=0", "limit"),
        ("/v1/anomalies?limit=201", "limit"),
        ("/v1/anomalies?severity=TERRIBLE", "severity"),
        ("/v1/anomalies?since=2020-01-01T00:00:00", "since"),
        ("/v1/anomalies?until=soon", "until"),
        (f"/v1/users/{'u' * 129}/verdicts", "user_id"),
    ],
)
def test_wrong_questions(reader: Any, path: str, field: str) -> None:
    """422 that names the parameter and repeats nothing."""
    answer = reader(path)
    assert (422, field) == (answer.status_code, answer.json()["field"])
    assert "uuuu" not in answer.text


def test_time_range(reader: Any) -> None:
    """In any offset; from included, until not."""
    path = "/v1/anomalies?since=2019-01-01T01:02:00%2B01:00&until=2019-01-01T00:04:00Z"
    assert ["tx-0-3", "tx-0-2"] == [one["tx_id"] for one in reader(path).json()["verdicts"]]


def test_one_tx_id_of_several_users(api: Api) -> None:
    """Nobody is shown another user's verdict by chance."""
    api.live.take(arrived(*(verdict(n, tx_id="same", user_id=f"u{n}") for n in range(2))))
    key = api.key(Scope.READ)
    assert 409 == api.ask("GET", "/v1/verdicts/same", key).status_code
    one = api.ask("GET", "/v1/verdicts/same?user_id=u1", key).json()
    assert ("u1", "same") == (one["user_id"], one["tx_id"])


def test_models(api: Api, reader: Any) -> None:
    """The configured one with its card, and those that verdicts name."""
    version = load(default_model_dir()).version
    listed = {one["version"]: one for one in reader("/v1/models").json()["models"]}
    assert {version, "m1"} == set(listed)
    assert listed[version]["last_verdict"] is None
    assert "2019-01-01T00:05:00.000Z" == listed["m1"]["last_verdict"]
    details = reader(f"/v1/models/{version}").json()
    assert details["card"].startswith("# ")
    assert "log_amount" in details["inputs"]
    assert 404 == reader("/v1/models/nothing").status_code


def test_figures() -> None:
    """Counts of the last minute, rates of whole seconds, percentiles within a twentieth."""
    clock = Clock(1_000.0)
    figures = Figures(clock)
    for _ in range(20):
        figures.count([Seen(0, 10.0, True, 5.0)] * 98 + [Seen(3, 100.0, False, 900.0)] * 2, 1)
        clock.now_s += 1
    found = figures.summary()
    assert {"1": 100.0, "10": 100.0, "60": 33.3} == found["verdicts_per_s"]
    assert (2_000, 20, 0.98) == (
        found["verdicts_total"],
        found["dead_letters_last_minute"],
        found["cold_start_share"],
    )
    assert {"LOW": 1_960, "MEDIUM": 0, "HIGH": 0, "CRITICAL": 40} == found["severity"]
    assert [0, 0.98, 0, 0, 0, 0, 0, 0, 0, 0.02] == found["scores"]
    assert 5.0 <= found["latency_ms"]["p50"] <= 5.25
    assert 900 <= found["latency_ms"]["p99"] <= 945
    clock.now_s += 1_000
    assert found["scores_reference"] == figures.summary()["scores_reference"]
    assert figures.summary()["scores"] is None


def test_reference_is_the_risk_scores_own() -> None:
    """The shares shown beside the scores follow from the map that makes them."""
    scores = np.array([1.0, 25.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0])
    assert np.allclose(scores, risk_score(np.log(risk_tail_share(scores))), atol=0.01)
    assert math.isclose(1.0, sum(Figures(Clock()).summary()["scores_reference"]), abs_tol=1e-5)


def test_stream_of_events(api: Api) -> None:
    """First what was missed since the number given, then figures; never more than is bounded."""
    api.live.take(arrived(*(verdict(n, severity=Severity.HIGH) for n in range(300))))

    async def first(number: int) -> list[tuple[str, Any]]:
        events = _events(api.live, number, _yes)
        found = [await anext(events) for _ in range(3)]
        await events.aclose()  # type: ignore[attr-defined]
        return [_parsed(one) for one in found[1:]]

    [(name, told), (stats_name, stats)] = api.loop.run(first(0))
    assert ("anomalies", 100, 200) == (name, told["missed"], len(told["anomalies"]))
    assert "tx-0-299" == told["anomalies"][-1]["tx_id"]
    assert "amount 37× this user's usual" == told["anomalies"][-1]["reason"]
    assert ("stats", True) == (stats_name, "verdicts_per_s" in stats)
    [(_, told), _] = api.loop.run(first(298))
    assert (0, 2) == (told["missed"], len(told["anomalies"]))


def test_stream_ends_with_the_process(api: Api) -> None:
    """A console that listens does not keep it from stopping."""

    async def all_events() -> int:
        api.live.stopping.set()
        return len([one async for one in _events(api.live, 0, _yes)])

    assert 1 == api.loop.run(all_events())


def test_stream_ends_with_its_key(api: Api) -> None:
    """A key that is revoked closes the streams it has opened as well."""
    key = api.key(Scope.READ)
    assert 200 == api.ask("GET", "/metrics", key).status_code
    api.key_file.revoke(key.split("_")[1], NOW)

    async def all_events() -> Any:
        asking = asyncio.create_task(api.asked("GET", "/v1/stream", key))
        await asyncio.sleep(0.05)
        api.clock.now_s += 1
        return await asyncio.wait_for(asking, 30)

    answer = api.loop.run(all_events())
    assert (200, 1) == (answer.status_code, answer.text.count("event: stats"))


def test_listeners_are_bounded(api: Api) -> None:
    """The one above the bound is told when to come again."""
    api.live.listeners = api.settings.streams_max
    answer = api.ask("GET", "/v1/stream", api.key(Scope.READ))
    assert (503, "10") == (answer.status_code, answer.headers["retry-after"])


async def _yes() -> bool:
    return True


def _parsed(event: bytes) -> tuple[str, Any]:
    lines = dict(line.split(": ", 1) for line in event.decode().strip().splitlines())
    return lines["event"], json.loads(lines["data"])
