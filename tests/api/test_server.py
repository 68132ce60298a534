"""`streamapp api` as a user runs it, against a real broker."""

import json
import re
from pathlib import Path

import httpx
import pytest

from streamapp.broker import LocalBroker
from streamapp.kafka.settings import KafkaSettings
from tests.api.process import ApiProcess
from tests.kafka.records import read_all


@pytest.mark.integration
def test_serves_and_stops(noida_broker: LocalBroker, tmp_path: Path, topic_prefix: str) -> None:
    """Keys from the command line open it, admin calls stand on the audit topic, SIGTERM ends it."""
    settings = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": noida_broker.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": topic_prefix,
        "STREAMAPP_API__KEYS_FILE": str(tmp_path / "keys.json"),
    }
    with ApiProcess(settings, tmp_path / "api.log") as process:
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
    assert not re.search("|".join(key.split("_")[2] for key in (admin, victim)), log)
