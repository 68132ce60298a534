"""The reader: a process that reads verdicts as a sink would and notes when each one came.

Started by `benchmarks.stand`; argument: its `Plan` as JSON. Ends on SIGTERM. With
`latencies`, it writes an array (n, 2) of epoch microseconds: when the payment was meant to be sent
(header `sent_at`) and when its verdict was in the reader's hands.
"""

import signal
import sys
import threading
import time
from array import array
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.tally import Tally
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings
from streamapp.replay.producer import SENT_AT

Isolation = Literal["read_committed", "read_uncommitted"]

_RECORDS_MAX = 10_000
#: For the first of what has come.
POLL_S = 0.1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to read. latencies: where to write them; empty to count only."""

    bootstrap_servers: str
    topic: str
    partitions: int
    isolation: Isolation
    tally: str
    latencies: str = ""


def main() -> None:
    """Read until told to stop."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    tally = Tally(Path(plan.tally))
    consumer = assigned(plan.bootstrap_servers, plan.topic, plan.partitions, plan.isolation)
    times, count, stop = array("q"), 0, threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        while not stop.is_set():
            if found := read(consumer, POLL_S):
                now_us = time.time_ns() // 1_000
                if plan.latencies:
                    for message in found:
                        times.extend((_sent_us(message), now_us))
                count += len(found)
                tally[plan.isolation] = count
    finally:
        consumer.close()
    if plan.latencies:
        np.save(plan.latencies, np.array(times, dtype=np.int64).reshape(-1, 2))


def assigned(bootstrap_servers: str, topic: str, partitions: int, isolation: Isolation) -> Consumer:
    """A consumer of all partitions from their beginning on, which commits nothing."""
    consumer = Consumer(
        {
            **KafkaSettings(bootstrap_servers=bootstrap_servers).librdkafka(),
            **QUIET,
            "group.id": f"{topic}-{isolation}",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    return consumer


def read(consumer: Consumer, wait_s: float) -> list[Message]:
    """What has come, after up to `wait_s`. Ends the process where that is an error."""
    found = consumer.consume(1, wait_s)
    if found:  # what else has come is taken at once; asking for many would wait for them
        found += consumer.consume(_RECORDS_MAX, 0)
    for message in found:
        if error := message.error():
            raise SystemExit(f"reading met {error}")
    return found


def _sent_us(message: Message) -> int:
    """The intended send time; 0 where the payment carried none."""
    for name, value in message.headers() or []:  # type: ignore[str-unpack]
        if name == SENT_AT:
            return int(value or 0)
    return 0


if __name__ == "__main__":
    main()
