"""Messages of one partition number on their way to the broker, and what is known of their arrival.

A topic's partition takes one record batch a round trip, so a topic has one on its way at a time;
what comes meanwhile is merged and goes with the next. Who hands messages over does not wait for
that: scoring goes on while the broker answers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import IllegalOperation, KafkaError

from streamapp.engine.producer import BATCH_BYTES, Producer
from streamapp.engine.record_batch import Messages, RecordBatch, batched

#: One record may be larger: a refused message of the broker's largest size, with our headers.
#: Topics that take such records are created with this limit.
RECORD_BYTES_MAX: Final = 2 * 1024 * 1024

#: Output that waits to be sent; beyond it scoring waits. Some 20,000 verdicts.
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024

#: A broker that has not answered for this long is treated as gone.
ANSWER_TIMEOUT_S: Final = 30.0


class LogError(Exception):
    """The broker did not take what must not be lost; the partition can't go on."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A record batch on its way."""

    confirmation: "asyncio.Future[Any]"
    records: int

    @property
    def last_offset(self) -> int:
        """Offset of its last record, once confirmed."""
        return int(self.confirmation.result().offset) + self.records - 1


async def answered(call: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
    """The answer to a call on the broker. Raises LogError where it fails or takes too long."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await call(*arguments, **options)
    except TimeoutError as error:
        raise LogError(f"the broker has not answered for {ANSWER_TIMEOUT_S:.0f} s") from error
    except (KafkaError, IllegalOperation) as error:  # the latter once a producer was fenced
        raise LogError(f"the broker refused: {error!r}") from error


async def confirm(waiting: Sequence["asyncio.Future[Any]"]) -> None:
    """Wait for the broker to confirm. Raises LogError."""
    if not waiting:
        return
    done, pending = await asyncio.wait(waiting, timeout=ANSWER_TIMEOUT_S)
    if pending:
        raise LogError(f"the broker has not confirmed output for {ANSWER_TIMEOUT_S:.0f} s")
    for future in done:
        if error := future.exception():
            raise LogError(f"the broker refused output: {error!r}") from error


class Outbox:
    """Merges, sends and remembers; each topic's messages stay in their order.

    begin: called before anything is sent, with the topics that are to be sent to.
    """

    def __init__(
        self,
        producer: Producer,
        partition: int,
        *,
        is_transactional: bool,
        begin: Callable[[Sequence[str]], Awaitable[None]] | None = None,
    ) -> None:
        self._producer = producer
        self._partition = partition
        self._is_transactional = is_transactional
        self._begin = begin
        self._waiting: dict[str, list[Messages]] = {}
        self._waiting_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._cut: dict[str, list[Messages]] = {}
        self._unconfirmed: list[asyncio.Future[Any]] = []
        self._is_held = False
        self._senders: dict[str, asyncio.Task[None]] = {}
        #: Held from taking messages until they are the producer's: what is cut is all or nothing.
        self._handing_over = asyncio.Lock()
        self._failure: Exception | None = None

    async def put(self, topic: str, messages: Messages) -> None:
        """Have messages sent; returns at once unless too much waits. Raises LogError."""
        if not self._has_room.is_set():
            await answered(self._has_room.wait)
        self._raise_failure()
        self._waiting.setdefault(topic, []).append(messages)
        self._count(messages.size)
        if not self._is_held:
            self._start(topic)

    def _count(self, added: int) -> None:
        self._waiting_bytes += added
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self._has_room.clear()
        else:
            self._has_room.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise LogError(f"output was not sent: {self._failure}") from self._failure

    def _start(self, topic: str) -> None:
        if topic not in self._senders:
            self._senders[topic] = asyncio.ensure_future(self._send_waiting(topic))

    async def _send_waiting(self, topic: str) -> None:
        """Send what waits, a round trip each, until nothing does or it is held back."""
        try:
            while (sent := await self._hand_over(topic)) is not None:
                await confirm([sent.confirmation])
        except Exception as error:
            self._failure = error
            self._has_room.set()  # who waits for it is told
        finally:
            del self._senders[topic]

    async def _hand_over(self, topic: str) -> Sent | None:
        async with self._handing_over:
            if self._is_held or topic not in self._waiting:
                return None
            topics = list(self._waiting)
            blocks = self._waiting.pop(topic)  # before a cut, whatever is cut meanwhile
            self._count(-sum(block.size for block in blocks))
            if self._begin is not None:
                await self._begin(topics)
            return await self.send(topic, blocks)

    def hold(self) -> None:
        """Cut here: `send_cut` sends what was put before, `go_on` what comes from now on."""
        self._is_held = True
        self._cut, self._waiting = self._waiting, {}
        self._count(-self._waiting_bytes)

    async def send_cut(self) -> None:
        """Send what was put before the cut. Raises LogError."""
        async with self._handing_over:
            self._raise_failure()
            cut, self._cut = self._cut, {}
            if cut and self._begin is not None:
                await self._begin(list(cut))
            for topic, blocks in cut.items():
                await self.send(topic, blocks)

    def take_unconfirmed(self) -> list["asyncio.Future[Any]"]:
        """Confirmations waited for so far; forgets them."""
        taken, self._unconfirmed = self._unconfirmed, []
        return taken

    def go_on(self) -> None:
        """Send what was put since the cut."""
        self._is_held = False
        for topic in list(self._waiting):
            self._start(topic)

    async def send(self, topic: str, blocks: Sequence[Messages]) -> Sent:
        """Send at once in as few record batches as size allows; where the last one went."""
        sent = None
        for batch in self._batches(blocks):
            sent = await self._send_batch(topic, batch)
            self._unconfirmed.append(sent.confirmation)
        assert sent is not None, "there are messages"
        return sent

    def _batches(self, blocks: Sequence[Messages]) -> Iterator[RecordBatch]:
        for together in batched(blocks, self._producer.plain_batch_bytes):
            batch = self._batch(together)
            if batch.is_within(BATCH_BYTES):
                yield batch
            else:  # compression has made too little of it
                yield from map(self._batch, batched(together, BATCH_BYTES))

    def _batch(self, blocks: Sequence[Messages]) -> RecordBatch:
        now_ms = int(time.time() * 1000)
        return RecordBatch(blocks, now_ms, is_transactional=self._is_transactional)

    async def send_whole(self, topic: str, messages: Messages) -> Sent:
        """Send as one record batch, which Kafka stores whole or not at all; confirmed by itself."""
        return await self._send_batch(topic, self._batch([messages]))

    async def _send_batch(self, topic: str, batch: RecordBatch) -> Sent:
        if not batch.is_within(RECORD_BYTES_MAX):
            raise LogError(f"a record batch for {topic} is over {RECORD_BYTES_MAX} bytes")
        partition = self._partition
        future = await answered(self._producer.send_batch, batch, topic, partition=partition)
        return Sent(future, batch.record_count())

    async def close(self) -> None:
        """Send nothing more."""
        senders = list(self._senders.values())
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
