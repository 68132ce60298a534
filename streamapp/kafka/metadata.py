"""What a broker says of its topics, with its silence turned into one clear error."""

from typing import Any, Protocol

from confluent_kafka import KafkaException

from streamapp.kafka.settings import KafkaSettings

#: Longest wait for an answer about topics or offsets, in seconds.
ANSWER_TIMEOUT_S = 10.0

#: librdkafka's own lines on standard error, down to critical: errors are reported by the caller.
QUIET = {"log_level": 2}


class TopicError(Exception):
    """A topic cannot be read or written: one line that says where, why, and what to do."""


class AsksMetadata(Protocol):
    """Any confluent-kafka client."""

    def list_topics(self, *, timeout: float) -> Any:
        """Metadata of the whole cluster: asking for one topic might create it."""


def topic_partitions(
    client: AsksMetadata, kafka: KafkaSettings, topic: str, timeout_s: float = ANSWER_TIMEOUT_S
) -> list[int]:
    """The partitions of a topic. Raises TopicError where there is no broker or no such topic."""
    try:
        topics = client.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise TopicError(
            f"no broker answered at {kafka.bootstrap_servers} within {timeout_s:.0f} s"
            f" ({error.args[0].name()}); start one: streamapp broker start"
        ) from error
    if topic not in topics:
        raise TopicError(
            f"topic {topic} does not exist at {kafka.bootstrap_servers};"
            " a worker creates the topics when it starts: streamapp worker"
        )
    return sorted(topics[topic].partitions)
