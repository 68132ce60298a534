"""The API before a real Kafka and a real worker."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamapp.broker import LocalBroker
from streamapp.kafka.settings import KafkaSettings
from tests.api.process import ApiProcess
from tests.engine.deployment import Deployment
from tests.kafka.records import read_all

START_MS = 1_546_300_800_000
DAY_MS = 86_400_000


@pytest.fixture
def deployment(
    kafka_broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> Iterator[Deployment]:
    """Topics of one test; its workers end with it."""
    kafka = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)
    made = Deployment(kafka, topic_prefix, tmp_path)
    yield made
    made.close()


def _payment(number: int, user: str = "u1") -> dict[str, Any]:
    time_ms = START_MS + 1_000 * number
    return {"tx_id": f"{user}-{number}", "user_id": user, "amount": 5.0, "timestamp": time_ms}


class Asking:
    """HTTP with one key of all scopes."""

    def __init__(self, process: ApiProcess) -> None:
        self._client = httpx.Client(
            base_url=process.url,
            headers=process.bearer(process.key("read", "score")),
            timeout=30,
        )
        self.get = self._client.get

    def post(self, path: str, content: Any) -> httpx.Response:
        """One answer to JSON."""
        return self._client.post(path, content=json.dumps(content))


def _api(deployment: Deployment, name: str, timeout_s: float = 10.0) -> ApiProcess:
    settings = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": deployment.kafka.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": deployment.topics.prefix,
        "STREAMAPP_WORKER__GROUP": deployment.group,
        "STREAMAPP_API__KEYS_FILE": str(deployment.directory / "keys.json"),
        "STREAMAPP_API__SCORE_TIMEOUT_S": str(timeout_s),
    }
    return ApiProcess(settings, deployment.directory / f"{name}.log")


@pytest.mark.integration
def test_scores_of_the_stream(deployment: Deployment) -> None:
    """What the API answers stands on the topic, byte for byte; a restart of the API keeps it."""
    worker = deployment.worker()
    worker.await_ready()
    with _api(deployment, "api") as process:
        process.await_answer("/readyz", 200)
        asking = Asking(process)
        one = asking.post("/v1/score", _payment(0))
        assert (200, "u1-0") == (one.status_code, one.json()["tx_id"])
        assert one.content == asking.post("/v1/score", {**_payment(0), "amount": 7}).content
        many = [_payment(n, f"u{n % 50}") for n in range(1, 1_001)]
        batch = asking.post("/v1/score/batch", {"transactions": many}).json()["results"]
        assert [200] * 1_000 == [result["status"] for result in batch]
        ahead = {**_payment(1_001), "timestamp": START_MS + 20 * DAY_MS}
        refused = asking.post("/v1/score", ahead)
        assert (422, "time_ahead") == (refused.status_code, refused.json()["reason"])
        own = asking.get("/v1/users/u1/verdicts?limit=200").json()["verdicts"]
        assert {f"u1-{n}" for n in (0, *range(1, 1_001, 50))} == {v["tx_id"] for v in own}
        assert 0 == process.stop()
    published = [
        m.value() or b"" for m in read_all(deployment.kafka, deployment.topics.name("verdicts"))
    ]
    assert 1_001 == len(published)
    assert one.content in published
    users = {f'"u{n}"' for n in range(50)}
    log = process.log.read_text()
    assert not [user for user in users if user in log]
    with _api(deployment, "again") as process:
        process.await_answer("/readyz", 200)
        assert one.content == Asking(process).post("/v1/score", _payment(0)).content


@pytest.mark.integration
def test_a_worker_away(deployment: Deployment) -> None:
    """202 with a link while there is none, and its verdict there when it is back."""
    worker = deployment.worker()
    worker.await_ready()
    with _api(deployment, "api", timeout_s=1.0) as process:
        process.await_answer("/readyz", 200)
        asking = Asking(process)
        assert 0 == worker.terminate()[0]
        late = asking.post("/v1/score", _payment(0))
        assert (202, "/v1/verdicts/u1-0") == (late.status_code, late.headers["location"])
        assert 404 == asking.get(late.headers["location"]).status_code
        deployment.worker().await_ready()
        deadline = time.monotonic() + 60
        while (found := asking.get(late.headers["location"])).status_code == 404:
            assert time.monotonic() < deadline
        assert (200, "u1-0") == (found.status_code, found.json()["tx_id"])
        assert 1 == sum(asking.get("/v1/stats").json()["severity"].values())
