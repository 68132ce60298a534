"""What of an earlier owner's transactions is done, where the broker has not ended them everywhere.

A coordinator can complete a transaction and leave out the markers of partitions that have no leader
at that moment (Apache Kafka 4.3.1, KAFKA-20734). Records hang there, neither committed nor aborted,
until the next transaction of the same producer decides over them as well. Then a partition's
verdicts, dead letters, state and source offset disagree: some of them show the transaction, some
do not. The rule that makes them agree again: what any of them shows as committed is done, and what
is done and stands somewhere only undecided or aborted is written once more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from aiokafka.structs import ConsumerRecord

from streamapp.engine.record_batch import Message
from streamapp.engine.recovery import source_id_of
from streamapp.engine.store import PARTITION_STATE_KEY, USER_PREFIX
from streamapp.engine.tombstone import erased_at, state_offset
from streamapp.features import profile
from streamapp.scoring import partition_state
from streamapp.scoring.partition_state import PartitionStateError


@dataclass(frozen=True, slots=True)
class Topics:
    """What a transaction of a source partition writes to, and what it counts.

    outputs: topics of verdicts, anomalies and dead letters. source_id: the broker's id of the
    source topic, or an empty string.
    """

    source: str
    outputs: tuple[str, ...]
    changelog: str
    group: str
    source_id: str = ""

    @property
    def written(self) -> tuple[str, ...]:
        """All a transaction may have written to."""
        return (*self.outputs, self.changelog)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stands about one source partition, by topic.

    committed: the last committed record (of the changelog: of the partition's state). tails: all
    records behind it, committed or not. group_offset: what the group has committed. applied:
    changelog offset of the local store, which is written only after a commit; stored: the source
    offset of its state, or -1.
    """

    committed: Mapping[str, ConsumerRecord]
    tails: Mapping[str, Sequence[ConsumerRecord]]
    group_offset: int | None = None
    applied: int = -1
    stored: int = -1


@dataclass(frozen=True, slots=True)
class Settlement:
    """What has to be written again for everything to agree; nothing in most cases.

    source_offset: of the last record that is done. state: changelog items, the partition's last.
    shown: the last source offset that anything shows; the changelog may no longer hold its state.
    """

    source_offset: int
    shown: int
    outputs: dict[str, list[Message]] = field(default_factory=dict)
    state: list[tuple[bytes, bytes | None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.outputs or self.state)


class _Source(msgspec.Struct):
    topic: str
    offset: int


class _Verdict(msgspec.Struct):
    source: _Source


_verdict = msgspec.json.Decoder(_Verdict).decode


def settlement(topics: Topics, evidence: Evidence) -> Settlement | None:
    """What is done and missing somewhere, by what is committed anywhere.

    None where the committed state is damaged or counts records of another source topic: recovery
    stops the partition and says which.
    """
    last = evidence.committed.get(topics.changelog)
    if last is not None and last.value is not None and not _is_usable(topics, last):
        return None
    state = _State.of(topics, evidence)
    shown = _shown(topics, evidence)
    done = state.done(shown)
    outputs = {
        topic: missing
        for topic in topics.outputs
        if (missing := _missing(topics, topic, evidence, done))
    }
    is_told = done < 0 or (evidence.group_offset or 0) > done
    if done == state.source_offset and not outputs and is_told:
        return Settlement(done, shown)
    return Settlement(done, shown, outputs, state.items(done))


def _shown(topics: Topics, evidence: Evidence) -> int:
    """The last source offset that a committed output, the group or the local store shows."""
    state = evidence.committed.get(topics.changelog)
    # What is older than the state may count records of a source topic that was made again since.
    since = -1 if state is None else state.timestamp
    outputs = [evidence.committed.get(topic) for topic in topics.outputs]
    shown = [_source_offset(topics, one) for one in outputs if one and one.timestamp >= since]
    if evidence.group_offset is not None:
        shown.append(evidence.group_offset - 1)
    shown += [
        partition_state.source_offset(one.value)
        for one in evidence.tails.get(topics.changelog, ())
        if one.offset == evidence.applied and _is_usable(topics, one)
    ]
    return max(shown, default=-1)


def _missing(topics: Topics, topic: str, evidence: Evidence, done: int) -> list[Message]:
    """Output up to `done` that stands in the tail only, each once, in order."""
    last = _source_offset(topics, evidence.committed.get(topic))
    found: dict[int, ConsumerRecord] = {}
    for record in evidence.tails.get(topic, ()):
        offset = _source_offset(topics, record)
        if last < offset <= done:
            found.setdefault(offset, record)
    return [message(found[offset]) for offset in sorted(found)]


@dataclass(frozen=True, slots=True)
class _State:
    """The partition's state as committed, and what of it stands in the changelog's tail."""

    source_offset: int
    value: bytes | None
    #: It was cleared by an operator: outputs may be of an earlier life of the source topic.
    is_cleared: bool
    tail: Sequence[ConsumerRecord]

    @classmethod
    def of(cls, topics: Topics, evidence: Evidence) -> "_State":
        last = evidence.committed.get(topics.changelog)
        value = None if last is None else last.value
        offset = -1 if value is None else partition_state.source_offset(value)
        tail = evidence.tails.get(topics.changelog, ())
        tail = [one for one in tail if _is_profile(one) or _is_usable(topics, one)]
        return cls(offset, value, last is not None and value is None, tail)

    def done(self, shown: int) -> int:
        """Source offset of the first state that holds all that is shown; else the committed one."""
        if self.is_cleared or shown <= self.source_offset:
            return self.source_offset
        offsets = [partition_state.source_offset(one.value) for one in self.tail if _is_state(one)]
        return min((one for one in offsets if one >= shown), default=self.source_offset)

    def items(self, done: int) -> list[tuple[bytes, bytes | None]]:
        """State as of `done`: profiles that have changed since the committed one, then its own."""
        newest: dict[bytes, tuple[int, bytes | None]] = {}
        state = self.value
        for record in self.tail:
            key, value = record.key, record.value
            if _is_state(record):
                state = value if partition_state.source_offset(value) == done else state
            elif self.source_offset < (offset := _profile_offset(record)) <= done:
                before, _ = newest.get(key, (offset, value))
                if offset >= before:
                    newest[key] = offset, value
        items = [(key, value) for key, (_, value) in newest.items()]
        return [*items, *([] if state is None else [(PARTITION_STATE_KEY, state)])]


def _is_profile(record: ConsumerRecord) -> bool:
    """A profile, or that it was erased; an operator's tombstone has no place in a transaction."""
    is_user = record.key is not None and record.key.startswith(USER_PREFIX)
    return is_user and (record.value is not None or state_offset(record.headers) is not None)


def _profile_offset(record: ConsumerRecord) -> int:
    if record.value is None:
        return state_offset(record.headers) or 0
    return profile.source_offset(record.value)


def _is_state(record: ConsumerRecord) -> bool:
    return bool(record.key == PARTITION_STATE_KEY and record.value is not None)


def _is_usable(topics: Topics, record: ConsumerRecord) -> bool:
    """Whether it is a sound state that does not say it is about another source topic."""
    if not _is_state(record):
        return False
    try:
        partition_state.verify(record.value)
    except PartitionStateError:
        return False
    known = source_id_of(record.headers)
    return not known or not topics.source_id or known == topics.source_id


def _source_offset(topics: Topics, record: ConsumerRecord | None) -> int:
    """Of the transaction that an output is about; -1 where it is none of ours."""
    if record is None:
        return -1
    headers = dict(record.headers)
    try:
        if erasure := erased_at(record.headers):
            source = _Source(*erasure)
        elif "dlq.offset" in headers:
            source = _Source(headers["dlq.topic"].decode(), int(headers["dlq.offset"]))
        else:
            source = _verdict(record.value).source
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):  # another program's
        return -1
    return source.offset if source.topic == topics.source else -1


def message(record: ConsumerRecord) -> Message:
    """The record as it is to be written again."""
    return record.key, record.value, list(record.headers)
