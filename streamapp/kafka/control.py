"""The topic `control`: small records that say what holds, and name the files of what is large."""

from typing import Annotated, Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from streamapp.kafka.metadata import QUIET, TopicError, topic_partitions
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topic_reader import TopicReader

RISK_WINDOWS_KEY: Final = b"risk_windows"
CUTOFFS_KEY: Final = b"severity_cutoffs"

#: A file's name and nothing else: no path can be made of it.
VERSION_PATTERN: Final = r"^[0-9A-Za-z][0-9A-Za-z.-]{0,63}$"

_DELIVERY_TIMEOUT_S: Final = 30.0

#: A worker that stops waits for the one who follows, so that one waits no longer for an answer.
_FOLLOWED_TIMEOUT_S: Final = 2.0


class _RiskWindows(msgspec.Struct, frozen=True):
    """Which version of the risk windows is to be taken over."""

    version: Annotated[str, msgspec.Meta(pattern=VERSION_PATTERN)]


class _Cutoffs(msgspec.Struct, frozen=True):
    """Which cut-offs of severities are to be taken over; whoever publishes them adds the tally."""

    version: Annotated[str, msgspec.Meta(max_length=64)]


_ANNOUNCED: Final[dict[bytes, type[_RiskWindows | _Cutoffs]]] = {
    RISK_WINDOWS_KEY: _RiskWindows,
    CUTOFFS_KEY: _Cutoffs,
}


def publish_risk_windows(kafka: KafkaSettings, topic: str, version: str) -> None:
    """Say that a version is there to be taken over. Raises TopicError."""
    publish(kafka, topic, RISK_WINDOWS_KEY, msgspec.json.encode(_RiskWindows(version)))


def publish(kafka: KafkaSettings, topic: str, key: bytes, value: bytes) -> None:
    """Put a record into the topic, acknowledged. Raises TopicError."""
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        failures.extend([error] if error else [])

    producer = Producer(
        {
            **kafka.librdkafka(),
            **QUIET,
            "enable.idempotence": True,
            "delivery.timeout.ms": int(_DELIVERY_TIMEOUT_S * 1_000),
            "on_delivery": delivered,
        }
    )
    topic_partitions(producer, kafka, topic)
    producer.produce(topic, value, key)
    if producer.flush(2 * _DELIVERY_TIMEOUT_S) or failures:
        raise TopicError(f"{topic} does not take the record: {failures or 'no answer'}")


class ControlFollower:
    """Reads what has come to the topic since it was last asked; close it after use."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        """Raises TopicError."""
        self._reader = TopicReader(kafka, topic, "streamapp.control", _record, _FOLLOWED_TIMEOUT_S)
        self._read_up_to: dict[int, int] = {}

    def newest(self) -> dict[bytes, bytes]:
        """The newest record of each key that came since the last time. Raises TopicError."""
        spans = self._reader.unread(self._read_up_to)
        found = dict(self._reader.read(spans))
        self._read_up_to = {part: span.end for part, span in spans.items()}
        return found

    def close(self) -> None:
        """Leave the broker."""
        self._reader.consumer.close()


def _record(message: Message) -> tuple[bytes, bytes]:
    return message.key() or b"", message.value() or b""


def announced_version(key: bytes, value: bytes) -> str | None:
    """What a record names; None where it is of a newer version of this contract."""
    try:
        return msgspec.json.decode(value, type=_ANNOUNCED[key]).version
    except msgspec.DecodeError:
        return None
