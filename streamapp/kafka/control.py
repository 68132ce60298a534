"""The topic `control`: small records that say what holds, and name the files of what is large."""

from typing import Annotated, Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from streamapp.kafka.metadata import QUIET, TopicError, topic_partitions
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topic_reader import Span, TopicReader

RISK_WINDOWS_KEY: Final = b"risk_windows"

#: A file's name and nothing else: no path can be made of it.
VERSION_PATTERN: Final = r"^[0-9A-Za-z][0-9A-Za-z.-]{0,63}$"

_DELIVERY_TIMEOUT_S: Final = 30.0


class _RiskWindows(msgspec.Struct, frozen=True):
    """Which version of the risk windows is to be taken over."""

    version: Annotated[str, msgspec.Meta(pattern=VERSION_PATTERN)]


def publish_risk_windows(kafka: KafkaSettings, topic: str, version: str) -> None:
    """Say that a version is there to be taken over. Raises TopicError."""
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
    producer.produce(topic, msgspec.json.encode(_RiskWindows(version)), RISK_WINDOWS_KEY)
    if producer.flush(2 * _DELIVERY_TIMEOUT_S) or failures:
        raise TopicError(f"{topic} does not take the record: {failures or 'no answer'}")


class ControlFollower:
    """Reads what has come to the topic since it was last asked; close it after use."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        """Raises TopicError."""
        self._reader = TopicReader(kafka, topic, "streamapp.control", _version)
        self._read_up_to: dict[int, int] = {}

    def risk_windows(self) -> str | None:
        """The newest version of the risk windows since the last time. Raises TopicError."""
        spans = {}
        for part, span in self._reader.spans().items():
            done = self._read_up_to.get(part, 0)
            # Beyond the end: of a topic since deleted and made again.
            spans[part] = Span(max(span.start, done), span.end) if done <= span.end else span
        found = [version for version in self._reader.read(spans) if version is not None]
        self._read_up_to = {part: span.end for part, span in spans.items()}
        return found[-1] if found else None

    def close(self) -> None:
        """Leave the broker."""
        self._reader.consumer.close()


def _version(message: Message) -> str | None:
    """None where a record is of another kind, or of a newer version of this one."""
    if message.key() != RISK_WINDOWS_KEY:
        return None
    try:
        return msgspec.json.decode(message.value() or b"", type=_RiskWindows).version
    except msgspec.DecodeError:
        return None
