"""A Faust transport whose messages are batches: many records of one partition in one message.

Faust spends its time on task switches, one round for each message. Here a message carries what
has arrived for a partition, so that cost is shared, and nothing waits for a batch to fill. Faust
keeps assignment, rebalancing, flow control and agents. Positions are taken away from it: they
belong to the checkpoint, and Faust's own accounting is not made for offsets that jump.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import faust
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streamapp.engine.recovery import verify_position


@dataclass(slots=True)
class RecordBatch:
    """Records of one partition, in the shape of one record; its offset is the last one's.

    `value` is the list of records.
    """

    topic: str
    partition: int
    offset: int
    value: list[ConsumerRecord]
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

    async def quiesce(self) -> None:
        """Return when no batch is being scored."""


@dataclass(slots=True)
class BatchingOptions:
    """What the engine tells the transport; set on the app before it starts."""

    source_topic: str
    records_max: int
    positions: Positions
    group_instance_id: str | None = None
    auth: Mapping[str, Any] = field(default_factory=dict)


def fold(records: Sequence[ConsumerRecord], records_max: int) -> list[RecordBatch]:
    """Cut records of one partition into batches of at most `records_max`."""
    batches = []
    for start in range(0, len(records), records_max):
        chunk = list(records[start : start + records_max])
        last = chunk[-1]
        batches.append(
            RecordBatch(last.topic, last.partition, last.offset, chunk, timestamp=last.timestamp)
        )
    return batches


#: A broker answers the requests of a connection in their order, so what is asked at a rebalance
#: waits behind a fetch that waits for records.
FETCH_WAIT_MS = 100


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread around aiokafka's consumer, whose fetches wait for 1.5 s unless changed."""

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        consumer = super()._create_consumer(loop)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class TableRegistry(TableManager):
    """Faust's table manager without its second of waiting at start: there are no Faust tables."""

    async def on_start(self) -> None:
        """Go on at once."""
        await self._update_channels()
        await self.recovery.start()


class Consumer(driver.Consumer):
    """Faust's aiokafka consumer, folding records and leaving positions to the engine."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def _options(self) -> BatchingOptions:
        return cast(BatchingOptions, cast(Any, self.app).batching)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        records = await super()._getmany(active_partitions, timeout)
        return {tp: fold(found, self._options.records_max) for tp, found in records.items()}

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

    async def wait_empty(self) -> None:
        """Wait until the engine has finished the batch it is scoring."""
        await self._options.positions.quiesce()

    async def perform_seek(self) -> None:
        """Go to where the recovered state ends, whatever the group has committed."""
        committed = await self.seek_to_committed()
        sources = [tp for tp in self.assignment() if tp.topic == self._options.source_topic]
        begins, ends = await asyncio.gather(
            self.earliest_offsets(*sources), self.highwaters(*sources)
        )
        for tp in sources:
            group_offset = committed.get(tp)
            position = self._options.positions.position(tp.partition, group_offset)
            if position is None:  # what was fetched before the flow began is gone, so say it
                position = begins[tp]
            verify_position(tp.topic, tp.partition, position, begins[tp], ends[tp])
            await self._seek(tp, position)
            self._read_offset[tp] = None
        await asyncio.sleep(0)

    async def commit_positions(self, positions: Mapping[int, int]) -> bool:
        """Tell the group how far the source partitions are done."""
        topic = self._options.source_topic
        assigned = self.assignment()
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
