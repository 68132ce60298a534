"""How this project's own consumers (outside the engine) are set up."""

from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streamapp.kafka.settings import KafkaSettings


def committed_consumer(
    kafka: KafkaSettings,
    group: str,
    *,
    session_timeout_s: float,
    fetch_kib_max: int,
    on_commit: Callable[[KafkaError | None, list[TopicPartition]], None],
) -> Consumer:
    """A consumer of committed records only, from the earliest, whose offsets the caller commits."""
    return Consumer(
        {
            **kafka.librdkafka(),
            "group.id": group,
            "client.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "on_commit": on_commit,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            # The end-of-partition event tells the position behind transaction markers.
            "enable.partition.eof": True,
            "session.timeout.ms": int(session_timeout_s * 1000),
            "heartbeat.interval.ms": int(session_timeout_s * 1000 / 15),
            # A sink's call is bounded by a minute; anything much longer is a hang.
            "max.poll.interval.ms": max(300_000, int(session_timeout_s * 1000)),
            "queued.max.messages.kbytes": fetch_kib_max,
            "reconnect.backoff.max.ms": 5_000,
        }
    )
