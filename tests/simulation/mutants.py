"""Deliberately broken checkpoints. The simulator is worth something as long as it catches each.

Each is an engine that differs from the real one in one decision.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from streamapp.engine import engine
from streamapp.engine.attempt import Attempt
from streamapp.engine.engine import Engine
from streamapp.engine.outbox import LogError
from streamapp.engine.partition import PartitionTask
from streamapp.engine.partition_log import AtLeastOnceLog, ExactlyOnceLog, PartitionLog
from streamapp.engine.record_batch import Messages
from streamapp.engine.record_columns import RecordColumns
from streamapp.engine.recovery import RecoveryError
from streamapp.engine.store import PARTITION_STATE_KEY, Store
from streamapp.scoring.erasing import Step
from streamapp.scoring.process import ScoredBatch

_Items = Sequence[tuple[bytes, bytes]]
_Outputs = list[tuple[str, Messages]]


class _WrappedLog:
    """A log that does as the one inside; mutants change a part of it."""

    def __init__(self, inner: PartitionLog, new: Callable[[], Awaitable[PartitionLog]]) -> None:
        self.inner = inner
        self.new = new
        self.is_fenced = inner.is_fenced

    @property
    def attempt(self) -> Attempt:
        return self.inner.attempt

    @attempt.setter
    def attempt(self, attempt: Attempt) -> None:
        self.inner.attempt = attempt

    async def open(self) -> None:
        await self.inner.open()

    async def append(self, topic: str, messages: Messages) -> None:
        await self.inner.append(topic, messages)

    def cut(self) -> None:
        self.inner.cut()

    async def commit(self, items: _Items, position: int) -> int:
        return await self.inner.commit(items, position)

    async def abort(self, messages: Mapping[str, Messages]) -> None:
        await self.inner.abort(messages)

    async def close(self) -> None:
        await self.inner.close()


class _MutantEngine(Engine):
    """An engine with other logs or other tasks."""

    log_type: type[_WrappedLog] = _WrappedLog
    task_type: type[PartitionTask] = PartitionTask

    async def _new_log(self, partition: int) -> PartitionLog:
        def new() -> Awaitable[PartitionLog]:
            return Engine._new_log(self, partition)

        return self.log_type(await new(), new)

    def _new_task(self, partition: int, store: Store, output: PartitionLog) -> PartitionTask:
        task = super()._new_task(partition, store, output)
        task.__class__ = self.task_type
        return task


class _OffsetFirstLog(_WrappedLog):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._later: _Outputs = []

    async def append(self, topic: str, messages: Messages) -> None:
        self._later.append((topic, messages))

    async def commit(self, items: _Items, position: int) -> int:
        later, self._later = self._later, []
        await self.inner.commit(items, position)
        for topic, messages in later:
            await self.inner.append(topic, messages)
        self.inner.cut()
        return await self.inner.commit(items[-1:], position)


class OffsetBeforeOutput(_MutantEngine):
    """State and source offset are committed before the verdicts are produced."""

    log_type = _OffsetFirstLog


class _StoreFirstTask(PartitionTask):
    async def _make_durable(self) -> int:
        async with self._step:
            snapshot = self._table.snapshot()
            offset = self._state.source_offset
            state = self._state.to_bytes(self._scorer.model.half_space_trees)
            self._output.cut()
        items = [*snapshot.items, (PARTITION_STATE_KEY, state)]
        self._store.write(items, self._store.changelog_offset)
        self._store.write(items, await self._output.commit(items, offset + 1))
        self._table.release(snapshot)
        self._checkpointed = offset
        return len(items)


class StoreBeforeCommit(_MutantEngine):
    """The local store is written before the commit."""

    task_type = _StoreFirstTask


class _UnlockedTask(PartitionTask):
    async def _make_durable(self) -> int:
        snapshot = self._table.snapshot()
        offset = self._state.source_offset
        state = self._state.to_bytes(self._scorer.model.half_space_trees)
        self._output.cut()
        items = [*snapshot.items, (PARTITION_STATE_KEY, state)]
        self._store_later(snapshot, items, await self._output.commit(items, offset + 1))
        self._checkpointed = offset
        return len(items)


class _FullLog(_WrappedLog):
    async def append(self, topic: str, messages: Messages) -> None:
        await asyncio.sleep(0.01)
        await self.inner.append(topic, messages)


class SnapshotInsideBatch(_MutantEngine):
    """A checkpoint takes its snapshot without waiting for the batch whose output waits for room."""

    log_type = _FullLog
    task_type = _UnlockedTask


class OpenWithoutFence(Engine):
    """Each owner has a transactional id of its own, so the one before can go on writing."""

    _lives = itertools.count()

    async def assign(self, partitions: Iterable[int], generation: int) -> None:
        outside = self._outside

        def new_producer(**options: Any) -> Any:
            if "transactional_id" in options:
                options["transactional_id"] += f"-{next(self._lives)}"
            return outside.producer(**options)

        self._outside = replace(outside, producer=new_producer)
        await super().assign(partitions, generation)
        self._outside = outside


class _RetryingLog(_WrappedLog):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sent: _Outputs = []
        self._cut = 0
        self._is_retrying = False

    async def append(self, topic: str, messages: Messages) -> None:
        self._sent.append((topic, messages))
        if not self._is_retrying:
            await self.inner.append(topic, messages)

    def cut(self) -> None:
        self._cut = len(self._sent)
        self.inner.cut()

    async def commit(self, items: _Items, position: int) -> int:
        try:
            offset = await self.inner.commit(items, position)
        except LogError:
            self._is_retrying = True
            attempt = self.attempt
            self.inner = await self.new()
            self.attempt = attempt
            await self.inner.open()
            for topic, messages in self._sent[: self._cut]:
                await self.inner.append(topic, messages)
            self.inner.cut()
            offset = await self.inner.commit(items, position)
            self._is_retrying = False
            for topic, messages in self._sent[self._cut :]:
                await self.inner.append(topic, messages)
        self._sent = self._sent[self._cut :]
        return offset


class RetryAfterTimeout(_MutantEngine):
    """A commit whose fate is unknown is made again by a new producer."""

    log_type = _RetryingLog


class _StubbornTask(PartitionTask):
    def _raise_failure(self) -> None:
        """Goes on whatever has failed, in the outbox too."""
        assert isinstance(self._output, _WrappedLog)
        assert isinstance(self._output.inner, AtLeastOnceLog | ExactlyOnceLog)
        if self._output.inner._outbox is not None:
            self._output.inner._outbox._failure = None


class GoesOnAfterFailure(_MutantEngine):
    """After a failed batch or checkpoint the next checkpoint is made as if nothing had been."""

    task_type = _StubbornTask


class _UncutLog(_WrappedLog):
    def cut(self) -> None:
        self.inner.cut()
        if isinstance(self.inner, ExactlyOnceLog):
            assert self.inner._outbox is not None
            self.inner._outbox.go_on()


class NothingHeldBack(_MutantEngine):
    """What is appended while a commit runs goes into the transaction that is being committed."""

    log_type = _UncutLog


class _PostponedLog(_WrappedLog):
    async def open(self) -> None:
        """Later."""


class RecoveryBeforeFence(_MutantEngine):
    """State is recovered before the earlier owner has been fenced."""

    log_type = _PostponedLog

    async def assign(self, partitions: Iterable[int], generation: int) -> None:
        await super().assign(partitions, generation)
        for task in self._tasks.values():
            assert isinstance(task._output, _PostponedLog)
            await task._output.inner.open()


class NothingSettled(_MutantEngine):
    """What the broker has left undecided is left as it is when a partition is taken over."""

    async def _recover(
        self, stores: Mapping[int, Store], logs: Mapping[int, PartitionLog]
    ) -> list[int]:
        with patch.object(engine, "settle", _unsettled):
            return await super()._recover(stores, logs)


async def _unsettled(*_: object) -> dict[int, RecoveryError]:
    return {}


class _NamelessLog(_WrappedLog):
    @property
    def attempt(self) -> Attempt:
        return Attempt()

    @attempt.setter
    def attempt(self, attempt: Attempt) -> None:
        """No state says whose it is."""


class SettledFromAnyAttempt(_MutantEngine):
    """What is written again is taken from whichever attempt stands first."""

    log_type = _NamelessLog


class _ForgetfulTask(PartitionTask):
    async def _take(self, step: Step, fresh: RecordColumns) -> ScoredBatch:
        self._state.risk_windows = ()
        return await super()._take(step, fresh)


class _CutoffsForgotten(PartitionTask):
    async def _take(self, step: Step, fresh: RecordColumns) -> ScoredBatch:
        self._state.cutoffs = ()
        return await super()._take(step, fresh)


class CutoffsNotRecorded(_MutantEngine):
    """Cut-offs are taken over, but the state does not say so."""

    task_type = _CutoffsForgotten


class WindowsNotRecorded(_MutantEngine):
    """Risk windows are taken over, but the state does not say so."""

    task_type = _ForgetfulTask


MUTANTS: Final[tuple[type[Engine], ...]] = (
    OffsetBeforeOutput,
    StoreBeforeCommit,
    SnapshotInsideBatch,
    OpenWithoutFence,
    RetryAfterTimeout,
    GoesOnAfterFailure,
    NothingHeldBack,
    RecoveryBeforeFence,
    NothingSettled,
    SettledFromAnyAttempt,
    WindowsNotRecorded,
    CutoffsNotRecorded,
)
