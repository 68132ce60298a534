"""The Kafka side of a sink: records in batches, ownership of partitions, offset commits.

Records come one by one from the client, because then a rebalance happens between two of them and
never inside a batch already handed over. About 2 µs each.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streamapp.sinks import metrics
from streamapp.sinks.decode import stored_record
from streamapp.sinks.progress import Progress
from streamapp.sinks.protocol import Erased, Fatal, StoredVerdict

log = structlog.get_logger()

#: Longest wait for a first record: how late a stop is noticed.
_POLL_S = 0.5
#: A broker that is away reports errors without end; one line for each kind in this time.
_ERROR_QUIET_S = 30.0
#: Longest wait for the broker to say where a partition ends.
_QUERY_S = 5.0


@dataclass
class Batch:
    """Records in the order of their partitions, and where each partition goes on after them."""

    verdicts: list[StoredVerdict | Erased] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)
    records: int = 0

    def drop(self, partitions: Collection[int]) -> None:
        """Leave the records of these partitions to their new owner."""
        self.verdicts = [v for v in self.verdicts if v.partition not in partitions]
        for partition in partitions:
            self.next_offsets.pop(partition, None)


class Feed:
    """One topic as batches of verdicts, for one member of one consumer group."""

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        sink_name: str,
        before_revoke: Callable[[], None],
        after_revoke: Callable[[Collection[int]], None],
    ) -> None:
        """`before_revoke` may still store and commit; `after_revoke` drops what is not ours."""
        self.progress = Progress()
        self.has_assignment = False
        self._consumer = consumer
        self._topic = topic
        self._sink_name = sink_name
        self._before_revoke = before_revoke
        self._after_revoke = after_revoke
        self._batch = Batch()
        self._early = Batch()
        self._arrivals: set[int] = set()
        self._paused = False
        self._committing = False
        self._quiet_until: dict[int, float] = {}

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def fill(self, records_max: int, linger_s: float) -> Batch:
        """The next batch: full, or what came within `linger_s` of its first record."""
        batch, self._early = self._early, Batch()
        self._batch = batch
        deadline = time.monotonic() + _POLL_S
        while batch.records < records_max:
            message = self._consumer.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                break
            if batch.records == 0:
                deadline = time.monotonic() + linger_s
            self._take(message, batch)
        return batch

    def idle(self, wait_s: float, stopped: Callable[[], bool]) -> None:
        """Wait, staying in the group: poll with every partition paused."""
        self._set_paused(True)
        deadline = time.monotonic() + wait_s
        while not stopped() and (left := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(min(left, _POLL_S))
            if message is not None:
                # Ends of partitions, and records fetched before the pause: for the next batch.
                self._take(message, self._early)
        self._set_paused(False)

    def arrivals(self) -> dict[int, int]:
        """Partitions that came since the last call, with their end offset (-1: not known)."""
        arrived, self._arrivals = self._arrivals, set()
        return {partition: self._end(partition) for partition in sorted(arrived)}

    def arrived_again(self, partitions: Collection[int]) -> None:
        """Taking these over failed: name them at the next call of `arrivals`, if still ours."""
        self._arrivals |= self.progress.assigned.intersection(partitions)

    def ends(self) -> dict[int, int] | None:
        """End offsets of all partitions of the topic; None while topic or broker is not there."""
        try:
            topics = self._consumer.list_topics(self._topic, timeout=_QUERY_S).topics
        except KafkaException:
            return None
        found = topics.get(self._topic)
        if found is None or found.error is not None or not found.partitions:
            return None
        ends = {partition: self._end(partition) for partition in found.partitions}
        return ends if min(ends.values()) >= 0 else None

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Send the commit without waiting. Until its answer is there, later ones wait."""
        if offsets and not self._committing:
            self._committing = True
            try:
                self._consumer.commit(offsets=self._places(offsets.items()), asynchronous=True)
            except KafkaException as error:
                self._committing = False
                self._note(error.args[0])

    def commit_now(self, offsets: Mapping[int, int]) -> None:
        """Commit and wait for the answer. A failure is noted: the records will come again."""
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=self._places(offsets.items()), asynchronous=False)
            metrics.COMMITS.labels(self._sink_name).inc()
            self.progress.committed(offsets)
        except KafkaException as error:
            self._note(error.args[0])

    def on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Answer to `commit`; the consumer was configured to call this."""
        self._committing = False
        if error is not None:
            self._note(error)
            return
        metrics.COMMITS.labels(self._sink_name).inc()
        accepted = {place.partition: place.offset for place in places if place.error is None}
        self.progress.committed(accepted)

    def lag(self) -> int:
        """Records between the positions and the ends last heard of."""
        lag = 0
        for partition in self.progress.assigned:
            place = TopicPartition(self._topic, partition)
            try:
                _, high = self._consumer.get_watermark_offsets(place, cached=True)
            except KafkaException:
                continue
            lag += max(0, high - self.progress.position(partition)) if high > 0 else 0
        return lag

    def close(self) -> None:
        """Leave the group; the partitions are given back as in any rebalance."""
        self._consumer.close()

    def _take(self, message: Message, batch: Batch) -> None:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._note(error)
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        if error is None:
            self._take_record(batch, message, partition, offset)
        else:
            batch.next_offsets[partition] = offset

    def _take_record(self, batch: Batch, message: Message, partition: int, offset: int) -> None:
        batch.records += 1
        batch.next_offsets[partition] = offset + 1
        stored = stored_record(message, partition, offset)
        if stored is not None:
            batch.verdicts.append(stored)
            return
        metrics.VERDICTS.labels(self._sink_name, "undecodable").inc()
        log.warning("verdict_undecodable", topic=self._topic, partition=partition, offset=offset)

    def _note(self, error: KafkaError) -> None:
        """Count and log an error the client recovers from by itself. Raises Fatal for the rest."""
        if error.fatal():
            raise Fatal(f"the Kafka client gave up: {error.str()}")
        metrics.BROKER_ERRORS.labels(self._sink_name).inc()
        now = time.monotonic()
        if now >= self._quiet_until.get(error.code(), 0.0):
            self._quiet_until[error.code()] = now + _ERROR_QUIET_S
            log.warning("broker_trouble", topic=self._topic, error=error.name())

    def _end(self, partition: int) -> int:
        place = TopicPartition(self._topic, partition)
        try:
            return int(self._consumer.get_watermark_offsets(place, timeout=_QUERY_S)[1])
        except KafkaException:
            return -1

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.assign(places)
        if self._paused:
            consumer.pause(places)
        partitions = [place.partition for place in places]
        self.has_assignment = True
        self._arrivals.update(partitions)
        self.progress.assign(partitions)
        log.info("partitions_assigned", topic=self._topic, partitions=sorted(partitions))

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._before_revoke()
        self._on_lost(consumer, places)

    def _on_lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        partitions = {place.partition for place in places}
        self.has_assignment = False
        self._batch.drop(partitions)
        self._early.drop(partitions)
        self._arrivals -= partitions
        self._after_revoke(partitions)
        self.progress.forget(partitions)
        log.info("partitions_released", topic=self._topic, partitions=sorted(partitions))

    def _set_paused(self, paused: bool) -> None:
        self._paused = paused
        places = self._places((partition, None) for partition in self.progress.assigned)
        if paused:
            self._consumer.pause(places)
        else:
            self._consumer.resume(places)

    def _places(self, offsets: Iterable[tuple[int, int | None]]) -> list[Any]:
        return [
            TopicPartition(self._topic, partition)
            if offset is None
            else TopicPartition(self._topic, partition, offset)
            for partition, offset in offsets
        ]
