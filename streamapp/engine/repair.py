"""Makes a partition's state, changelog and source fit again after a topic was lost or cut.

First it is found out what has to be done and what is lost by it; only `carry_out` changes
anything. What is written to the changelog comes in transactions under the partition's own
transactional id, so a worker that still writes is fenced off. The partition's state, by which a
worker knows where to go on, is in the last of them: broken off half-way, the partition stays
stopped, and the repair can be run again.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from confluent_kafka import KafkaException, Message, Producer, TopicPartition

from streamapp.engine.partition_log import SOURCE_ID_HEADER, transactional_id
from streamapp.engine.recovery import (
    RecoveryError,
    verify_changelog,
    verify_changelog_end,
    verify_position,
    verify_source,
)
from streamapp.engine.store import PARTITION_STATE_KEY, USER_PREFIX, Origin, StateStore
from streamapp.features import profile
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.offsets import OffsetReader, Span
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topics import LARGE_RECORD_BYTES
from streamapp.scoring import partition_state
from streamapp.scoring.verdicts import SourcePartition

_RECORDS_PER_TRANSACTION: Final = 2_000
_ANSWER_TIMEOUT_S: Final = 60.0

#: The offset of a profile before the first record of a source topic.
_BEFORE_ALL: Final = -1


class RepairError(Exception):
    """Nothing was changed, or not all; the message says why and what to do."""


@dataclass(slots=True)
class Repair:
    """What is to be done with one partition, and what is lost by it."""

    partition: int
    present: Origin
    position: int
    #: Keys of changelog records that can't be used and that the store has no value for.
    dropped: list[bytes] = field(default_factory=list)
    #: All state is written to the changelog, not only the partition's own.
    publishes_all: bool = False
    #: Profiles forget which offset they were last changed at: the source counts anew.
    begins_anew: bool = False
    steps: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.steps)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition's state belongs: its group, source and changelog, as they are now."""

    group: str
    source: SourcePartition
    present: Origin
    changelog: Span
    records: Span
    committed: int | None

    @classmethod
    def found(
        cls, group: str, source: SourcePartition, present: Origin, reader: OffsetReader
    ) -> "Place":
        """As the broker says. Raises TopicError."""
        return cls(
            group,
            source,
            present,
            reader.span(present.changelog, source.partition),
            reader.span(source.topic, source.partition),
            reader.committed(source.topic, source.partition),
        )


def changelog_is_lost(store: StateStore, place: Place) -> str | None:
    """Why the changelog is not the one the store is a copy of; None where it is."""
    partition = place.source.partition
    try:
        verify_changelog(partition, store.origin or place.present, place.present)
        verify_changelog_end(
            place.present.changelog, partition, store.changelog_offset, place.changelog.end
        )
    except RecoveryError as error:
        return str(error)
    return None


def planned(
    store: StateStore,
    place: Place,
    *,
    is_lost: bool,
    unsound: Mapping[bytes, int],
    applied: int,
) -> Repair:
    """What has to be done.

    unsound: keys and offsets of changelog records that can't be used; applied: up to which offset
    the store had the changelog from its own worker, and so did not need them.

    Raises RepairError where this store is not the one to repair from.
    """
    state = store.get(PARTITION_STATE_KEY)
    position = 0 if state is None else partition_state.source_offset(state) + 1
    repair = Repair(place.source.partition, place.present, position)
    _plan_source(repair, store, place)
    if is_lost or unsound:
        repair.publishes_all = True
        where = f"{place.present.changelog}[{repair.partition}]"
        repair.steps.append(f"write the local state to {where}")
    _plan_unsound(repair, store, unsound, applied)
    _plan_position(repair, place)
    if repair.is_needed and state is None:
        raise RepairError(
            f"there is no state of partition {repair.partition} here to repair from: run this "
            f"where the newest local state is, or choose a new STREAMAPP_WORKER__GROUP to score "
            f"the source again from its beginning"
        )
    return repair


def _plan_source(repair: Repair, store: StateStore, place: Place) -> None:
    source, span = place.source, place.records
    known = store.origin.source_id if store.origin else ""
    try:
        verify_source(source.topic, source.partition, known, place.present.source_id)
        verify_position(source.topic, source.partition, repair.position, span.begin, span.end)
    except RecoveryError:
        repair.begins_anew = repair.position > span.end or (
            bool(known and place.present.source_id) and known != place.present.source_id
        )
        what = "all it holds now" if repair.begins_anew else f"what is there from {span.begin} on"
        repair.steps.append(
            f"go on from {span.begin} of {source.topic}[{source.partition}] and score {what}"
        )
        if not repair.begins_anew:
            repair.losses.append(
                f"{span.begin - repair.position} records of {source.topic}[{source.partition}] "
                f"({repair.position} to {span.begin - 1}) never get a verdict"
            )
        repair.position = span.begin
        repair.publishes_all = repair.begins_anew


def _plan_unsound(
    repair: Repair, store: StateStore, unsound: Mapping[bytes, int], applied: int
) -> None:
    repair.dropped = [key for key in unsound if store.get(key) is None]
    older = sum(offset > applied for offset in unsound.values()) - len(repair.dropped)
    if repair.dropped:
        repair.losses.append(f"{len(repair.dropped)} values of which only damaged records are left")
    if older > 0:
        repair.losses.append(f"the last change of {older} values: they go back to the one before")


def _plan_position(repair: Repair, place: Place) -> None:
    committed = place.committed or 0
    if not repair.begins_anew and committed > repair.position:
        repair.steps.append(f"go on from {committed}, which is what the group has committed")
        repair.losses.append(
            f"the effect on profiles of {committed - repair.position} records that have a verdict "
            f"({repair.position} to {committed - 1}); another worker's local state may have it: "
            f"then run this there"
        )
        repair.position = committed


def carry_out(
    repair: Repair, store: StateStore, place: Place, kafka: KafkaSettings, *, transactional: bool
) -> int:
    """Do it; the number of records written to the changelog. Raises RepairError."""
    writer = _Writer(kafka, place, transactional=transactional)
    try:
        last = writer.write(_records(repair, store), repair.position)
    except KafkaException as error:
        raise RepairError(
            f"the changelog did not take the state: {error.args[0].str()}; what was written does "
            f"no harm, run this again"
        ) from error
    _follow(repair, store, last)
    return writer.count


def _records(repair: Repair, store: StateStore) -> Iterator[tuple[bytes, bytes | None]]:
    yield from ((key, None) for key in repair.dropped)
    for key, value in store.items() if repair.publishes_all else ():
        if key.startswith(USER_PREFIX):
            yield from _placed(repair, key, value)
    state = store.get(PARTITION_STATE_KEY)
    assert state is not None, "planned on a state"
    moved = partition_state.moved(state, repair.position - 1)
    if repair.begins_anew:
        yield PARTITION_STATE_KEY, None  # where nothing fences, a lower offset would be passed over
    yield PARTITION_STATE_KEY, moved


def _placed(repair: Repair, key: bytes, value: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    if repair.begins_anew:
        yield key, None
        yield key, profile.moved(value, _BEFORE_ALL)
    else:
        yield key, value


def _follow(repair: Repair, store: StateStore, last: int) -> None:
    """Bring the store to what was written: first the values, then where they come from."""
    records = _records(repair, store)
    for block in iter(lambda: list(itertools.islice(records, _RECORDS_PER_TRANSACTION)), []):
        store.write(block, last)
    earlier = store.origin or repair.present
    store.follow(
        replace(
            repair.present,
            changelog_id=repair.present.changelog_id or earlier.changelog_id,
            source_id=repair.present.source_id or earlier.source_id,
        )
    )


class _Writer:
    """Writes records of one changelog partition, in transactions where the broker has them."""

    def __init__(self, kafka: KafkaSettings, place: Place, *, transactional: bool) -> None:
        self._place = place
        self._transactional = transactional
        self._kafka = kafka
        own = {"transactional.id": transactional_id(place.group, place.source)}
        self._producer = Producer(
            {
                **kafka.librdkafka(),
                **QUIET,
                "acks": "all",
                "enable.idempotence": True,
                "message.max.bytes": LARGE_RECORD_BYTES,
                **(own if transactional else {}),
            }
        )
        self.count = 0
        self._last = -1
        self._failure: KafkaException | None = None

    def write(self, records: Iterator[tuple[bytes, bytes | None]], position: int) -> int:
        """Write them, and the source offset with the last; the changelog offset of the last one."""
        if self._transactional:
            self._producer.init_transactions(_ANSWER_TIMEOUT_S)
        block = list(itertools.islice(records, _RECORDS_PER_TRANSACTION))
        while block:
            upcoming = list(itertools.islice(records, _RECORDS_PER_TRANSACTION))
            self._write_block(block, None if upcoming else position)
            block = upcoming
        return self._last

    def _write_block(self, block: list[tuple[bytes, bytes | None]], position: int | None) -> None:
        if self._transactional:
            self._producer.begin_transaction()
        for key, value in block:
            self._produce(key, value)
        if self._producer.flush(_ANSWER_TIMEOUT_S) or self._failure:
            raise self._failure or RepairError(
                f"the broker has not confirmed the state within {_ANSWER_TIMEOUT_S:.0f} s; what "
                f"was written does no harm, run this again"
            )
        if position is not None:
            self._commit_position(position)
        if self._transactional:
            self._producer.commit_transaction(_ANSWER_TIMEOUT_S)

    def _produce(self, key: bytes, value: bytes | None) -> None:
        place = self._place
        headers: list[tuple[str, str | bytes | None]] = []
        if key == PARTITION_STATE_KEY and place.present.source_id:
            headers = [(SOURCE_ID_HEADER, place.present.source_id.encode())]
        self._producer.produce(
            place.present.changelog,
            value,
            key,
            partition=place.source.partition,
            headers=headers,
            on_delivery=self._delivered,
        )
        self._producer.poll(0)

    def _delivered(self, error: object, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or KafkaException(error)
            return
        self.count += 1
        self._last = max(self._last, message.offset() or 0)

    def _commit_position(self, position: int) -> None:
        place = self._place
        offsets = [TopicPartition(place.source.topic, place.source.partition, position)]
        with OffsetReader(self._kafka, place.group) as reader:
            if self._transactional:
                group = reader.consumer.consumer_group_metadata()
                self._producer.send_offsets_to_transaction(offsets, group, _ANSWER_TIMEOUT_S)
            else:
                reader.consumer.commit(offsets=offsets, asynchronous=False)
