"""Settles transactions that the broker has not ended everywhere, before a new owner goes on.

What hangs is aborted; then what `settlement` says is missing is written in one transaction.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from streamapp.engine import metrics
from streamapp.engine.attempt import Attempt
from streamapp.engine.outbox import LogError
from streamapp.engine.partition_log import PartitionLog
from streamapp.engine.record_batch import Messages
from streamapp.engine.recovery import RecoveryError
from streamapp.engine.settlement import Evidence, Settlement, Topics, message, settlement
from streamapp.engine.store import PARTITION_STATE_KEY, Store
from streamapp.scoring import partition_state

log = structlog.get_logger()

#: Where the last committed record of a partition is looked for first: this far before the end.
_REACH_RECORDS: Final = 16
_REACH_GROWTH: Final = 8
_POLL_MS: Final = 20
_READ_RECORDS_MAX: Final = 4096
#: Replicas may be this late in showing the end of a transaction.
_MARKER_WAIT_S: Final = 1.0
#: The markers of the transaction that ends what hangs may be lost as well.
_ABORTS_MAX: Final = 3
_ABORT_WAIT_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.05

NewConsumer = Callable[..., AIOKafkaConsumer]
Ends = dict[TopicPartition, int]


class StateAheadError(RecoveryError):
    """The local state holds a transaction of which nothing stands committed at the broker."""


async def settle(
    topics: Topics,
    stores: Mapping[int, Store],
    logs: Mapping[int, PartitionLog],
    client: Mapping[str, Any],
    timeout_s: float,
    new_consumer: NewConsumer = AIOKafkaConsumer,
) -> dict[int, RecoveryError]:
    """Make what stands about each partition agree. The logs are open: nobody else writes.

    timeout_s: bounds the time without an answer. Returns the partitions that can't go on; those
    with a StateAheadError can, once their store is begun anew. Raises LogError, RecoveryError or
    KafkaError where the broker does not answer.
    """
    refused: dict[int, RecoveryError] = {}
    if not stores:
        return refused
    async with _readers(topics, client, timeout_s, new_consumer) as readers:
        hanging = await readers.hanging(stores)
        stable, evidence = await readers.evidence(stores)
        for partition, found in evidence.items():
            todo = settlement(topics, found)
            if todo is None:
                continue
            place = TopicPartition(topics.changelog, partition)
            one = _Partition(place, logs[partition], readers, found, stable)
            ends = {tp: end for tp, end in hanging.items() if one.hangs_in(tp)}
            if (problem := await one.settle(todo, ends)) is not None:
                refused[partition] = problem
    return refused


@dataclass(frozen=True, slots=True)
class _Partition:
    """One partition at its settlement. stable: where committed records end in each place."""

    changelog: TopicPartition
    output: PartitionLog
    readers: "_Readers"
    found: Evidence
    stable: Ends

    async def settle(self, todo: Settlement, ends: Ends) -> RecoveryError | None:
        """Have all places agree, and begin an attempt; why the partition can't go on with it.

        ends: of the places where anything hangs.
        """
        found, changelog = self.found, self.changelog
        is_ahead = found.stored > todo.source_offset and found.applied < self.stable[changelog]
        if is_ahead and todo.shown > todo.source_offset:
            return _lost(changelog, todo)
        if ends or todo:
            _report(changelog.partition, ends, todo)
            if not await self._end(ends):
                return _still_hanging(ends)
        # Before anything is written again: what is lost of that is found from here on.
        begun = Attempt(await self.readers.ends_by_topic(changelog.partition))
        if todo:
            await self._write(todo)
        self.output.attempt = begun
        return _ahead(changelog, found.stored, todo.source_offset) if is_ahead else None

    def hangs_in(self, place: TopicPartition) -> bool:
        """Whether a transaction hangs in a place; it may have ended just now."""
        return place.partition == self.changelog.partition and bool(self._hanging(place))

    def _hanging(self, place: TopicPartition) -> list[ConsumerRecord]:
        tail = self.found.tails[place.topic]
        return [one for one in tail if one.offset >= self.stable[place]]

    async def _end(self, ends: Ends) -> bool:
        """Abort what hangs: a transaction of the same producer that is aborted takes it along.

        It has to have a record in each place: the first that hangs, which is of the newest attempt
        there, as one of an earlier attempt would be taken for output of this.
        """
        again = {tp.topic: Messages.of([message(self._hanging(tp)[0])]) for tp in ends}
        for _ in range(_ABORTS_MAX if ends else 0):
            await self.output.abort(again)
            if await self.readers.are_stable(ends, _ABORT_WAIT_S):
                return True
        return not ends

    async def _write(self, todo: Settlement) -> None:
        """Write again what is missing, in the name of the attempt that has written it first."""
        self.output.attempt = todo.attempt
        for topic, messages in todo.outputs.items():
            await self.output.append(topic, Messages.of(messages))
        self.output.cut()
        last = await self.output.commit(todo.state, todo.source_offset + 1)
        changelog = self.changelog
        if not await self.readers.are_stable({changelog: last + 1}, _ABORT_WAIT_S):
            raise LogError(f"a commit to {changelog.topic}[{changelog.partition}] does not show")


def _report(partition: int, ends: Ends, todo: Settlement) -> None:
    metrics.TRANSACTIONS_SETTLED.inc()
    log.warning(
        "unended_transaction_settled",
        partition=partition,
        hanging=sorted(tp.topic for tp in ends),
        written_again={topic: len(messages) for topic, messages in todo.outputs.items()},
        state_items=len(todo.state),
        source_offset=todo.source_offset,
    )


def _still_hanging(ends: Ends) -> RecoveryError:
    found = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in ends)
    return RecoveryError(
        f"a transaction of another producer than the worker's hangs in {found}: find it by "
        f"kafka-transactions.sh find-hanging, end it by kafka-transactions.sh abort, then start "
        f"the worker again",
        "outputs",
    )


def _stored(store: Store) -> int:
    state = store.get(PARTITION_STATE_KEY)
    return -1 if state is None else partition_state.source_offset(state)


def _ahead(changelog: TopicPartition, stored: int, committed: int) -> StateAheadError:
    return StateAheadError(
        f"it goes up to source offset {stored}, {changelog.topic}[{changelog.partition}] and all "
        f"output to {committed}: the broker has lost a commit, which is scored again"
    )


def _lost(changelog: TopicPartition, todo: Settlement) -> RecoveryError:
    return RecoveryError(
        f"{changelog.topic}[{changelog.partition}] goes up to source offset {todo.source_offset}, "
        f"what is committed beside it up to {todo.shown}, the local state as far: the broker has "
        f"lost a commit there; to score it again, with some of its output a second time: "
        f"streamapp state rebuild --partition {changelog.partition}"
    )


class UndecidedWatch:
    """Looks now and then whether readers of committed records get all that was committed."""

    def __init__(
        self, topics: Topics, client: Mapping[str, Any], new_consumer: NewConsumer
    ) -> None:
        self._topics = topics
        self._client = client
        self._new_consumer = new_consumer
        self._undecided: Ends = {}

    async def look(self, partitions: Iterable[int]) -> LogError | None:
        """What was undecided at the last look and still is: only a takeover can settle it."""
        try:
            async with _readers(
                self._topics, self._client, _ABORT_WAIT_S, self._new_consumer
            ) as readers:
                shown, ends = await readers.ends(partitions)
        except KafkaError:  # a broker that is away says nothing
            return None
        stuck = [tp for tp, end in self._undecided.items() if shown.get(tp, end) < end]
        self._undecided = {tp: end for tp, end in ends.items() if shown[tp] < end}
        if not stuck:
            return None
        return LogError(
            f"the broker has not ended a transaction in {stuck[0].topic}[{stuck[0].partition}]: "
            f"the worker ends, and settles it when it is started again"
        )


@asynccontextmanager
async def _readers(
    topics: Topics,
    client: Mapping[str, Any],
    timeout_s: float,
    new_consumer: NewConsumer,
) -> AsyncIterator["_Readers"]:
    options = {**client, "enable_auto_commit": False, "fetch_max_wait_ms": 100}
    # A member of the group that is assigned partitions by hand again and again ends by an assertion
    # of aiokafka's, so the one that asks for the group's offsets is assigned none.
    clients = (
        new_consumer(**options, isolation_level="read_committed"),
        new_consumer(**options, isolation_level="read_uncommitted"),
        new_consumer(**options, group_id=topics.group),
    )
    try:
        for one in clients:
            await one.start()
        yield _Readers(topics, *clients, timeout_s)
    finally:
        for one in clients:
            await one.stop()


class _Readers:
    """Readers of what transactions have written: of what is committed, and of everything."""

    def __init__(
        self,
        topics: Topics,
        committed: AIOKafkaConsumer,
        every: AIOKafkaConsumer,
        member: AIOKafkaConsumer,
        timeout_s: float,
    ) -> None:
        self._topics = topics
        self._committed = committed
        self._every = every
        self._member = member
        self._timeout_s = timeout_s

    async def ends(self, partitions: Iterable[int]) -> tuple[Ends, Ends]:
        """Ends for readers of committed records, and of all."""
        places = [TopicPartition(t, p) for p in partitions for t in self._topics.written]
        stable = await self._committed.end_offsets(places)
        return stable, await self._every.end_offsets(places)

    async def ends_by_topic(self, partition: int) -> dict[str, int]:
        """Where everything ends in each topic of a partition."""
        places = [TopicPartition(topic, partition) for topic in self._topics.written]
        return {tp.topic: end for tp, end in (await self._every.end_offsets(places)).items()}

    async def hanging(self, partitions: Iterable[int]) -> Ends:
        """Up to where records stay undecided, of each place where any do."""
        stable, ends = await self.ends(partitions)
        late = {tp: end for tp, end in ends.items() if stable[tp] < end}
        return {} if await self.are_stable(late, _MARKER_WAIT_S) else late

    async def are_stable(self, ends: Mapping[TopicPartition, int], wait_s: float) -> bool:
        """Whether readers of committed records get up to these offsets, in time."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while ends:
            stable = await self._committed.end_offsets(list(ends))
            if all(stable[tp] >= end for tp, end in ends.items()):
                break
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_LOOK_AGAIN_S)
        return True

    async def evidence(self, stores: Mapping[int, Store]) -> tuple[Ends, dict[int, Evidence]]:
        """Where committed records end, and what stands about each partition."""
        stable, ends = await self.ends(stores)
        begins = await self._committed.beginning_offsets(list(stable))
        last = await self._last_committed(begins, stable)
        starts = {tp: last[tp].offset + 1 if tp in last else begins[tp] for tp in ends}
        tails = await self._read(self._every, starts, ends)
        return stable, {
            partition: Evidence(
                {tp.topic: one for tp, one in last.items() if tp.partition == partition},
                {tp.topic: found for tp, found in tails.items() if tp.partition == partition},
                await self.group_offset(TopicPartition(self._topics.source, partition)),
                store.changelog_offset,
                _stored(store),
            )
            for partition, store in stores.items()
        }

    async def group_offset(self, source: TopicPartition) -> int | None:
        """What the group has committed of a source partition."""
        offset: int | None = await self._member.committed(source)
        return offset

    async def _last_committed(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, ConsumerRecord]:
        """Of each place, looked for further and further before its end."""
        last: dict[TopicPartition, ConsumerRecord] = {}
        reach, waiting = _REACH_RECORDS, [tp for tp, end in ends.items() if begins[tp] < end]
        while waiting:
            starts = {tp: max(begins[tp], ends[tp] - reach) for tp in waiting}
            for tp, records in (await self._read(self._committed, starts, ends)).items():
                wanted = [one for one in records if self._is_wanted(one)]
                if wanted:
                    last[tp] = wanted[-1]
            waiting = [tp for tp in waiting if tp not in last and begins[tp] < starts[tp]]
            reach *= _REACH_GROWTH
        return last

    def _is_wanted(self, record: ConsumerRecord) -> bool:
        is_of_changelog = record.topic == self._topics.changelog
        return not is_of_changelog or bool(record.key == PARTITION_STATE_KEY)

    async def _read(
        self,
        consumer: AIOKafkaConsumer,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Records from start to end of each place."""
        found: dict[TopicPartition, list[ConsumerRecord]] = {tp: [] for tp in starts}
        waiting = [tp for tp in starts if starts[tp] < ends[tp]]
        consumer.assign(waiting)
        for tp in waiting:
            consumer.seek(tp, starts[tp])
        heard_at = asyncio.get_running_loop().time()
        while waiting:
            records = await consumer.getmany(
                *waiting, timeout_ms=_POLL_MS, max_records=_READ_RECORDS_MAX
            )
            for tp, some in records.items():
                found[tp] += [one for one in some if one.offset < ends[tp]]
            reached = {tp: await consumer.position(tp) for tp in waiting}
            still = [tp for tp in waiting if reached[tp] < ends[tp]]
            now = asyncio.get_running_loop().time()
            heard_at = now if records or len(still) < len(waiting) else heard_at
            if still and now - heard_at > self._timeout_s:
                raise RecoveryError(
                    f"no record of {still[0].topic}[{still[0].partition}] for "
                    f"{self._timeout_s:.0f} s: check that the broker is up, then start the worker "
                    f"again"
                )
            waiting = still
        return found
