"""A worker: the real engine, with this in the place of Faust around it.

Like the application around the engine it joins the group, takes partitions over and gives them
back, fetches and delivers batches, ticks, commits, and exits when the engine has failed.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from aiokafka.errors import KafkaConnectionError, KafkaError, RequestTimedOutError
from aiokafka.structs import ConsumerRecord

from streamapp.engine.app import OUTPUTS_INTERVAL_S
from streamapp.engine.engine import Engine
from streamapp.engine.outbox import LogError
from streamapp.engine.outside import Outside
from streamapp.engine.partition import OutputTopics, Scorer
from streamapp.engine.recovery import RecoveryError
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.severity_cutoffs import OfferedCutoffs
from streamapp.scoring.artifact import ModelArtifact
from tests.simulation.attempts import Attempt, Attempts
from tests.simulation.broker import Broker
from tests.simulation.consumer import SimulatedConsumer
from tests.simulation.disk import Disk, SimulatedStore
from tests.simulation.group import Assignment, Group
from tests.simulation.network import Network
from tests.simulation.producer import SimulatedProducer
from tests.simulation.windows import KnownVersions, Publication
from tests.simulation.world import Process

T = TypeVar("T")

SOURCE = "transactions"
CHANGELOG = "streamapp.state"
OUTPUTS = OutputTopics("verdicts", "anomalies", "transactions.dlq")

_POLL_S = 0.1
_FETCH_INTERVAL_S = 0.05
_HEARTBEAT_INTERVAL_S = 0.25
_COMMIT_INTERVAL_S = 0.5
_BATCHES_WAITING_MAX = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """What all workers of a run are started with."""

    settings: WorkerSettings
    scorer: Scorer
    engine_type: type[Engine]
    #: Share of fetches after which a batch that was delivered before comes again.
    repeat_share: float
    sync_share: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker finds when it starts, and where it notes what it takes over."""

    broker: Broker
    network: Network
    group: Group
    attempts: Attempts


class SimulatedWorker:
    """One life of a worker, from start to exit or death."""

    def __init__(
        self,
        plan: Plan,
        around: Surroundings,
        process: Process,
        disk: Disk,
        model: ModelArtifact,
        publication: Publication,
    ) -> None:
        self._plan = plan
        self._model = model
        self._publication = publication
        self._versions, self._cutoffs = KnownVersions(), OfferedCutoffs()
        self._around = around
        self._process = process
        clients = (process, around.network, around.broker)
        self.engine = plan.engine_type(
            plan.settings,
            replace(plan.scorer, model=model, risk_versions=self._versions, cutoffs=self._cutoffs),
            SOURCE,
            CHANGELOG,
            {},
            Outside(
                producer=partial(SimulatedProducer, *clients),
                consumer=partial(SimulatedConsumer, *clients),
                open_store=lambda path, _: SimulatedStore(process, disk, path, plan.sync_share),
                condemn=lambda path, _: disk.remove(path),
            ),
        )
        self._assignment: Assignment | None = None
        #: The generation that is believed to stand; None while there is none.
        self._generation: int | None = None
        self._joined_generation = -1
        self._positions: dict[int, int] = {}
        self._batches: asyncio.Queue[tuple[int, list[ConsumerRecord], int]] = asyncio.Queue(
            _BATCHES_WAITING_MAX
        )
        self._recent: list[tuple[int, list[ConsumerRecord], int]] = []
        self._must_stop = False

    def close(self) -> None:
        """Ask it to stop, as SIGTERM does."""
        self._must_stop = True

    async def main(self, on_exit: Callable[[], None]) -> None:
        """Work until told to stop or failed, give back, exit."""
        parts = (
            self._be_member,
            self._heartbeat,
            self._fetch,
            self._score,
            self._tick,
            self._commit,
            self._verify_outputs,
            *([self._follow] if self._publication.times else []),
        )
        tasks = [asyncio.ensure_future(part()) for part in parts]
        while not (self._must_stop or self.engine.failure or any(task.done() for task in tasks)):
            await asyncio.sleep(_POLL_S)
        failure = self._failure(tasks)
        self._note("stops", failure=repr(failure))
        if failure is not None and not self._is_foreseen(failure):
            self._process.world.violations[f"a worker stopped by {failure!r}"] += 1
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(self._leave(), 2 * self._plan.settings.shutdown_timeout_s)
        self._note("exits")
        self._process.die()
        on_exit()

    def _is_foreseen(self, failure: BaseException) -> bool:
        """The broker did not do what it had to, or others own the partitions by now."""
        group = self._around.group
        is_owner = not group.is_rebalancing and group.generation == self._joined_generation
        return isinstance(failure, LogError | KafkaError) or (
            isinstance(failure, RecoveryError) and not is_owner
        )

    def _failure(self, tasks: Sequence["asyncio.Task[None]"]) -> BaseException | None:
        ended = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        return self.engine.failure or next((error for error in ended if error), None)

    async def _leave(self) -> None:
        await self._give_back()
        await self.engine.stop()
        await self._asked("leave", partial(self._around.group.leave, self._process.name))

    async def _be_member(self) -> None:
        while True:
            await self._asked("join", partial(self._around.group.join, self._process.name))
            assignment = await self._assigned()
            self._generation = self._joined_generation = assignment.generation
            await self._take_over(assignment)
            while self._generation is not None:
                await asyncio.sleep(_POLL_S)
            await self._give_back()

    async def _assigned(self) -> Assignment:
        while True:
            try:
                found: Assignment | None = await self._asked(
                    "sync", partial(self._around.group.assigned, self._process.name)
                )
            except KafkaError:  # too late for this rebalance
                await self._asked("join", partial(self._around.group.join, self._process.name))
                continue
            if found is not None:
                return found
            await asyncio.sleep(_POLL_S)

    async def _take_over(self, assignment: Assignment) -> None:
        await self.engine.assign(assignment.partitions, assignment.generation)
        for one in self.engine.partitions:
            self._note_attempt(one)
        self._positions.clear()
        for one in assignment.partitions:
            committed = await self._asked(
                "fetch_offset", partial(self._around.group.committed, one)
            )
            position = self.engine.position(one, committed)
            log = self._around.broker.log(SOURCE, one)
            start = log.start if position is None else position
            self._positions[one] = self.engine.verified(one, start, log.start, log.end)
            if self.engine.is_stopped(one):  # a worker would wait for an operator: nobody comes
                raise RecoveryError(self.engine.why_not_ready() or f"{one} is stopped")
        self._assignment = assignment
        self._note("took over", positions=self._positions)

    def _note_attempt(self, partition: int) -> None:
        """Where it goes on: behind what it has settled, though others may have undone that."""
        task = self.engine._tasks[partition]
        epoch = producer_epoch(task._output)
        settled = self._around.attempts.committed(partition, epoch)
        attempt = Attempt(epoch, max(task.position or 0, settled), self._model)
        self._around.attempts.add(partition, attempt)

    async def _heartbeat(self) -> None:
        """Stay a member, also while state is recovered; note when the assignment is over."""
        while True:
            await asyncio.sleep(_HEARTBEAT_INTERVAL_S)
            generation = self._generation
            if generation is None:
                continue
            heartbeat = partial(self._around.group.heartbeat, self._process.name, generation)
            health = await self._asked("heartbeat", heartbeat)
            if health != "stable" and generation == self._generation:
                self._generation = None

    async def _give_back(self) -> None:
        assignment, self._assignment = self._assignment, None
        self._note("gives back")
        offsets = await self.engine.release()
        if assignment is not None and offsets:
            await self._commit_offsets(assignment.generation, offsets)

    async def _verify_outputs(self) -> None:
        while True:
            await asyncio.sleep(OUTPUTS_INTERVAL_S)
            await self.engine.verify_outputs()

    async def _follow(self) -> None:
        """Hear of what is published, some time after it was."""
        while True:
            await asyncio.sleep(self._process.world.random.uniform(0.05, 1.0))
            published = self._publication.newest(self._process.world.now)
            if published is not None:
                windows, cutoffs = published
                self._versions.offer(windows)
                self._cutoffs.offer(cutoffs)

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            assignment = self._assignment
            if assignment is None:
                continue
            moved = self.engine.committable()
            if moved and not await self._commit_offsets(assignment.generation, moved):
                self.engine.tell_again(moved)

    async def _commit_offsets(self, generation: int, offsets: dict[int, int]) -> bool:
        def commit() -> None:
            self._around.group.commit(self._process.name, generation, offsets)

        try:
            await self._around.network.request(self._process, "commit_offsets", commit)
        except KafkaError:
            return False
        return True

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._plan.settings.checkpoint_interval_ms / 1000)
            self.engine.tick()

    async def _fetch(self) -> None:
        while True:
            await asyncio.sleep(_FETCH_INTERVAL_S)
            assignment = self._assignment
            for one in assignment.partitions if assignment is not None else ():
                if assignment is self._assignment:
                    assert assignment is not None
                    await self._fetch_partition(one, assignment)

    async def _fetch_partition(self, partition: int, assignment: Assignment) -> None:
        position = self._positions[partition]
        log = self._around.broker.log(SOURCE, partition)
        if position >= log.end or self.engine.is_stopped(partition):
            return
        if position < log.start:
            self.engine.verified(partition, position, log.start, log.end)
            return
        size = self._plan.settings.batch_records_max
        try:
            records, _ = await self._around.network.request(
                self._process, "fetch", lambda: log.read(position, 4 * size, committed=True)
            )
        except KafkaError:
            return
        if assignment is not self._assignment or not records:
            return  # the consumer throws away what it fetched for an earlier assignment
        self._positions[partition] = records[-1].offset + 1
        for start in range(0, len(records), size):
            batch = (partition, records[start : start + size], assignment.generation)
            await self._batches.put(batch)
            self._recent = [*self._recent[-3:], batch]
        if self._process.world.chance(self._plan.repeat_share):
            await self._batches.put(self._process.world.random.choice(self._recent))

    async def _score(self) -> None:
        while True:
            partition, records, generation = await self._batches.get()
            await self.engine.score(partition, records, generation)
            if self._batches.empty():
                self.engine.tick(at_once=True)

    async def _asked(self, name: str, action: Callable[[], Any]) -> Any:
        """The answer of the group's coordinator, after as many attempts as it takes."""
        return await _insist(lambda: self._around.network.request(self._process, name, action))

    def _note(self, what: str, **fields: Any) -> None:
        self._process.world.note(self._process.name, what, **fields)


def producer_epoch(output: Any) -> int:
    """Of a partition's log, which mutants wrap; 0 without transactions."""
    producer = getattr(getattr(output, "inner", output), "_producer", None)
    return producer.epoch if isinstance(producer, SimulatedProducer) else 0


async def _insist(attempt: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await attempt()
        except (KafkaConnectionError, RequestTimedOutError):
            await asyncio.sleep(_POLL_S)
