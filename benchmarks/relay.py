"""The relay: a process in the worker's place that sends each payment on as it came.

What a payment waits with it tells what Kafka, readers and machine take by themselves. Written as
librdkafka's documentation advises; exactly-once as Kafka Streams does it, one transaction for all
partitions, begun with a first payment and committed after an interval.

Started by `benchmarks.session`; argument: its `Plan` as JSON. Ends on SIGTERM.
"""

import signal
import sys
import threading
import time
from typing import Final

import msgspec
from confluent_kafka import Message, Producer, TopicPartition

from benchmarks.reader import POLL_S, assigned, read
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings

#: While a transaction is open: it may have to be committed.
_SHORT_POLL_S: Final = 0.005


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send on, and where to. interval_ms: from a transaction's begin to its commit."""

    bootstrap_servers: str
    source: str
    target: str
    partitions: int
    guarantee: str
    interval_ms: int


class _Relay:
    """Sends on at once; its output is seen at once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.consumer = assigned(
            plan.bootstrap_servers, plan.source, plan.partitions, "read_committed"
        )
        self.producer = Producer(
            {
                **KafkaSettings(bootstrap_servers=plan.bootstrap_servers).librdkafka(),
                **QUIET,
                "linger.ms": 0,
                "compression.type": "zstd",
                **self._sending(),
            }
        )

    def _sending(self) -> dict[str, str]:
        return {"enable.idempotence": "true"}

    def turn(self) -> None:
        """Send on what has come, or wait for it a while."""
        self._send_on(read(self.consumer, POLL_S))

    def _send_on(self, found: list[Message]) -> None:
        for message in found:
            self.producer.produce(
                self.plan.target,
                message.value(),
                message.key(),
                message.partition() or 0,
                headers=message.headers(),
            )
        self.producer.poll(0)


class _ExactlyOnceRelay(_Relay):
    """Its output is seen, by who reads what is committed, with the transaction it is in."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._positions: dict[int, int] = {}
        self._begun_s = 0.0
        self.producer.init_transactions()

    def _sending(self) -> dict[str, str]:
        return {"transactional.id": f"{self.plan.target}-relay"}

    def turn(self) -> None:
        """Send on what has come, and commit when it is time."""
        found = read(self.consumer, _SHORT_POLL_S if self._positions else POLL_S)
        if found and not self._positions:
            self.producer.begin_transaction()
            self._begun_s = time.monotonic()
        self._send_on(found)
        for message in found:
            self._positions[message.partition() or 0] = (message.offset() or 0) + 1
        if self._positions and time.monotonic() - self._begun_s >= self.plan.interval_ms / 1e3:
            self._commit()

    def _commit(self) -> None:
        source = self.plan.source
        self.producer.send_offsets_to_transaction(
            [TopicPartition(source, p, offset) for p, offset in self._positions.items()],
            self.consumer.consumer_group_metadata(),
        )
        self.producer.commit_transaction()
        self._positions.clear()


def main() -> None:
    """Send on until told to stop."""
    plan, stop = msgspec.json.decode(sys.argv[1], type=Plan), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    relay = _ExactlyOnceRelay(plan) if plan.guarantee == "exactly_once" else _Relay(plan)
    while not stop.is_set():
        relay.turn()


if __name__ == "__main__":
    main()
