"""Holds what a disturbed run left behind against an undisturbed one.

It shares with the workload nothing but the topics: it takes the source topic as it stands, runs
the pipeline over it once without a broker, and compares bytes.
"""

import asyncio
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Final

import msgspec

from streamapp.engine.local_state import local_partitions
from streamapp.engine.recovery import RecoveryError, recover
from streamapp.engine.store import Origin, StateStore
from streamapp.scoring.artifact import ModelArtifact
from tests.crash.reading import read_topic
from tests.crash.sinks import NAMES, sink_row
from tests.crash.stage import PARTITIONS, Evidence, committed
from tests.crash.undisturbed import Outcome, Record, undisturbed

_STATE_KEY: Final = b"p"
_RECOVERY_TIMEOUT_S: Final = 60.0
_EXAMPLES_MAX: Final = 20
_NO_DIFFERENCES: Final = ("records", "profiles", "examples")


@dataclass(slots=True)
class Findings:
    """Differences by kind; all must be 0. `records` and `profiles` say how much was compared.

    examples: where the first of them are.
    """

    records: int = 0
    profiles: int = 0
    examples: list[str] = field(default_factory=list)
    lost: int = 0
    duplicate: int = 0
    differing_verdicts: int = 0
    out_of_order: int = 0
    differing_anomalies: int = 0
    differing_dead_letters: int = 0
    differing_profiles: int = 0
    differing_model_states: int = 0
    differing_offsets: int = 0
    differing_sink_rows: int = 0
    #: No crash may damage a store.
    stores_set_aside: int = 0

    @property
    def differences(self) -> int:
        """All of them."""
        counts: dict[str, int] = {
            name: value for name, value in asdict(self).items() if name not in _NO_DIFFERENCES
        }
        return sum(counts.values())

    def note(self, example: str) -> None:
        """Keep it, unless there are enough."""
        if len(self.examples) < _EXAMPLES_MAX:
            self.examples.append(example)


class _Verdict(msgspec.Struct):
    verdict_id: str


_decode = msgspec.json.Decoder(_Verdict).decode


def check(evidence: Evidence, model: ModelArtifact) -> Findings:
    """Compare everything; the workers must have stopped."""
    kafka, topics = evidence.kafka, evidence.topics
    source = topics.name("transactions")
    records = read_topic(kafka, source, PARTITIONS)
    expected = {p: undisturbed(model, source, p, found) for p, found in records.items()}
    findings = Findings(
        records=sum(map(len, records.values())),
        profiles=sum(len(one.state) - (_STATE_KEY in one.state) for one in expected.values()),
    )
    findings.lost += max(evidence.acknowledged - findings.records, 0)
    verdicts = read_topic(kafka, topics.name("verdicts"), PARTITIONS)
    anomalies = read_topic(kafka, topics.name("anomalies"), PARTITIONS)
    letters = read_topic(kafka, topics.name("dead_letters"), PARTITIONS)
    for partition, outcome in expected.items():
        _check_verdicts(findings, partition, outcome, verdicts[partition])
        found = [(_offset(one), one.value) for one in anomalies[partition]]
        findings.differing_anomalies += _differing(outcome.anomalies.items(), found)
        dead = [(int(one.headers["dlq.offset"]), _letter(one)) for one in letters[partition]]
        findings.differing_dead_letters += _differing(outcome.dead_letters.items(), dead)
    _check_changelog(findings, evidence, expected)
    _check_stores(findings, evidence, expected)
    _check_offsets(findings, evidence, records)
    _check_sinks(findings, evidence, expected)
    return findings


def _offset(record: Record) -> int:
    """The source offset in a verdict's id (topic-partition-offset)."""
    assert record.value is not None
    return int(_decode(record.value).verdict_id.rpartition("-")[2])


def _letter(record: Record) -> tuple[str, bytes | None]:
    return record.headers["dlq.reason"].decode(), record.value


def _differing(expected: object, found: object) -> int:
    """Entries that only one side has, counted as often as they stand there."""
    left, right = Counter(expected), Counter(found)  # type: ignore[call-overload]
    return int((left - right).total() + (right - left).total())


def _check_verdicts(
    findings: Findings, partition: int, outcome: Outcome, found: list[Record]
) -> None:
    first: dict[int, int] = {}
    last = -1
    for record in found:
        offset = _offset(record)
        if offset in first:
            findings.duplicate += 1
            places = f"{first[offset]} and {record.offset}"
            findings.note(f"[{partition}] {offset} has verdicts at {places}")
        first.setdefault(offset, record.offset)
        findings.out_of_order += offset <= last
        last = offset
        if record.value != outcome.verdicts.get(offset):
            findings.differing_verdicts += 1
            findings.note(f"[{partition}] {offset} has another verdict at {record.offset}")
    for offset in sorted(outcome.verdicts.keys() - first.keys()):
        findings.lost += 1
        findings.note(f"[{partition}] {offset} has no verdict")


def _check_state(
    findings: Findings, expected: dict[bytes, bytes], found: dict[bytes, bytes]
) -> None:
    for key in expected.keys() | found.keys():
        if expected.get(key) != found.get(key):
            if key == _STATE_KEY:
                findings.differing_model_states += 1
            else:
                findings.differing_profiles += 1


def _check_changelog(findings: Findings, evidence: Evidence, expected: dict[int, Outcome]) -> None:
    """State as the changelog alone gives it: the last value of each key."""
    changelog = read_topic(evidence.kafka, evidence.changelog, PARTITIONS)
    for partition, outcome in expected.items():
        state: dict[bytes, bytes] = {}
        for record in changelog[partition]:
            assert record.key is not None
            assert record.value is not None
            state[record.key] = record.value
        _check_state(findings, outcome.state, state)


def _check_stores(findings: Findings, evidence: Evidence, expected: dict[int, Outcome]) -> None:
    """The last owner's RocksDB as it was left, and every earlier owner's after recovery."""
    left: dict[int, tuple[int, dict[bytes, bytes]]] = {}
    for state_dir in sorted(evidence.directory.glob("w*/state")):
        places = local_partitions(state_dir)
        for aside in sorted(set(state_dir.glob("p*")) - set(places.values())):
            findings.stores_set_aside += 1
            findings.note(f"{state_dir.parent.name} has set {aside.name} aside")
        stores = {partition: StateStore(place) for partition, place in places.items()}
        try:
            for partition, store in stores.items():
                if store.changelog_offset >= left.get(partition, (-1, {}))[0]:
                    left[partition] = store.changelog_offset, dict(store.items())
            _recover(findings, evidence, stores)
            for partition, store in stores.items():
                _check_state(findings, expected[partition].state, dict(store.items()))
        finally:
            for store in stores.values():
                store.close()
    for partition, outcome in expected.items():
        _check_state(findings, outcome.state, left.get(partition, (-1, {}))[1])


def _recover(findings: Findings, evidence: Evidence, stores: dict[int, StateStore]) -> None:
    client = evidence.kafka.aiokafka()
    try:
        origin = Origin(evidence.changelog)
        refused = asyncio.run(recover(stores, origin, client, _RECOVERY_TIMEOUT_S))
    except RecoveryError:
        findings.differing_model_states += 1
    else:
        findings.differing_model_states += len(refused)


def _check_offsets(
    findings: Findings, evidence: Evidence, records: dict[int, list[Record]]
) -> None:
    offsets = committed(evidence.kafka, evidence.topics, evidence.group)
    for partition, found in records.items():
        end = found[-1].offset + 1 if found else 0
        findings.differing_offsets += offsets.get(partition) != end


def _check_sinks(findings: Findings, evidence: Evidence, expected: dict[int, Outcome]) -> None:
    """Each verdict is in exactly one row of each sink, whenever the sink has read it."""
    evidence.sinks.complete()
    wanted = [
        sink_row(partition, offset, payload)
        for partition, outcome in expected.items()
        for offset, payload in outcome.verdicts.items()
    ]
    for name in NAMES:
        findings.differing_sink_rows += _differing(wanted, evidence.sinks.rows(name))
