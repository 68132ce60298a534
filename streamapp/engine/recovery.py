"""Recovery: bring a partition's store up to the end of its changelog before scoring goes on.

What makes one partition's state doubtful stops that partition; the others go on.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from streamapp.engine import metrics
from streamapp.engine.late_state import Aged, LateState, source_offset
from streamapp.engine.partition_log import SOURCE_ID_HEADER
from streamapp.engine.store import PARTITION_STATE_KEY, USER_PREFIX, Origin, Store
from streamapp.features import profile
from streamapp.features.profile import ProfileError
from streamapp.scoring import partition_state
from streamapp.scoring.partition_state import PartitionStateError

log = structlog.get_logger()

#: Changelog records applied in one write of the store: 4 MB of profiles.
_RECORDS_MAX: Final = 4096
#: A changelog ends with the marker of a transaction, which is no record: this is waited in vain.
_POLL_MS: Final = 20

#: What a partition can be stopped by: its changelog, its source topic, a transaction that hangs in
#: its outputs, too many dead letters, or risk windows that can't be had.
StopReason = Literal["changelog", "source", "outputs", "dead_letters", "risk_windows"]


class RecoveryError(Exception):
    """State can't be rebuilt; the message says the fact, the place and the way out."""

    def __init__(self, message: str, reason: StopReason = "changelog") -> None:
        super().__init__(message)
        self.reason: StopReason = reason


class UnsoundChangelogError(RecoveryError):
    """Records of the changelog can't be used; `offsets` has the first of each key."""

    def __init__(self, message: str, offsets: Mapping[bytes, int]) -> None:
        super().__init__(message)
        self.offsets = dict(offsets)


class _Problem(NamedTuple):
    """What is wrong with a changelog record. Short, and without whose it is."""

    text: str
    #: It is whole, but of another version's layout.
    is_layout: bool = False


@dataclass(slots=True)
class _Progress:
    store: Store
    offset: int
    end: int
    late: LateState | None
    source_id: str
    #: Records that are not sound and that no later record of their key has replaced yet.
    unsound: dict[bytes, tuple[int, _Problem]] = field(default_factory=dict)

    @property
    def remaining(self) -> int:
        return max(self.end - self.offset - 1, 0)

    @property
    def is_done(self) -> bool:
        return self.remaining == 0


def mend(partition: int) -> str:
    """The command that shows what there is and makes a partition's topics and state fit again."""
    return f"streamapp state repair --partition {partition}"


def verify_position(topic: str, partition: int, position: int, begin: int, end: int) -> None:
    """Refuse a position outside what the topic holds: records would be passed over unscored.

    Raises RecoveryError.
    """
    if position > end:
        fact = f"ends at {end}, but the state goes on from {position}: the topic was made again"
    elif position < begin:
        fact = (
            f"begins at {begin}, but the state goes on from {position}: "
            f"{begin - position} records went by retention before they were scored"
        )
    else:
        return
    raise RecoveryError(
        f"{topic}[{partition}] {fact}; to go on from its beginning: {mend(partition)}", "source"
    )


def verify_source(topic: str, partition: int, known: str, present: str) -> None:
    """Refuse a source topic that is not the one whose records the state counts.

    known, present: the broker's ids; empty ones say nothing. Raises RecoveryError.
    """
    if known and present and known != present:
        raise RecoveryError(
            f"{topic}[{partition}] is another topic (id {present}) than the one the state has read "
            f"(id {known}): it was deleted and made again; to go on from its beginning: "
            f"{mend(partition)}",
            "source",
        )


def verify_changelog(partition: int, known: Origin, present: Origin) -> None:
    """Refuse a changelog that is not the one the store is a copy of. Raises RecoveryError."""
    if known.changelog_id and present.changelog_id and known.changelog_id != present.changelog_id:
        raise RecoveryError(
            f"{present.changelog}[{partition}] is another topic (id {present.changelog_id}) than "
            f"the one the local state is a copy of (id {known.changelog_id}): it was deleted and "
            f"made again; to write the local state to it: {mend(partition)}"
        )


def verify_changelog_end(topic: str, partition: int, offset: int, end: int) -> None:
    """Refuse a changelog that ends before what the store has applied. Raises RecoveryError."""
    if offset >= end:
        raise RecoveryError(
            f"{topic}[{partition}] ends at {end}, but the local state has applied {offset}: "
            f"the topic was cut, or deleted and made again; to write the local state to it: "
            f"{mend(partition)}"
        )


def made_again(known: Origin, present: Origin) -> RecoveryError | None:
    """The failure of a worker whose topics were deleted and made again while it ran."""
    for before, now in (
        (known.changelog_id, present.changelog_id),
        (known.source_id, present.source_id),
    ):
        if before and now and before != now:
            return RecoveryError(
                f"a topic was deleted and made again while the worker ran: its id was {before} "
                f"and is {now}; start the worker again to be told what to do"
            )
    return None


async def recover(
    stores: Mapping[int, Store],
    present: Origin,
    client: Mapping[str, Any],
    timeout_s: float,
    new_consumer: Callable[..., AIOKafkaConsumer] = AIOKafkaConsumer,
    *,
    is_fenced: bool = True,
    on_progress: Callable[[int, int, int], None] | None = None,
) -> dict[int, RecoveryError]:
    """Apply to each partition's store what its changelog holds beyond it.

    present: the changelog, and the ids of topics now. Where no fence kept an earlier owner from
    writing after its successor, what is older than what is known is passed over. `timeout_s`
    bounds the time without progress. on_progress: told partition, offset reached and end.

    Returns the partitions that can't go on, each with the reason. Raises RecoveryError where the
    broker does not answer.
    """
    if not stores:
        return {}
    started = asyncio.get_running_loop().time()
    consumer = new_consumer(
        **client,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=8 * 1024 * 1024,
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        recovery = _Recovery(consumer, present, timeout_s, on_progress)
        await recovery.open(stores, is_fenced=is_fenced)
        await recovery.follow()
    finally:
        await consumer.stop()
    elapsed = asyncio.get_running_loop().time() - started
    metrics.RECOVERY_SECONDS.set(elapsed)
    done = sorted(set(stores) - set(recovery.refused))
    log.info("state_recovered", partitions=done, seconds=round(elapsed, 3))
    return recovery.refused


class _Recovery:
    """Several partitions of one changelog, read by one consumer."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        present: Origin,
        timeout_s: float,
        on_progress: Callable[[int, int, int], None] | None,
    ) -> None:
        self._consumer = consumer
        self._on_progress = on_progress or (lambda *_: None)
        self._present = present
        self._timeout_s = timeout_s
        self._progress: dict[TopicPartition, _Progress] = {}
        self.refused: dict[int, RecoveryError] = {}

    async def open(self, stores: Mapping[int, Store], *, is_fenced: bool) -> None:
        """Find where each store goes on."""
        places = {TopicPartition(self._present.changelog, one): one for one in stores}
        self._consumer.assign(list(places))
        ends = await self._consumer.end_offsets(list(places))
        begins = await self._consumer.beginning_offsets(list(places))
        for tp, partition in places.items():
            try:
                source_id = _taken_up(stores[partition], partition, self._present)
                first = _first(stores[partition], tp, begins[tp], ends[tp])
            except RecoveryError as error:
                self.refused[partition] = error
                continue
            self._consumer.seek(tp, first)
            store = stores[partition]
            late = None if is_fenced else LateState(store)
            progress = _Progress(store, first - 1, ends[tp], late, source_id)
            self._progress[tp] = progress
            metrics.RECOVERY_REMAINING.labels(partition).set(progress.remaining)

    async def follow(self) -> None:
        """Apply records until every partition is at its end or refused."""
        moved_at = asyncio.get_running_loop().time()
        while waiting := [tp for tp, one in self._progress.items() if not one.is_done]:
            if await self._advance(waiting):
                moved_at = asyncio.get_running_loop().time()
            elif asyncio.get_running_loop().time() - moved_at > self._timeout_s:
                places = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in waiting)
                raise RecoveryError(
                    f"no changelog record of {places} for {self._timeout_s:.0f} s: check that the "
                    f"broker is up, then start the worker again"
                )
            await asyncio.sleep(0)
        for tp, progress in self._progress.items():
            self._try(tp, partial(_finish, progress, tp, self._present))

    async def _advance(self, waiting: list[TopicPartition]) -> bool:
        """Read once; whether anything moved."""
        found = await self._consumer.getmany(
            *waiting, timeout_ms=_POLL_MS, max_records=_RECORDS_MAX
        )
        moved = bool(found)
        for tp, records in found.items():
            if not self._try(tp, partial(_apply, self._progress[tp], tp, records)):
                del self._progress[tp]
        for tp in waiting:  # past the end of compacted or aborted records there is nothing to get
            if tp in self._progress:
                position = await self._consumer.position(tp)
                moved |= position - 1 > self._progress[tp].offset
                progress = self._progress[tp]
                progress.offset = max(progress.offset, position - 1)
                self._on_progress(tp.partition, progress.offset + 1, progress.end)
                metrics.RECOVERY_REMAINING.labels(tp.partition).set(progress.remaining)
        return moved

    def _try(self, tp: TopicPartition, step: Callable[[], None]) -> bool:
        try:
            step()
        except RecoveryError as error:
            self.refused[tp.partition] = error
            return False
        return True


def _taken_up(store: Store, partition: int, present: Origin) -> str:
    """The source's id as far as the store knows it, once its changelog is known to be this one."""
    known = store.origin
    if known is None:
        store.follow(replace(present, source_id=""))
        return ""
    verify_changelog(partition, known, present)
    return known.source_id


def _first(store: Store, tp: TopicPartition, begin: int, end: int) -> int:
    offset = store.changelog_offset
    verify_changelog_end(tp.topic, tp.partition, offset, end)
    return max(offset + 1, begin)


def _apply(progress: _Progress, tp: TopicPartition, records: list[Any]) -> None:
    items: list[Aged] = []
    for record in records:
        key, value = record.key, record.value
        problem = _problem(key, value)
        if problem is None:
            items.append((key, value, source_offset(key, value, record.headers)))
            if progress.unsound.pop(key, None) and progress.late:
                progress.late.begin_anew(key)
        elif key is None:
            raise _unsound(tp, record.offset, problem)
        else:
            progress.unsound.setdefault(key, (record.offset, problem))
        if key == PARTITION_STATE_KEY:
            progress.source_id = source_id_of(record.headers) or progress.source_id
    progress.offset = records[-1].offset
    if progress.late:
        items = progress.late.without_late(items)
    # What is not sound is to be met again if recovery breaks off here.
    applied = min([offset - 1 for offset, _ in progress.unsound.values()] + [progress.offset])
    progress.store.write([(key, value) for key, value, _ in items], applied)
    metrics.RECOVERED_RECORDS.inc(len(records))


def _finish(progress: _Progress, tp: TopicPartition, present: Origin) -> None:
    for offset, problem in sorted(progress.unsound.values(), key=lambda one: not one[1].is_layout):
        offsets = {key: first for key, (first, _) in progress.unsound.items()}
        raise _unsound(tp, offset, problem, offsets)
    store = progress.store
    earlier = store.origin or present
    store.follow(
        Origin(
            present.changelog,
            present.changelog_id or earlier.changelog_id,
            progress.source_id or present.source_id,
        )
    )


def source_id_of(headers: Sequence[tuple[str, bytes]]) -> str:
    """The id of the source topic that a state in the changelog counts records of; may be empty."""
    return next((value.decode() for name, value in headers if name == SOURCE_ID_HEADER), "")


def _unsound(
    tp: TopicPartition, offset: int, problem: _Problem, offsets: Mapping[bytes, int] | None = None
) -> RecoveryError:
    fact = f"changelog record {offset} of {tp.topic}[{tp.partition}] {problem.text}"
    if problem.is_layout:
        return RecoveryError(f"{fact}; start the version of streamapp that wrote it")
    return UnsoundChangelogError(
        f"{fact}; to see all that is wrong: streamapp state verify --deep "
        f"--partition {tp.partition}; "
        f"to replace it by the local state or drop it: {mend(tp.partition)}",
        offsets or {},
    )


def _problem(key: bytes | None, value: bytes | None) -> _Problem | None:
    try:
        if key is not None and key.startswith(USER_PREFIX):
            if value is not None:
                profile.verify(value)
        elif key == PARTITION_STATE_KEY:
            if value is not None:
                partition_state.verify(value)
        elif key is None or value is not None:
            return _Problem("is not ours: another program writes to this topic, stop it")
    except (ProfileError, PartitionStateError) as error:
        return _Problem(f"can't be used: {error}", error.is_layout)
    return None
