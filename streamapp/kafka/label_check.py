"""Goes over new labels and puts aside what is none: bytes, key and headers as they came.

Progress is kept in the consumer group `streamapp.labels` and committed only once the broker has
what was put aside: a crash repeats `COMMIT_RECORDS` labels at most.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streamapp.domain.dead_letter import DeadLetter, Rejected
from streamapp.domain.decode import decode_label
from streamapp.kafka.dead_letters import REDRIVEN
from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError, topic_partitions
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topic_reader import Span, TopicReader, number
from streamapp.kafka.topics import LARGE_RECORD_BYTES

GROUP: Final = "streamapp.labels"

#: Labels read between two commits of progress.
COMMIT_RECORDS: Final = 10_000

_DELIVERY_TIMEOUT_S: Final = 30.0


@dataclass(slots=True)
class Checked:
    """What was found. put_aside: counts by reason and field."""

    fraud: int = 0
    genuine: int = 0
    put_aside: Counter[tuple[str, str]] = field(default_factory=Counter)
    interrupted: bool = False

    @property
    def read(self) -> int:
        """All that was looked at."""
        return self.fraud + self.genuine + self.put_aside.total()


def check_labels(
    kafka: KafkaSettings,
    labels: str,
    dead_letters: str,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Checked], None] | None = None,
) -> Checked:
    """Read what is new in topic `labels` as it stands now; bad records go to `dead_letters`.

    Raises TopicError where broker or topics are not there, or don't take what is put aside.
    """
    checked, stop = Checked(), stop or threading.Event()
    with TopicReader(kafka, labels, GROUP, _as_it_is) as reader:
        aside = _Aside(kafka, dead_letters)
        unread = reader.read(_unread(reader))
        while (messages := list(islice(unread, COMMIT_RECORDS))) and not stop.is_set():
            for message in messages:
                _look(message, labels, checked, aside)
            aside.flush()
            _commit(reader, messages)
            if on_progress:
                on_progress(checked)
    checked.interrupted = stop.is_set()
    return checked


def _as_it_is(message: Message) -> Message:
    return message


def _unread(reader: TopicReader[Message]) -> dict[int, Span]:
    """From the group's offset on; one beyond the end is of a topic since deleted."""
    done = reader.committed()
    spans = reader.spans().items()
    starts = {part: done.get(part, 0) for part, _ in spans}
    return {
        part: Span(max(starts[part], span.start), span.end) if starts[part] <= span.end else span
        for part, span in spans
    }


def _look(message: Message, topic: str, checked: Checked, aside: "_Aside") -> None:
    label = decode_label(message.key(), message.value())
    if isinstance(label, Rejected):
        checked.put_aside[label.reason.value, label.field] += 1
        aside.put(message, topic, label)
    elif label.is_fraud:
        checked.fraud += 1
    else:
        checked.genuine += 1


def _commit(reader: TopicReader[Message], messages: list[Message]) -> None:
    done = {number(one.partition()): number(one.offset()) + 1 for one in messages}
    places = [TopicPartition(reader.topic, *place) for place in done.items()]
    try:
        reader.consumer.commit(offsets=places, asynchronous=False)
    except KafkaException as error:
        raise TopicError(f"recording progress of group {GROUP}: {error.args[0].str()}") from error


class _Aside:
    """Writes dead letters, to the partition number they came from."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                **kafka.librdkafka(),
                **QUIET,
                "client.id": GROUP,
                "enable.idempotence": True,
                "message.max.bytes": LARGE_RECORD_BYTES,
                "delivery.timeout.ms": int(_DELIVERY_TIMEOUT_S * 1_000),
                "on_delivery": self._delivered,
            }
        )
        topic_partitions(self._producer, kafka, topic)

    def put(self, message: Message, source: str, why: Rejected) -> None:
        """Queue one; at most `COMMIT_RECORDS` between two flushes, which the queue has room for."""
        partition, offset = number(message.partition()), number(message.offset())
        letter = DeadLetter(why, source, partition, offset, message.key(), message.value())
        given: Any = message.headers() or []
        own = [one for one in given if one[0] == REDRIVEN or not one[0].startswith("dlq.")]
        headers = [*own, *letter.headers()]
        self._producer.produce(
            self._topic, letter.value, letter.key, partition=partition, headers=headers
        )

    def flush(self) -> None:
        """Return once the broker has them all. Raises TopicError."""
        waiting = self._producer.flush(_DELIVERY_TIMEOUT_S + ANSWER_TIMEOUT_S)
        if waiting or self._failure:
            why = self._failure.str() if self._failure else f"{waiting} not acknowledged in time"
            raise TopicError(f"{self._topic} does not take dead letters: {why}; run it again")

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        self._failure = error or self._failure
