"""One source partition at work: batches are scored, checkpoints make them durable.

A checkpoint, in this order: the log makes output and the state it led to durable, the partition's
position among it; then the store is written, under load once for several checkpoints; then the
group may see the offset. A new owner goes on from the position in the state, so state is applied
exactly once under either guarantee. Exactly-once: output, state and offset are one transaction, so
nothing repeats. At-least-once: the output is confirmed first; what can repeat is the output whose
state had not been appended, and it is computed again from the same state: the same bytes.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog

from streamapp.domain.verdict import SEVERITIES
from streamapp.engine import metrics
from streamapp.engine.batch_trace import trace_batch
from streamapp.engine.dead_letter_limit import DeadLetterLimit
from streamapp.engine.outbox import LogError
from streamapp.engine.partition_figures import PartitionFigures
from streamapp.engine.partition_log import PartitionLog
from streamapp.engine.profile_table import ProfileTable, Snapshot
from streamapp.engine.purge import Purge
from streamapp.engine.record_batch import Header, Messages, encoded_header, encoded_headers
from streamapp.engine.record_columns import CarriedHeaders, FetchedRecord, RecordColumns
from streamapp.engine.risk_versions import RiskVersions, WindowsInForce
from streamapp.engine.severity_cutoffs import CutoffsInForce, OfferedCutoffs
from streamapp.engine.store import PARTITION_STATE_KEY, Store
from streamapp.engine.tombstone import tombstone
from streamapp.engine.unwritten import CALM_S, CHECKPOINTS_WRITTEN_MAX, Unwritten
from streamapp.features.profile_view import is_expired
from streamapp.kafka.dead_letters import REDRIVEN
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.erasing import Step, steps, take
from streamapp.scoring.partition_state import PartitionState, stored_model
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, ScoredBatch
from streamapp.scoring.verdicts import SourcePartition
from streamapp.scoring.what_if import what_if

if TYPE_CHECKING:
    from streamapp.tracing.tracer import Tracer

log = structlog.get_logger()

#: Headers of a transaction that its verdict carries on: trace context and the intended send time.
CARRIED_HEADERS: Final = ("traceparent", "tracestate", "sent_at")

#: A carried header that is longer is dropped: a verdict larger than its topic takes would stop the
#: partition. Trace context asks for 512 characters.
CARRIED_BYTES_MAX: Final = 1024

_HEADERS: Final = tuple(
    (("schema", b"verdict/1"), ("severity", severity.encode())) for severity in SEVERITIES
)
_ENCODED_HEADERS: Final = ByteColumn.of([encoded_headers(headers) for headers in _HEADERS])
_OWN_HEADERS: Final = ByteColumn.of(
    [b"".join(starmap(encoded_header, headers)) for headers in _HEADERS]
)
_OWN_COUNT: Final = len(_HEADERS[0])
_CARRIED: Final = CarriedHeaders(CARRIED_HEADERS, CARRIED_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """Where verdicts, anomalies and dead letters go."""

    verdicts: str
    anomalies: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class Scorer:
    """What every partition scores with."""

    model: ModelArtifact
    policy: Policy
    topics: OutputTopics
    checkpoint_profiles_max: int
    tracer: "Tracer | None" = None
    risk_versions: RiskVersions = field(default_factory=RiskVersions)
    cutoffs: OfferedCutoffs = field(default_factory=OfferedCutoffs)


class PartitionTask:
    """Scores one partition and checkpoints it. Used from one event loop only."""

    def __init__(
        self,
        source: SourcePartition,
        scorer: Scorer,
        store: Store,
        table: ProfileTable,
        output: PartitionLog,
        limit: DeadLetterLimit,
        checkpoints_written_max: int = CHECKPOINTS_WRITTEN_MAX,
        calm_s: float = CALM_S,
    ) -> None:
        self.source = source
        self._scorer = scorer
        self._store = store
        self._table = table
        self._output = output
        self._limit = limit
        self._state = _stored_state(source, store, scorer.model)
        self._windows = WindowsInForce(
            source.partition, scorer.model, scorer.risk_versions, store.get(PARTITION_STATE_KEY)
        )
        self._cutoffs = CutoffsInForce(source.partition, scorer.policy, scorer.cutoffs, self._state)
        self._checkpointed = self._state.source_offset
        self._checkpoint: asyncio.Task[None] | None = None
        #: Held while a batch is scored and its output appended, and while a checkpoint takes its
        #: snapshot: so a snapshot never holds half a batch.
        self._step = asyncio.Lock()
        self._snapshot_taken = asyncio.Event()
        self._unwritten = Unwritten(store.changelog_offset)
        self._checkpoints_written_max = checkpoints_written_max
        self._calm_s = calm_s
        #: By the event loop's clock.
        self.checkpoint_began_s = float("-inf")
        self._purge = Purge(store)
        self._failure: Exception | None = None
        #: The time that the newest record scored bears; None before the first.
        self.newest_ms: int | None = None
        self._figures = PartitionFigures(source.partition)

    @property
    def position(self) -> int | None:
        """Offset of the next record to score; None before the first."""
        return None if self._state.source_offset < 0 else self._state.source_offset + 1

    @property
    def committable(self) -> int | None:
        """Offset up to which everything is durable; None before the first."""
        return None if self._checkpointed < 0 else self._checkpointed + 1

    @property
    def is_clean(self) -> bool:
        """Nothing scored waits for a checkpoint."""
        return self._checkpointed == self._state.source_offset and self._checkpoint is None

    def profile(self, user: str) -> bytes | None:
        """The stored form of a user's profile as it is now; None of a user who is not known."""
        self._raise_failure()
        image = self._table.image(user.encode())
        return None if image is None or is_expired(image, self._state.clock.time_ms) else image

    def what_if(self, key: bytes, value: bytes) -> ScoredBatch:
        """What scoring this record next would give; nothing is changed by it."""
        self._raise_failure()
        scorer, image = self._scorer, self._table.image(key)
        models = (scorer.model, self._cutoffs.policy, self._windows.taken_over)
        return what_if(key, value, image, self._state, self.source.partition, *models)

    async def score(self, found: Sequence[Any]) -> None:
        """Score records that follow the position; earlier ones are done and passed over."""
        while self._table.changed >= self._scorer.checkpoint_profiles_max:
            await self._next_snapshot()
        async with self._step:
            fresh = RecordColumns.of(found).from_offset(self._state.source_offset + 1)
            if not len(fresh):
                return
            self._windows.move_on(self._state)
            self._cutoffs.move_on(self._state)
            for step in steps(Records(self.source, fresh.keys, fresh.values, fresh.offsets)):
                part = fresh[step.begin : step.begin + len(step.records.offsets)]
                with self._whole():
                    scored = await self._take(step, part)
                self._limit.count(len(part), scored.refused_rows)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What is done inside is done whole, or nothing after it: memory is ahead of the log then.

        A later checkpoint would pass over what was lost; the next owner goes on before it.
        """
        self._raise_failure()
        try:
            yield
        except Exception as error:
            self._failure = error
            raise
        except BaseException:
            self._failure = LogError("a batch or a checkpoint was broken off half-way")
            raise

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _take(self, step: Step, fresh: RecordColumns) -> ScoredBatch:
        started = time.perf_counter()
        _note_wait(fresh)
        scorer, policy = self._scorer, self._cutoffs.policy
        around = (self._table, self._state, scorer.model, policy, self._windows.taken_over)
        scored = take(step, *around)
        self._table.mark(scored.touched)
        scored_at = time.perf_counter()
        self._figures.count(len(fresh), scored, scored_at - started)
        self._figures.show(self._state.clock.time_ms, len(self._table))
        await self._append(fresh, scored)
        metrics.note_stage("output", time.perf_counter() - scored_at)
        self.newest_ms = int(fresh.times_ms[-1])
        if scorer.tracer is not None and fresh.has_headers:
            trace_batch(scorer.tracer, fresh, started)
        return scored

    async def _append(self, found: RecordColumns, scored: ScoredBatch) -> None:
        topics, put = self._scorer.topics, self._output.append
        if scored.rows:
            verdicts = verdict_messages(found, scored.rows, scored)
            await put(topics.verdicts, verdicts)
            anomaly_code = self._scorer.policy.anomaly_severity.rank
            if max(scored.severities) >= anomaly_code:
                anomalies = np.flatnonzero(np.array(scored.severities) >= anomaly_code)
                await put(topics.anomalies, verdicts.take(anomalies))
        if scored.dead_letters:
            dead = [
                (letter.key, letter.value, [*_own_headers(found[row]), *letter.headers()])
                for row, letter in zip(scored.refused_rows, scored.dead_letters, strict=True)
            ]
            await put(topics.dead_letters, Messages.of(dead))
        if scored.erased:
            await put(
                topics.verdicts, Messages.of([tombstone(found[row]) for row in scored.erased])
            )

    def start_checkpoint(self) -> asyncio.Task[None] | None:
        """Begin a checkpoint in the background unless one runs or there is nothing new.

        Where nothing has been new for a while, the store is written if it is behind.
        """
        now_s = asyncio.get_running_loop().time()
        if self._checkpoint is None and not self.is_clean:
            self.checkpoint_began_s = now_s
            self._checkpoint = asyncio.ensure_future(self._run_checkpoint())
        elif self._checkpoint is None and self._unwritten.snapshots and self._is_calm(now_s):
            self._checkpoint = asyncio.ensure_future(self._catch_up())
        return self._checkpoint

    def _is_calm(self, now_s: float) -> bool:
        return now_s - self.checkpoint_began_s >= self._calm_s

    async def _catch_up(self) -> None:
        try:
            with self._whole():
                self._write_store()
        finally:
            self._checkpoint = None

    def start_purge(self) -> asyncio.Future[None] | None:
        """Begin to clear the disk of what was erased, where that is due."""
        return self._purge.start()

    async def _next_snapshot(self) -> None:
        """Return when a checkpoint has taken what has changed; scoring goes on while it commits."""
        if self._checkpoint is not None:
            await self._checkpoint
        self._snapshot_taken.clear()
        checkpoint = self.start_checkpoint()
        if checkpoint is not None:
            taken = asyncio.ensure_future(self._snapshot_taken.wait())
            await asyncio.wait([checkpoint, taken], return_when=asyncio.FIRST_COMPLETED)
            taken.cancel()
        self._raise_failure()

    async def checkpoint(self) -> None:
        """Return when everything scored so far is durable."""
        while not self.is_clean:
            task = self.start_checkpoint()
            assert task is not None
            await task

    async def _run_checkpoint(self) -> None:
        started = time.perf_counter()
        try:
            with self._whole():
                profiles = await self._make_durable()
        finally:
            self._checkpoint = None
        metrics.CHECKPOINT_SECONDS.observe(time.perf_counter() - started)
        metrics.CHECKPOINT_PROFILES.observe(profiles)

    async def _make_durable(self) -> int:
        """Log, then store, then the offset; the number of profiles written."""
        started = time.perf_counter()
        async with self._step:
            self._raise_failure()  # of the batch this has waited for
            snapshot = self._table.snapshot()
            offset = self._state.source_offset
            state = self._state.to_bytes(self._scorer.model.half_space_trees)
            self._output.cut()
            self._snapshot_taken.set()
        items = [*snapshot.items, (PARTITION_STATE_KEY, state)]
        taken = time.perf_counter()
        last = await self._output.commit(items, offset + 1)
        committed = time.perf_counter()
        self._store_later(snapshot, items, last)
        assert offset > self._checkpointed, "checkpoints only move forward"
        self._checkpointed = offset
        metrics.note_stage("snapshot", taken - started)
        metrics.note_stage("commit", committed - taken)
        metrics.note_stage("store", time.perf_counter() - committed)
        return len(snapshot.items)

    def _store_later(
        self, snapshot: Snapshot, items: Sequence[tuple[bytes, bytes | None]], last: int
    ) -> None:
        self._unwritten.add(snapshot, items, last, is_alone=self._output.is_fenced)
        if self._unwritten.is_due(self._checkpoints_written_max):
            self._write_store()

    def _write_store(self) -> None:
        unwritten, self._unwritten = self._unwritten, Unwritten(self._unwritten.applied)
        if unwritten.snapshots:
            self._store.write(unwritten.items.items(), unwritten.applied)
        for snapshot in unwritten.snapshots:
            self._table.release(snapshot)

    async def close(self, timeout_s: float) -> None:
        """Make a last checkpoint if time allows, and release log and store, in time for each.

        What a checkpoint that fails here leaves undone, the next owner does again.
        """
        try:
            await asyncio.wait_for(self.checkpoint(), timeout_s)
        finally:
            try:
                await asyncio.wait_for(self._output.close(), timeout_s)
            finally:
                try:
                    self._write_store()
                    await self._purge.settle(timeout_s)
                finally:
                    self._store.close()


def _stored_state(source: SourcePartition, store: Store, model: ModelArtifact) -> PartitionState:
    image = store.get(PARTITION_STATE_KEY)
    if image is None:
        return PartitionState.initial(model.version, model.half_space_trees)
    state = PartitionState.from_bytes(image, model.version, model.half_space_trees)
    if stored_model(image) != model.version:
        log.info(
            "half_space_trees_began_anew",
            partition=source.partition,
            learned_by=stored_model(image),
            model=model.version,
        )
    return state


def _note_wait(fresh: RecordColumns) -> None:
    """Of the oldest; its time is of another clock, so it may lie ahead of ours, or be unknown."""
    if fresh.times_ms[0] > 0:
        metrics.note_stage("wait", max(0.0, time.time() - fresh.times_ms[0] / 1000))


def verdict_messages(found: RecordColumns, rows: Sequence[int], scored: ScoredBatch) -> Messages:
    """Of verdicts on these rows of the records: with their keys and what is carried on."""
    at, severities = np.array(rows, np.int64), np.array(scored.severities, np.int64)
    headers = _ENCODED_HEADERS.take(severities)
    if found.has_headers:
        own = _OWN_HEADERS.take(severities)
        headers = _CARRIED.behind(own, _OWN_COUNT, found.headers.take(at))
    return Messages(found.keys.take(at), scored.payloads, headers)


def _own_headers(record: FetchedRecord) -> list[Header]:
    """The sender's headers and the count of redrives; marks of an earlier refusal are dropped."""
    return [one for one in record.headers if one[0] == REDRIVEN or not one[0].startswith("dlq.")]
