"""Reads whole topics as they stand, committed records only, by another client than the engine's."""

import time
from collections.abc import Iterator
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings
from tests.crash.undisturbed import Record

_SILENCE_S_MAX: Final = 30.0
_READ_RECORDS: Final = 5_000


def end_offsets(kafka: KafkaSettings, topic: str, partitions: int) -> dict[int, int]:
    """The offset after each partition's last record."""
    consumer = Consumer({**kafka.librdkafka(), **QUIET, "group.id": "crash.checker"})
    try:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        return {
            one.partition: consumer.get_watermark_offsets(one, timeout=_SILENCE_S_MAX)[1]
            for one in places
        }
    finally:
        consumer.close()


def read_topic(kafka: KafkaSettings, topic: str, partitions: int) -> dict[int, list[Record]]:
    """Every committed record up to the topic's end, by partition, in offset order."""
    consumer = Consumer(
        {
            **kafka.librdkafka(),
            **QUIET,
            "group.id": "crash.checker",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        found: dict[int, list[Record]] = {number: [] for number in range(partitions)}
        for message in _messages(consumer, partitions):
            partition, offset = cast(int, message.partition()), cast(int, message.offset())
            headers = dict(cast(list[tuple[str, bytes]], message.headers() or []))
            key, value = cast(Any, message.key()), cast(Any, message.value())
            found[partition].append(Record(offset, key, value, headers))
    finally:
        consumer.close()
    return found


def _messages(consumer: Consumer, partitions: int) -> Iterator[Message]:
    ended: set[int] = set()
    heard_at = time.monotonic()
    while len(ended) < partitions:
        messages = consumer.consume(_READ_RECORDS, 0.1)
        if messages:
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at > _SILENCE_S_MAX:
            raise RuntimeError(f"the broker was silent for {_SILENCE_S_MAX:.0f} s")
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(cast(int, message.partition()))
            else:
                raise RuntimeError(f"reading {message.topic()}: {error}")
