"""What a partition writes to Kafka: verdicts and dead letters at once, state at checkpoints.

`PartitionLog` is the narrow protocol between checkpoint and broker. Two forms of it stand here:
exactly-once (one transactional producer per source partition) and at-least-once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion

from streamapp.engine import metrics
from streamapp.engine.attempt import Attempt
from streamapp.engine.outbox import ANSWER_TIMEOUT_S, RECORD_BYTES_MAX, Outbox, answered, confirm
from streamapp.engine.producer import Producer
from streamapp.engine.record_batch import Header, Messages, encoded_headers
from streamapp.engine.store import PARTITION_STATE_KEY
from streamapp.engine.tombstone import state_headers
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.verdicts import SourcePartition

#: Of a profile in the changelog: up to 1,024 bytes, a key of up to 513, and what a record adds.
_PROFILE_RECORD_BYTES: Final = 1_600
#: Of the partition's own state there: all but the masses of its half-space trees.
_STATE_RECORD_BYTES: Final = 4_096

#: Header of a partition's state in the changelog: the id of the topic whose records it counts.
SOURCE_ID_HEADER: Final = "source_id"


def whole_profiles_max(masses_bytes: int, batch_records: int) -> int:
    """Profiles at which a checkpoint begins that has to be one record batch.

    So many, those of a scored batch more and the partition's state stay within RECORD_BYTES_MAX.
    """
    room = RECORD_BYTES_MAX - _STATE_RECORD_BYTES - masses_bytes
    return max(room // _PROFILE_RECORD_BYTES - batch_records, 1)


Item = tuple[bytes, bytes | None]
"""Key and value of a changelog record; without a value what the key had is erased."""


class PartitionLog(Protocol):
    """Where one source partition's output goes, in the order it is appended.

    is_fenced: after `open` an earlier owner can't write any more. attempt: named beside each state
    that is committed.
    """

    is_fenced: bool
    attempt: Attempt

    async def open(self) -> None:
        """Get ready; where fenced, lock an earlier owner of the partition out."""

    async def append(self, topic: str, messages: Messages) -> None:
        """Send to the topic's partition of the same number. Raises LogError."""

    def cut(self) -> None:
        """What was appended before belongs to the next commit, what comes after does not."""

    async def commit(self, items: Sequence[Item], position: int) -> int:
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


async def started_producer(
    new_producer: Callable[..., Producer], client: Mapping[str, Any]
) -> Producer:
    """A producer without transactions; idempotent where the broker knows how."""
    producer = new_producer(**producer_options(client))
    try:
        await producer.start()
    except IncompatibleBrokerVersion:
        await producer.stop()
        producer = new_producer(**producer_options(client) | {"enable_idempotence": False})
        await producer.start()
    return producer


class AtLeastOnceLog:
    """Verdicts are confirmed before the state they led to is appended.

    The producer is shared by the worker's partitions and belongs to the engine.
    """

    is_fenced = False

    def __init__(
        self, producer: Producer, partition: int, changelog: str, source_id: str = ""
    ) -> None:
        self.attempt = Attempt()
        self._outbox = Outbox(producer, partition, is_transactional=False)
        self._changelog = changelog
        self._source_id = source_id

    async def open(self) -> None:
        """Nothing to do: without transactions there is no fence."""

    async def append(self, topic: str, messages: Messages) -> None:
        """Send when it is this topic's turn."""
        await self._outbox.put(topic, messages)

    def cut(self) -> None:
        """What was appended is confirmed by the next commit."""
        self._outbox.hold()

    async def commit(self, items: Sequence[Item], position: int) -> int:
        """Confirm the output, then append the state, whose own bytes hold the position."""
        await self._outbox.send_cut()
        output = self._outbox.take_unconfirmed()
        self._outbox.go_on()
        await confirm(output)
        messages = state_messages(items, self._source_id, position - 1, self.attempt)
        sent = await self._outbox.send_whole(self._changelog, messages)
        await confirm([sent.confirmation])
        return sent.last_offset

    async def abort(self, messages: Mapping[str, Messages]) -> None:
        """Nothing to do: there are no transactions."""

    async def close(self) -> None:
        """Send nothing more; the producer is the engine's."""
        await self._outbox.close()


class ExactlyOnceLog:
    """Output and state of a checkpoint are one Kafka transaction; the state has the position.

    The transactional id names the source partition, so a new owner's `open` fences the old one.
    What is appended while a commit runs waits for the next transaction.
    """

    is_fenced = True

    def __init__(
        self,
        client: Mapping[str, Any],
        group: str,
        source: SourcePartition,
        changelog: str,
        transaction_timeout_s: float,
        new_producer: Callable[..., Producer] = Producer,
        source_id: str = "",
    ) -> None:
        self.attempt = Attempt()
        self._client = client
        self._source_id = source_id
        self._transaction_timeout_ms = int(transaction_timeout_s * 1000)
        self._group = group
        self._source = source
        self._changelog = changelog
        self._new_producer = new_producer
        self._producer: Producer | None = None
        self._outbox: Outbox | None = None
        self._is_begun = False

    async def open(self) -> None:
        """Register the transactional id: aborts what an earlier owner left open, and fences it."""
        source = self._source
        self._producer = self._new_producer(
            **producer_options(self._client),
            transactional_id=transactional_id(self._group, source),
            transaction_timeout_ms=self._transaction_timeout_ms,
        )
        self._outbox = Outbox(
            self._producer, source.partition, is_transactional=True, begin=self._begin
        )
        await answered(self._producer.start)

    async def append(self, topic: str, messages: Messages) -> None:
        """Send inside the open transaction when it is this topic's turn."""
        assert self._outbox is not None
        await self._outbox.put(topic, messages)

    async def _begin(self, topics: Sequence[str]) -> None:
        """Begin unless it is; names all that is known to come, for each naming is a round trip."""
        assert self._producer is not None
        if not self._is_begun:
            self._is_begun = True
            named = {*topics, self._changelog}
            places = [TopicPartition(topic, self._source.partition) for topic in sorted(named)]
            await answered(self._producer.begin_transaction, places)

    def cut(self) -> None:
        """Hold back what comes from now on; the transaction is what came before."""
        assert self._outbox is not None
        self._outbox.hold()

    async def commit(self, items: Sequence[Item], position: int) -> int:
        """Append the state to the transaction and commit it.

        After any failure the transaction's fate is unknown: it is not retried, the partition is
        given up, and the next `open` decides.
        """
        assert self._producer is not None
        assert self._outbox is not None
        await self._outbox.send_cut()
        await self._begin([])
        messages = state_messages(items, self._source_id, position - 1, self.attempt)
        state = await self._outbox.send(self._changelog, [messages])
        await confirm(self._outbox.take_unconfirmed())
        await answered(self._producer.commit_transaction)
        self._is_begun = False
        self._outbox.go_on()
        return state.last_offset

    async def abort(self, messages: Mapping[str, Messages]) -> None:
        """Abort a transaction made for it: it takes along what hangs of earlier ones."""
        assert self._producer is not None
        assert self._outbox is not None
        metrics.TRANSACTIONS_ABORTED.labels("settling").inc()
        await answered(self._producer.begin_transaction)
        for topic, one in messages.items():
            await self._outbox.send(topic, [one])
        await confirm(self._outbox.take_unconfirmed())
        await answered(self._producer.abort_transaction)

    async def close(self) -> None:
        """Stop the producer; an open transaction is aborted by the next owner's `open`."""
        if self._outbox is not None:
            await self._outbox.close()
        if self._is_begun:
            self._is_begun = False
            metrics.TRANSACTIONS_ABORTED.labels("unfinished").inc()
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await answered(producer.stop)


def state_messages(
    items: Sequence[Item], source_id: str, source_offset: int, attempt: Attempt
) -> Messages:
    """Changed state as changelog records; the partition's own says of which source it is, and
    which attempt has led to it.

    source_offset: of the last record it holds; what is erased says it, having no bytes to do so.
    """
    source = [(SOURCE_ID_HEADER, source_id.encode())] if source_id else []
    own = [*source, *attempt.headers()]
    kinds: list[Sequence[Header]] = [[], own, state_headers(source_offset)]
    headers = ByteColumn.of([encoded_headers(kind) for kind in kinds])
    keys = [key for key, _ in items]
    values = [value for _, value in items]
    kind = np.array([key == PARTITION_STATE_KEY for key in keys], np.int64)
    kind[[value is None for value in values]] = 2
    return Messages(ByteColumn.of(keys), ByteColumn.of(values), headers.take(kind))
