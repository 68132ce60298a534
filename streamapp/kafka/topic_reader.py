"""Reads a topic from one offset to another: a bounded pass over what stands there now."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError, topic_partitions
from streamapp.kafka.settings import KafkaSettings

T = TypeVar("T")

_BATCH_MESSAGES = 1_000


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of one partition: `start` is the first, `end` one after the last."""

    start: int
    end: int


class TopicReader(Generic[T]):
    """Reads committed records up to where the topic ends now; close it after use."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        group: str,
        made: Callable[[Message], T],
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """made: what each record becomes. timeout_s: the longest wait for an answer.

        Raises TopicError where broker or topic is not there.
        """
        self.topic = topic
        self.consumer = Consumer(
            {
                **kafka.librdkafka(),
                **QUIET,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,  # the end is told by an empty fetch: don't let it hang
            }
        )
        self._made = made
        self._timeout_s = timeout_s
        self._partitions = topic_partitions(self.consumer, kafka, topic, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.consumer.close()

    def spans(self) -> dict[int, Span]:
        """The offsets each partition holds now, by partition."""
        spans = {}
        for partition in self._partitions:
            place = TopicPartition(self.topic, partition)
            try:
                low, high = self.consumer.get_watermark_offsets(place, timeout=self._timeout_s)
            except KafkaException as error:
                raise _unreadable(place, error.args[0]) from error
            spans[partition] = Span(low, high)
        return spans

    def unread(self, read_up_to: Mapping[int, int]) -> dict[int, Span]:
        """What each partition holds from these offsets on. Raises TopicError."""
        spans = {}
        for part, span in self.spans().items():
            done = read_up_to.get(part, 0)
            # Beyond the end: of a topic since deleted and made again.
            spans[part] = Span(max(span.start, done), span.end) if done <= span.end else span
        return spans

    def committed(self) -> dict[int, int]:
        """The group's offset of each partition where it has one. Raises TopicError."""
        places = [TopicPartition(self.topic, partition) for partition in self._partitions]
        try:
            found = self.consumer.committed(places, timeout=self._timeout_s)
        except KafkaException as error:
            raise TopicError(
                f"reading the group's offsets of {self.topic}: {error.args[0].str()}"
            ) from error
        return {place.partition: place.offset for place in found if place.offset >= 0}

    def read(self, spans: Mapping[int, Span]) -> Iterator[T]:
        """What stands in these spans, each partition in order, partitions in any.

        Offsets may be missing (transaction markers, retention). Raises TopicError when the broker
        says nothing for `timeout_s`.
        """
        open_ends = {part: span.end for part, span in spans.items() if span.start < span.end}
        places = [TopicPartition(self.topic, part, spans[part].start) for part in open_ends]
        self.consumer.assign(places)
        heard = time.monotonic()
        while open_ends:
            messages = self.consumer.consume(_BATCH_MESSAGES, timeout=0.1)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > self._timeout_s:
                raise TopicError(f"{self.topic} was silent for {self._timeout_s:.0f} s")
            for message in messages:
                if self._is_inside(message, open_ends):
                    yield self._made(message)
        self.consumer.unassign()

    def _is_inside(self, message: Message, open_ends: dict[int, int]) -> bool:
        """Whether a message is a record of a span; ends are closed as they are reached."""
        partition, offset = number(message.partition()), number(message.offset())
        end = open_ends.get(partition)
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise _unreadable(TopicPartition(self.topic, partition, offset), error)
        if end is not None and (error is not None or offset >= end - 1):
            del open_ends[partition]
        return end is not None and error is None and offset < end


def number(value: int | None) -> int:
    """A partition or offset, which a message read from a topic has."""
    assert value is not None, "a message read from a topic has a partition and an offset"
    return value


def _unreadable(place: TopicPartition, error: KafkaError) -> TopicError:
    return TopicError(
        f"reading {place.topic}[{place.partition}] at offset {place.offset}: {error.str()}"
    )
