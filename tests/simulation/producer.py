"""A producer with the surface and the manners of aiokafka's, on the simulated network.

Like aiokafka it tries requests again that got no answer, keeps sequence numbers, sends a batch
only when its partition is in the transaction, and after being fenced does nothing more. Like it,
it sends on in the background when its user has stopped waiting.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    IllegalOperation,
    KafkaConnectionError,
    KafkaError,
    NotEnoughReplicasError,
    ProducerClosed,
    RequestTimedOutError,
)

from streamapp.engine.producer import PLAIN_BATCH_BYTES
from streamapp.engine.record_batch import RecordBatch
from tests.engine.unpacking import unpacked
from tests.simulation.broker import Broker, ProducerId
from tests.simulation.network import Network
from tests.simulation.topic_log import Message
from tests.simulation.world import Process

RETRIABLE: Final = (
    KafkaConnectionError,
    NotEnoughReplicasError,
    RequestTimedOutError,
    ConcurrentTransactions,
)
_BACKOFF_S: Final = 0.1
_RECORD_OVERHEAD_BYTES: Final = 24

_State = Literal["new", "ready", "open", "committing", "aborting", "failed"]


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a batch went."""

    offset: int


@dataclass(slots=True)
class _Sending:
    batch: RecordBatch
    topic: str
    partition: int
    sequence: int
    confirmed: "asyncio.Future[Appended]"


class SimulatedProducer:
    """One producer of one process."""

    plain_batch_bytes = PLAIN_BATCH_BYTES

    def __init__(
        self,
        process: Process,
        network: Network,
        broker: Broker,
        *,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = 60_000,
        **_options: Any,
    ) -> None:
        self._process = process
        self._network = network
        self._broker = broker
        self._transactional_id = transactional_id
        self._transaction_timeout_s = transaction_timeout_ms / 1000
        self._id: ProducerId | None = None
        self._state: _State = "new"
        self._queue: deque[_Sending] = deque()
        self._sequences: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._added: set[tuple[str, int]] = set()
        self._to_name: list[tuple[str, int]] = []
        self._ended: asyncio.Future[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self) -> None:
        """Connect and get a producer id."""
        await self._request("connect", lambda: None)
        self._id = await self._answered("init_producer", self._init)
        self._state = "ready"
        self._sender = self._process.loop.create_task(self._send_all())

    @property
    def epoch(self) -> int:
        """Of its producer id; 0 before the start."""
        return 0 if self._id is None else self._id.epoch

    def _init(self) -> ProducerId:
        return self._broker.init_producer(self._transactional_id, self._transaction_timeout_s)

    async def stop(self) -> None:
        """Deliver what is queued; an open transaction stays as it is."""
        if self._is_closed:
            return
        self._is_closed = True
        self._notify()
        if self._sender is not None:
            await asyncio.shield(self._sender)

    async def send_batch(
        self, batch: RecordBatch, topic: str, *, partition: int
    ) -> "asyncio.Future[Appended]":
        """Queue a batch; its confirmation to come."""
        await self._hesitate()
        if self._transactional_id is not None and self._state != "open":
            raise IllegalOperation("Can't send messages while not in transaction")
        if self._is_closed:
            raise ProducerClosed
        place = (topic, partition)
        confirmed: asyncio.Future[Appended] = self._process.loop.create_future()
        self._queue.append(_Sending(batch, topic, partition, self._sequences[place], confirmed))
        self._sequences[place] += batch.record_count()
        self._notify()
        return confirmed

    async def begin_transaction(self, partitions: Iterable[TopicPartition] = ()) -> None:
        """Begin; the broker hears of it with the first partition, and is told these beforehand."""
        await self._hesitate()
        assert self._state == "ready", f"Invalid state transition {self._state} -> open"
        self._state = "open"
        self._to_name = [(place.topic, place.partition) for place in partitions]
        self._ended = self._process.loop.create_future()

    async def commit_transaction(self) -> None:
        """Commit when all that was queued has been delivered."""
        await self._ended_as("committing")

    async def abort_transaction(self) -> None:
        """Abort when all that was queued has been delivered."""
        await self._ended_as("aborting")

    async def _ended_as(self, state: _State) -> None:
        assert self._state == "open", f"Invalid state transition {self._state} -> {state}"
        assert self._ended is not None
        self._state = state
        self._notify()
        await asyncio.shield(self._ended)

    async def _hesitate(self) -> None:
        """Metadata is known, or looked up first."""
        draw = self._process.world.random
        if draw.random() < 0.3:
            await asyncio.sleep(0 if draw.random() < 0.7 else draw.uniform(0.0, 0.05))

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _send_all(self) -> None:
        try:
            while not await self._send_next():
                pass
        except KafkaError as error:
            self._fail(error)

    async def _send_next(self) -> bool:
        """Do what comes next; True when there will be nothing more."""
        if self._to_name:
            await self._name(self._to_name[0])
        elif self._queue:
            await self._deliver(self._queue[0])
            self._queue.popleft()
        elif self._is_closed:
            return True
        elif self._state in ("committing", "aborting"):
            await self._end()
        else:
            self._wake = self._process.loop.create_future()
            await self._wake
        return False

    async def _deliver(self, sending: _Sending) -> None:
        producer, place = self._known_id(), (sending.topic, sending.partition)
        if self._transactional_id is not None and place not in self._added:
            await self._name(place)
        try:
            base = await self._answered(
                "produce",
                lambda: self._broker.produce(
                    producer, sending.sequence, *place, _messages(sending.batch)
                ),
            )
        except KafkaError as error:
            if not sending.confirmed.done():
                sending.confirmed.set_exception(error)
        else:
            if not sending.confirmed.done():
                sending.confirmed.set_result(Appended(base))

    async def _name(self, place: tuple[str, int]) -> None:
        producer = self._known_id()
        await self._answered("add_partition", lambda: self._broker.add_partition(producer, *place))
        self._added.add(place)
        self._to_name = [one for one in self._to_name if one != place]

    async def _end(self) -> None:
        producer, outcome = self._known_id(), self._state == "committing"
        await self._answered(
            "commit", lambda: self._broker.end_transaction(producer, outcome=outcome)
        )
        self._state = "ready"
        self._added.clear()
        assert self._ended is not None
        if not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: KafkaError) -> None:
        """Fenced, or in a state the broker does not accept: nothing goes on."""
        self._state = "failed"
        waiting = [sending.confirmed for sending in self._queue]
        waiting += [self._ended] if self._ended is not None else []  # type: ignore[list-item]
        self._queue.clear()
        for one in waiting:
            if not one.done():
                one.set_exception(error)

    def _known_id(self) -> ProducerId:
        assert self._id is not None
        return self._id

    async def _answered(self, name: str, action: Callable[[], Any]) -> Any:
        """The answer, after as many attempts as it takes; raises what can't be tried again."""
        while True:
            try:
                return await self._request(name, action)
            except RETRIABLE as error:
                if self._is_closed and name != "produce":
                    raise ProducerClosed from error
                await asyncio.sleep(_BACKOFF_S)

    async def _request(self, name: str, action: Callable[[], Any]) -> Any:
        return await self._network.request(self._process, name, action)


def _messages(batch: RecordBatch) -> list[Message]:
    return [(key, value, tuple(headers)) for key, value, headers in unpacked(batch.blocks)]
