"""aiokafka's producer with a transaction's beginning in one go.

aiokafka names a partition to the transaction's coordinator when the first batch for it is sent: a
round trip each, one after the other, most of them between a checkpoint's beginning and its commit.
Here all that are known to come are named when the transaction begins, while output is already on
its way.
"""

from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender

#: Until a commit's markers are written, a moment after its answer, the next transaction is told to
#: come back; aiokafka does after 20 ms.
_MARKERS_WAIT_S: Final = 0.004


class TransactionalProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """A producer whose `begin_transaction` names partitions beforehand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        sender.BACKOFF_OVERRIDE = _MARKERS_WAIT_S

    async def begin_transaction(self, partitions: Iterable[TopicPartition] = ()) -> None:
        """Begin, and have these named to the coordinator in the background."""
        await super().begin_transaction()
        for place in partitions:
            self._txn_manager.maybe_add_partition_to_txn(place)
