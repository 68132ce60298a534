"""Erasures among the records of a partition: what comes before one is scored before it.

Where a stream of records is cut never shows, so a batch may be cut at each erasure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamapp.domain.erasure import PREFIX, erasure_rows
from streamapp.features.profile import reset
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, ScoredBatch, process
from streamapp.scoring.profiles import Profiles
from streamapp.scoring.risk_version import RiskVersion


@dataclass(frozen=True, slots=True)
class Step:
    """Records in a row, the first of them the batch's record `begin`; or one erasure."""

    begin: int
    records: Records
    is_erasure: bool = False


def steps(records: Records) -> Iterator[Step]:
    """The records in order, each erasure by itself and what is between them at once."""
    begin = 0
    for row in _erasures(records):
        if begin < row:
            yield Step(begin, records.part(begin, row))
        yield Step(row, records.part(row, row + 1), is_erasure=True)
        begin = row + 1
    if begin == 0:
        yield Step(0, records)
    elif begin < len(records.values):
        yield Step(begin, records.part(begin, len(records.values)))


def _erasures(records: Records) -> list[int]:
    values = records.values
    if isinstance(values, ByteColumn) and PREFIX not in bytes(values.data):
        return []  # nearly always, and without an object for each record
    return erasure_rows(records.keys, values)


def take(
    step: Step,
    profiles: Profiles,
    state: PartitionState,
    model: ModelArtifact,
    policy: Policy,
    taken_over: RiskVersion | None = None,
) -> ScoredBatch:
    """Score or erase; `profiles` and `state` are changed in place.

    taken_over: risk windows to look up instead of those that came with the model.
    """
    if step.is_erasure:
        return _erase(step.records, profiles, state)
    return process(step.records, profiles, state, model, policy, taken_over)


def _erase(records: Records, profiles: Profiles, state: PartitionState) -> ScoredBatch:
    """Make the user of this one record a user never seen."""
    key = records.keys[0]
    assert key is not None, "an erasure has its user's key"
    slots = profiles.slots([key])
    reset(profiles.block, slots)
    state.source_offset = max(state.source_offset, int(records.offsets[0]))
    nothing = ScoredBatch([], ByteColumn.of([]), [], np.zeros(0), [], [], slots, 0, 0, 0, 0, [])
    return replace(nothing, erased=[0])


def joined(parts: Sequence[tuple[int, ScoredBatch]]) -> ScoredBatch:
    """Outcomes of a batch's steps, each with the index of its first record, as one."""
    if len(parts) == 1:
        return parts[0][1]
    found = [batch for _, batch in parts]
    touched = [batch.touched for batch in found]
    return ScoredBatch(
        rows=[begin + row for begin, batch in parts for row in batch.rows],
        payloads=ByteColumn.of([payload for batch in found for payload in batch.payloads]),
        severities=[code for batch in found for code in batch.severities],
        risks=np.concatenate([np.zeros(0), *(batch.risks for batch in found)]),
        dead_letters=[letter for batch in found for letter in batch.dead_letters],
        refused_rows=[begin + row for begin, batch in parts for row in batch.refused_rows],
        touched=np.unique(np.concatenate([np.zeros(0, np.int64), *touched])),
        fenced=sum(batch.fenced for batch in found),
        late=sum(batch.late for batch in found),
        duplicates=sum(batch.duplicates for batch in found),
        crowding=sum(batch.crowding for batch in found),
        orders=[order for batch in found for order in batch.orders],
        erased=[begin + row for begin, batch in parts for row in batch.erased],
    )
