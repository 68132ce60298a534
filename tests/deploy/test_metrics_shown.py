"""What dashboards and alerts ask for is there to be scraped."""

import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamapp.broker import LocalBroker
from streamapp.broker.network import free_port
from streamapp.broker.waiting import wait_until
from tests.api.process import ApiProcess
from tests.deploy.test_dashboards import _queries
from tests.engine.conftest import deployment
from tests.engine.deployment import Deployment

_SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}


__all__ = ["deployment"]  # a fixture


@pytest.fixture
def kafka_broker(noida_broker: LocalBroker) -> LocalBroker:
    """One that starts at once will do."""
    return noida_broker


def _names(metrics: str) -> set[str]:
    names = set()
    for family in text_string_to_metric_families(metrics):
        names |= {family.name + suffix for suffix in _SUFFIXES.get(family.type, [""])}
    return names


@pytest.mark.integration
def test_what_is_asked_for_is_shown(deployment: Deployment) -> None:
    """Worker, API and a sink, started as users start them, show every metric that is used."""
    used = {name for query in _queries().values() for name in re.findall(r"streamapp_\w+", query)}
    worker = deployment.worker()
    worker.await_ready()
    kafka = deployment.kafka.bootstrap_servers
    sink_port = free_port()
    common = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "STREAMAPP_TOPICS__PREFIX": deployment.topics.prefix,
    }
    api = {
        **common,
        "STREAMAPP_API__KEYS_FILE": str(deployment.directory / "keys.json"),
        "STREAMAPP_API__METRICS_PUBLIC": "true",
    }
    sink = {
        **common,
        "STREAMAPP_PARQUET__DIRECTORY": str(deployment.directory / "verdicts"),
        "STREAMAPP_SINK__METRICS_PORT": str(sink_port),
    }
    with ApiProcess(api, deployment.directory / "api.log") as process:
        carrier = ApiProcess(sink, deployment.directory / "sink.log", ("sink", "run", "parquet"))
        try:
            assert wait_until(lambda: _answers(sink_port), 60), carrier.log.read_text()
            pages = [worker.get("/metrics")[1], process.get("/metrics", "").text]
            pages.append(httpx.get(f"http://127.0.0.1:{sink_port}/metrics").text)
        finally:
            carrier.__exit__()
    assert len(used) > 20
    assert set() == used - set().union(*map(_names, pages))


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
