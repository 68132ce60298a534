"""Rows of one partition that are not in a file yet."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from streamapp.domain.verdict import Verdict
from streamapp.sinks.parquet.columns import SCHEMA, record_batch
from streamapp.sinks.parquet.shelf import Footer, Range, SourceKey, source_key
from streamapp.sinks.protocol import StoredVerdict


class Buffer:
    """Arrow batches in topic order, with the ids and ranges they hold."""

    def __init__(self) -> None:
        self._batches: list[Any] = []
        self._ids: set[str] = set()
        self._spans: dict[SourceKey, tuple[int, int]] = {}
        self.first: int | None = None
        self.last = -1
        self.rows = 0
        self.bytes = 0

    def __contains__(self, verdict_id: str) -> bool:
        return verdict_id in self._ids

    def add(self, verdicts: Sequence[StoredVerdict]) -> None:
        """Append rows whose offsets are above all before them.

        Raises as `record_batch`, then nothing was added.
        """
        batch = record_batch([stored.verdict for stored in verdicts])
        assert verdicts[0].offset > self.last, "offsets only rise"
        self._batches.append(batch)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        self.first = verdicts[0].offset if self.first is None else self.first
        self.last = verdicts[-1].offset
        for stored in verdicts:
            self._note(stored.verdict)

    def table(self) -> Any:
        """All rows as one pyarrow.Table."""
        return pa.Table.from_batches(self._batches, schema=SCHEMA)

    def footer(self) -> Footer:
        """What a file of these rows says of itself."""
        assert self.first is not None, "an empty buffer makes no file"
        spans = sorted(self._spans.items())
        return Footer(self.first, self.last, [Range(*key, *span) for key, span in spans])

    def _note(self, verdict: Verdict) -> None:
        self._ids.add(verdict.verdict_id)
        offset = verdict.source.offset
        low, high = self._spans.get(source_key(verdict), (offset, offset))
        self._spans[source_key(verdict)] = (min(low, offset), max(high, offset))
