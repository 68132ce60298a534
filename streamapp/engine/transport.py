"""A Faust transport whose messages are batches: many records of one partition in one message.

Faust spends its time on task switches, one round for each message. Here a message carries what
has arrived for a partition, so that cost is shared, and nothing waits for a batch to fill. Faust
keeps assignment, rebalancing, flow control and agents. Positions are taken away from it: they
belong to the checkpoint, and Faust's own accounting is not made for offsets that jump.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import faust
from aiokafka import TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import WaitResults

from streamapp.engine import fetched_records
from streamapp.engine.at_once import Begun
from streamapp.engine.gathering import (
    CALM_AFTER_S,
    FETCH_WAIT_MS,
    GATHER_BYTES_MAX,
    gather_ms,
)
from streamapp.engine.record_columns import FetchedRecord


class GapError(Exception):
    """Records were fetched and never arrived: going on would lose them."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of one partition, and where the consumer stood before them (None: not known).

    Offsets may jump inside a topic, so only the place before tells whether anything is missing.
    seeks: how often the consumer had been told where to read; what was fetched before the last
    time is read again.
    """

    records: Sequence[FetchedRecord]
    follows: int | None
    seeks: int


@dataclass(slots=True)
class RecordBatch:
    """Records of one partition, in the shape of one record; its offset is the last one's."""

    topic: str
    partition: int
    offset: int
    value: Fetched
    key: None = None
    timestamp: int | None = None
    timestamp_type: int = 0
    headers: tuple[()] = ()
    checksum: None = None
    serialized_key_size: int = 0
    serialized_value_size: int = 0


class BatchSchema(faust.Schema[Any, Any]):
    """Hands the list of records through as it is."""

    def loads_key(self, app: Any, message: Any, **_options: Any) -> None:
        """Batches have no key."""

    def loads_value(self, app: Any, message: Any, **_options: Any) -> Any:  # noqa: ARG002
        """The records."""
        return message.value


class Positions(Protocol):
    """Who knows where each partition goes on: the engine, from its recovered state."""

    def position(self, partition: int, committed: int | None) -> int | None:
        """Offset to read next; None is the first there is."""

    def verified(self, partition: int, position: int, begin: int, end: int) -> int:
        """The position if the topic still has it; else the partition is stopped, at `begin`."""

    def is_stopped(self, partition: int) -> bool:
        """Whether nothing is to be fetched of the partition."""

    async def quiesce(self) -> None:
        """Return when no batch is being scored."""


@dataclass(slots=True)
class BatchingOptions:
    """What the engine tells the transport; set on the app before it starts."""

    source_topic: str
    records_max: int
    positions: Positions
    gather_ms_max: int


def fold(
    records: Sequence[FetchedRecord],
    records_max: int,
    follows: int | None = None,
    seeks: int = 0,
) -> list[RecordBatch]:
    """Cut records of one partition into batches of at most `records_max`."""
    batches = []
    for start in range(0, len(records), records_max):
        chunk = records[start : start + records_max]
        last = chunk[-1]
        value = Fetched(chunk, follows, seeks)
        batches.append(
            RecordBatch(last.topic, last.partition, last.offset, value, timestamp=last.timestamp)
        )
        follows = last.offset + 1
    return batches


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread around aiokafka's consumer, whose fetches wait for 1.5 s unless changed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._fetches: set[asyncio.Task[Any]] = set()
        self._next: dict[TP, int] = {}
        self._seeks = 0
        self._started_at: dict[TP, int] = {}
        self._calm: asyncio.TimerHandle | None = None
        self._cpu_s = time.process_time()

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        fetched_records.install()
        consumer = super()._create_consumer(loop)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"  # a payment that was aborted is none
        return consumer

    def end_of_records(self, tp: TP) -> int | None:
        """Offset behind the last record there is; None while nothing is to come or known.

        Behind the last record there may be markers of transactions, which nobody ever gets.
        """
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return None
        if tp not in subscription.assignment.tps or tp not in self._next:
            return None
        state, end = subscription.assignment.state_value(tp), consumer.last_stable_offset(tp)
        if end is not None and state.has_valid_position and state.position < end:
            return int(end)
        return self._next[tp] if self._next[tp] > self._started_at[tp] else None

    async def _fetch_records(self, *arguments: Any, **options: Any) -> dict[TP, list[RecordBatch]]:
        fetch = asyncio.ensure_future(super()._fetch_records(*arguments, **options))
        self._fetches.add(fetch)
        try:
            found = await fetch
        except asyncio.CancelledError:
            if not fetch.cancelled():
                raise
            return {}
        finally:
            self._fetches.discard(fetch)
        folded = {tp: self._folded(tp, records) for tp, records in found.items() if records}
        if folded:
            self._pace()
        return folded

    def _pace(self) -> None:
        """Records flow: have the broker gather those of all partitions for a moment."""
        fetcher = self._ensure_consumer()._fetcher
        before_s, self._cpu_s = self._cpu_s, time.process_time()
        longest_ms = cast(Any, self.app).batching.gather_ms_max
        fetcher._fetch_max_wait_ms = gather_ms(self._cpu_s - before_s, longest_ms)
        fetcher._fetch_min_bytes = GATHER_BYTES_MAX
        if self._calm is not None:
            self._calm.cancel()
        self._calm = asyncio.get_running_loop().call_later(CALM_AFTER_S, self._stop_pacing)

    def _stop_pacing(self) -> None:
        """Records have become rare: the next one is fetched at once."""
        self._calm = None
        consumer = self._consumer
        if consumer is not None and consumer._fetcher is not None:  # else it has been stopped
            consumer._fetcher._fetch_max_wait_ms = FETCH_WAIT_MS
            consumer._fetcher._fetch_min_bytes = consumer._fetch_min_bytes

    def _folded(self, tp: TP, records: Sequence[FetchedRecord]) -> list[RecordBatch]:
        follows, self._next[tp] = self._next.get(tp), records[-1].offset + 1
        records_max = cast(Any, self.app).batching.records_max
        return fold(records, records_max, follows, self._seeks)

    def pause(self, tps: Iterable[TP]) -> None:
        """Fetch no more of these until the next assignment."""
        subscription = self._ensure_consumer()._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return
        for tp in set(tps) & set(subscription.assignment.tps):
            subscription.assignment.state_value(tp).pause()

    async def go_to(self, positions: Mapping[TP, int]) -> int:
        """Read on from these positions; how often this was done. Runs on the thread's own loop.

        A fetch that a rebalance interrupts goes on and takes the first records of the next
        assignment with it: so it is ended first.
        """
        for fetch in self._fetches:
            fetch.cancel()
        if self._fetches:
            await asyncio.wait(self._fetches)
        self._seeks += 1
        assigned = self.assignment()
        for tp, position in positions.items():
            if tp in assigned:  # else the next rebalance has begun
                self.seek(tp, position)
        self._next, self._started_at = dict(positions), dict(positions)
        return self._seeks


#: Batches of a fetch that are handed over in one round of the event loop.
AT_ONCE_MAX: Final = 8


class NoReadOffsets(dict[TP, int | None]):
    """Faust drops what lies before the last offset it has read, and after a seek back that loses
    records: so it is let remember none."""

    def __getitem__(self, tp: TP) -> None:
        """Nothing has been read."""

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        """Forgotten at once."""


class Consumer(driver.Consumer):
    """Faust's aiokafka consumer, folding records and leaving positions to the engine."""

    _thread: ConsumerThread

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._read_offset = NoReadOffsets()
        self._expected: dict[TP, int] = {}
        self._seeks = 0
        self._at_once_left = 0

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def _options(self) -> BatchingOptions:
        return cast(BatchingOptions, cast(Any, self.app).batching)

    def is_next(self, tp: TP, fetched: Fetched) -> bool:
        """Whether these records are to be scored; not if they will be read again.

        Raises GapError where something was fetched between the last batch and this one.
        """
        if fetched.seeks < self._seeks:
            return False
        expected = self._expected.get(tp, 0)
        if fetched.follows is None or fetched.follows > expected:
            raise GapError(
                f"{tp.topic}[{tp.partition}] goes on at {fetched.follows}, expected {expected}: "
                f"the records between were fetched and lost on the way; they are read again when "
                f"the worker is started again"
            )
        if fetched.records[0].offset < fetched.follows:
            raise GapError(
                f"{tp.topic}[{tp.partition}] gave offset {fetched.records[0].offset} after "
                f"{fetched.follows}: it was cut, or deleted and made again; what to do is said "
                f"when the worker is started again"
            )
        self._expected[tp] = max(expected, fetched.records[-1].offset + 1)
        return True

    def end_of_records(self, tp: TP) -> int | None:
        """Offset behind the last record there is; None while nothing is to come or known."""
        return self._thread.end_of_records(tp)

    def on_buffer_full(self, tp: TP) -> None:
        """Leave it in: with all left out Faust sleeps for a second; the queue is bounded anyway."""

    def ack(self, message: Any) -> bool:
        """Forget the message; what is done is known by the checkpoint alone."""
        self._unacked_messages.discard(message)
        message.acked = True
        return True

    async def commit(self, *_args: Any, **_options: Any) -> bool:
        """Commit nothing: offsets are committed by `commit_positions`, after a checkpoint."""
        return False

    async def force_commit(self, *_args: Any, **_options: Any) -> bool:
        """Commit nothing, as `commit`."""
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Keep no account of offsets between batches: never acknowledged, it would only grow."""

    async def wait_first(self, *waited: Any, timeout: Any = None) -> Any:
        """Whatever ends first; without tasks where the first is a coroutine that ends at once.

        So batches of all partitions are handed over before one of them is scored.
        """
        first, *others = waited
        if self._at_once_left == 0 or not asyncio.iscoroutine(first):
            return await super().wait_first(*waited, timeout=timeout)
        self._at_once_left -= 1
        begun = Begun(first)
        if not begun.has_ended:
            return await super().wait_first(begun, *others, timeout=timeout)
        for other in others:
            other.close()
        return WaitResults([first], [begun.result], stopped=False)

    async def wait_empty(self) -> None:
        """Wait until the engine has finished the batch it is scoring."""
        await self._options.positions.quiesce()

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        self._at_once_left = AT_ONCE_MAX
        try:
            return await super()._getmany(active_partitions, timeout)
        except NoOffsetForPartitionError:  # just assigned: `perform_seek` is about to go there
            return {}
        except OffsetOutOfRangeError as error:
            await self._verify(error.args[0])
            return {}

    async def _verify(self, positions: Mapping[TP, int]) -> None:
        """Have partitions stopped whose next record is gone; going on would pass over it."""
        held = {TP(*tp): position for tp, position in positions.items()}
        begins, ends = await self._bounds(held)
        for tp, position in held.items():
            self._options.positions.verified(tp.partition, position, begins[tp], ends[tp])
        self.pause_stopped()

    async def _bounds(self, tps: Iterable[TP]) -> tuple[Mapping[TP, int], Mapping[TP, int]]:
        """First offset and end of each partition."""
        begins, ends = await asyncio.gather(self.earliest_offsets(*tps), self.highwaters(*tps))
        return begins, ends

    async def perform_seek(self) -> None:
        """Go to where the recovered state ends, whatever the group has committed."""
        committed = await self.seek_to_committed()
        sources = [tp for tp in self.assignment() if tp.topic == self._options.source_topic]
        begins, ends = await self._bounds(sources)
        positions = {}
        for tp in sources:
            engine = self._options.positions
            position = engine.position(tp.partition, committed.get(tp))
            start = begins[tp] if position is None else position
            positions[tp] = engine.verified(tp.partition, start, begins[tp], ends[tp])
        thread = self._thread
        going = asyncio.run_coroutine_threadsafe(thread.go_to(positions), thread.thread_loop)
        self._seeks = await asyncio.wrap_future(going)
        self._expected = positions
        self.pause_stopped()

    def pause_stopped(self) -> None:
        """Fetch nothing more of the partitions that the engine has stopped."""
        stopped = {tp for tp in self.assignment() if self._is_stopped(tp)}
        if stopped - self._paused_partitions:
            self.pause_partitions(stopped)
            self._thread.pause(stopped)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume fetching, but for what is stopped."""
        super().resume_partitions({tp for tp in tps if not self._is_stopped(tp)})

    def _is_stopped(self, tp: TP) -> bool:
        is_source = tp.topic == self._options.source_topic
        return is_source and self._options.positions.is_stopped(tp.partition)

    async def commit_positions(self, positions: Mapping[int, int]) -> bool:
        """Tell the group how far the source partitions are done."""
        topic, assigned = self._options.source_topic, self.assignment()
        offsets = {
            TopicPartition(topic, partition): offset
            for partition, offset in positions.items()
            if TP(topic, partition) in assigned
        }
        return bool(offsets) and bool(await self._commit(offsets))

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Left to the engine's own watch over stalled partitions."""


class Transport(driver.Transport):
    """Faust transport `recordbatch://host:port`."""

    Consumer = Consumer
