"""`streamapp api` as a user runs it, against a real broker."""

import json
import os
import re
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from streamapp.broker import LocalBroker
from streamapp.kafka.settings import KafkaSettings
from streamapp.sinks.postgres.adapter import PostgresSink
from streamapp.sinks.postgres.settings import PostgresSettings
from tests.api.process import ApiProcess
from tests.kafka.records import read_all
from tests.servers.server import Server
from tests.sinks.verdicts import stored, verdict


@pytest.mark.integration
def test_serves_and_stops(noida_broker: LocalBroker, tmp_path: Path, topic_prefix: str) -> None:
    """Keys from the command line open it, admin calls stand on the audit topic, SIGTERM ends it."""
    settings = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": noida_broker.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": topic_prefix,
        "STREAMAPP_API__KEYS_FILE": str(tmp_path / "keys.json"),
        "STREAMAPP_API__NICENESS": "7",
    }
    with ApiProcess(settings, tmp_path / "api.log") as process:
        assert os.getpriority(os.PRIO_PROCESS, 0) + 7 == process.niceness
        admin, victim = process.key("admin"), process.key("read")
        victim_id = victim.split("_")[1]
        process.await_answer("/metrics", 200, victim)
        assert 401 == httpx.get(f"{process.url}/v1/keys").status_code
        assert 200 == process.get("/v1/keys", admin).status_code
        revoked = httpx.post(
            f"{process.url}/v1/keys/{victim_id}/revoke", headers=process.bearer(admin)
        )
        assert 204 == revoked.status_code
        process.await_answer("/metrics", 401, victim)
        assert 0 == process.stop()
    kafka = KafkaSettings(bootstrap_servers=noida_broker.bootstrap_servers)
    entries = [json.loads(one.value() or b"") for one in read_all(kafka, f"{topic_prefix}audit")]
    assert ["keys_listed", "key_revoked"] == [one["action"] for one in entries]
    log = process.log.read_text()
    assert not re.search("|".join(key.split("_", 2)[2] for key in (admin, victim)), log)


@pytest.mark.integration
def test_older_verdicts_from_postgres(
    noida_broker: LocalBroker, postgres: Server, tmp_path: Path, topic_prefix: str
) -> None:
    """Found in the sink's table; while that is away 503, and found again when it is back."""
    schema = "api_process"
    sink = PostgresSink(PostgresSettings(dsn=SecretStr(postgres.url), schema_name=schema))
    sink.open()
    sink.write([stored(verdict(1, tx_id="old", user_id="u1"))])
    sink.close()
    settings = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": noida_broker.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": topic_prefix,
        "STREAMAPP_API__KEYS_FILE": str(tmp_path / "keys.json"),
        "STREAMAPP_API__STORE": "postgres",
        "STREAMAPP_POSTGRES__DSN": postgres.url,
        "STREAMAPP_POSTGRES__SCHEMA_NAME": schema,
    }
    with ApiProcess(settings, tmp_path / "api.log") as process:
        reader = process.key("read")
        process.await_answer("/v1/verdicts/old", 200, reader)
        assert 404 == process.get("/v1/verdicts/new", reader).status_code
        postgres.stop()
        try:
            away = process.get("/v1/anomalies", reader)
        finally:
            postgres.restart()
        assert (503, "5") == (away.status_code, away.headers["retry-after"])
        process.await_answer("/v1/anomalies", 200, reader)
        [found] = process.get("/v1/anomalies", reader).json()["verdicts"]
        assert "old" == found["tx_id"]
