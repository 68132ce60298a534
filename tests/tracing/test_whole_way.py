"""One trace from a caller of the API over worker and verdict to the alert's webhook."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamapp.broker import LocalBroker
from streamapp.broker.waiting import wait_until
from tests.api.process import ApiProcess
from tests.engine.conftest import deployment
from tests.engine.deployment import Deployment
from tests.leaks.marks import leaks_of_span
from tests.sinks.receiver import Receiver

__all__ = ["deployment"]  # a fixture

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PAYMENT = {"tx_id": "t1", "user_id": "payer-1", "amount": 1.2307, "timestamp": 1_546_300_800_000}


@pytest.fixture
def kafka_broker(noida_broker: LocalBroker) -> LocalBroker:
    """One that starts at once will do."""
    return noida_broker


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Takes webhooks."""
    started = Receiver()
    yield started
    started.stop()


def _spans(log: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [one for one in lines if "context" in one]


@pytest.mark.integration
def test_one_trace_all_the_way(deployment: Deployment, receiver: Receiver) -> None:
    """The caller's trace goes on in the API's span, and from it to worker and webhook."""
    common = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": deployment.kafka.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": deployment.topics.prefix,
        "STREAMAPP_TOPICS__ANOMALY_SEVERITY": "LOW",
        "STREAMAPP_TRACING__EXPORTER": "console",
    }
    alerts = {
        "STREAMAPP_ALERTS__CHANNEL": "webhook",
        "STREAMAPP_ALERTS__MIN_SEVERITY": "LOW",
        "STREAMAPP_ALERTS__WEBHOOK__URL": receiver.url,
        "STREAMAPP_ALERTS__WEBHOOK__SECRET": "a webhook key of enough length",
        "STREAMAPP_ALERTS__WEBHOOK__ALLOW_PRIVATE": "true",
    }
    worker = deployment.worker(environment=common)
    worker.await_ready()
    keys = {
        "STREAMAPP_API__KEYS_FILE": str(deployment.directory / "keys.json"),
        "STREAMAPP_API__SCORE_TIMEOUT_S": "60",
    }
    sink_log = deployment.directory / "sink.log"
    sink = ApiProcess(common | alerts, sink_log, ("sink", "run", "alerts"))
    try:
        with ApiProcess(common | keys, deployment.directory / "api.log") as api:
            api.await_answer("/readyz", 200)
            headers = {**api.bearer(api.key("score")), "traceparent": f"00-{TRACE}-{SPAN}-01"}
            url = f"{api.url}/v1/score"
            assert 200 == httpx.post(url, json=PAYMENT, headers=headers, timeout=60).status_code
            assert wait_until(lambda: bool(receiver.accepted), 60), sink_log.read_text()
            assert 0 == api.stop()
    finally:
        sink.__exit__()
    assert 0 == worker.terminate()[0]
    [request] = [one for one in _spans(api.log) if one["name"] == "POST /v1/score"]
    assert (f"0x{TRACE}", f"0x{SPAN}") == (request["context"]["trace_id"], request["parent_id"])
    span_id = request["context"]["span_id"].removeprefix("0x")
    assert f"00-{TRACE}-{span_id}-01" == receiver.accepted[0].headers["traceparent"]
    [batch] = _spans(worker.log)
    assert [f"0x{span_id}"] == [link["context"]["span_id"] for link in batch["links"]]
    assert [] == [leak for one in (request, batch) for leak in leaks_of_span(one)]
