"""The engine: partitions of this worker, from assignment over scoring to release."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from streamapp.engine import metrics
from streamapp.engine.dead_letter_limit import DeadLetterLimit, DeadLetterLimitError
from streamapp.engine.gauges import Gauges
from streamapp.engine.hanging_transactions import StateAheadError, UndecidedWatch, settle
from streamapp.engine.local_state import condemn, condemned, partition_directory
from streamapp.engine.outside import Outside
from streamapp.engine.partition import PartitionTask, Scorer
from streamapp.engine.partition_log import (
    AtLeastOnceLog,
    ExactlyOnceLog,
    PartitionLog,
    started_producer,
)
from streamapp.engine.producer import Producer
from streamapp.engine.profile_table import ProfileTable
from streamapp.engine.recovery import (
    RecoveryError,
    made_again,
    recover,
    verify_position,
    verify_source,
)
from streamapp.engine.risk_versions import WindowsInForce
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.settlement import Topics
from streamapp.engine.stall_watch import StallWatch
from streamapp.engine.store import PARTITION_STATE_KEY, DamagedStoreError, Origin, Store
from streamapp.features.profile import ProfileError
from streamapp.kafka.metadata import TopicError
from streamapp.scoring.verdicts import SourcePartition

log = structlog.get_logger()


class Engine:
    """Owns the partitions assigned to this worker. Runs on Faust's event loop."""

    def __init__(
        self,
        settings: WorkerSettings,
        scorer: Scorer,
        source_topic: str,
        changelog: str,
        client: dict[str, Any],
        outside: Outside | None = None,
    ) -> None:
        self._settings = settings
        self._scorer = scorer
        self._source_topic = source_topic
        self._changelog = changelog
        self._client = client
        self._outside = outside or Outside()
        self._producer: Producer | None = None
        self._tasks: dict[int, PartitionTask] = {}
        self._present = Origin(changelog)
        self._watch = self._new_watch()
        self._assigned: tuple[int, ...] = ()
        #: Partitions that are not scored, and why. Too many dead letters stop one for good, also
        #: when it comes back after a rebalance; the other reasons are looked at again then.
        self._stopped: dict[int, RecoveryError | DeadLetterLimitError] = {}
        #: One batch of a partition at a time; held while it is given back, too.
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._generation = -1
        self._committed: dict[int, int] = {}
        self._stall = StallWatch(settings.stall_timeout_s)
        self._gauges = Gauges()
        self.failure: BaseException | None = None

    @property
    def is_ready(self) -> bool:
        """Assigned, recovered, and no partition stopped."""
        return self.why_not_ready() is None

    def why_not_ready(self) -> str | None:
        """In one line; None where the worker is ready."""
        if self.failure is not None:
            return f"the worker is about to end: {self.failure}"
        if self._generation < 0:
            return "waiting for partitions or recovery"
        stopped = [f"partition {p} stopped: {self._stopped[p]}" for p in self._held_up()]
        return " | ".join(stopped) or None

    def is_stopped(self, partition: int) -> bool:
        """Whether nothing of the partition is to be scored here."""
        return partition in self._stopped

    def _held_up(self) -> list[int]:
        return [p for p in self._assigned if p in self._stopped]

    @property
    def partitions(self) -> tuple[int, ...]:
        """Partitions owned now."""
        return tuple(sorted(self._tasks))

    async def assign(self, partitions: Iterable[int], generation: int) -> None:
        """Take over partitions: open their state and recover it.

        A partition whose state is in doubt is stopped. Raises RecoveryError, LogError or StoreError
        where nothing can be done for any.
        """
        await self.release()
        self._assigned = tuple(sorted(partitions))
        self._present = await self._present_topics()
        self._watch = self._new_watch()
        self._tasks = await self._take_over([p for p in self._assigned if p not in self._stopped])
        self._generation = generation
        self._committed.clear()
        self._stall.begin(asyncio.get_running_loop().time())
        self._gauges.show_owned(self._tasks, {p: self._stopped[p].reason for p in self._held_up()})
        metrics.REBALANCES.inc()
        log.info("partitions_assigned", partitions=self.partitions, stopped=self._held_up())

    async def _take_over(self, partitions: Sequence[int]) -> dict[int, PartitionTask]:
        stores: dict[int, Store] = {}
        logs: dict[int, PartitionLog] = {}
        try:
            for p in partitions:
                stores[p] = self._outside.open_store(self._directory(p), self._changelog)
            # Fences first: the changelog's end must not move once it has been read.
            logs = {p: await self._new_log(p) for p in stores}
            await asyncio.gather(*(one.open() for one in logs.values()))
            for p in await self._recover(stores, logs):
                stores.pop(p).close()
                await logs.pop(p).close()
            return {p: self._new_task(p, stores[p], logs[p]) for p in stores}
        except BaseException as error:
            await asyncio.gather(*(one.close() for one in logs.values()), return_exceptions=True)
            for store in stores.values():
                store.close()
            if isinstance(error, DamagedStoreError):
                condemn(error.directory, error.detail)
            raise

    async def _recover(
        self, stores: dict[int, Store], logs: Mapping[int, PartitionLog]
    ) -> list[int]:
        """Bring the stores to the end of the changelog; the partitions stopped instead."""
        around = (self._client, self._settings.stall_timeout_s, self._outside.consumer)
        is_fenced = all(one.is_fenced for one in logs.values())
        refused = await settle(self._topics(), stores, logs, *around) if is_fenced else {}
        for p in [p for p, error in refused.items() if isinstance(error, StateAheadError)]:
            stores[p] = self._begun_anew(p, stores[p], str(refused.pop(p)))
        sound = {p: store for p, store in stores.items() if p not in refused}
        refused |= await recover(sound, self._present, *around, is_fenced=is_fenced)
        for p, store in stores.items():
            known = store.origin.source_id if store.origin else ""
            try:
                verify_source(self._source_topic, p, known, self._present.source_id)
                WindowsInForce(
                    p,
                    self._scorer.model,
                    self._scorer.risk_versions,
                    store.get(PARTITION_STATE_KEY),
                )
            except RecoveryError as problem:
                refused.setdefault(p, problem)
        for p, error in refused.items():
            self._stop(p, error)
        return list(refused)

    def _begun_anew(self, partition: int, store: Store, reason: str) -> Store:
        store.close()
        self._outside.condemn(self._directory(partition), reason)
        return self._outside.open_store(self._directory(partition), self._changelog)

    async def _present_topics(self) -> Origin:
        """The topics as they are now: the broker's ids of them, where it gives any."""
        ids = await self._outside.topic_ids([self._changelog, self._source_topic])
        return Origin(
            self._changelog, ids.get(self._changelog, ""), ids.get(self._source_topic, "")
        )

    async def verify_topics(self) -> None:
        """Fail where a topic was deleted and made again behind the worker's back.

        Its next start says what to do about it.
        """
        try:
            found = await self._present_topics()
        except TopicError:  # a broker that is away says nothing; what needs it fails by itself
            return
        self.failure = self.failure or made_again(self._present, found)

    def _directory(self, partition: int) -> Path:
        return partition_directory(self._settings.state_dir, partition)

    def _topics(self) -> Topics:
        outputs = self._scorer.topics
        return Topics(
            self._source_topic,
            (outputs.verdicts, outputs.anomalies, outputs.dead_letters),
            self._changelog,
            self._settings.group,
            self._present.source_id,
        )

    def _new_watch(self) -> UndecidedWatch:
        return UndecidedWatch(self._topics(), self._client, self._outside.consumer)

    async def verify_outputs(self) -> None:
        """Fail where what was committed stays hidden: the next takeover settles it."""
        if self._settings.guarantee != "at_least_once":
            self.failure = self.failure or await self._watch.look(list(self._tasks))

    def _stop(self, partition: int, error: RecoveryError | DeadLetterLimitError) -> None:
        self._stopped[partition] = error
        metrics.PARTITION_STOPPED.labels(partition, error.reason).set(1)
        log.error("partition_stopped", partition=partition, reason=str(error))

    async def release(self) -> dict[int, int]:
        """Give all partitions back after a last checkpoint; the offsets that may be committed."""
        self._generation = -1
        tasks, self._tasks = self._tasks, {}
        self._assigned = ()
        self._stopped = {
            p: error for p, error in self._stopped.items() if error.reason == "dead_letters"
        }
        outcomes = await asyncio.gather(
            *(self._give_back(partition, task) for partition, task in tasks.items()),
            return_exceptions=True,
        )
        for partition, outcome in zip(tasks, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                log.warning("last_checkpoint_failed", partition=partition, error=str(outcome))
        self._gauges.forget()
        self._gauges.show_owned((), {})
        return {p: task.committable for p, task in tasks.items() if task.committable is not None}

    async def _give_back(self, partition: int, task: PartitionTask) -> None:
        async with self._turns[partition]:
            await task.close(self._settings.shutdown_timeout_s)

    async def stop(self) -> None:
        """Close the producer; partitions must have been released."""
        if self._producer is not None:
            await asyncio.wait_for(self._producer.stop(), self._settings.shutdown_timeout_s)

    async def score(self, partition: int, records: Sequence[Any], generation: int) -> None:
        """Score a batch, unless it was fetched for an assignment that is over.

        Partitions don't wait for each other.
        """
        async with self._turns[partition]:
            task = self._tasks.get(partition)
            if task is None or generation != self._generation or partition in self._stopped:
                return
            try:
                await task.score(records)
            except DeadLetterLimitError as error:
                self._stop(partition, error)
            except (ProfileError, DamagedStoreError) as error:
                raise condemned(self._directory(partition), str(error)) from error

    @asynccontextmanager
    async def between_batches(self, partition: int) -> AsyncIterator[PartitionTask | None]:
        """The partition's task while no batch of it is scored; None where it is not here."""
        async with self._turns[partition]:
            yield None if partition in self._stopped else self._tasks.get(partition)

    def position(self, partition: int, committed: int | None) -> int | None:
        """Where the partition goes on: after its state.

        A state that ends before what is committed has lost something: it stops the partition.
        """
        if partition not in self._tasks:  # Faust also asks between assignments, and drops it all
            return committed
        position = self._tasks[partition].position
        is_known = committed is not None and committed > 0
        if is_known and (position is None or position < committed):  # type: ignore[operator]
            error = RecoveryError(
                f"{self._source_topic}[{partition}] is committed up to {committed}, but the state "
                f"ends at {position}: its changelog {self._changelog} has lost records; where the "
                f"newest local state is, run: streamapp state repair --partition {partition}"
            )
            self._stop(partition, error)
            return committed
        return position

    def verified(self, partition: int, position: int, begin: int, end: int) -> int:
        """The position, if the source still has it; stops the partition where it has not."""
        if partition not in self._stopped:
            try:
                verify_position(self._source_topic, partition, position, begin, end)
            except RecoveryError as error:
                self._stop(partition, error)
        return begin if partition in self._stopped else position

    async def quiesce(self) -> None:
        """Return when no batch is being scored."""
        for turn in list(self._turns.values()):
            async with turn:
                pass

    def tick(self, *, at_once: bool = False) -> None:
        """Start checkpoints where the last began half an interval ago; unless told, one by one.

        At once, where nothing waits to be scored, they hold up no verdict.
        """
        loop, interval_s = asyncio.get_running_loop(), self._settings.checkpoint_interval_ms / 1000
        apart_s = 0.0 if at_once else interval_s / max(len(self._tasks), 1)
        for place, (partition, task) in enumerate(self._tasks.items()):
            if loop.time() - task.checkpoint_began_s >= interval_s / 2:
                loop.call_later(place * apart_s, self._start_checkpoint, partition, task)

    def _start_checkpoint(self, partition: int, task: PartitionTask) -> None:
        if self._tasks.get(partition) is not task:
            return  # given back meanwhile
        for running in (task.start_checkpoint(), task.start_purge()):
            if running is not None:
                running.add_done_callback(partial(self._note_failure, partition))

    def _note_failure(self, partition: int, task: asyncio.Future[None]) -> None:
        if task.cancelled() or self.failure is not None:
            return
        error = task.exception()
        is_damage = isinstance(error, DamagedStoreError)
        self.failure = condemned(self._directory(partition), str(error)) if is_damage else error

    def committable(self) -> dict[int, int]:
        """Offsets that moved since they were last asked for."""
        moved = {
            p: task.committable
            for p, task in self._tasks.items()
            if task.committable is not None and task.committable != self._committed.get(p)
        }
        self._committed.update(moved)
        return moved

    def tell_again(self, offsets: dict[int, int]) -> None:
        """The group has not taken these offsets: `committable` gives them once more."""
        for partition in offsets:
            self._committed.pop(partition, None)

    def watch(self, ends: dict[int, int | None]) -> None:
        """Note lag by the partitions' end offsets; fail when it stands still too long."""
        lags = {
            p: max((ends.get(p) or 0) - (task.committable or 0), 0)
            for p, task in self._tasks.items()
            if p not in self._stopped
        }
        self._gauges.show_lag(lags, {p: task.newest_ms for p, task in self._tasks.items()})
        self._gauges.show_state({p: self._directory(p) for p in self._tasks})
        metrics.READY.set(self.is_ready)
        done = {p: task.committable for p, task in self._tasks.items()}
        now_s, is_waiting = asyncio.get_running_loop().time(), any(lags.values())
        self.failure = self._stall.look(done, now_s, is_waiting=is_waiting) or self.failure

    async def _new_log(self, partition: int) -> PartitionLog:
        source = SourcePartition(self._source_topic, partition)
        new_producer = self._outside.producer
        settings = self._settings
        if settings.guarantee != "at_least_once":
            return ExactlyOnceLog(
                self._client,
                settings.group,
                source,
                self._changelog,
                settings.transaction_timeout_s,
                new_producer,
                self._present.source_id,
            )
        if self._producer is None:
            self._producer = await started_producer(self._outside.producer, self._client)
        source_id = self._present.source_id
        return AtLeastOnceLog(self._producer, partition, self._changelog, source_id)

    def _new_task(self, partition: int, store: Store, output: PartitionLog) -> PartitionTask:
        settings = self._settings
        return PartitionTask(
            SourcePartition(self._source_topic, partition),
            self._scorer,
            store,
            ProfileTable(store, settings.cache_profiles_max),
            output,
            DeadLetterLimit(
                settings.dead_letter_run_max,
                settings.dead_letter_share_max,
                settings.dead_letter_window,
            ),
        )
