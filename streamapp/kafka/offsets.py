"""What a broker holds of a topic, and how far a group says it is."""

from dataclasses import dataclass
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError
from streamapp.kafka.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of one partition: `begin` is the first there is, `end` one after the last."""

    begin: int
    end: int


class OffsetReader:
    """Asks for offsets on behalf of a group without joining it; close it after use."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._kafka = kafka
        self.consumer = Consumer({**kafka.librdkafka(), **QUIET, "group.id": group})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.consumer.close()

    def span(self, topic: str, partition: int) -> Span:
        """What the broker holds. Raises TopicError."""
        try:
            begin, end = self.consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=ANSWER_TIMEOUT_S
            )
        except KafkaException as error:
            raise self._unanswered(topic, partition, error) from error
        return Span(begin, end)

    def committed(self, topic: str, partition: int) -> int | None:
        """The group's offset; None where it has none. Raises TopicError."""
        place = TopicPartition(topic, partition)
        try:
            [found] = self.consumer.committed([place], timeout=ANSWER_TIMEOUT_S)
        except KafkaException as error:
            raise self._unanswered(topic, partition, error) from error
        return found.offset if found.offset >= 0 else None

    def _unanswered(self, topic: str, partition: int, error: KafkaException) -> TopicError:
        return TopicError(
            f"{self._kafka.bootstrap_servers} gives no offsets of {topic}[{partition}]: "
            f"{error.args[0].str()}"
        )
