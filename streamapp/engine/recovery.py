"""Recovery: bring a partition's store up to the end of its changelog before scoring goes on."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from streamapp.engine import metrics
from streamapp.engine.store import PARTITION_STATE_KEY, USER_PREFIX, Store
from streamapp.features import profile
from streamapp.features.profile import ProfileError, unseal
from streamapp.scoring import partition_state

log = structlog.get_logger()

#: Changelog records applied in one write of the store: 4 MB of profiles.
_RECORDS_MAX: Final = 4096
#: A changelog ends with the marker of a transaction, which is no record: this is waited in vain.
_POLL_MS: Final = 20


_Item = tuple[bytes, bytes | None]


class RecoveryError(Exception):
    """State can't be rebuilt; the message says the fact, the place and the way out."""


@dataclass(slots=True)
class _Progress:
    store: Store
    offset: int
    end: int
    is_fenced: bool

    @property
    def is_done(self) -> bool:
        return self.offset + 1 >= self.end


def verify_position(topic: str, partition: int, position: int, begin: int, end: int) -> None:
    """Refuse a position outside what the topic holds: records would be passed over unscored.

    Raises RecoveryError.
    """
    if position > end:
        fact = f"ends at {end}, but the state goes on from {position}: the topic was made again"
    elif position < begin:
        fact = f"begins at {begin}, but the state goes on from {position}: retention was too short"
    else:
        return
    raise RecoveryError(
        f"{topic}[{partition}] {fact}; to score what it holds from an empty state, set "
        f"STREAMAPP_WORKER__GROUP and STREAMAPP_WORKER__STATE_DIR to new ones"
    )


async def recover(
    stores: Mapping[int, Store],
    changelog: str,
    client: Mapping[str, Any],
    timeout_s: float,
    new_consumer: Callable[..., AIOKafkaConsumer] = AIOKafkaConsumer,
    *,
    is_fenced: bool = True,
) -> None:
    """Apply to each partition's store what its changelog holds beyond it.

    Where no fence kept an earlier owner from writing after its successor, what is older than what
    is known is passed over. `timeout_s` bounds the time without progress. Raises RecoveryError.
    """
    if not stores:
        return
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
        progress = await _open(consumer, stores, changelog, is_fenced)
        await _follow(consumer, progress, timeout_s)
    finally:
        await consumer.stop()
    elapsed = asyncio.get_running_loop().time() - started
    metrics.RECOVERY_SECONDS.set(elapsed)
    log.info("state_recovered", partitions=sorted(stores), seconds=round(elapsed, 3))


async def _open(
    consumer: AIOKafkaConsumer, stores: Mapping[int, Store], changelog: str, is_fenced: bool
) -> dict[TopicPartition, _Progress]:
    topic_partitions = {TopicPartition(changelog, partition): partition for partition in stores}
    consumer.assign(list(topic_partitions))
    ends = await consumer.end_offsets(list(topic_partitions))
    begins = await consumer.beginning_offsets(list(topic_partitions))
    progress = {}
    for tp, partition in topic_partitions.items():
        store = stores[partition]
        _verify_origin(store, tp)
        offset = store.changelog_offset
        if offset >= ends[tp]:
            raise RecoveryError(
                f"{changelog}[{partition}] ends at {ends[tp]}, but the local state has applied "
                f"{offset}: the topic was deleted or made again; remove the state directory of "
                f"this partition to start from the changelog"
            )
        first = max(offset + 1, begins[tp])
        consumer.seek(tp, first)
        progress[tp] = _Progress(store, first - 1, ends[tp], is_fenced)
    return progress


def _verify_origin(store: Store, tp: TopicPartition) -> None:
    """Offsets say nothing about another topic's records: such a copy must not be gone on with."""
    if store.changelog is None:
        store.follow(tp.topic)
    elif store.changelog != tp.topic:
        raise RecoveryError(
            f"the local state of partition {tp.partition} belongs to {store.changelog}, expected "
            f"{tp.topic}: set STREAMAPP_WORKER__STATE_DIR to this group's own directory"
        )


async def _follow(
    consumer: AIOKafkaConsumer, progress: dict[TopicPartition, _Progress], timeout_s: float
) -> None:
    moved_at = asyncio.get_running_loop().time()
    while waiting := [tp for tp, one in progress.items() if not one.is_done]:
        found = await consumer.getmany(*waiting, timeout_ms=_POLL_MS, max_records=_RECORDS_MAX)
        moved = bool(found)
        for tp, records in found.items():
            _apply(progress[tp], tp.partition, records)
        for tp in waiting:  # past the end of compacted or aborted records there is nothing to get
            position = await consumer.position(tp)
            moved |= position - 1 > progress[tp].offset
            progress[tp].offset = max(progress[tp].offset, position - 1)
        if moved:
            moved_at = asyncio.get_running_loop().time()
        elif asyncio.get_running_loop().time() - moved_at > timeout_s:
            places = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in waiting)
            raise RecoveryError(
                f"no changelog record of {places} for {timeout_s:.0f} s: check that the broker "
                f"is up, then start the worker again"
            )
        await asyncio.sleep(0)


def _apply(progress: _Progress, partition: int, records: list[Any]) -> None:
    items = [(record.key, record.value) for record in records]
    for (key, value), record in zip(items, records, strict=True):
        _verify(key, value, partition, record.offset)
    progress.offset = records[-1].offset
    if not progress.is_fenced:
        items = _newest(progress.store, items)
    progress.store.write(items, progress.offset)
    metrics.RECOVERED_RECORDS.inc(len(records))


def _newest(store: Store, items: Sequence[_Item]) -> list[_Item]:
    """Items without those that are older, by source offset, than one before them or in the store.

    An earlier owner's late state is not wrong, for all owners compute the same, but over.
    """
    keys = list({key for key, _ in items})
    known = zip(keys, store.get_many(keys), strict=True)
    newest = {key: _source_offset(key, value) for key, value in known if value is not None}
    kept = []
    for key, value in items:
        offset = newest.get(key, -1) if value is None else _source_offset(key, value)
        if offset >= newest.get(key, -1):
            newest[key] = offset
            kept.append((key, value))
    return kept


def _source_offset(key: bytes, value: bytes) -> int:
    if key == PARTITION_STATE_KEY:
        return partition_state.source_offset(value)
    return profile.source_offset(value)


def _verify(key: bytes | None, value: bytes | None, partition: int, offset: int) -> None:
    if key is None or not key.startswith((USER_PREFIX, PARTITION_STATE_KEY)):
        raise RecoveryError(
            f"changelog record {offset} of partition {partition} is not ours: another program "
            f"writes to this topic; stop it and rebuild the topic"
        )
    if value is not None and key.startswith(USER_PREFIX):
        try:
            unseal(value)
        except ProfileError as error:
            raise RecoveryError(
                f"changelog record {offset} of partition {partition}: {error}"
            ) from error
