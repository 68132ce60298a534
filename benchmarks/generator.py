"""The generator: a process that sends recorded payments, paced or as fast as they are read.

Started by `benchmarks.stand`; argument: its `Plan` as JSON; standard output: its `Outcome`.
Paced, payment number i is due at start + i / rate whatever happens to those before (open loop),
and carries that moment in the header `sent_at`. Unpaced, it keeps `ahead` payments between what is
sent and what is read, so that the worker never waits and no queue grows without bound.
"""

import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
from confluent_kafka import KafkaError, Producer

from benchmarks.recording import blocks
from benchmarks.tally import Tally
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings
from streamapp.replay.producer import SENT_AT

#: Payments between what is sent and what is read: some seconds' worth.
AHEAD = 100_000

#: What librdkafka and Java's client wait for a batch by default; in every latency.
LINGER_MS = 5
#: Paced, all that has become due is handed over so often, and the client waits no longer than that
#: takes. To the payments it is the same; to wake up for each took a third of a core at 5,000/s.
_TICK_S = LINGER_MS / 1000
_PACED_LINGER_MS = 0.5

_FLUSH_S = 30.0
#: Payments handed over between two looks at the clock.
_CHUNK = 256
_WAIT_S = 0.001


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. rate: payments a second, 0 for as fast as they are read.

    Ends after `rows` or, unpaced, after `seconds`. first: number of the recording's first payment
    to send, at a block's start.
    """

    bootstrap_servers: str
    topic: str
    recording: str
    tally: str
    rows: int
    first: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    ahead: int = AHEAD


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent. start_us: epoch microseconds at which the first payment was due."""

    sent: int
    failed: int
    start_us: int
    seconds: float
    cpu_s: float
    behind_ms_p99: float
    behind_ms_max: float


def main() -> None:
    """Send, then say what was sent."""
    outcome = send(msgspec.json.decode(sys.argv[1], type=Plan))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


def send(plan: Plan) -> Outcome:
    """Send in this process."""
    generator = _Generator(plan)
    return generator.send_paced() if plan.rate else generator.send_unpaced()


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tally = Tally(Path(plan.tally))
        self._sent_before = self._tally["sent"]
        self._failed = 0
        self._behind_s: list[float] = []
        self._producer = Producer(
            {
                **KafkaSettings(bootstrap_servers=plan.bootstrap_servers).librdkafka(),
                **QUIET,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": _PACED_LINGER_MS if plan.rate else LINGER_MS,
                "queue.buffering.max.messages": 0,
                "delivery.report.only.error": True,
                "on_delivery": self._count_failed,
            }
        )
        self._producer.list_topics(plan.topic, timeout=_FLUSH_S)

    def _count_failed(self, error: KafkaError | None, _message: object) -> None:
        self._failed += error is not None

    def send_paced(self) -> Outcome:
        """Send each payment when it is due."""
        plan, produce, topic = self._plan, self._producer.produce, self._plan.topic
        payments = self._payments()
        started = time.perf_counter() + 0.2
        start_us = time.time_ns() // 1_000 + 200_000
        number, gap_us, pause = 0, 1e6 / plan.rate, threading.Event()
        while number < plan.rows:
            now_s = time.perf_counter() - started
            due = min(int(now_s * plan.rate) + 1, plan.rows) if now_s >= 0 else 0
            if number < due:
                self._behind_s.append(now_s - number / plan.rate)
            for key, value in islice(payments, due - number):
                sent_at = b"%d" % (start_us + number * gap_us)
                produce(topic, value, key, headers=[(SENT_AT, sent_at)])
                number += 1
            self._tally["sent"] = self._sent_before + number
            self._producer.poll(0)
            pause.wait(_TICK_S - (time.perf_counter() - started) % _TICK_S)
        return self._finish(number, start_us, started)

    def send_unpaced(self) -> Outcome:
        """Send so that some are always waiting to be scored."""
        plan, produce, topic, tally = (
            self._plan,
            self._producer.produce,
            self._plan.topic,
            self._tally,
        )
        payments, pause = self._payments(), threading.Event()
        started, start_us = time.perf_counter(), time.time_ns() // 1_000
        number, end_s = 0, started + (plan.seconds or 1e9)
        while number < plan.rows and time.perf_counter() < end_s:
            read = max(tally["read_committed"] - self._sent_before, 0)
            if number - read > plan.ahead:
                pause.wait(_WAIT_S)
            else:
                for key, value in islice(payments, min(_CHUNK, plan.rows - number)):
                    produce(topic, value, key)
                    number += 1
                tally["sent"] = self._sent_before + number
            self._producer.poll(0)
        return self._finish(number, start_us, started)

    def _payments(self) -> Iterator[tuple[bytes, bytes]]:
        for keys, values in blocks(Path(self._plan.recording), self._plan.first):
            yield from zip(keys, values, strict=True)

    def _finish(self, sent: int, start_us: int, started: float) -> Outcome:
        seconds = time.perf_counter() - started
        left = self._producer.flush(_FLUSH_S)
        behind = sorted(self._behind_s) or [0.0]
        return Outcome(
            sent=sent,
            failed=self._failed + left,
            start_us=start_us,
            seconds=round(seconds, 3),
            cpu_s=round(time.process_time(), 3),
            behind_ms_p99=round(behind[int(len(behind) * 0.99)] * 1e3, 1),
            behind_ms_max=round(behind[-1] * 1e3, 1),
        )


if __name__ == "__main__":
    main()
