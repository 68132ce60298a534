"""Sends recorded messages to a topic: idempotent, partitioned like Java's producers, bounded.

Sketch: produce() costs 1.5 µs a message with its header, delivery reports are asked for failures
only (they would cost as much again), so one core sends 400,000 to 550,000 a second; the queue is
bounded at 100,000 messages, beyond which the sender waits for the broker.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Producer
from numpy.typing import NDArray

from streamapp.kafka.metadata import QUIET, topic_partitions
from streamapp.kafka.settings import KafkaSettings
from streamapp.replay.reader import RecordedBatch
from streamapp.replay.schedule import AtOnce, Schedule

Partitioner = Literal["murmur2_random", "consistent_random"]
Headers = list[tuple[str, str | bytes | None]]

#: Record header with the intended sending time, epoch microseconds as decimal digits. Without a
#: schedule it is the time the message was handed to the producer.
SENT_AT = "sent_at"

#: Messages waiting for the broker at most.
QUEUE_MESSAGES_MAX = 100_000

#: Messages handed over between two looks at the clock, the queue and the stop signal.
CHUNK_MESSAGES = 256

#: Deliveries that may fail before a replay is given up: the broker is gone, not busy.
FAILURES_MAX = 1_000

_DELIVERY_TIMEOUT_MS = 30_000
_PROGRESS_S = 0.1
_WAIT_S_MIN = 0.001  # poll() counts in milliseconds: less would spin
_WAIT_S_MAX = 0.05


@dataclass(slots=True)
class Sent:
    """What became of a replay so far. sent = acknowledged + failed + waiting."""

    topic: str
    partitions: int
    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    waiting: int = 0
    bytes: int = 0
    wall_s: float = 0.0
    behind_s_max: float = 0.0
    first_event_ms: int | None = None
    last_event_ms: int | None = None
    interrupted: bool = False
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def per_s(self) -> float:
        """Messages acknowledged a second, from the start to the last acknowledgement."""
        return self.acknowledged / self.wall_s if self.wall_s else 0.0

    @property
    def complete(self) -> bool:
        """Everything handed over was acknowledged and nothing cut the replay short."""
        return not (self.interrupted or self.failed or self.waiting)


def send(
    batches: Iterable[RecordedBatch],
    *,
    kafka: KafkaSettings,
    topic: str,
    schedule: Schedule | None = None,
    partitioner: Partitioner = "murmur2_random",
    stop: threading.Event | None = None,
    on_progress: Callable[[Sent], None] | None = None,
    flush_timeout_s: float = 30.0,
) -> Sent:
    """Send every message of `batches`; return when all are acknowledged, or `stop` is set.

    After `stop` what was handed over is flushed for `flush_timeout_s` at most. Failed deliveries
    are counted by error, and more than `FAILURES_MAX` of them end the replay.
    Raises TopicError where the broker or the topic is not there; RecordedError from `batches`.
    """
    sender = _Sender(kafka, topic, partitioner, stop or threading.Event(), on_progress)
    schedule = schedule or AtOnce()
    for batch in batches:
        sender.send(batch, schedule)
        if sender.stopped:
            break
    return sender.finish(flush_timeout_s)


class _Sender:
    """One producer and the figures of its run."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        partitioner: Partitioner,
        stop: threading.Event,
        on_progress: Callable[[Sent], None] | None,
    ) -> None:
        self._producer = Producer(_config(kafka, partitioner) | {"on_delivery": self._failed})
        self._figures = Sent(topic, len(topic_partitions(self._producer, kafka, topic)))
        self._stop = stop
        self._broken = False
        self._on_progress = on_progress
        self._started = self._reported = time.monotonic()
        self._started_us = time.time_ns() // 1_000

    @property
    def stopped(self) -> bool:
        """Whether to hand over no more: asked to stop, or deliveries fail too often."""
        return self._stop.is_set() or self._broken or self._figures.failed > FAILURES_MAX

    def send(self, batch: RecordedBatch, schedule: Schedule) -> None:
        """Hand over a batch, each message when it is due, until stopped."""
        due_s = schedule.due_s(batch)
        row = 0
        while row < len(batch) and not self.stopped:
            now_s = time.monotonic() - self._started
            end = min(row + CHUNK_MESSAGES, len(batch))
            wait_s = 0.0
            if due_s is None:
                self._hand_over(batch, row, end, np.full(end - row, now_s))
            elif due_s[row] <= now_s:
                end = min(end, int(np.searchsorted(due_s, now_s, side="right")))
                self._hand_over(batch, row, end, due_s[row:end])
                self._figures.behind_s_max = max(
                    self._figures.behind_s_max, now_s - float(due_s[row])
                )
            else:
                end, wait_s = row, min(max(due_s[row] - now_s, _WAIT_S_MIN), _WAIT_S_MAX)
            row = end
            self._producer.poll(wait_s)
            self._report()

    def finish(self, timeout_s: float) -> Sent:
        """Wait for the acknowledgements still due, `timeout_s` at most; the final figures."""
        deadline = time.monotonic() + timeout_s
        while len(self._producer) and time.monotonic() < deadline:
            self._producer.flush(_PROGRESS_S)
            self._report()
        self._count()
        self._figures.interrupted = self._stop.is_set()
        self._producer.purge()
        return self._figures

    def _hand_over(
        self, batch: RecordedBatch, start: int, end: int, due_s: NDArray[np.float64]
    ) -> None:
        sent_at = (self._started_us + due_s * 1e6).astype(np.int64).tolist()
        keys, values = batch.keys[start:end], batch.values[start:end]
        for key, value, sent_us in zip(keys, values, sent_at, strict=True):
            self._produce(key, value, [(SENT_AT, b"%d" % sent_us)])
        self._figures.sent += end - start
        self._figures.bytes += sum(map(len, values))
        self._reached(batch.time_ms[start:end])

    def _reached(self, time_ms: NDArray[np.int64]) -> None:
        known = time_ms[time_ms >= 0]
        if len(known):
            figures = self._figures
            if figures.first_event_ms is None:
                figures.first_event_ms = figures.last_event_ms = int(known[0])
            figures.last_event_ms = max(figures.last_event_ms or 0, int(known[-1]))

    def _produce(self, key: bytes, value: bytes, headers: Headers) -> None:
        """Queue one message, waiting for room: queued ones time out, so there is room some day."""
        while True:
            try:
                self._producer.produce(self._figures.topic, value, key, headers=headers)
                return
            except BufferError:
                self._producer.poll(_WAIT_S_MAX)
                self._report()
            except KafkaException as error:
                self._failed(error.args[0], None)
                return

    def _failed(self, error: KafkaError | None, _message: object) -> None:
        if error is None:
            return
        self._figures.failed += 1
        self._figures.errors[error.name()] += 1
        self._broken = self._broken or error.fatal()

    def _report(self) -> None:
        now = time.monotonic()
        if self._on_progress and now - self._reported >= _PROGRESS_S:
            self._reported = now
            self._count()
            self._on_progress(self._figures)

    def _count(self) -> None:
        figures = self._figures
        figures.waiting = len(self._producer)
        figures.acknowledged = max(figures.sent - figures.failed - figures.waiting, 0)
        figures.wall_s = time.monotonic() - self._started


def _config(kafka: KafkaSettings, partitioner: Partitioner) -> dict[str, Any]:
    return {
        **kafka.librdkafka(),
        **QUIET,
        "client.id": "streamapp-replay",
        "enable.idempotence": True,
        "partitioner": partitioner,
        "compression.type": "lz4",
        "linger.ms": 5,
        "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
        "delivery.timeout.ms": _DELIVERY_TIMEOUT_MS,
        "delivery.report.only.error": True,
    }
