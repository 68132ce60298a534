"""A sender whose header names are no text: Kafka takes them, and so does the worker."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from streamapp.engine.record_batch import RecordBatch
from streamapp.kafka.settings import KafkaSettings
from tests.engine.deployment import Deployment
from tests.engine.test_fetched_records import block_of
from tests.kafka.conftest import Broker

pytestmark = pytest.mark.integration

PAYMENT = {"tx_id": "t", "user_id": "u", "amount": 1.5, "timestamp": "2026-01-05T09:00:00Z"}
#: A good payment and one that is none, both under names of any bytes.
SENT = [
    (b"u", json.dumps(PAYMENT).encode(), [(b"\xff\xfe", b"1"), (b"sent_at", b"17")]),
    (b"u", b"\xffno payment", [(b"trace\x80", b"\xff"), (b"kind", b"2")]),
]


async def send(kafka: KafkaSettings, topic: str) -> None:
    """As no common client can: bytes as they are."""
    async with AIOKafkaProducer(**kafka.aiokafka()) as producer:
        batch = RecordBatch([block_of(SENT)], time.time_ns() // 10**6, is_transactional=False)
        await (await producer.send_batch(batch, topic, partition=1))


def test_names_that_are_no_text_stop_no_partition(kafka_broker: Broker, tmp_path: Path) -> None:
    """The payment is scored; the other is a dead letter, its bytes intact, the names escaped."""
    kafka = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)
    deployment = Deployment(kafka, f"odd-{time.time_ns()}.", tmp_path)
    try:
        deployment.worker().await_ready()
        topic = deployment.topics.name("transactions")
        asyncio.run(send(kafka, topic))
        found = deployment.found(2)
    finally:
        deployment.close()
    assert [f"{topic}-1-0"] == list(found.verdicts)
    letter = found.letters[1, 1]
    assert SENT[1][:2] == (letter.key(), letter.value())
    assert [(r"trace\x80", b"\xff"), ("kind", b"2")] == (letter.headers() or [])[:2]
