"""An independent reader of the outputs: counts what came of the traffic, and how late."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import msgspec
import numpy as np
from confluent_kafka import Consumer, Message

from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings, TopicSettings

_POLL_S = 0.2
_MESSAGES_MAX = 2_000


class _Peek(msgspec.Struct, gc=False):
    verdict_id: str


@dataclass(slots=True)
class Outputs:
    """What has been read so far. latencies_ms: from the intended send time to the reader."""

    verdicts: int = 0
    duplicates: int = 0
    anomalies: int = 0
    dead_letters: int = 0
    severity: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Transactions with an answer: a verdict (counted once) or a dead letter."""
        return self.verdicts + self.dead_letters

    def percentiles(self) -> dict[str, float]:
        """p50, p95 and p99 of the latency in ms, two decimals."""
        if not self.latencies_ms:
            return {}
        values = np.percentile(self.latencies_ms, [50, 95, 99])
        names = ("p50", "p95", "p99")
        return {name: round(float(value), 2) for name, value in zip(names, values, strict=True)}


class Audit:
    """Reads the output topics in a thread until closed."""

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        self.outputs = Outputs()
        self._topics = topics
        self._seen: set[str] = set()
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                **kafka.librdkafka(),
                **QUIET,
                "group.id": "streamapp.demo.audit",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        outputs = topics.name("verdicts"), topics.name("anomalies"), topics.name("dead_letters")
        self._consumer.subscribe(list(outputs))
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(10)
        self._consumer.close()

    def _run(self) -> None:
        verdicts, anomalies = self._topics.name("verdicts"), self._topics.name("anomalies")
        while not self._stop.is_set():
            # `consume` waits for the whole timeout unless it is full, which would add to latencies.
            first = self._consumer.poll(_POLL_S)
            if first is None:
                continue
            messages = [first, *self._consumer.consume(_MESSAGES_MAX, 0)]
            now_us = time.time() * 1e6
            for message in messages:
                if message.error():
                    continue
                if message.topic() == verdicts:
                    self._count_verdict(message, now_us)
                elif message.topic() == anomalies:
                    self.outputs.anomalies += 1
                else:
                    self.outputs.dead_letters += 1
                    self.outputs.reasons[_header(message, "dlq.reason").decode()] += 1

    def _count_verdict(self, message: Message, now_us: float) -> None:
        verdict_id = msgspec.json.decode(message.value() or b"", type=_Peek).verdict_id
        if verdict_id in self._seen:
            self.outputs.duplicates += 1
            return
        self._seen.add(verdict_id)
        self.outputs.verdicts += 1
        self.outputs.severity[_header(message, "severity").decode()] += 1
        sent_at = _header(message, "sent_at")
        if sent_at:
            self.outputs.latencies_ms.append((now_us - int(sent_at)) / 1000)


def _header(message: Message, name: str) -> bytes:
    headers = cast(list[tuple[str, bytes]], message.headers() or [])
    return next((value for key, value in headers if key == name), b"")
