"""Dead letters as they stand in their topic."""

from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message

from streamapp.domain.dead_letter import Reason
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topic_reader import TopicReader, number

#: Header that counts how often a message was sent back to its source topic.
REDRIVEN = "dlq.redriven"

#: What stands for a reason outside the closed set (a newer writer, or a foreign one).
UNKNOWN_REASON = "unknown"

#: Every reason a letter can be counted under.
REASONS = (*(reason.value for reason in Reason), UNKNOWN_REASON)

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


class DeadLetterReader(TopicReader[Letter]):
    """Reads committed dead letters up to where the topic ends now; close it after use."""

    def __init__(self, kafka: KafkaSettings, topic: str, group: str = "streamapp.dlq") -> None:
        """Raises TopicError where the broker or the topic is not there."""
        super().__init__(kafka, topic, group, _letter)


def _letter(message: Message) -> Letter:
    headers: Any = message.headers() or []  # a list of pairs, whatever its stubs allow
    return Letter(
        partition=number(message.partition()),
        offset=number(message.offset()),
        time_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=tuple((name, value or b"") for name, value in headers),
    )
