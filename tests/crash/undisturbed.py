"""What should have come of the records: the pipeline run over them once, with no broker at all."""

from dataclasses import dataclass, field

from streamapp.domain.verdict import SEVERITIES
from streamapp.features.profile import seal
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.verdicts import SourcePartition

_BATCH_RECORDS = 512
_STATE_KEY = b"p"


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the checker reads it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


@dataclass(slots=True)
class Outcome:
    """Of one source partition, by source offset; state by changelog key."""

    verdicts: dict[int, bytes] = field(default_factory=dict)
    anomalies: dict[int, bytes] = field(default_factory=dict)
    dead_letters: dict[int, tuple[str, bytes | None]] = field(default_factory=dict)
    state: dict[bytes, bytes] = field(default_factory=dict)


def undisturbed(model: ModelArtifact, topic: str, partition: int, records: list[Record]) -> Outcome:
    """The outcome for these records of a partition, the first of which stands at its start."""
    policy = Policy()
    source = SourcePartition(topic, partition)
    state = PartitionState.initial(model.version, model.half_space_trees)
    profiles = MemoryProfiles()
    outcome = Outcome()
    threshold = SEVERITIES.index(policy.anomaly_severity)
    for start in range(0, len(records), _BATCH_RECORDS):
        part = records[start : start + _BATCH_RECORDS]
        batch = Records(
            source, [r.key for r in part], [r.value for r in part], [r.offset for r in part]
        )
        scored = process(batch, profiles, state, model, policy)
        for row, payload, severity in zip(
            scored.rows, scored.payloads, scored.severities, strict=True
        ):
            outcome.verdicts[part[row].offset] = payload
            if severity >= threshold:
                outcome.anomalies[part[row].offset] = payload
        for letter in scored.dead_letters:
            outcome.dead_letters[letter.offset] = (letter.rejected.reason.value, letter.value)
    outcome.state = {b"u" + user.encode(): seal(profile) for user, profile in profiles.items()}
    if records:
        outcome.state[_STATE_KEY] = state.to_bytes(model.half_space_trees)
    return outcome
