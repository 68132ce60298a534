"""Verdicts into rotated Parquet files, each verdict_id in exactly one row.

Why exactly one, on one POSIX file system:

1. Offsets are committed only up to the first row that is in memory only, so a crash loses nothing.
2. A file is durable before it has its name, and its footer says which offsets it covers. After a
   restart, verdicts at or below the newest file's last offset are skipped: a crash between naming
   the file and committing its offsets repeats nothing, wherever the cut was.
3. Files of a partition form a chain: each is named after its first offset, which is the first one
   not on the shelf, and a name can be taken once. Of two processes that believe they own a
   partition the slower one fails on the name and stops.
4. The worker may publish a verdict again at a later offset (at-least-once). Source offsets normally
   rise; one that does not is looked up in the buffer and in the files whose range covers it.

So the newest file of each partition has to stay in the directory; older ones may be moved away,
then point 4 no longer covers what they hold. A topic that was made again needs a new directory.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import pyarrow as pa
import structlog

from streamapp.sinks import metrics
from streamapp.sinks.parquet.buffer import Buffer
from streamapp.sinks.parquet.settings import ParquetSettings
from streamapp.sinks.parquet.shelf import Shelf, SourceKey, divided, source_key
from streamapp.sinks.protocol import Fatal, StoredVerdict

log = structlog.get_logger()


class ParquetSink:
    """Stores every verdict as one row of a Parquet file below `directory`."""

    name = "parquet"
    batch_records_max = 10_000

    def __init__(self, settings: ParquetSettings) -> None:
        self._settings = settings
        self._partitions: dict[int, PartitionStore] = {}
        self._unreported = 0

    @property
    def hold_s_max(self) -> float:
        """Age at which rows in memory become a file."""
        return self._settings.file_age_s_max

    def open(self) -> None:
        """Make the directory."""
        try:
            self._settings.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise divided(error) from error

    def assign(self, ends: Mapping[int, int]) -> None:
        """Read what the files of these partitions hold."""
        for partition, end in ends.items():
            self._partitions[partition] = self._loaded(partition)
            stored = self._partitions[partition].last
            if 0 <= end <= stored:
                raise Fatal(
                    f"{self._settings.directory} holds offset {stored} of partition {partition},"
                    f" but the topic ends at {end}: it was made again; use an empty directory"
                )

    def write(self, verdicts: Sequence[StoredVerdict]) -> int:
        """Buffer the new ones; complete the files that are full."""
        by_partition: dict[int, list[StoredVerdict]] = defaultdict(list)
        for stored in verdicts:
            by_partition[stored.partition].append(stored)
        for partition, part in by_partition.items():
            self._unreported += self._store(partition).add(part)
        self._rotate()
        new, self._unreported = self._unreported, 0
        return new

    def held_from(self, partition: int) -> int | None:
        """The offset of the oldest row in memory."""
        store = self._partitions.get(partition)
        return store.buffer.first if store else None

    def flush(self) -> None:
        """Complete a file for every partition that has rows in memory."""
        for store in self._partitions.values():
            store.complete()

    def erase(self, user_id: str) -> None:
        """Files are complete and are not written again: they keep what they have."""

    def forget(self, partitions: Collection[int]) -> None:
        """Drop rows in memory and what is known of the files."""
        for partition in partitions:
            self._partitions.pop(partition, None)

    def close(self) -> None:
        """Flush and forget."""
        self.flush()
        self._partitions.clear()

    def _store(self, partition: int) -> "PartitionStore":
        if partition not in self._partitions:
            self._partitions[partition] = self._loaded(partition)
        return self._partitions[partition]

    def _loaded(self, partition: int) -> "PartitionStore":
        try:
            return PartitionStore(self._settings, partition)
        except OSError as error:
            raise divided(error) from error

    def _rotate(self) -> None:
        stores = sorted(self._partitions.values(), key=lambda store: -store.buffer.bytes)
        total = sum(store.buffer.bytes for store in stores)
        for store in stores:
            size = store.buffer.bytes
            if store.is_full() or total > self._settings.buffer_bytes_max:
                store.complete()
                total -= size


class PartitionStore:
    """One partition: finished files, rows in memory, and what of a batch is new to both."""

    def __init__(self, settings: ParquetSettings, partition: int) -> None:
        self._settings = settings
        self._shelf = Shelf(settings, partition)
        self._high_water = self._shelf.high_water()
        self.buffer = Buffer()

    @property
    def last(self) -> int:
        """The highest topic offset seen, in a file or in memory."""
        return max(self._shelf.last, self.buffer.last)

    def add(self, verdicts: Sequence[StoredVerdict]) -> int:
        """Take the verdicts that are neither in a file nor in memory; return how many."""
        unseen = [stored for stored in verdicts if stored.offset > self.last]
        known = self._known(unseen)
        fresh = []
        for stored in unseen:
            if stored.verdict.verdict_id not in known:
                known.add(stored.verdict.verdict_id)
                fresh.append(stored)
        return self._buffer(fresh) if fresh else 0

    def is_full(self) -> bool:
        """Whether the rows in memory are enough for a file."""
        settings = self._settings
        return (
            self.buffer.rows >= settings.file_rows_max
            or self.buffer.bytes >= settings.file_bytes_max
        )

    def complete(self) -> None:
        """Turn the rows in memory into a file."""
        if self.buffer.rows:
            self._shelf.add(self.buffer.table(), self.buffer.footer())
            metrics.FILES.inc()
            log.info("file_completed", rows=self.buffer.rows, first_offset=self.buffer.first)
            self.buffer = Buffer()

    def _known(self, verdicts: Iterable[StoredVerdict]) -> set[str]:
        """Ids among these that are stored already: only those below the high water can be."""
        suspects: dict[SourceKey, dict[int, str]] = defaultdict(dict)
        for stored in verdicts:
            key, offset = source_key(stored.verdict), stored.verdict.source.offset
            if offset <= self._high_water.get(key, -1):
                suspects[key][offset] = stored.verdict.verdict_id
        known: set[str] = set()
        for key, ids in suspects.items():
            known.update(verdict_id for verdict_id in ids.values() if verdict_id in self.buffer)
            missing = {offset for offset, found in ids.items() if found not in known}
            if missing:
                known.update(ids[offset] for offset in self._shelf.stored(key, missing))
        return known

    def _buffer(self, fresh: list[StoredVerdict]) -> int:
        try:
            self.buffer.add(fresh)
        except (pa.ArrowInvalid, OverflowError):
            fresh = [stored for stored in fresh if self._fits(stored)]
            if fresh:
                self.buffer.add(fresh)
        for stored in fresh:
            key, offset = source_key(stored.verdict), stored.verdict.source.offset
            self._high_water[key] = max(offset, self._high_water.get(key, -1))
        return len(fresh)

    def _fits(self, stored: StoredVerdict) -> bool:
        try:
            Buffer().add([stored])
        except (pa.ArrowInvalid, OverflowError):
            metrics.REFUSED.labels("parquet").inc()
            log.warning("verdict_refused", partition=stored.partition, offset=stored.offset)
            return False
        return True
