"""The engine: partitions of this worker, from assignment over scoring to release."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from streamapp.engine import metrics
from streamapp.engine.dead_letter_limit import DeadLetterLimit, DeadLetterLimitError
from streamapp.engine.outside import Outside
from streamapp.engine.partition import PartitionTask, Scorer
from streamapp.engine.partition_log import (
    AtLeastOnceLog,
    ExactlyOnceLog,
    PartitionLog,
    producer_options,
)
from streamapp.engine.profile_table import ProfileTable
from streamapp.engine.recovery import RecoveryError, recover
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.store import Store
from streamapp.scoring.verdicts import SourcePartition

log = structlog.get_logger()

#: The group's offsets only show progress (state knows the position), so twice a second is enough.
COMMIT_INTERVAL_S = 0.5


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
        self._producer: AIOKafkaProducer | None = None
        self._tasks: dict[int, PartitionTask] = {}
        self._stopped: set[int] = set()
        self._scoring = asyncio.Lock()
        self._generation = -1
        self._committed: dict[int, int] = {}
        self._done: dict[int, int | None] = {}
        self._progress_at = 0.0
        self.failure: BaseException | None = None

    @property
    def is_ready(self) -> bool:
        """Assigned, recovered, and no partition stopped."""
        return self._generation >= 0 and not self._stopped and self.failure is None

    @property
    def partitions(self) -> tuple[int, ...]:
        """Partitions owned now."""
        return tuple(sorted(self._tasks))

    async def assign(self, partitions: Iterable[int], generation: int) -> None:
        """Take over partitions: open their state and recover it. Raises RecoveryError."""
        await self.release()
        open_store = self._outside.open_store
        stores = {p: open_store(self._settings.state_dir / f"p{p:05d}") for p in partitions}
        logs: dict[int, PartitionLog] = {}
        try:
            # Fences first: the changelog's end must not move once it has been read.
            logs = {p: await self._new_log(p) for p in stores}
            await asyncio.gather(*(one.open() for one in logs.values()))
            timeout_s = self._settings.stall_timeout_s
            await recover(
                stores,
                self._changelog,
                self._client,
                timeout_s,
                self._outside.consumer,
                is_fenced=all(one.is_fenced for one in logs.values()),
            )
            self._tasks = {p: self._new_task(p, stores[p], logs[p]) for p in stores}
        except BaseException:
            await asyncio.gather(*(one.close() for one in logs.values()), return_exceptions=True)
            for store in stores.values():
                store.close()
            raise
        self._generation = generation
        self._committed.clear()
        self._progress_at = asyncio.get_running_loop().time()
        metrics.PARTITIONS.set(len(self._tasks))
        metrics.REBALANCES.inc()
        log.info("partitions_assigned", partitions=self.partitions)

    async def release(self) -> dict[int, int]:
        """Give all partitions back after a last checkpoint; the offsets that may be committed."""
        self._generation = -1
        tasks, self._tasks = self._tasks, {}
        self._stopped.clear()
        async with self._scoring:
            outcomes = await asyncio.gather(
                *(task.close(self._settings.shutdown_timeout_s) for task in tasks.values()),
                return_exceptions=True,
            )
        for partition, outcome in zip(tasks, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                log.warning("last_checkpoint_failed", partition=partition, error=str(outcome))
        metrics.PARTITIONS.set(0)
        return self._unless_transactional(
            {p: task.committable for p, task in tasks.items() if task.committable is not None}
        )

    async def stop(self) -> None:
        """Close the producer; partitions must have been released."""
        if self._producer is not None:
            await asyncio.wait_for(self._producer.stop(), self._settings.shutdown_timeout_s)

    async def score(
        self, partition: int, records: Sequence[ConsumerRecord], generation: int
    ) -> None:
        """Score a batch, unless it was fetched for an assignment that is over."""
        async with self._scoring:
            task = self._tasks.get(partition)
            if task is None or generation != self._generation or partition in self._stopped:
                return
            try:
                await task.score(records)
            except DeadLetterLimitError as error:
                self._stopped.add(partition)
                log.error("partition_stopped", partition=partition, reason=str(error))

    def position(self, partition: int, committed: int | None) -> int | None:
        """Where the partition goes on: after its state, never before what is committed."""
        if partition not in self._tasks:  # Faust also asks between assignments, and drops it all
            return committed
        position = self._tasks[partition].position
        is_known = committed is not None and committed > 0
        if is_known and (position is None or position < committed):  # type: ignore[operator]
            raise RecoveryError(
                f"{self._source_topic}[{partition}] is committed up to {committed}, but the state "
                f"ends at {position}: its changelog {self._changelog} has lost records; restore "
                f"it, or reset the group's offsets to score again from there"
            )
        return position

    async def quiesce(self) -> None:
        """Return when no batch is being scored."""
        async with self._scoring:
            pass

    def tick(self) -> None:
        """Start the checkpoints that are due; raises what a running one met."""
        for task in self._tasks.values():
            running = task.start_checkpoint()
            if running is not None:
                running.add_done_callback(self._note_failure)

    def _note_failure(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failure = self.failure or error

    def committable(self) -> dict[int, int]:
        """Offsets that moved since they were last asked for, unless transactions commit them."""
        moved = {
            p: task.committable
            for p, task in self._tasks.items()
            if task.committable is not None and task.committable != self._committed.get(p)
        }
        self._committed.update(moved)
        return self._unless_transactional(moved)

    def tell_again(self, offsets: dict[int, int]) -> None:
        """The group has not taken these offsets: `committable` gives them once more."""
        for partition in offsets:
            self._committed.pop(partition, None)

    def _unless_transactional(self, offsets: dict[int, int]) -> dict[int, int]:
        """Offsets for the group to commit: none where transactions have committed them."""
        return {} if self._settings.guarantee == "exactly_once" else offsets

    def watch(self, ends: dict[int, int | None]) -> None:
        """Note lag by the partitions' end offsets; fail when it stands still too long."""
        lags = {
            p: max((ends.get(p) or 0) - (task.committable or 0), 0)
            for p, task in self._tasks.items()
            if p not in self._stopped
        }
        for partition, lag in lags.items():
            metrics.LAG_RECORDS.labels(partition).set(lag)
        metrics.READY.set(self.is_ready)
        now = asyncio.get_running_loop().time()
        done = {p: task.committable for p, task in self._tasks.items()}
        if done != self._done or not any(lag > 0 for lag in lags.values()):
            self._done, self._progress_at = done, now
        elif now - self._progress_at > self._settings.stall_timeout_s:
            self.failure = RuntimeError(
                f"records wait but no offset has moved for {self._settings.stall_timeout_s:.0f} s"
            )

    async def _new_log(self, partition: int) -> PartitionLog:
        source = SourcePartition(self._source_topic, partition)
        new_producer = self._outside.producer
        settings = self._settings
        if settings.guarantee == "exactly_once":
            return ExactlyOnceLog(
                self._client,
                settings.group,
                source,
                self._changelog,
                settings.transaction_timeout_s,
                new_producer,
            )
        if self._producer is None:
            self._producer = new_producer(**producer_options(self._client))
            await self._producer.start()
        return AtLeastOnceLog(self._producer, partition, self._changelog)

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
