"""The API before a real Kafka and a real worker."""

from collections.abc import Mapping
from typing import Any

import pytest

from streamapp.broker.waiting import wait_until
from streamapp.client import ApiError, Client, Pending
from streamapp.domain.verdict import Verdict, decode_verdict
from tests.api.process import ApiProcess
from tests.engine.deployment import Deployment
from tests.kafka.records import read_all

START_MS = 1_546_300_800_000
DAY_MS = 86_400_000


def _payment(number: int, user: str = "payer-1") -> dict[str, Any]:
    time_ms = START_MS + 1_000 * number
    return {"tx_id": f"{user}-{number}", "user_id": user, "amount": 5.0, "timestamp": time_ms}


def _client(process: ApiProcess) -> Client:
    return Client(process.url, process.key("read", "score"))


def _api(
    deployment: Deployment,
    name: str,
    timeout_s: float = 10.0,
    more: Mapping[str, str] | None = None,
) -> ApiProcess:
    settings = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": deployment.kafka.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": deployment.topics.prefix,
        "STREAMAPP_WORKER__GROUP": deployment.group,
        "STREAMAPP_API__KEYS_FILE": str(deployment.directory / "keys.json"),
        "STREAMAPP_API__SCORE_TIMEOUT_S": str(timeout_s),
    }
    return ApiProcess({**settings, **(more or {})}, deployment.directory / f"{name}.log")


@pytest.mark.integration
def test_scores_of_the_stream(deployment: Deployment) -> None:
    """What the API answers stands on the topic, byte for byte; a restart of the API keeps it."""
    worker = deployment.worker()
    worker.await_ready()
    with _api(deployment, "api") as process:
        process.await_answer("/readyz", 200)
        client = _client(process)
        one = _scored(client, _payment(0))
        assert one == _scored(client, {**_payment(0), "amount": 7})
        many = [_payment(n, f"payer-{n % 50}") for n in range(1, 1_001)]
        batch = client.score_batch([*many[:999], {"tx_id": "bad"}])
        assert [one["tx_id"] for one in many[:999]] == [
            found.tx_id for found in batch if isinstance(found, Verdict)
        ]
        assert isinstance(batch[-1], ApiError)
        assert "missing_field" == batch[-1].reason
        assert many[999]["tx_id"] == _scored(client, many[999]).tx_id
        with pytest.raises(ApiError) as refused:
            client.score({**_payment(1_001), "timestamp": START_MS + 20 * DAY_MS})
        assert (422, "time_ahead") == (refused.value.status, refused.value.reason)
        own = {f"payer-1-{n}" for n in (0, *range(1, 1_001, 50))}
        assert own == {found.tx_id for found in client.user_verdicts("payer-1")}
        assert 0 == process.stop()
    published = [
        m.value() or b"" for m in read_all(deployment.kafka, deployment.topics.name("verdicts"))
    ]
    assert 1_001 == len(published)
    assert one in [decode_verdict(payload) for payload in published]
    with _api(deployment, "again") as process:
        process.await_answer("/readyz", 200)
        assert one == _scored(_client(process), _payment(0))


@pytest.mark.integration
def test_profiles_and_what_if(deployment: Deployment) -> None:
    """Asked of the owner, also of one that has just taken over; 503 while there is none."""
    secret = {"STREAMAPP_WORKER__API_SECRET": "between workers and API, 32 chars"}
    worker = deployment.worker(environment=secret)
    worker.await_ready()
    with _api(deployment, "api", more=secret) as process:
        process.await_answer("/readyz", 200)
        client = _client(process)
        scored = [_scored(client, _payment(n)) for n in range(3)]
        supposed = client.what_if(_payment(3))
        assert ("what-if", 3) == (supposed.source.topic, supposed.features["count_30d"])
        assert supposed == client.what_if(_payment(3))
        told = client.profile("payer-1")
        assert 3 == told["events"]
        assert [one.risk_score for one in scored] == [one["risk_score"] for one in told["recent"]]
        again = _scored(client, _payment(3))
        assert (supposed.risk_score, supposed.features) == (again.risk_score, again.features)
        with pytest.raises(ApiError, match="404"):
            client.profile("nobody")
        assert 0 == worker.terminate()[0]
        with pytest.raises(ApiError, match="503") as away:
            client.profile("payer-1")
        assert away.value.retry_after_s
        deployment.worker(environment=secret, state="another").await_ready()
        assert 4 == client.profile("payer-1")["events"]


@pytest.mark.integration
def test_a_worker_away(deployment: Deployment) -> None:
    """202 with a link while there is none, and its verdict there when it is back."""
    worker = deployment.worker()
    worker.await_ready()
    with _api(deployment, "api", timeout_s=1.0) as process:
        process.await_answer("/readyz", 200)
        client = _client(process)
        assert 0 == worker.terminate()[0]
        assert Pending("payer-1-0") == client.score(_payment(0))
        with pytest.raises(ApiError, match="404"):
            client.verdict("payer-1-0")
        deployment.worker().await_ready()
        assert wait_until(lambda: _is_there(client, "payer-1-0"), 60)
        assert "payer-1-0" == client.verdict("payer-1-0").tx_id
        assert 1 == sum(client.stats()["severity"].values())


def _scored(client: Client, payment: dict[str, Any]) -> Verdict:
    found = client.score(payment)
    assert isinstance(found, Verdict)
    return found


def _is_there(client: Client, tx_id: str) -> bool:
    try:
        return client.verdict(tx_id).tx_id == tx_id
    except ApiError as error:
        if error.status != 404:
            raise
        return False
