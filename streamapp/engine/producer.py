"""aiokafka's producer, which waits for the broker less often.

In transactions: aiokafka names a partition to the transaction's coordinator when the first batch
for it is sent: a round trip each, one after the other, most of them between a checkpoint's
beginning and its commit. Here all that are known to come are named when the transaction begins,
while output is already on its way.

Without: aiokafka has one request at a time on its way to a broker, so that a partition's output
waits for an answer about those of all others and their checkpoints. Here it has a few while little
is under way; of each topic's partition one still, which keeps its batches in order.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, cast

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender

from streamapp.engine.record_batch import RecordBatch

#: Until a commit's markers are written, a moment after its answer, the next transaction is told to
#: come back; aiokafka does after 20 ms.
_MARKERS_WAIT_S: Final = 0.004
#: Requests on their way to one broker without transactions, and what is under way then at most:
#: where it is more, that which waits for an answer is sent together, which is less work.
_REQUESTS_MAX: Final = 3
_LITTLE_BYTES: Final = 512 * 1024

#: As much is stored of one batch: a broker's default limit is 1,048,588 bytes.
BATCH_BYTES: Final = 1_000_000
#: As much goes in one before compression: a topic's partition takes one a round trip, and under
#: load each trip waits for batches that are scored. To compress more would hold those up.
PLAIN_BATCH_BYTES: Final = 4_000_000


class Producer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """A producer of `RecordBatch`es whose `begin_transaction` names partitions beforehand.

    plain_batch_bytes: of a batch before compression; no more than BATCH_BYTES where topics don't
    keep batches as they come.
    """

    def __init__(
        self,
        *,
        transactional_id: str | None = None,
        plain_batch_bytes: int = PLAIN_BATCH_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(transactional_id=transactional_id, **options)
        self.plain_batch_bytes = plain_batch_bytes
        sender.BACKOFF_OVERRIDE = _MARKERS_WAIT_S
        # A broker refuses what is new to a transaction while it asks the coordinator about another.
        self._busy = BusyBrokers(_REQUESTS_MAX if transactional_id is None else 1)
        self._sender._in_flight = self._busy

    async def begin_transaction(self, partitions: Iterable[TopicPartition] = ()) -> None:
        """Begin, and have these named to the coordinator in the background."""
        await super().begin_transaction()
        for place in partitions:
            self._txn_manager.maybe_add_partition_to_txn(place)

    async def send_batch(
        self, batch: RecordBatch, topic: str, *, partition: int
    ) -> "asyncio.Future[Any]":
        """Have a batch sent; the future of its confirmation."""
        confirmation = await super().send_batch(batch, topic, partition=partition)
        self._busy.note(confirmation, batch.size())
        return cast("asyncio.Future[Any]", confirmation)


class BusyBrokers:
    """Brokers that are sent nothing now, in place of aiokafka's set of all that owe an answer."""

    def __init__(self, requests_max: int) -> None:
        self._requests_max = requests_max
        self._requests: Counter[int] = Counter()
        self._unconfirmed_bytes = 0

    def note(self, confirmation: "asyncio.Future[Any]", size: int) -> None:
        """So many bytes are under way until they are confirmed."""
        self._unconfirmed_bytes += size
        confirmation.add_done_callback(lambda _: self._confirmed(size))

    def _confirmed(self, size: int) -> None:
        self._unconfirmed_bytes -= size

    def add(self, broker: int) -> None:
        """A request is on its way to it."""
        self._requests[broker] += 1

    def remove(self, broker: int) -> None:
        """One has been answered."""
        self._requests[broker] -= 1

    def __contains__(self, broker: int) -> bool:
        is_little = self._unconfirmed_bytes <= _LITTLE_BYTES
        return self._requests[broker] >= (self._requests_max if is_little else 1)
