"""What the engine builds on is the same on a real Kafka and in the simulator.

If the simulated broker passes and the real one fails, the simulated one is wrong.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streamapp.engine.outbox import LogError
from streamapp.engine.partition_log import ExactlyOnceLog
from streamapp.engine.producer import Producer
from streamapp.engine.record_batch import Messages
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics
from streamapp.scoring.verdicts import SourcePartition
from tests.simulation.broker import Broker
from tests.simulation.consumer import SimulatedConsumer
from tests.simulation.network import Network
from tests.simulation.producer import SimulatedProducer
from tests.simulation.world import World

DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: how to get clients, and the topics of one test."""

    producer: Callable[..., Any]
    consumer: Callable[..., Any]
    source: str
    verdicts: str
    state: str

    def log(self) -> ExactlyOnceLog:
        """A log of the one source partition, as one owner has it."""
        source = SourcePartition(self.source, 0)
        return ExactlyOnceLog({}, "group", source, self.state, 60.0, self.producer)

    async def checkpoint(self, log: ExactlyOnceLog, output: bytes, position: int) -> int:
        """Send one output and commit a state of the same bytes."""
        await log.append(self.verdicts, messages(output))
        log.cut()
        return await log.commit([(b"p", output)], position)

    async def seen(self, topic: str, isolation: str = "read_committed") -> list[tuple[int, bytes]]:
        """Offset and value of all that a reader gets up to the end it is told."""
        place = TopicPartition(topic, 0)
        consumer = self.consumer(isolation_level=isolation, enable_auto_commit=False)
        await consumer.start()
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        consumer.seek(place, 0)
        found: list[tuple[int, bytes]] = []
        while await consumer.position(place) < end:
            records = await consumer.getmany(place, timeout_ms=200, max_records=100)
            found += [(record.offset, record.value) for record in records.get(place, [])]
        await consumer.stop()
        return found


Play = Callable[[Callable[[Side], Awaitable[None]]], None]


def simulated(scenario: Callable[[Side], Awaitable[None]]) -> None:
    """Play in a world without faults."""
    world = World(1)
    process = world.new_process("test")
    clients = (process, Network(world), Broker(world, 1))
    new_producer = partial(SimulatedProducer, *clients)
    side = Side(new_producer, partial(SimulatedConsumer, *clients), "in", "out", "state")
    task = process.run(scenario(side))  # type: ignore[arg-type]
    try:
        assert world.run_until(task.done, DEADLINE_S)
        task.result()
    finally:
        world.bury()


def real(kafka: KafkaSettings, prefix: str, scenario: Callable[[Side], Awaitable[None]]) -> None:
    """Play on a broker."""
    names = (f"{prefix}in", f"{prefix}out", f"{prefix}state")
    ensure_topics(kafka, [TopicPlan(name, 1) for name in names], 1)
    options = kafka.aiokafka()
    side = Side(partial(Producer, **options), partial(AIOKafkaConsumer, **options), *names)

    async def bounded() -> None:
        await asyncio.wait_for(scenario(side), DEADLINE_S)

    complaints = logging.getLogger("asyncio")
    complaints.disabled = True
    try:
        asyncio.run(bounded())
        # Nobody asks what a fenced producer's batches came to. Their futures complain when they
        # are collected, with a traceback, which must not be while Python parses: CPython 106905.
        gc.collect()
    finally:
        complaints.disabled = False


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.integration)])
def play(request: pytest.FixtureRequest) -> Play:
    """Play a scenario on one of the two sides."""
    if request.param == "simulated":
        return simulated
    broker = request.getfixturevalue("kafka_broker")
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    return partial(real, kafka, request.getfixturevalue("topic_prefix"))


def messages(*values: bytes) -> Messages:
    """Messages of one user."""
    return Messages.of([(b"u", value, ()) for value in values])


def test_a_checkpoint_is_seen_whole_or_not_at_all(play: Play) -> None:
    """Before the commit a committed reader gets neither output nor state, after it both."""

    async def scenario(side: Side) -> None:
        log = side.log()
        await log.open()
        await log.append(side.verdicts, messages(b"1", b"2"))
        await _until_sent(side, 2)
        assert [] == await side.seen(side.verdicts)
        log.cut()
        last = await log.commit([(b"ua", b"A"), (b"p", b"P")], 2)
        await _until_seen(side, side.verdicts, [(0, b"1"), (1, b"2")])
        assert [(0, b"A"), (1, b"P")] == await side.seen(side.state)
        assert 1 == last
        await log.close()

    play(scenario)


def test_the_end_of_a_transaction_takes_an_offset(play: Play) -> None:
    """So the next checkpoint's state does not follow the last one's without a gap."""

    async def scenario(side: Side) -> None:
        log = side.log()
        await log.open()
        log.cut()
        assert 0 == await log.commit([(b"p", b"1")], 1)
        log.cut()
        assert 2 == await log.commit([(b"p", b"2")], 2)
        await _until_seen(side, side.state, [(0, b"1"), (2, b"2")])
        await log.close()

    play(scenario)


def test_a_new_owner_ends_what_the_old_one_began(play: Play) -> None:
    """The old one's open transaction is aborted, its commit refused, its output never seen."""

    async def scenario(side: Side) -> None:
        old, new = side.log(), side.log()
        await old.open()
        await old.append(side.verdicts, messages(b"old"))
        await _until_sent(side, 1)
        await new.open()
        old.cut()
        with pytest.raises(LogError):
            await old.commit([(b"p", b"old")], 1)
        await side.checkpoint(new, b"new", 1)
        await _until_seen(side, side.verdicts, [(2, b"new")])
        assert [b"new"] == [value for _, value in await side.seen(side.state)]
        await old.close()
        await new.close()

    play(scenario)


def test_who_was_fenced_stays_out(play: Play) -> None:
    """And is told so, each time, by the error that its callers know."""

    async def scenario(side: Side) -> None:
        old, new = side.log(), side.log()
        await old.open()
        await new.open()
        for output in (b"old", b"older"):
            with pytest.raises(LogError):
                await side.checkpoint(old, output, 1)
        assert [] == await side.seen(side.verdicts)
        await old.close()
        await new.close()

    play(scenario)


async def _until_sent(side: Side, count: int) -> None:
    """Output is there for readers of uncommitted records."""
    while len(await side.seen(side.verdicts, "read_uncommitted")) < count:
        await asyncio.sleep(0.05)


async def _until_seen(side: Side, topic: str, expected: list[tuple[int, bytes]]) -> None:
    """A transaction's marker may come a moment after its commit was answered."""
    while expected != await side.seen(topic):
        await asyncio.sleep(0.05)
