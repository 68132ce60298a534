"""A transaction that the broker has ended in some partitions only is settled by the next owner."""

import asyncio
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streamapp.engine.hanging_transactions import StateAheadError, UndecidedWatch, settle
from streamapp.engine.partition_log import ExactlyOnceLog
from streamapp.engine.producer import Producer
from streamapp.engine.record_batch import Message, Messages
from streamapp.engine.recovery import RecoveryError
from streamapp.engine.settlement import Topics
from streamapp.engine.store import PARTITION_STATE_KEY, StateStore, user_key
from streamapp.features.profile import empty_profiles, seal
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics
from streamapp.scoring import partition_state
from streamapp.scoring.verdicts import SourcePartition
from tests.engine.running import run_async
from tests.kafka.conftest import Broker

pytestmark = pytest.mark.integration

#: What transactions write to; each of these can be left without a marker.
WRITTEN = ("verdicts", "anomalies", "dlq", "state")
_VERIFICATION = "transaction.partition.verification.enable"


class ForgetfulProducer(Producer):
    """Doesn't tell the coordinator of some places, which so get no marker: a broker that verifies
    nothing is left with records that hang there, as it is by what loses markers.

    aside: a place that nothing is written to, for a transaction that is told of no other.
    """

    def __init__(
        self, *, forgotten: Collection[TopicPartition], aside: TopicPartition, **options: Any
    ) -> None:
        super().__init__(**options)
        self._forgotten, self._aside = forgotten, aside

    async def begin_transaction(self, partitions: Iterable[TopicPartition] = ()) -> None:
        """Begin, as if these had been registered."""
        known = [place for place in partitions if place not in self._forgotten]
        await super().begin_transaction([*known, self._aside])
        self._txn_manager.txn_partitions.update(self._forgotten)


@pytest.fixture
def kafka(kafka_broker: Broker) -> Iterator[KafkaSettings]:
    """The session's broker, which for once takes records of places it was not told of."""
    settings = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)
    admin = AdminClient(settings.librdkafka())
    alter(admin, AlterConfigOpType.SET)
    yield settings
    alter(admin, AlterConfigOpType.DELETE)


def alter(admin: AdminClient, how: AlterConfigOpType) -> None:
    """Have the broker not verify transactions, or as it does by default."""
    entry = ConfigEntry(_VERIFICATION, "false", incremental_operation=how)
    broker = str(next(iter(admin.list_topics(timeout=30).brokers)))
    resource = ConfigResource(ResourceType.BROKER, broker, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(timeout=30)


@dataclass(frozen=True, slots=True)
class Stage:
    """One source partition and what it writes to."""

    kafka: KafkaSettings
    prefix: str
    store: StateStore

    @property
    def topics(self) -> Topics:
        """Their names."""
        outputs = tuple(self.prefix + name for name in WRITTEN[:-1])
        return Topics(self.prefix + "in", outputs, self.prefix + "state", self.prefix + "group")

    def log(self, hanging: Collection[str] = ()) -> ExactlyOnceLog:
        """An owner's log, whose transactions get no markers in these topics."""
        forgotten = [TopicPartition(self.prefix + name, 0) for name in hanging]
        aside = TopicPartition(self.topics.source, 0)
        new_producer = partial(ForgetfulProducer, forgotten=forgotten, aside=aside)
        client, topics = self.kafka.aiokafka(), self.topics
        source = SourcePartition(topics.source, 0)
        return ExactlyOnceLog(client, topics.group, source, topics.changelog, 60.0, new_producer)

    async def send(self, log: ExactlyOnceLog, offsets: Sequence[int]) -> None:
        """The output of these transactions: every fifth is refused, every third an anomaly."""
        verdicts = [self.verdict(offset) for offset in offsets if offset % 5]
        anomalies = [self.verdict(offset) for offset in offsets if offset % 5 and not offset % 3]
        letters = [self.letter(offset) for offset in offsets if not offset % 5]
        for name, found in zip(WRITTEN, (verdicts, anomalies, letters), strict=False):
            if found:
                await log.append(self.prefix + name, Messages.of(found))

    async def checkpoint(self, log: ExactlyOnceLog, offsets: Sequence[int]) -> int:
        """Send, commit the state it led to, and tell the group."""
        await self.send(log, offsets)
        log.cut()
        last = await log.commit(state(offsets), offsets[-1] + 1)
        await self.tell(offsets[-1] + 1)
        return last

    async def tell(self, position: int) -> None:
        """Have the group know where its source partition goes on."""
        place, group = TopicPartition(self.topics.source, 0), self.topics.group
        async with AIOKafkaConsumer(**self.kafka.aiokafka(), group_id=group) as member:
            member.assign([place])
            await member.commit({place: position})

    def verdict(self, offset: int) -> Message:
        """A verdict as far as it matters."""
        source = {"topic": self.topics.source, "partition": 0, "offset": offset}
        return b"u", json.dumps({"source": source}).encode(), [("severity", b"LOW")]

    def letter(self, offset: int) -> Message:
        """A dead letter."""
        topic = self.topics.source.encode()
        return b"u", b"?", [("dlq.topic", topic), ("dlq.offset", b"%d" % offset)]

    async def settle(self, log: ExactlyOnceLog) -> dict[int, RecoveryError]:
        """As a new owner does."""
        return await settle(self.topics, {0: self.store}, {0: log}, self.kafka.aiokafka(), 20.0)

    async def committed(self) -> dict[str, list[Message]]:
        """What a reader of committed records gets of each topic, to its very end."""
        return {name: await self._read(self.prefix + name) for name in WRITTEN}

    async def _read(self, topic: str) -> list[Message]:
        place, options = TopicPartition(topic, 0), self.kafka.aiokafka()
        async with AIOKafkaConsumer(**options) as every:
            end = (await every.end_offsets([place]))[place]
        found: list[Message] = []
        async with AIOKafkaConsumer(**options, isolation_level="read_committed") as reader:
            reader.assign([place])
            reader.seek(place, 0)
            while await reader.position(place) < end:
                for record in (await reader.getmany(place, timeout_ms=50)).get(place, []):
                    found.append((record.key, record.value, list(record.headers)))
        return found

    def expected(self, offsets: Sequence[int]) -> dict[str, list[Message]]:
        """What has to stand in the output topics."""
        return {
            "verdicts": [self.verdict(offset) for offset in offsets if offset % 5],
            "anomalies": [self.verdict(o) for o in offsets if o % 5 and not o % 3],
            "dlq": [self.letter(offset) for offset in offsets if not offset % 5],
        }


def state(offsets: Sequence[int]) -> list[tuple[bytes, bytes]]:
    """A profile for each offset, the partition's state at the last."""
    profiles = []
    for offset in offsets:
        block = empty_profiles(1)
        block["source_offset"] = offset
        profiles.append((user_key(f"user-{offset % 4}"), seal(block[0])))
    own = partition_state.moved(b"\1" + bytes(91), offsets[-1])
    return [*dict(profiles).items(), (PARTITION_STATE_KEY, own)]


@pytest.fixture
def stage(kafka: KafkaSettings, topic_prefix: str, tmp_path: Path) -> Iterator[Stage]:
    """Topics of one partition, and an empty store."""
    names = (*WRITTEN, "in")
    ensure_topics(kafka, [TopicPlan(topic_prefix + name, 1) for name in names], 1)
    store = StateStore(tmp_path / "p00000")
    yield Stage(kafka, topic_prefix, store)
    store.close()


async def lossy_owner(stage: Stage, hanging: Sequence[str]) -> ExactlyOnceLog:
    """Who has taken over behind a sound checkpoint of five, and whose markers will be missing."""
    first = stage.log()
    await first.open()
    await stage.checkpoint(first, range(5))
    await first.close()
    lossy = stage.log(hanging)
    await lossy.open()
    return lossy


HANGING = [("verdicts",), ("dlq", "state"), ("verdicts", "anomalies", "dlq"), WRITTEN]


@pytest.mark.parametrize("hanging", HANGING, ids="+".join)
def test_what_was_committed_is_seen_everywhere_once(stage: Stage, hanging: Sequence[str]) -> None:
    """Whichever markers are missing, as long as anything shows the commit; the next one too."""

    async def scenario() -> None:
        lossy = await lossy_owner(stage, hanging)
        await stage.checkpoint(lossy, range(5, 12))
        await lossy.close()
        owner = stage.log()
        await owner.open()
        assert {} == await stage.settle(owner)
        await assert_done(stage, range(12))
        await stage.checkpoint(owner, range(12, 17))
        await assert_done(stage, range(17))
        await owner.close()

    run_async(scenario())


@pytest.mark.parametrize("hanging", HANGING, ids="+".join)
def test_what_was_not_committed_is_never_seen(stage: Stage, hanging: Sequence[str]) -> None:
    """Nor by the commits of the next owner, who scores it again."""

    async def scenario() -> None:
        lossy = await lossy_owner(stage, hanging)
        await stage.send(lossy, range(5, 12))
        await until_sent(lossy)
        owner = stage.log()
        await owner.open()
        assert {} == await stage.settle(owner)
        await assert_done(stage, range(5))
        await stage.checkpoint(owner, range(5, 17))
        await assert_done(stage, range(17))
        await owner.close()
        await lossy.close()

    run_async(scenario())


def test_a_commit_that_only_the_local_store_knows_of_stands(stage: Stage) -> None:
    """The store is written after the commit: what it holds is done, and must be found again."""

    async def scenario() -> None:
        lossy = stage.log(WRITTEN)
        await lossy.open()
        last = await stage.checkpoint(lossy, range(7))
        stage.store.write(state(range(7)), last)
        await lossy.close()
        owner = stage.log()
        await owner.open()
        assert {} == await stage.settle(owner)
        await assert_done(stage, range(7))
        await owner.close()

    run_async(scenario())


def test_a_store_that_holds_more_than_was_kept_is_begun_anew(stage: Stage) -> None:
    """Its commit was lost and nothing is left of it: going on from there would leave out output."""

    async def scenario() -> None:
        first = stage.log()
        await first.open()
        await stage.checkpoint(first, range(5))
        stage.store.write(state(range(7)), 2)
        refused = (await stage.settle(first))[0]
        assert isinstance(refused, StateAheadError)
        assert "goes up to source offset 6" in str(refused)
        await first.close()

    run_async(scenario())


def test_a_store_that_alone_holds_what_is_shown_stops_its_partition(stage: Stage) -> None:
    """Scored again, some of it would stand there twice: that is for an operator to decide."""

    async def scenario() -> None:
        first = stage.log()
        await first.open()
        await stage.checkpoint(first, range(5))
        stage.store.write(state(range(7)), 2)
        await stage.tell(7)
        refused = (await stage.settle(first))[0]
        assert not isinstance(refused, StateAheadError)
        assert "what is committed beside it up to 6" in str(refused)
        await first.close()

    run_async(scenario())


def test_where_all_is_ended_nothing_is_written(stage: Stage) -> None:
    """The usual takeover only reads; the first of all, too."""

    async def scenario() -> None:
        owner = stage.log()
        await owner.open()
        assert {} == await stage.settle(owner)
        await stage.checkpoint(owner, range(5))
        before = await ends(stage)
        assert {} == await stage.settle(owner)
        assert before == await ends(stage)
        await owner.close()

    run_async(scenario())


def test_a_worker_sees_that_its_commit_stays_hidden(stage: Stage) -> None:
    """At the second look; a takeover follows."""

    async def scenario() -> None:
        watch = UndecidedWatch(stage.topics, stage.kafka.aiokafka(), AIOKafkaConsumer)
        lossy = stage.log(["verdicts"])
        await lossy.open()
        assert None is await watch.look([0])
        await stage.checkpoint(lossy, range(7))
        assert None is await watch.look([0])
        assert "has not ended a transaction" in str(await watch.look([0]))
        await lossy.close()

    run_async(scenario())


async def assert_done(stage: Stage, offsets: Sequence[int]) -> None:
    """Every output once and in order, and the state at the end."""
    found = await stage.committed()
    changelog = {key: value for key, value, _ in found.pop("state")}
    assert stage.expected(offsets) == found
    assert dict(state(offsets)) == changelog


async def ends(stage: Stage) -> dict[TopicPartition, int]:
    """Where the topics end."""
    async with AIOKafkaConsumer(**stage.kafka.aiokafka()) as reader:
        places = [TopicPartition(name, 0) for name in stage.topics.written]
        found: dict[TopicPartition, int] = await reader.end_offsets(places)
        return found


async def until_sent(log: ExactlyOnceLog) -> None:
    """What was appended is with the broker."""
    assert log._outbox is not None
    while senders := list(log._outbox._senders.values()):
        await asyncio.wait(senders)
