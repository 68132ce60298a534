"""What a partition writes to Kafka: verdicts and dead letters at once, state at checkpoints.

`PartitionLog` is the narrow protocol between checkpoint and broker. Two forms of it stand here:
exactly-once (one transactional producer per source partition) and at-least-once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError

from streamapp.engine.record_batch import Messages, RecordBatch, batched
from streamapp.engine.store import PARTITION_STATE_KEY
from streamapp.scoring.verdicts import SourcePartition

#: A batch is sent before it grows past this: a broker's default limit is 1,048,588 bytes.
BATCH_BYTES: Final = 1_000_000

#: One record may be larger: a refused message of the broker's largest size, with our headers.
#: Topics that take such records are created with this limit.
RECORD_BYTES_MAX: Final = 2 * 1024 * 1024

#: Profiles of a checkpoint that has to be one record batch: with a scored batch's worth more they
#: stay below RECORD_BYTES_MAX.
WHOLE_PROFILES_MAX: Final = 384

#: Output held back while a commit runs; beyond it scoring waits. Some 20,000 verdicts.
PENDING_BYTES_MAX: Final = 32 * 1024 * 1024

#: Header of a partition's state in the changelog: the id of the topic whose records it counts.
SOURCE_ID_HEADER: Final = "source_id"

#: A broker that has not answered for this long is treated as gone.
ANSWER_TIMEOUT_S: Final = 30.0


class LogError(Exception):
    """The broker did not take what must not be lost; the partition can't go on."""


class PartitionLog(Protocol):
    """Where one source partition's output goes, in the order it is appended.

    is_fenced: after `open` an earlier owner can't write any more.
    """

    is_fenced: bool

    async def open(self) -> None:
        """Get ready; where fenced, lock an earlier owner of the partition out."""

    async def append(self, topic: str, messages: Messages) -> None:
        """Send to the topic's partition of the same number. Raises LogError."""

    def cut(self) -> None:
        """What was appended before belongs to the next commit, what comes after does not."""

    async def commit(self, items: Sequence[tuple[bytes, bytes]], position: int) -> int:
        """Make everything before the cut durable, with the state it led to.

        items: (key, value) for the changelog, all or nothing; position: the source offset to go
        on from. Returns the changelog offset of the last item. Raises LogError, after which
        nothing more may be appended.
        """

    async def abort(self, messages: Mapping[str, Messages]) -> None:
        """Begin a transaction with these messages by topic, and abort it. Raises LogError."""

    async def close(self) -> None:
        """Release the connection; what was not committed is left undone."""


def transactional_id(group: str, source: SourcePartition) -> str:
    """The one name under which owners of a source partition write; the newest fences the others."""
    return f"{group}-{source.topic}-{source.partition}"


def producer_options(client: Mapping[str, Any]) -> dict[str, Any]:
    """Options of every producer of the engine, over the client's own."""
    return {
        **client,
        "acks": "all",
        "enable_idempotence": True,
        "max_batch_size": RECORD_BYTES_MAX,
        "max_request_size": 2 * RECORD_BYTES_MAX,
        "request_timeout_ms": int(ANSWER_TIMEOUT_S * 1000),
        # A transaction that begins while the broker still ends the last one is told to come back.
        "retry_backoff_ms": 20,
    }


@dataclass(frozen=True, slots=True)
class _Sent:
    """A record batch on its way."""

    confirmation: "asyncio.Future[Any]"
    records: int

    @property
    def last_offset(self) -> int:
        """Offset of its last record, once confirmed."""
        return int(self.confirmation.result().offset) + self.records - 1


class _Sender:
    """Packs messages into record batches of one partition number and remembers confirmations."""

    def __init__(
        self, producer: AIOKafkaProducer, partition: int, *, is_transactional: bool
    ) -> None:
        self._producer = producer
        self._partition = partition
        self._is_transactional = is_transactional
        self.unconfirmed: list[asyncio.Future[Any]] = []

    async def send(self, topic: str, blocks: Sequence[Messages]) -> "_Sent":
        """Send in as few record batches as their size allows; says where the last one went."""
        sent = None
        for batch in batched(blocks, BATCH_BYTES):
            sent = await self._send_batch(topic, batch)
        assert sent is not None, "there are messages"
        return sent

    async def send_whole(self, topic: str, messages: Messages) -> "_Sent":
        """Send as one record batch, which Kafka stores whole or not at all."""
        return await self._send_batch(topic, [messages])

    async def _send_batch(self, topic: str, blocks: Sequence[Messages]) -> "_Sent":
        batch = RecordBatch(
            blocks, int(time.time() * 1000), is_transactional=self._is_transactional
        )
        if batch.size() > RECORD_BYTES_MAX:
            raise LogError(f"a record batch for {topic} is over {RECORD_BYTES_MAX} bytes")
        partition = self._partition
        future = await _answered(self._producer.send_batch, batch, topic, partition=partition)
        self.unconfirmed.append(future)
        return _Sent(future, batch.record_count())

    def take_unconfirmed(self) -> list[asyncio.Future[Any]]:
        """Confirmations waited for so far; forgets them."""
        taken, self.unconfirmed = self.unconfirmed, []
        return taken


async def _confirm(waiting: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for the broker to confirm. Raises LogError."""
    if not waiting:
        return
    done, pending = await asyncio.wait(waiting, timeout=ANSWER_TIMEOUT_S)
    if pending:
        raise LogError(f"the broker has not confirmed output for {ANSWER_TIMEOUT_S:.0f} s")
    for future in done:
        if error := future.exception():
            raise LogError(f"the broker refused output: {error!r}") from error


class AtLeastOnceLog:
    """Verdicts are confirmed before the state they led to is appended.

    The producer is shared by the worker's partitions and belongs to the engine.
    """

    is_fenced = False

    def __init__(
        self, producer: AIOKafkaProducer, partition: int, changelog: str, source_id: str = ""
    ) -> None:
        self._sender = _Sender(producer, partition, is_transactional=False)
        self._changelog = changelog
        self._source_id = source_id
        self._cut: list[asyncio.Future[Any]] = []

    async def open(self) -> None:
        """Nothing to do: without transactions there is no fence."""

    async def append(self, topic: str, messages: Messages) -> None:
        """Send at once."""
        await self._sender.send(topic, [messages])

    def cut(self) -> None:
        """The confirmations waited for now are those of the next commit."""
        self._cut = self._sender.take_unconfirmed()

    async def commit(self, items: Sequence[tuple[bytes, bytes]], position: int) -> int:  # noqa: ARG002
        """Confirm the output, then append the state, whose own bytes hold the position."""
        await _confirm(self._cut)
        messages = state_messages(items, self._source_id)
        sent = await self._sender.send_whole(self._changelog, messages)
        self._sender.unconfirmed.remove(sent.confirmation)
        await _confirm([sent.confirmation])
        return sent.last_offset

    async def abort(self, messages: Mapping[str, Messages]) -> None:
        """Nothing to do: there are no transactions."""

    async def close(self) -> None:
        """Nothing of its own to release."""


class ExactlyOnceLog:
    """Output, state and source offset of a checkpoint are one Kafka transaction.

    The transactional id names the source partition, so a new owner's `open` fences the old one.
    What is appended while a commit runs waits for the next transaction; what is appended while an
    earlier batch of the topic is on its way joins the next one, since a partition takes one record
    batch a round trip.
    """

    is_fenced = True

    def __init__(
        self,
        client: Mapping[str, Any],
        group: str,
        source: SourcePartition,
        changelog: str,
        transaction_timeout_s: float,
        new_producer: Callable[..., AIOKafkaProducer] = AIOKafkaProducer,
        source_id: str = "",
    ) -> None:
        self._client = client
        self._source_id = source_id
        self._transaction_timeout_ms = int(transaction_timeout_s * 1000)
        self._group = group
        self._source = source
        self._changelog = changelog
        self._new_producer = new_producer
        self._producer: AIOKafkaProducer | None = None
        self._sender: _Sender | None = None
        self._cut: list[asyncio.Future[Any]] = []
        self._cut_blocks: dict[str, list[Messages]] = {}
        self._pending: dict[str, list[Messages]] = {}
        self._pending_bytes = 0
        self._on_its_way: dict[str, asyncio.Future[Any]] = {}
        self._is_committing = False
        self._is_begun = False
        self._commit_over = asyncio.Event()
        #: Keeps a topic's messages in order where a commit's end and an append meet.
        self._sending = asyncio.Lock()

    async def open(self) -> None:
        """Register the transactional id: aborts what an earlier owner left open, and fences it."""
        source = self._source
        self._producer = self._new_producer(
            **producer_options(self._client),
            transactional_id=transactional_id(self._group, source),
            transaction_timeout_ms=self._transaction_timeout_ms,
        )
        self._sender = _Sender(self._producer, source.partition, is_transactional=True)
        await _answered(self._producer.start)

    async def append(self, topic: str, messages: Messages) -> None:
        """Send inside the open transaction, or hold back until it is this topic's turn."""
        if self._is_committing and self._pending_bytes > PENDING_BYTES_MAX:
            await _answered(self._commit_over.wait)
        self._pending.setdefault(topic, []).append(messages)
        self._pending_bytes += int(messages.sizes.sum())
        before = self._on_its_way.get(topic)
        is_free = before is None or before.done() or self._pending_bytes > BATCH_BYTES
        if is_free and not self._is_committing:
            await self._send_pending(topic)

    async def _send_pending(self, topic: str) -> None:
        async with self._sending:
            blocks = self._pending.pop(topic, [])
            self._pending_bytes -= sum(int(block.sizes.sum()) for block in blocks)
            if blocks:
                await self._begin()
                await self._send(topic, blocks)

    async def _begin(self) -> None:
        assert self._producer is not None
        if not self._is_begun:
            self._is_begun = True
            await _answered(self._producer.begin_transaction)

    async def _send(self, topic: str, blocks: Sequence[Messages]) -> _Sent:
        assert self._sender is not None
        sent = await self._sender.send(topic, blocks)
        self._on_its_way[topic] = sent.confirmation
        return sent

    def cut(self) -> None:
        """Hold back what comes from now on; the transaction is what came before."""
        assert self._sender is not None
        self._is_committing = True
        self._commit_over.clear()
        self._cut = self._sender.take_unconfirmed()
        self._cut_blocks, self._pending, self._pending_bytes = self._pending, {}, 0

    async def commit(self, items: Sequence[tuple[bytes, bytes]], position: int) -> int:
        """Append the state and the source offset to the transaction and commit it.

        After any failure the transaction's fate is unknown: it is not retried, the partition is
        given up, and the next `open` decides.
        """
        try:
            state = await self._commit(items, position)
        finally:
            self._commit_over.set()
        self._is_committing = False
        for topic in list(self._pending):
            await self._send_pending(topic)
        return state.last_offset

    async def _commit(self, items: Sequence[tuple[bytes, bytes]], position: int) -> _Sent:
        assert self._producer is not None
        assert self._sender is not None
        await self._begin()
        for topic, blocks in self._cut_blocks.items():
            await self._send(topic, blocks)
        state = await self._send(self._changelog, [state_messages(items, self._source_id)])
        source = TopicPartition(self._source.topic, self._source.partition)
        offsets = {source: position}
        await _answered(self._producer.send_offsets_to_transaction, offsets, self._group)
        await _confirm([*self._cut, *self._sender.take_unconfirmed()])
        await _answered(self._producer.commit_transaction)
        self._is_begun = False
        return state

    async def abort(self, messages: Mapping[str, Messages]) -> None:
        """Abort a transaction made for it: it takes along what hangs of earlier ones."""
        assert self._producer is not None
        assert self._sender is not None
        await self._begin()
        for topic, one in messages.items():
            await self._send(topic, [one])
        await _confirm(self._sender.take_unconfirmed())
        await _answered(self._producer.abort_transaction)
        self._is_begun = False

    async def close(self) -> None:
        """Stop the producer; an open transaction is aborted by the next owner's `open`."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await _answered(producer.stop)


def state_messages(items: Sequence[tuple[bytes, bytes]], source_id: str) -> Messages:
    """Changed state as changelog records; the partition's own says of which source it is."""
    headers = [(SOURCE_ID_HEADER, source_id.encode())] if source_id else []
    return Messages.of(
        [(key, value, headers if key == PARTITION_STATE_KEY else ()) for key, value in items]
    )


async def _answered(call: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
    """The answer to a call on the broker. Raises LogError where it fails or takes too long."""
    try:
        return await asyncio.wait_for(call(*arguments, **options), ANSWER_TIMEOUT_S)
    except TimeoutError as error:
        raise LogError(f"the broker has not answered for {ANSWER_TIMEOUT_S:.0f} s") from error
    except (KafkaError, IllegalOperation) as error:  # the latter once a producer was fenced
        raise LogError(f"the broker refused: {error!r}") from error
