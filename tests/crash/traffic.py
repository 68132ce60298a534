"""Traffic for the campaign: the recorded sample, spread over more users, sent open loop."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from streamapp.demo.damaged import with_damaged
from streamapp.domain.transaction import Transaction
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings
from streamapp.replay.encode import FIELDS, encode_columns, rfc3339_column
from streamapp.replay.reader import RecordedBatch, recorded
from tests.leaks.marks import payments

#: Each recorded user stands for this many, so that a run touches some 4,000 profiles.
SPREAD: Final = 8
BATCH_ROWS: Final = 256
#: Of each batch so many transactions come a second time: their verdicts depend on kept decisions.
REPEATED_ROWS: Final = 4
#: The recording is repeated this much later; it lasts 122 days.
TURN_DAYS: Final = 130
_DAY_MS: Final = 86_400_000
#: Longer than any outage of the campaign: what was handed over arrives in the end.
_DELIVERY_TIMEOUT_S: Final = 600
_FLUSH_TIMEOUT_S: Final = 60.0

_decoder = msgspec.json.Decoder(Transaction)


def workload() -> Iterator[RecordedBatch]:
    """Endless batches, the same in every run: good, repeated and damaged messages."""
    for turn in count():
        batches = (
            _spread(one, turn) for one in recorded(payments("handbook"), batch_rows=BATCH_ROWS)
        )
        yield from with_damaged(batches, after=5)


def _spread(batch: RecordedBatch, turn: int) -> RecordedBatch:
    transactions = [_decoder.decode(value) for value in batch.values]
    time_ms = batch.time_ms + np.int64(turn * TURN_DAYS * _DAY_MS)
    columns: dict[str, Any] = {
        name: [getattr(one, name) for one in transactions] for name in FIELDS
    }
    columns["tx_id"] = [f"{tx_id}-{turn}" for tx_id in columns["tx_id"]]
    columns["user_id"] = [f"{user}.{row % SPREAD}" for row, user in enumerate(columns["user_id"])]
    columns["timestamp"] = rfc3339_column(time_ms)
    values = encode_columns(columns)
    keys = [user.encode() for user in columns["user_id"]]
    rows = [*range(len(keys)), *range(len(keys))[:REPEATED_ROWS]]
    return RecordedBatch(
        [keys[row] for row in rows],
        [values[row] for row in rows],
        time_ms[rows],
        batch.labels[rows],
    )


class Sender:
    """Sends the workload at a fixed rate in a thread, whatever becomes of the broker."""

    def __init__(self, kafka: KafkaSettings, topic: str, per_s: float) -> None:
        self._topic = topic
        self._per_s = per_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._ends: dict[int, int] = defaultdict(int)
        self.failed = 0
        self.acknowledged = 0
        self._producer = Producer(
            {
                **kafka.librdkafka(),
                **QUIET,
                "enable.idempotence": True,
                # With more, a message sent just after its topic was made has once been reported
                # as delivered that no partition held (librdkafka 2.16.1, Kafka 4.3.1).
                "max.in.flight.requests.per.connection": 1,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "delivery.timeout.ms": _DELIVERY_TIMEOUT_S * 1000,
                "reconnect.backoff.max.ms": 500,
                "on_delivery": self._delivered,
            }
        )
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def ends(self) -> dict[int, int]:
        """Offset after the last message known to be acknowledged, by partition."""
        with self._lock:
            return dict(self._ends)

    def close(self) -> None:
        """Send no more; return when all is acknowledged. Raises RuntimeError where it is not."""
        self._stop.set()
        self._thread.join(_FLUSH_TIMEOUT_S)
        if self._producer.flush(_FLUSH_TIMEOUT_S) or self.failed:
            raise RuntimeError(
                f"{len(self._producer)} messages not delivered, {self.failed} failed"
            )

    def abandon(self) -> None:
        """Stop, whatever has not been acknowledged."""
        self._stop.set()
        self._thread.join(_FLUSH_TIMEOUT_S)
        self._producer.purge()

    def _run(self) -> None:
        started, sent = time.monotonic(), 0
        for batch in workload():
            for key, value in zip(batch.keys, batch.values, strict=True):
                while (wait_s := started + sent / self._per_s - time.monotonic()) > 0:
                    self._producer.poll(0)
                    if self._stop.wait(min(wait_s, 0.02)):
                        return
                self._producer.produce(self._topic, value, key)
                sent += 1
            if self._stop.is_set():
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        with self._lock:
            if error is not None:
                self.failed += 1
                return
            self.acknowledged += 1
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            if offset is not None:  # else the broker had it from an earlier try, and where is lost
                self._ends[partition] = max(self._ends[partition], offset + 1)
