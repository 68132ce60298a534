"""aiokafka's producer with a transaction's beginning in one go.

aiokafka names a partition to the transaction's coordinator when the first batch for it is sent, and
the group when offsets are: a round trip each, one after the other, most of them between a
checkpoint's beginning and its commit. Here all that is known to come is named when the transaction
begins, while output is already on its way.
"""

from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender

#: Until a commit's markers are written, a moment after its answer, the next transaction is told to
#: come back; aiokafka does after 20 ms.
_MARKERS_WAIT_S: Final = 0.004


class TransactionalProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """A producer whose `begin_transaction` names partitions and group beforehand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._group = ""
        if self._txn_manager is not None:
            self._group_left = self._txn_manager.consumer_group_to_add
            self._txn_manager.consumer_group_to_add = self._group_to_name
        sender.BACKOFF_OVERRIDE = _MARKERS_WAIT_S

    async def begin_transaction(
        self, partitions: Iterable[TopicPartition] = (), group: str = ""
    ) -> None:
        """Begin, and have these named to the coordinator in the background."""
        await super().begin_transaction()
        self._group = group
        for place in partitions:
            self._txn_manager.maybe_add_partition_to_txn(place)

    def _group_to_name(self) -> str | None:
        """The group to name next: once partitions are, for the coordinator takes one at a time."""
        manager = self._txn_manager
        is_early = self._group and manager.is_in_transaction() and manager.txn_partitions
        if is_early and manager._txn_consumer_group is None:
            return self._group
        found: str | None = self._group_left()
        return found
