"""Recorded traffic scored without a broker: the verdicts a worker publishes, byte for byte.

Verdicts depend on the place of a record in the topic (offsets are in them, half-space trees learn
per partition), so each message gets the place it would get there: the partition of its key, and
offsets from 0 in the order of the file. The rest is the worker's own function.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.domain.dead_letter import DeadLetter
from streamapp.replay.partitioner import partitions_of
from streamapp.replay.reader import RecordedBatch
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.verdicts import SourcePartition

#: Partitions of the topic unless told otherwise: as many as a worker creates.
PARTITIONS: Final = 4


class RecordedTopic:
    """Gives recorded messages their places in a topic that holds nothing yet."""

    def __init__(self, name: str, partitions: int) -> None:
        if partitions < 1:
            raise ValueError(f"a topic has at least 1 partition, not {partitions}")
        self.sources = [SourcePartition(name, partition) for partition in range(partitions)]
        self._next_offsets = [0] * partitions

    def place(self, batch: RecordedBatch) -> list[tuple[NDArray[np.int64], Records]]:
        """The records of each partition the batch touches, with their rows in the batch."""
        partitions = partitions_of(batch.keys, len(self.sources))
        placed = []
        for partition in np.unique(partitions).tolist():
            rows = np.flatnonzero(partitions == partition)
            keys = [batch.keys[row] for row in rows]
            values = [batch.values[row] for row in rows]
            start = self._next_offsets[partition]
            self._next_offsets[partition] = stop = start + len(rows)
            records = Records(self.sources[partition], keys, values, range(start, stop))
            placed.append((rows, records))
        return placed


def records_of(batches: Iterable[RecordedBatch], topic: str, partitions: int) -> Iterator[Records]:
    """Recorded traffic as records with the places a topic would give them."""
    recorded_topic = RecordedTopic(topic, partitions)
    for batch in batches:
        for _, records in recorded_topic.place(batch):
            yield records


@dataclass(frozen=True, slots=True)
class ScoredRecording:
    """The outcome of a recorded batch.

    payloads (verdict v1 in JSON) and severities (0 LOW to 3 CRITICAL) are in the order of the
    batch, dead letters as well; late and duplicates count verdicts.
    """

    payloads: list[bytes]
    severities: list[int]
    dead_letters: list[DeadLetter]
    late: int
    duplicates: int


@dataclass(slots=True)
class _Partition:
    state: PartitionState
    profiles: MemoryProfiles = field(default_factory=MemoryProfiles)


class BrokerlessRun:
    """A topic's partitions and their state in memory, 1 KiB for each user."""

    def __init__(
        self,
        model: ModelArtifact,
        policy: Policy | None = None,
        *,
        topic: str = "transactions",
        partitions: int = PARTITIONS,
    ) -> None:
        self._model = model
        self._policy = policy or Policy()
        self._topic = RecordedTopic(topic, partitions)
        self._partitions = [
            _Partition(PartitionState.initial(model.version, model.half_space_trees))
            for _ in range(partitions)
        ]

    def score(self, batch: RecordedBatch) -> ScoredRecording:
        """Score a batch that follows the last one; where batches are cut changes nothing."""
        verdicts: list[tuple[int, bytes, int]] = []
        dead_letters: list[tuple[int, DeadLetter]] = []
        late = duplicates = 0
        for rows, records in self._topic.place(batch):
            at = self._partitions[records.source.partition]
            scored = process(records, at.profiles, at.state, self._model, self._policy)
            places = rows[scored.rows].tolist()
            verdicts += zip(places, scored.payloads, scored.severities, strict=True)
            first_offset = records.offsets[0]
            dead_letters += [
                (int(rows[letter.offset - first_offset]), letter) for letter in scored.dead_letters
            ]
            late += scored.late
            duplicates += scored.duplicates
        verdicts.sort(key=lambda verdict: verdict[0])
        dead_letters.sort(key=lambda placed: placed[0])
        return ScoredRecording(
            payloads=[payload for _, payload, _ in verdicts],
            severities=[severity for *_, severity in verdicts],
            dead_letters=[letter for _, letter in dead_letters],
            late=late,
            duplicates=duplicates,
        )


def score_recorded(
    batches: Iterable[RecordedBatch],
    model: ModelArtifact,
    policy: Policy | None = None,
    *,
    history: Iterable[RecordedBatch] = (),
    topic: str = "transactions",
    partitions: int = PARTITIONS,
) -> Iterator[ScoredRecording]:
    """Score `batches` in order; `history` stands before them in the topic and is not given back."""
    run = BrokerlessRun(model, policy, topic=topic, partitions=partitions)
    for earlier in history:
        run.score(earlier)
    yield from map(run.score, batches)
