"""Verdicts and dead letters as they are committed: one reader for the whole process.

It belongs to no group: every API process reads all partitions. It begins some way before their
ends, so that a restart does not forget what people look at.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streamapp.api import metrics
from streamapp.api.figures import Seen
from streamapp.api.line import Entry, Forgotten, Line, entry_of
from streamapp.api.waiting import Refused
from streamapp.domain.decode import decode
from streamapp.domain.erasure import is_erasure
from streamapp.domain.transaction import Transaction
from streamapp.domain.verdict import SEVERITIES
from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError, topic_partitions
from streamapp.kafka.settings import KafkaSettings, TopicSettings

log = structlog.get_logger()

_POLL_S: Final = 0.2
_MESSAGES_MAX: Final = 1_000
#: Batches that wait for the loop at most; then the topic waits.
_HANDED_MAX: Final = 4
#: Between two tries to find broker and topics.
_RETRY_S: Final = 2.0
#: Of a time in µs; more are none.
_DIGITS_MAX: Final = 20
_RANKS: Final = {severity: severity.rank for severity in SEVERITIES}
#: Longest that the thread is waited for.
_JOIN_S: Final = 10.0


@dataclass(slots=True)
class Arrived:
    """What one look at the topics brought."""

    entries: list[Entry | Forgotten] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    refused: list[tuple[tuple[str, str], Refused]] = field(default_factory=list)
    dead_letters: int = 0


class VerdictFeed:
    """Reads in a thread and hands over in the event loop."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: TopicSettings,
        history: int,
        take: Callable[[Arrived], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`history`: verdicts to read back at the start; `take` is called in the loop."""
        self._kafka = kafka
        self._verdicts = topics.name("verdicts")
        self._dead_letters = topics.name("dead_letters")
        self._history = history
        self._take = take
        self._loop = loop
        self._stop = threading.Event()
        self._room = threading.Semaphore(_HANDED_MAX)
        self._behind: set[tuple[str, int]] = set()
        self._is_assigned = False
        self._failure: str | None = "verdicts are not read yet"
        self._thread = threading.Thread(target=self._run, name="verdict-feed", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(_JOIN_S)

    @property
    def why_not_live(self) -> str | None:
        """Why verdicts do not come as they are committed; None where they do."""
        if self._failure is not None:
            return self._failure
        return "verdicts of before the start are read back" if self._behind else None

    def _run(self) -> None:
        consumer = self._consumer()
        try:
            while not self._stop.is_set() and not self._is_assigned:
                self._assign(consumer)
            while not self._stop.is_set():
                self._read(consumer)
        except Exception as error:
            # Readiness says it: an API that answers without reading would time out on everything.
            self._failure = f"the reader of verdicts ended: {type(error).__name__}"
            metrics.FEED_LIVE.set(0)
            log.error("verdict_feed_failed", kind=type(error).__name__)
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **self._kafka.librdkafka(),
                **QUIET,
                "group.id": "streamapp.api",  # asked for by the client; nothing is committed
                "client.id": "streamapp-api",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 20,
                "queued.max.messages.kbytes": 16_384,
                "reconnect.backoff.max.ms": 2_000,
            }
        )

    def _assign(self, consumer: Consumer) -> None:
        try:
            places = [
                *self._places(consumer, self._verdicts, self._history),
                *self._places(consumer, self._dead_letters, 0),
            ]
        except (TopicError, KafkaException):
            self._failure = "the topics of verdicts can't be read; a worker makes them"
            self._stop.wait(_RETRY_S)
            return
        self._behind = {(place.topic, place.partition) for place in places}
        consumer.assign(places)
        self._is_assigned, self._failure = True, None
        log.info("verdict_feed_assigned", topic=self._verdicts, partitions=len(places) // 2)

    def _places(self, consumer: Consumer, topic: str, history: int) -> list[TopicPartition]:
        partitions = topic_partitions(consumer, self._kafka, topic)
        places = []
        for partition in partitions:
            place = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=ANSWER_TIMEOUT_S)
            place.offset = max(low, high - history // len(partitions))
            places.append(place)
        return places

    def _read(self, consumer: Consumer) -> None:
        # `consume` waits for the whole timeout unless it is full, which would add to latencies.
        first = consumer.poll(_POLL_S)
        if first is None:
            return
        arrived, now_ms = Arrived(), time.time() * 1_000
        for message in [first, *consumer.consume(_MESSAGES_MAX, 0)]:
            error = message.error()
            if error is None:
                self._sort_in(message, arrived, now_ms)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._behind.discard((message.topic() or "", message.partition() or 0))
        metrics.FEED_LIVE.set(not self._behind)
        metrics.FEED_VERDICTS.inc(len(arrived.entries))
        while not self._stop.is_set():
            if self._room.acquire(timeout=_POLL_S):
                self._loop.call_soon_threadsafe(self._hand_over, arrived)
                return

    def _hand_over(self, arrived: Arrived) -> None:
        try:
            self._take(arrived)
        finally:
            self._room.release()

    def _sort_in(self, message: Message, arrived: Arrived, now_ms: float) -> None:
        payload = message.value()
        headers = cast(list[tuple[str, bytes]], message.headers() or [])
        if message.topic() == self._dead_letters:
            arrived.dead_letters += 1
            _sort_letter(message, dict(headers), arrived)
        elif payload is None and is_erasure(headers):
            user_id = (message.key() or b"").decode("utf-8", "replace")
            arrived.entries.append(Forgotten(user_id))
        elif entry := entry_of(payload):
            arrived.entries.append(entry)
            if not self._behind:
                arrived.seen.append(_seen(entry.line, headers, now_ms))


def _seen(line: Line, headers: Sequence[tuple[str, bytes]], now_ms: float) -> Seen:
    is_cold_start = line.mode == "cold_start"
    return Seen(_RANKS[line.severity], line.risk_score, is_cold_start, _latency(headers, now_ms))


def _latency(headers: Sequence[tuple[str, bytes]], now_ms: float) -> float | None:
    """From when a transaction was sent, ms; None where nothing says so."""
    for name, value in headers:
        if name == "sent_at" and value and value.isdigit() and len(value) < _DIGITS_MAX:
            # A sender's clock that is ahead would make it negative.
            return max(0.0, now_ms - int(value) / 1_000)
    return None


def _sort_letter(message: Message, headers: dict[str, Any], arrived: Arrived) -> None:
    """Only what the API would send can be waited for: well-formed, refused when it was admitted."""
    found = decode(message.key(), message.value())
    if isinstance(found, Transaction):
        words = [
            (headers.get(f"dlq.{name}") or b"").decode("utf-8", "replace")
            for name in ("reason", "field", "detail")
        ]
        arrived.refused.append(((found.user_id, found.tx_id), Refused(*words)))
