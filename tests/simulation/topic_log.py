"""One partition of a topic: offsets, transactions in it, compaction, retention."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka.structs import ConsumerRecord

Header = tuple[str, bytes]
Message = tuple[bytes | None, bytes | None, Sequence[Header]]


@dataclass(eq=False, slots=True)
class Transaction:
    """One transaction of a producer; its outcome is None until it is decided."""

    producer_id: int
    epoch: int
    begun_at: float
    outcome: bool | None = None
    partitions: set[tuple[str, int]] = field(default_factory=set)
    markers_due: int = 0
    #: A marker of it was lost.
    is_torn: bool = False


@dataclass(slots=True)
class Entry:
    """A record, or the marker that ends a transaction here."""

    offset: int
    message: Message | None
    transaction: Transaction | None


class TopicLog:
    """Entries in offset order; offsets of removed ones stay gaps."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.entries: list[Entry] = []
        self.start = 0
        self.end = 0
        self._open: dict[Transaction, int] = {}
        #: What became of transactions here: a lost marker leaves that to the producer's next one.
        self._outcomes: dict[Transaction, bool | None] = {}

    def append(self, messages: Sequence[Message], transaction: Transaction | None = None) -> int:
        """Store a record batch, whole; the offset of its first record."""
        base = self.end
        if transaction is not None:
            self._open.setdefault(transaction, base)
        for message in messages:
            self.entries.append(Entry(self.end, message, transaction))
            self.end += 1
        return base

    def mark(self, transaction: Transaction) -> None:
        """Write the marker that ends a transaction here, and what hangs of its producer."""
        self.entries.append(Entry(self.end, None, transaction))
        self.end += 1
        for one in [one for one in self._open if one.producer_id == transaction.producer_id]:
            del self._open[one]
            self._outcomes[one] = transaction.outcome

    def _is_visible(self, entry: Entry) -> bool:
        """Whether a reader of committed records gets it, once it is below the stable end."""
        if entry.message is None:
            return False
        return entry.transaction is None or self._outcomes.get(entry.transaction) is True

    @property
    def stable_end(self) -> int:
        """Offset before which every transaction is decided."""
        return min(self._open.values(), default=self.end)

    def read(
        self, position: int, records_max: int, *, committed: bool
    ) -> tuple[list[ConsumerRecord], int]:
        """Records from a position on, and the position after them."""
        limit = self.stable_end if committed else self.end
        found: list[ConsumerRecord] = []
        for entry in self._from(position):
            if entry.offset >= limit:
                break
            if len(found) == records_max:
                return found, entry.offset
            if self._is_visible(entry) or (not committed and entry.message is not None):
                found.append(self._record(entry))
        return found, max(position, limit)

    def last(self, key: bytes, transaction: Transaction) -> bytes | None:
        """The last value of a key that a transaction has written."""
        for entry in reversed(self.entries):
            if entry.transaction is transaction and entry.message and entry.message[0] == key:
                return entry.message[1]
        return None

    def committed(self) -> list[ConsumerRecord]:
        """All a reader of committed records sees."""
        return self.read(self.start, self.end + 1, committed=True)[0]

    def _from(self, position: int) -> Sequence[Entry]:
        low, high = 0, len(self.entries)
        while low < high:
            middle = (low + high) // 2
            if self.entries[middle].offset < position:
                low = middle + 1
            else:
                high = middle
        return self.entries[low:]

    def _record(self, entry: Entry) -> ConsumerRecord:
        assert entry.message is not None
        key, value, headers = entry.message
        return ConsumerRecord(
            self.topic, self.partition, entry.offset, 0, 0, key, value, None, -1, -1, tuple(headers)
        )

    def compact(self, before: int) -> None:
        """Keep the last value of each key, below the stable end and `before` only.

        Nor anything from a torn transaction on: the lag of compaction is longer than a run.
        """
        torn = [one.offset for one in self.entries if one.transaction and one.transaction.is_torn]
        before = min(before, self.stable_end, *torn)
        last: dict[bytes | None, int] = {}
        for entry in self.entries:
            if (
                entry.offset < self.stable_end
                and self._is_visible(entry)
                and entry.message is not None
            ):
                last[entry.message[0]] = entry.offset
        self.entries = [
            entry
            for entry in self.entries
            if entry.offset >= before
            or (entry.message is not None and last.get(entry.message[0]) == entry.offset)
        ]

    def expire(self, before: int) -> None:
        """Retention: records below an offset are gone."""
        self.start = max(self.start, min(before, self.stable_end))
        self.entries = list(self._from(self.start))
