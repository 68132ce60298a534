"""How far the workers are behind, and who they are: asked every few seconds."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streamapp.engine.members import Member, owners
from streamapp.kafka.metadata import QUIET, TopicError, topic_partitions
from streamapp.kafka.settings import KafkaSettings

log = structlog.get_logger()

_EVERY_S: Final = 2.0
_ANSWER_S: Final = 5.0
_JOIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Lag:
    """Transactions not yet checkpointed, by partition. workers None: the broker does not say."""

    partitions: dict[int, int]
    workers: int | None


class LagWatch:
    """Asks in a thread; `lag` is the last answer, None while there is none."""

    def __init__(self, kafka: KafkaSettings, topic: str, group: str) -> None:
        self.lag: Lag | None = None
        #: Where to ask the owner of each partition.
        self.owners: Mapping[int, str] = {}
        self._kafka = kafka
        self._topic = topic
        self._group = group
        self._stop = threading.Event()
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag-watch", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._soon.set()
        self._thread.join(_JOIN_S)

    def look_again(self) -> None:
        """Ask soon: what was answered is no longer so."""
        self._soon.set()

    def _run(self) -> None:
        config: dict[str, str | int | float | bool] = {**self._kafka.librdkafka(), **QUIET}
        # Asks on behalf of the workers' group without joining it.
        consumer, admin = Consumer({**config, "group.id": self._group}), AdminClient(config)
        try:
            while not self._stop.is_set():
                self._soon.wait(_EVERY_S)
                self._soon.clear()
                try:
                    members = self._members(admin)
                    self.owners = owners(members or [], self._topic)
                    workers = None if members is None else len(members)
                    self.lag = Lag(self._partitions(consumer), workers)
                except (KafkaException, TopicError) as error:
                    self.lag = None
                    log.info("lag_unknown", kind=type(error).__name__)
        finally:
            consumer.close()

    def _partitions(self, consumer: Consumer) -> dict[int, int]:
        places = [
            TopicPartition(self._topic, partition)
            for partition in topic_partitions(consumer, self._kafka, self._topic)
        ]
        lags = {}
        for place in consumer.committed(places, timeout=_ANSWER_S):
            found = TopicPartition(self._topic, place.partition)
            low, high = consumer.get_watermark_offsets(found, timeout=_ANSWER_S)
            lags[place.partition] = max(0, high - (place.offset if place.offset >= 0 else low))
        return lags

    def _members(self, admin: AdminClient) -> list[Member] | None:
        # Not by the newer calls for groups: while their broker comes back, librdkafka may crash.
        try:
            groups: Any = admin.list_groups(self._group, _ANSWER_S)
            return [
                Member(one.client_id, one.client_host, one.assignment)
                for group in groups
                for one in group.members
            ]
        except KafkaException:
            return None
