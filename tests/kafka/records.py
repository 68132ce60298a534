"""Plain reading and writing of topics, with nothing of streamapp's in between."""

import time
from collections.abc import Iterable, Iterator

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from streamapp.domain.dead_letter import DeadLetter, Reason, Rejected
from streamapp.kafka.settings import KafkaSettings

_DEADLINE_S = 30.0


def read_all(kafka: KafkaSettings, topic: str) -> list[Message]:
    """Every record of a topic up to its present end, partitions in order."""
    records = read_each(kafka, topic)
    return sorted(records, key=lambda record: (record.partition(), record.offset()))


def read_each(kafka: KafkaSettings, topic: str) -> Iterator[Message]:
    """The same one by one, as they come: only a partition's own are in order."""
    consumer = Consumer(
        {
            **kafka.librdkafka(),
            "group.id": "test-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    ended = 0
    deadline = time.monotonic() + _DEADLINE_S
    while ended < len(partitions):
        assert time.monotonic() < deadline, f"{topic} was not read to its end"
        for message in consumer.consume(10_000, timeout=0.1):
            if message.error():
                ended += 1
            else:
                deadline = time.monotonic() + _DEADLINE_S
                yield message
    consumer.close()


def write_letters(kafka: KafkaSettings, topic: str, letters: Iterable[DeadLetter]) -> None:
    """Dead letters as the worker writes them, to the partition they came from."""
    producer = Producer(kafka.librdkafka() | {"enable.idempotence": True})
    for letter in letters:
        producer.produce(
            topic, letter.value, letter.key, partition=letter.partition, headers=letter.headers()
        )
    assert 0 == producer.flush(_DEADLINE_S)


def letter(
    source: str,
    *,
    reason: Reason = Reason.NOT_JSON,
    field: str = "",
    partition: int = 0,
    offset: int = 0,
    key: bytes | None = b"u",
    value: bytes | None = b"{",
) -> DeadLetter:
    """A dead letter with what a test does not care about filled in."""
    rejected = Rejected(reason, field, "decode", "for a test")
    return DeadLetter(rejected, source, partition, offset, key, value)
