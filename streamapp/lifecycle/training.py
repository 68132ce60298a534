"""From recorded traffic to a model artifact, through the very code that serves.

Each source of traffic is a population of its own: it is a topic with its own users, partitions and
stream times, so ids that happen to be equal never meet in one profile. The reference is the union
of the sources' feature rows; half-space trees are calibrated on each partition of each source
alone, as they learn when serving.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.domain.verdict import SEVERITIES
from streamapp.features.contract import (
    CONTRACT_VERSION,
    FEATURE_INDEX,
    FEATURE_NAMES,
    FeatureParameters,
)
from streamapp.features.kernel import APPLIED
from streamapp.features.risk_windows import risk_hashes
from streamapp.lifecycle.fitting import FitSettings, fit
from streamapp.scoring.admission import StreamClock
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.calibration import DEFAULT_CUTOFFS, severity_codes
from streamapp.scoring.half_space_trees import HalfSpaceState
from streamapp.scoring.process import Records, featurise
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk import assess

#: What the models look at unless told otherwise: more of it is more suspicious.
#: docs/decisions/0010-one-sided-ensemble.md says why these.
DEFAULT_INPUTS: Final = (
    "log_amount",
    "amount_zscore",
    "amount_log_ratio",
    "recent_excess",
    "velocity_ratio",
)

#: Share of reference amounts above `global_amount_limit`.
GLOBAL_AMOUNT_SHARE: Final = 0.001

#: Bound of the reference: 280 bytes a row, 560 MB; fitting takes half as much again.
REFERENCE_ROWS_MAX: Final = 2_000_000


class TrainingError(ValueError):
    """The traffic given can't make a model; the message says what would."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference traffic as training needs it.

    rows (n, d) float64: features named by FEATURE_NAMES, in the order they were read. amounts (n).
    users (n) uint32, tx (n) uint64: hashes of each row's user and tx_id; names (n, kinds) uint32:
    those risk windows are looked up by. time_ms (n): event times. is_cold (n): rows of users too
    new for a profile. partitions: row numbers of each partition of each source, in record order.
    refused: records that were no transactions.
    """

    rows: NDArray[np.float64]
    amounts: NDArray[np.float64]
    users: NDArray[np.uint32]
    tx: NDArray[np.uint64]
    names: NDArray[np.uint32]
    time_ms: NDArray[np.int64]
    is_cold: NDArray[np.bool_]
    partitions: list[NDArray[np.int64]]
    refused: int


@dataclass(slots=True)
class _Partition:
    profiles: MemoryProfiles = field(default_factory=MemoryProfiles)
    clock: StreamClock = field(default_factory=StreamClock)
    rows: list[NDArray[np.int64]] = field(default_factory=list)


@dataclass(slots=True)
class _Gathered:
    """Chunks of the reference while it is read."""

    values: list[NDArray[np.float64]] = field(default_factory=list)
    amounts: list[NDArray[np.float64]] = field(default_factory=list)
    users: list[NDArray[np.uint32]] = field(default_factory=list)
    tx: list[NDArray[np.uint64]] = field(default_factory=list)
    names: list[NDArray[np.uint32]] = field(default_factory=list)
    time_ms: list[NDArray[np.int64]] = field(default_factory=list)
    is_cold: list[NDArray[np.bool_]] = field(default_factory=list)
    count: int = 0
    refused: int = 0


def read_reference(sources: Sequence[Iterable[Records]], time_zone: str = "UTC") -> Reference:
    """Run the serving code over the sources up to the features.

    sources: the records of each population, those of a partition in offset order. Raises
    TrainingError where they are too many, or none.
    """
    gathered = _Gathered()
    partitions: list[NDArray[np.int64]] = []
    for records in sources:
        partitions += _read_source(records, time_zone, gathered)
    if gathered.count == 0:
        raise TrainingError("there is not one transaction to train on")
    return Reference(
        rows=np.concatenate(gathered.values),
        amounts=np.concatenate(gathered.amounts),
        users=np.concatenate(gathered.users),
        tx=np.concatenate(gathered.tx),
        names=np.concatenate(gathered.names),
        time_ms=np.concatenate(gathered.time_ms),
        is_cold=np.concatenate(gathered.is_cold),
        partitions=partitions,
        refused=gathered.refused,
    )


def train(
    reference: Reference,
    *,
    seed: int,
    description: str,
    inputs: Sequence[str] = DEFAULT_INPUTS,
    settings: FitSettings | None = None,
) -> ModelArtifact:
    """Train on a reference; the same reference and seed give the same artifact.

    inputs: features the models look at. Raises TrainingError where the reference is too small.
    """
    limit = float(np.quantile(reference.amounts, 1 - GLOBAL_AMOUNT_SHARE))
    flag_amounts(reference.rows, reference.amounts, limit)
    try:
        return fit(
            reference.rows,
            FEATURE_NAMES,
            reference.users,
            reference.is_cold,
            reference.partitions,
            inputs,
            feature_contract=CONTRACT_VERSION,
            global_amount_limit=limit,
            seed=seed,
            description=description,
            settings=settings,
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error


def flag_amounts(rows: NDArray[np.float64], amounts: NDArray[np.float64], limit: float) -> None:
    """Write the one feature that needs a model's amount limit, as the kernel would, into `rows`."""
    rows[:, FEATURE_INDEX["global_amount_flag"]] = amounts > limit


def reference_severities(
    model: ModelArtifact, reference: Reference, context: NDArray[np.float64] | None = None
) -> list[int]:
    """How many rows of the reference get each severity, LOW to CRITICAL, scored as when serving.

    context: of the rows (n, c), for a model with a supervised part.
    """
    risks = reference_opinions(model, reference, context).risk
    counts = np.bincount(severity_codes(risks), minlength=len(SEVERITIES))
    return [int(count) for count in counts]


@dataclass(frozen=True, slots=True)
class ReferenceOpinions:
    """Of each row of the reference (n): the risk, and log p by the ensemble alone."""

    risk: NDArray[np.float64]
    ensemble_log_p: NDArray[np.float64]


def reference_opinions(
    model: ModelArtifact, reference: Reference, context: NDArray[np.float64] | None = None
) -> ReferenceOpinions:
    """What the model says of the reference; likewise."""
    found = ReferenceOpinions(np.zeros(len(reference.rows)), np.zeros(len(reference.rows)))
    for numbers in reference.partitions:
        state = HalfSpaceState.empty(model.half_space_trees)
        modes = reference.is_cold[numbers].astype(np.uint8)
        rows, users = reference.rows[numbers], reference.users[numbers]
        own = None if context is None else context[numbers]
        block = assess(rows, users, modes, state, model, DEFAULT_CUTOFFS, context=own)
        found.risk[numbers], found.ensemble_log_p[numbers] = block.risk, block.ensemble_log_p
    return found


def _read_source(
    source: Iterable[Records], time_zone: str, gathered: _Gathered
) -> list[NDArray[np.int64]]:
    """Add the features of one source; the row numbers of each of its partitions."""
    partitions: dict[int, _Partition] = {}
    for records in source:
        at = partitions.setdefault(records.source.partition, _Partition())
        at.rows.append(_read_records(records, at, time_zone, gathered))
    return [np.concatenate(partitions[number].rows) for number in sorted(partitions)]


def _read_records(
    records: Records, at: _Partition, time_zone: str, gathered: _Gathered
) -> NDArray[np.int64]:
    batch = featurise(records, at.profiles, at.clock, FeatureParameters(time_zone=time_zone))
    applied = np.flatnonzero(batch.features.status == APPLIED)
    numbers = np.arange(gathered.count, gathered.count + len(applied))
    gathered.values.append(batch.features.values[applied])
    gathered.amounts.append(batch.columns.records["amount"][applied])
    gathered.users.append(batch.columns.records["user"][applied])
    gathered.tx.append(batch.columns.records["tx"][applied])
    gathered.names.append(risk_hashes(batch.columns)[applied])
    gathered.time_ms.append(batch.columns.time_ms[applied])
    gathered.is_cold.append(batch.features.is_cold[applied].astype(np.bool_))
    gathered.count += len(applied)
    gathered.refused += len(batch.dead_letters)
    if gathered.count > REFERENCE_ROWS_MAX:
        raise TrainingError(
            f"more than {REFERENCE_ROWS_MAX:,} transactions don't fit a training run; "
            "limit the rows taken of each file"
        )
    return numbers
