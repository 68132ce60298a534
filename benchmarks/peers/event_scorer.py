"""One event at a time by streamapp's kernels, as lean as Python allows: what peers score with.

Frameworks that hand over one event would pay some 200 µs of array handling an event if they called
the batch pipeline with a batch of one. That would flatter us, so here all array work of an event is
one compiled call on arrays made once, and the rest plain Python on scalars. The verdicts are the
pipeline's, byte for byte.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import xxhash

from benchmarks.peers.scalar_risk import ScalarCurves, risk_of
from streamapp.domain.dead_letter import Rejected
from streamapp.domain.decode import decode
from streamapp.domain.transaction import Transaction, epoch_ms, rfc3339
from streamapp.domain.verdict import (
    SCHEMA_VERSION,
    SEVERITIES,
    MemberScore,
    Reason,
    Scores,
    Source,
    Verdict,
    Versions,
    verdict_id,
)
from streamapp.features.columns import EVENT, name_hash
from streamapp.features.compiled import kernel
from streamapp.features.contract import FEATURE_NAMES, TYPICAL_NAMES, FeatureParameters
from streamapp.features.kernel import APPLIED, _run
from streamapp.features.profile import empty_profiles
from streamapp.scoring.admission import AHEAD_MS_MAX, StreamClock
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.explanation import Facts, reasons
from streamapp.scoring.half_space_loops import learn_rows, score_leaves, walk_rows
from streamapp.scoring.half_space_trees import (
    USER_SHARE,
    HalfSpaceScores,
    HalfSpaceState,
    Reference,
)
from streamapp.scoring.json_rows import DECIMALS
from streamapp.scoring.perfect_trees import add_leaves
from streamapp.scoring.policy import Policy
from streamapp.scoring.risk import FLAGGED_RISK, MODES, RiskBlock, contributions
from streamapp.scoring.verdicts import recommended_action

_NAN: Final = float("nan")
_SCALE: Final = 10.0**DECIMALS
_ONE_SLOT: Final = np.zeros(1, np.int64)
_encode: Final = msgspec.json.Encoder().encode
_Row: Final = msgspec.defstruct(
    "_Row", [(field.name, object) for field in msgspec.structs.fields(Verdict)], gc=False
)
_Vector: Final = msgspec.defstruct("_Vector", [(name, float) for name in FEATURE_NAMES], gc=False)


@dataclass(frozen=True, slots=True)
class Scored:
    """A verdict in JSON, its severity (0 to 3), and the profile to keep for the user."""

    payload: bytes
    severity: int
    profile: bytes


class EventScorer:
    """Scores the events of one source partition, in order; the profile comes and goes as bytes.

    Half-space trees and stream time are kept here, in memory only: none of the frameworks has a
    place for the state of a partition, and its loss on a restart is to the peers' advantage.
    """

    def __init__(self, model: ModelArtifact, topic: str, partition: int) -> None:
        self._model, self._policy = model, Policy()
        self._topic, self._partition = topic, partition
        self._versions = Versions(
            models=model.version,
            rules="none",
            calibration=model.version,
            features=model.feature_contract,
        )
        self._half_space = HalfSpaceState.empty(model.half_space_trees)
        self._clock = StreamClock()
        self._curves = [ScalarCurves.of(model.curves[mode]) for mode in MODES]
        self._denominator = len(model.forest.leaves) * model.forest.normaliser
        self._score_max = float(model.half_space_trees.score_max)
        self._quota = max(int(USER_SHARE * model.half_space_trees.window), 1)
        self._make_arrays()
        self._fixed = self._fixed_arguments()

    def _make_arrays(self) -> None:
        self._event = np.zeros(1, EVENT)
        self._profile = empty_profiles(1)
        self._new_profile = self._profile.tobytes()
        self._profile_bytes = memoryview(self._profile.view(np.uint8))  # type: ignore[arg-type]
        self._ring_risk = self._profile["ring_risk"][0]
        self._ring_flags = self._profile["ring_flags"][0]
        self._values = np.zeros((1, len(FEATURE_NAMES)))
        self._rounded = np.zeros(len(FEATURE_NAMES))
        self._narrow = np.zeros((1, len(FEATURE_NAMES)), np.float32)
        self._typical = np.zeros((1, len(TYPICAL_NAMES)))
        self._status, self._is_late, self._is_cold = (np.zeros(1, np.uint8) for _ in range(3))
        self._place, self._first_offset = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._first_risk, self._first_flags = np.zeros(1, np.uint16), np.zeros(1, np.uint8)
        self._forest_sum, self._half_space_score = np.zeros(1), np.zeros(1)
        self._leaves = np.zeros((len(self._model.half_space_trees.features), 1), np.uint16)
        self._is_flagged, self._user = np.zeros(1, np.bool_), np.zeros(1, np.uint32)

    def _fixed_arguments(self) -> tuple[Any, ...]:
        """What every call of the kernel is given, made once: building it costs microseconds."""
        forest, trees = self._model.forest, self._model.half_space_trees
        parameters = FeatureParameters(self._model.global_amount_limit)
        found = (
            *(self._values, self._typical, self._status, self._is_late, self._is_cold),
            *(self._place, self._first_offset, self._first_risk, self._first_flags),
        )
        return (
            (self._event, _ONE_SLOT, self._profile),
            (parameters.global_amount_limit, parameters.idle_ms_max),
            found,
            self._narrow,
            self._rounded,
            (forest.features, forest.thresholds, forest.leaves),
            (trees.features, trees.thresholds, trees.columns, trees.lower, trees.upper),
            self._leaves,
            self._forest_sum,
            self._half_space_score,
        )

    def score(self, key: bytes, value: bytes, offset: int, profile: bytes | None) -> Scored | None:
        """The verdict on one record; None where it is refused or was scored before."""
        transaction = decode(key, value)
        if isinstance(transaction, Rejected):
            return None
        time_ms = epoch_ms(transaction.timestamp)
        if not self._is_admitted(time_ms):
            return None
        self._fill(transaction, time_ms, offset)
        self._profile_bytes[:] = profile or self._new_profile
        trees = self._half_space
        reference, is_warm = Reference(trees.reference, trees.leaf_scores), trees.is_warm
        self._compute(is_warm)
        if self._status.item() != APPLIED:
            return None
        path, half_space = self._forest_sum.item(), self._half_space_score.item()
        raw = (2.0 ** -(path / self._denominator), half_space)
        mode, is_late = self._is_cold.item(), self._is_late.item()
        log_p, share, risk, severity = risk_of(self._curves[mode], raw, is_warm)
        self._learn(transaction.user_id, is_flagged=risk >= FLAGGED_RISK)
        place = self._place.item()
        self._ring_risk[place] = round(risk * 100)
        self._ring_flags[place] = severity | mode << 2 | is_late << 3
        features = self._rounded.tolist()
        causes: list[Reason] = []
        if severity >= self._policy.explain_severity.rank:
            causes = self._explain(transaction, features, raw, log_p, is_warm, reference)
        payload = self._write(
            transaction, offset, features, raw, share, risk, severity, causes, is_warm
        )
        return Scored(payload, severity, self._profile.tobytes())

    def _is_admitted(self, time_ms: int) -> bool:
        clock = self._clock
        if 0 <= time_ms <= clock.time_ms + AHEAD_MS_MAX and clock.time_ms >= 0:
            clock.time_ms = max(clock.time_ms, time_ms)
            clock.ahead_run = 0
            return True
        return bool(clock.admit(np.array([time_ms], np.int64))[0])

    def _fill(self, transaction: Transaction, time_ms: int, offset: int) -> None:
        self._event[0] = (
            offset,
            time_ms,
            time_ms,
            xxhash.xxh3_64_intdigest(transaction.tx_id.encode()),
            abs(transaction.amount),
            _NAN if transaction.latitude is None else transaction.latitude,
            _NAN if transaction.longitude is None else transaction.longitude,
            name_hash(transaction.merchant_id),
            name_hash(transaction.merchant_category),
            name_hash(transaction.country),
            name_hash(transaction.device_id),
            0,  # no feature depends on it
        )

    def _compute(self, is_warm: bool) -> None:
        _score_event(
            self._clock.time_ms,
            self._score_max if is_warm else 0.0,
            self._half_space.leaf_scores,
            *self._fixed,
        )

    def _learn(self, user: str, *, is_flagged: bool) -> None:
        trees, state = self._model.half_space_trees, self._half_space
        self._is_flagged[0], self._user[0] = is_flagged, name_hash(user)
        _, learned, _, state.seen = learn_rows(
            self._leaves,
            0,
            self._is_flagged,
            self._user,
            trees.window - state.position,
            self._quota,
            trees.window,
            state.seen,
            state.taught,
            state.latest,
        )
        state.position += learned
        state.learned += learned
        if state.position == trees.window:
            state.turn_window(trees)

    def _explain(
        self,
        transaction: Transaction,
        features: list[float],
        raw: tuple[float, float],
        log_p: tuple[float, float],
        is_warm: bool,
        reference: Reference,
    ) -> list[Reason]:
        scores = HalfSpaceScores(
            np.array([raw[1]]), np.array([is_warm]), np.zeros(1, np.int32), [reference]
        )
        block = RiskBlock(
            values=self._values,
            raw=np.array([raw]),
            log_p=np.array([log_p]),
            share=np.zeros((1, 2)),
            is_warm=scores.warm,
            mode=self._is_cold,
            risk=np.zeros(1),
            severity=np.zeros(1, np.int8),
            half_space=scores,
            ensemble_log_p=np.zeros(1),
        )
        facts = Facts(
            transaction.amount,
            bool(transaction.merchant_id),
            features,
            self._typical[0].tolist(),
        )
        (found,) = reasons([facts], contributions(block, _ONE_SLOT, self._model))
        return found

    def _write(
        self,
        transaction: Transaction,
        offset: int,
        features: list[float],
        raw: tuple[float, float],
        share: tuple[float, float],
        risk: float,
        severity: int,
        causes: list[Reason],
        is_warm: bool,
    ) -> bytes:
        mode, name = MODES[self._is_cold[0]], SEVERITIES[severity]
        half_space = _member(raw[1], share[1]) if is_warm else None
        return _encode(
            _Row(
                SCHEMA_VERSION,
                verdict_id(self._topic, self._partition, offset),
                transaction.tx_id,
                transaction.user_id,
                _rfc3339(transaction.timestamp),
                risk,
                name,
                severity >= self._policy.anomaly_severity.rank,
                recommended_action(name, mode),
                mode,
                Scores(_member(raw[0], share[0]), half_space),
                causes,
                _Vector(*features),
                self._versions,
                Source(self._topic, self._partition, offset),
                transaction.amount + 0.0,
                transaction.currency,
                transaction.merchant_id,
                bool(self._is_late[0]),
                None,
            )
        )


def _rfc3339(timestamp: datetime | int) -> str:
    """As `rfc3339`, an eighth of its time for the usual timestamp in UTC."""
    if isinstance(timestamp, datetime) and timestamp.tzinfo is UTC:
        return timestamp.isoformat(timespec="milliseconds")[:-6] + "Z"
    return rfc3339(epoch_ms(timestamp))


def _member(raw: float, share: float) -> MemberScore:
    return MemberScore(round(raw, DECIMALS), round(share, DECIMALS))


@kernel
def _score_event(
    stream_time_ms: int,
    score_max: float,
    leaf_scores: Any,
    event: Any,
    limits: Any,
    found: Any,
    narrow: Any,
    rounded: Any,
    forest: Any,
    trees: Any,
    leaves: Any,
    forest_sum: Any,
    half_space_score: Any,
) -> None:
    """Features, profile, forest and half-space trees of one event in one call.

    event, limits, found, forest and trees are tuples: neighbouring arguments of the kernels.
    """
    values, status = found[0], found[2]
    values[:] = 0.0
    status[0] = 0
    _run(*event, stream_time_ms, *limits, *found)
    if status[0] != 0:
        return
    for column in range(values.shape[1]):
        narrow[0, column] = np.float32(values[0, column])
        rounded[column] = np.rint(values[0, column] * _SCALE) / _SCALE + 0.0
    forest_sum[0] = 0.0
    add_leaves(*forest, narrow, forest_sum)
    walk_rows(*trees, values, leaves)
    score_leaves(leaves, 0, leaf_scores, score_max, half_space_score)
