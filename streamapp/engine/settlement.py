"""What of an earlier owner's transactions is done, where the broker has not ended them everywhere.

A coordinator can complete a transaction and leave out the markers of partitions that have no leader
at that moment (Apache Kafka 4.3.1, KAFKA-20734). Records hang there, neither committed nor aborted,
until the next transaction of the same producer decides over them as well. Then a partition's
verdicts, dead letters and state disagree: some of them show the transaction, some do not. What its
owner told the group once it was committed shows it, too. The rule that makes them agree again: what
any of them shows as committed is done, and what is done and stands somewhere only undecided or
aborted is written once more. All of it must be of one attempt: others at the same records may have
been made with another model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from aiokafka.structs import ConsumerRecord

from streamapp.engine.attempt import Attempt
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
    attempt: that has led to all of it.
    """

    source_offset: int
    shown: int
    outputs: dict[str, list[Message]] = field(default_factory=dict)
    state: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    attempt: Attempt = field(default_factory=Attempt)

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
    changelog = _Changelog.of(topics, evidence)
    shown, attempt = _shown(topics, evidence, changelog)
    done = changelog.done(shown, attempt)
    outputs = {
        topic: missing
        for topic in topics.outputs
        if (missing := _missing(topics, topic, evidence, done))
    }
    if done == changelog.committed and not outputs:
        return Settlement(done.source_offset, shown)
    items = changelog.items(topics, done)
    return Settlement(done.source_offset, shown, outputs, items, done.attempt)


def _shown(
    topics: Topics, evidence: Evidence, changelog: "_Changelog"
) -> tuple[int, Attempt | None]:
    """The last source offset that anything shows as committed, and the attempt that did it.

    The newest that shows anything: it began behind all that was committed before, except for what
    one local store alone knows of, and that it has done again. None where the group has committed
    what no state goes up to.
    """
    committed = changelog.committed
    found = [(committed.attempt, committed.source_offset)]
    for topic in topics.outputs:
        one = evidence.committed.get(topic)
        if one is not None and committed.is_followed_by(one):
            found.append((changelog.attempt_at(topics, one), _source_offset(topics, one)))
    if (last := (evidence.group_offset or 0) - 1) > committed.source_offset:
        counted = [one for one in changelog.states if one.source_offset == last]
        if not counted:
            return last, None
        found.append((counted[-1].attempt, last))
    stored = [one for one in changelog.states if one.offset == evidence.applied]
    found += [(one.attempt, one.source_offset) for one in stored]
    attempt, shown = max(found, key=lambda one: (one[0].begin(topics.changelog), one[1]))
    return shown, attempt


def _missing(topics: Topics, topic: str, evidence: Evidence, done: "_State") -> list[Message]:
    """Output of the attempt that is done which stands in the tail only, each once, in order."""
    last = _source_offset(topics, evidence.committed.get(topic))
    found: dict[int, ConsumerRecord] = {}
    for record in evidence.tails.get(topic, ()):
        offset = _source_offset(topics, record)
        if last < offset <= done.source_offset and record.offset >= done.attempt.begin(topic):
            found.setdefault(offset, record)
    return [message(found[offset]) for offset in sorted(found)]


@dataclass(frozen=True, slots=True)
class _State:
    """A partition's state in the changelog, or that there is none: a source offset of -1."""

    offset: int = -1
    time_ms: int = -1
    source_offset: int = -1
    value: bytes | None = None
    attempt: Attempt = field(default_factory=Attempt)

    @classmethod
    def of(cls, record: ConsumerRecord) -> "_State":
        value = record.value
        source_offset = -1 if value is None else partition_state.source_offset(value)
        attempt = Attempt.of(record.headers)
        return cls(record.offset, record.timestamp, source_offset, value, attempt)

    def is_followed_by(self, output: ConsumerRecord) -> bool:
        """What is older may count records of a source topic that was made again since."""
        if self.attempt.begins:
            return bool(output.offset >= self.attempt.begin(output.topic))
        return bool(output.timestamp >= self.time_ms)


@dataclass(frozen=True, slots=True)
class _Changelog:
    """The partition's state as committed, and what stands behind it, committed or not."""

    committed: _State
    #: The state was cleared by an operator: outputs may be of an earlier life of the source topic.
    is_cleared: bool
    states: Sequence[_State]
    profiles: Sequence[ConsumerRecord]

    @classmethod
    def of(cls, topics: Topics, evidence: Evidence) -> "_Changelog":
        last = evidence.committed.get(topics.changelog)
        tail = evidence.tails.get(topics.changelog, ())
        return cls(
            _State() if last is None else _State.of(last),
            last is not None and last.value is None,
            [_State.of(one) for one in tail if _is_usable(topics, one)],
            [one for one in tail if _is_profile(one)],
        )

    def attempt_at(self, topics: Topics, output: ConsumerRecord) -> Attempt:
        """The attempt of a committed output: the newest that had begun; it has a state here."""
        begun = [
            one.attempt
            for one in (self.committed, *self.states)
            if one.attempt.begin(output.topic) <= output.offset
        ]
        return max(
            begun, key=lambda one: one.begin(topics.changelog), default=self.committed.attempt
        )

    def done(self, shown: int, attempt: Attempt | None) -> _State:
        """The attempt's first state that holds all that is shown; else the committed one."""
        if self.is_cleared or shown <= self.committed.source_offset:
            return self.committed
        holding = [
            one for one in self.states if one.attempt == attempt and one.source_offset >= shown
        ]
        return min(holding, key=lambda one: one.source_offset, default=self.committed)

    def items(self, topics: Topics, done: _State) -> list[tuple[bytes, bytes | None]]:
        """State as of `done`: profiles that have changed since the committed one, then its own.

        What stands behind it is of later checkpoints, or of an attempt that scored these again.
        """
        newest: dict[bytes, tuple[int, bytes | None]] = {}
        begin, since = done.attempt.begin(topics.changelog), self.committed.source_offset
        for record in self.profiles:
            offset = _profile_offset(record)
            is_own = begin <= record.offset < done.offset
            if is_own and since < offset <= done.source_offset:
                before, _ = newest.get(record.key, (offset, None))
                if offset >= before:
                    newest[record.key] = offset, record.value
        items = [(key, value) for key, (_, value) in newest.items()]
        return [*items, *([] if done.value is None else [(PARTITION_STATE_KEY, done.value)])]


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
