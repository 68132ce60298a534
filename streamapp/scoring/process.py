"""The heart: records of one partition in, verdicts out, profiles and partition state moved on.

The same function for the live job, replay, backtest, training and what-if. Given the same inputs
it returns the same bytes, wherever the stream of records is cut into batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamapp.domain.dead_letter import DeadLetter, Rejected
from streamapp.features.columns import Columns
from streamapp.features.context import context
from streamapp.features.contract import FeatureParameters
from streamapp.features.kernel import (
    APPLIED,
    DUPLICATE,
    FENCED,
    FeatureBlock,
    compute,
    keep_decisions,
)
from streamapp.features.risk_windows import risk_hashes
from streamapp.scoring.admission import TIME_AHEAD, StreamClock
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.payments import Payments, read_payments
from streamapp.scoring.policy import Policy
from streamapp.scoring.profiles import Profiles
from streamapp.scoring.risk import RiskBlock, assess
from streamapp.scoring.risk_version import RiskVersion
from streamapp.scoring.verdicts import SourcePartition, VerdictWriter, pack_decisions


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one partition in offset order, as they came."""

    source: SourcePartition
    keys: Sequence[bytes | None] | ByteColumn
    values: Sequence[bytes | None] | ByteColumn
    offsets: Sequence[int] | NDArray[np.int64]

    def part(self, begin: int, end: int) -> "Records":
        """Some of them in a row."""
        rows = slice(begin, end)
        return Records(
            self.source, _some(self.keys, rows), _some(self.values, rows), self.offsets[rows]
        )


def _some(
    found: Sequence[bytes | None] | ByteColumn, rows: slice
) -> Sequence[bytes | None] | ByteColumn:
    return found.take(rows) if isinstance(found, ByteColumn) else found[rows]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """The outcome of a batch, in offset order.

    rows: index of each verdict's record; payloads (verdict v1 in JSON) and severities
    (0 LOW to 3 CRITICAL) run beside it. risks: the scores of those that are no duplicates.
    refused_rows: index of each dead letter's record.
    touched: slots whose profile changed, each once. crowding: events that taught the half-space
    trees nothing, for their user had taught enough. orders: that of each window the trees filled.
    erased: index of each erasure's record.
    """

    rows: list[int]
    payloads: ByteColumn
    severities: list[int]
    risks: NDArray[np.float64]
    dead_letters: list[DeadLetter]
    refused_rows: list[int]
    touched: NDArray[np.int64]
    fenced: int
    late: int
    duplicates: int
    crowding: int
    orders: list[float]
    erased: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Featured:
    """Admitted payments of a batch with their features, and what was refused.

    slots (n,): of each one's user's profile.
    """

    payments: Payments
    slots: NDArray[np.int64]
    features: FeatureBlock
    dead_letters: list[DeadLetter]
    refused_rows: list[int]

    @property
    def columns(self) -> Columns:
        """What the features were made of."""
        return self.payments.columns

    @property
    def applied(self) -> NDArray[np.int64]:
        """Rows that are neither duplicates nor replayed: as a rule all."""
        status = self.features.status
        return np.flatnonzero(status == APPLIED) if status.any() else np.arange(len(status))


def process(
    records: Records,
    profiles: Profiles,
    state: PartitionState,
    model: ModelArtifact,
    policy: Policy,
    taken_over: RiskVersion | None = None,
) -> ScoredBatch:
    """Score `records` in order; `profiles` and `state` are changed in place.

    taken_over: risk windows to look up instead of those that came with the model.
    """
    parameters = FeatureParameters(model.global_amount_limit, policy.time_zone)
    batch = featurise(records, profiles, state.clock, parameters)
    if len(records.offsets):
        state.source_offset = max(state.source_offset, int(records.offsets[-1]))
    features, applied = batch.features, batch.applied
    values, modes = features.values[applied], features.is_cold[applied]
    users = batch.columns.records["user"][applied]
    told = _context(model, taken_over, batch.columns, applied)
    risk = assess(values, users, modes, state.half_space, model, policy.cutoffs, context=told)
    _keep_decisions(profiles, batch, applied, risk)
    version = taken_over.version if taken_over and model.supervised else None
    writer = VerdictWriter(records.source, model, policy, version)
    rows, payloads, severities = _write(writer, batch, applied, risk)
    return ScoredBatch(
        rows=rows,
        payloads=payloads,
        severities=severities,
        risks=risk.risk,
        dead_letters=batch.dead_letters,
        refused_rows=batch.refused_rows,
        touched=np.array(sorted({*batch.slots[applied].tolist()}), np.int64),
        fenced=int(np.count_nonzero(features.status == FENCED)),
        late=int(np.count_nonzero(features.is_late)),
        duplicates=int(np.count_nonzero(features.status == DUPLICATE)),
        crowding=risk.half_space.crowding,
        orders=risk.half_space.orders,
    )


def featurise(
    records: Records, profiles: Profiles, clock: StreamClock, parameters: FeatureParameters
) -> Featured:
    """The part before any model: what training sees is what serving sees.

    Decodes, admits and computes features in record order; `profiles` and `clock` move on.
    """
    stream_time_ms = clock.time_ms
    payments, rejected = read_payments(
        records.keys, records.values, records.offsets, parameters.time_zone
    )
    admitted = clock.admit(payments.columns.time_ms)
    if not admitted.all():
        rejected += [(row, TIME_AHEAD) for row in payments.rows[~admitted].tolist()]
        rejected.sort(key=lambda pair: pair[0])
        payments = payments.take(np.flatnonzero(admitted))
    slots = profiles.slots(payments.users())
    features, _ = compute(payments.columns, slots, profiles.block, stream_time_ms, parameters)
    dead_letters = [_dead_letter(records, row, why) for row, why in rejected]
    return Featured(payments, slots, features, dead_letters, [row for row, _ in rejected])


def _context(
    model: ModelArtifact,
    taken_over: RiskVersion | None,
    columns: Columns,
    applied: NDArray[np.int64],
) -> NDArray[np.float64] | None:
    """With the risk windows in force; None where the model has no use for any."""
    if model.supervised is None:
        return None
    table = model.supervised.table if taken_over is None else taken_over.table
    return context(table, columns.time_ms[applied], risk_hashes(columns)[applied])


def _dead_letter(records: Records, row: int, why: Rejected) -> DeadLetter:
    return DeadLetter(
        rejected=why,
        topic=records.source.topic,
        partition=records.source.partition,
        offset=int(records.offsets[row]),
        key=records.keys[row],
        value=records.values[row],
    )


def _keep_decisions(
    profiles: Profiles, batch: Featured, applied: NDArray[np.int64], risk: RiskBlock
) -> None:
    features = batch.features
    hundredths = np.rint(risk.risk * 100).astype(np.uint16)
    packed = pack_decisions(risk, features.is_late[applied])
    events = batch.columns.records
    place = features.place
    keep_decisions(profiles.block, batch.slots, place, events, applied, hundredths, packed)


def _write(
    writer: VerdictWriter, batch: Featured, applied: NDArray[np.int64], risk: RiskBlock
) -> tuple[list[int], ByteColumn, list[int]]:
    """Rows, payloads and severities of all verdicts, in record order."""
    rows = batch.payments.rows
    payloads = writer.write(batch.payments.take(applied), batch.features, applied, risk)
    duplicates = np.flatnonzero(batch.features.status == DUPLICATE)
    if len(duplicates) == 0:
        return rows[applied].tolist(), payloads, risk.severity.tolist()
    again = _write_duplicates(writer, batch, duplicates, applied, risk)
    places = np.concatenate([applied, duplicates])
    order = np.argsort(places)
    texts = [*payloads, *(payload for payload, _ in again)]
    severities = [*risk.severity.tolist(), *(code for _, code in again)]
    return (
        rows[places[order]].tolist(),
        ByteColumn.of([texts[i] for i in order]),
        [severities[i] for i in order],
    )


def _write_duplicates(
    writer: VerdictWriter,
    batch: Featured,
    duplicates: NDArray[np.int64],
    applied: NDArray[np.int64],
    risk: RiskBlock,
) -> list[tuple[bytes, int]]:
    features, offsets = batch.features, batch.columns.records["offset"]
    scored_offsets = offsets[applied]
    packed = pack_decisions(risk, features.is_late[applied])
    written = []
    for i in duplicates.tolist():
        first = int(features.first_offset[i])
        at = int(np.searchsorted(scored_offsets, first))
        if at < len(applied) and scored_offsets[at] == first:  # the first is in this very batch
            decision = round(float(risk.risk[at]) * 100), int(packed[at])
        else:
            decision = int(features.first_risk[i]), int(features.first_flags[i])
        written.append(
            writer.write_duplicate(batch.payments.full(i), int(offsets[i]), first, *decision)
        )
    return written
