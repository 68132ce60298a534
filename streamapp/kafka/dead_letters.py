"""Reads the topic of dead letters: a bounded pass over what stands there now."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streamapp.domain.dead_letter import Reason
from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError, topic_partitions
from streamapp.kafka.settings import KafkaSettings

#: Header that counts how often a message was sent back to its source topic.
REDRIVEN = "dlq.redriven"

#: What stands for a reason outside the closed set (a newer writer, or a foreign one).
UNKNOWN_REASON = "unknown"

#: Every reason a letter can be counted under.
REASONS = (*(reason.value for reason in Reason), UNKNOWN_REASON)

_BATCH_MESSAGES = 1_000
_NUMBER_DIGITS_MAX = 19


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter where it stands, with what its headers say; nothing in it is trusted."""

    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def reason(self) -> str:
        """One of `REASONS`."""
        reason = self.text("dlq.reason")
        return reason if reason in REASONS else UNKNOWN_REASON

    @property
    def redriven(self) -> int:
        """How often it was sent back already."""
        return self.number(REDRIVEN) or 0

    def text(self, header: str) -> str:
        """A header as text, empty where it is absent; bytes that are not UTF-8 are escaped."""
        return dict(self.headers).get(header, b"").decode("utf-8", "backslashreplace")

    def number(self, header: str) -> int | None:
        """A header as a number ≥ 0; None where it is absent or is not one."""
        text = self.text(header)
        short = len(text) <= _NUMBER_DIGITS_MAX and text.isascii()
        return int(text) if short and text.isdigit() else None


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of one partition: `start` is the first, `end` one after the last."""

    start: int
    end: int


class DeadLetterReader:
    """Reads committed dead letters up to where the topic ends now; close it after use."""

    def __init__(self, kafka: KafkaSettings, topic: str, group: str = "streamapp.dlq") -> None:
        """Raises TopicError where the broker or the topic is not there."""
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
        self._partitions = topic_partitions(self.consumer, kafka, topic)

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
                low, high = self.consumer.get_watermark_offsets(place, timeout=ANSWER_TIMEOUT_S)
            except KafkaException as error:
                raise _unreadable(place, error.args[0]) from error
            spans[partition] = Span(low, high)
        return spans

    def read(self, spans: Mapping[int, Span]) -> Iterator[Letter]:
        """The letters in these spans, each partition in order, partitions in any.

        Offsets may be missing (transaction markers, retention). Raises TopicError when the broker
        says nothing for `ANSWER_TIMEOUT_S`.
        """
        open_ends = {part: span.end for part, span in spans.items() if span.start < span.end}
        places = [TopicPartition(self.topic, part, spans[part].start) for part in open_ends]
        self.consumer.assign(places)
        heard = time.monotonic()
        while open_ends:
            messages = self.consumer.consume(_BATCH_MESSAGES, timeout=0.1)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > ANSWER_TIMEOUT_S:
                raise TopicError(f"{self.topic} was silent for {ANSWER_TIMEOUT_S:.0f} s")
            for message in messages:
                yield from self._letter(message, open_ends)
        self.consumer.unassign()

    def _letter(self, message: Message, open_ends: dict[int, int]) -> Iterator[Letter]:
        """The letter in a message, if it is one of a span; ends are closed as they are reached."""
        partition, offset = _number(message.partition()), _number(message.offset())
        end = open_ends.get(partition)
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise _unreadable(TopicPartition(self.topic, partition, offset), error)
        if end is not None and (error is not None or offset >= end - 1):
            del open_ends[partition]
        if end is not None and error is None and offset < end:
            yield _letter(message)


def _letter(message: Message) -> Letter:
    headers: Any = message.headers() or []  # a list of pairs, whatever its stubs allow
    return Letter(
        partition=_number(message.partition()),
        offset=_number(message.offset()),
        time_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=tuple((name, value or b"") for name, value in headers),
    )


def _number(value: int | None) -> int:
    assert value is not None, "a message read from a topic has a partition and an offset"
    return value


def _unreadable(place: TopicPartition, error: KafkaError) -> TopicError:
    return TopicError(
        f"reading {place.topic}[{place.partition}] at offset {place.offset}: {error.str()}"
    )
