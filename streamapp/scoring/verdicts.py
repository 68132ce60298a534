"""Verdicts as messages: from the numbers of a batch to verdict v1 in JSON.

Sketch: as Python values a verdict of 1,380 bytes costs 10 µs, half of it to make the values. So the
rows of a batch are written from columns, by `json_rows`; Python sees the few that are explained.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamapp.domain.transaction import Transaction, epoch_ms, rfc3339
from streamapp.domain.verdict import (
    SCHEMA_VERSION,
    SEVERITIES,
    Action,
    Mode,
    Scores,
    Severity,
    Source,
    Verdict,
    Versions,
    verdict_id,
)
from streamapp.features.contract import FEATURE_NAMES
from streamapp.features.kernel import FeatureBlock
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.calibration import tail_share
from streamapp.scoring.explanation import Facts, reasons
from streamapp.scoring.json_rows import (
    DECIMALS,
    Integer,
    Number,
    Part,
    Rows,
    Template,
    Text,
    Time,
    When,
    json_values,
)
from streamapp.scoring.payments import Payments
from streamapp.scoring.policy import Policy
from streamapp.scoring.risk import FOREST, HALF_SPACE, MODES, RiskBlock, contributions
from streamapp.scoring.supervised import SUPERVISED_INPUTS

_ACTIONS: Final[dict[Severity, Action]] = {
    Severity.LOW: "approve",
    Severity.MEDIUM: "review",
    Severity.HIGH: "review",
    Severity.CRITICAL: "block",
}
_LATE_BIT: Final = 8
_encode: Final = msgspec.json.Encoder().encode
_BOOLEANS: Final = ByteColumn.of([b"false", b"true"])
_NO_REASONS: Final = ByteColumn.of([b"[]"])

#: Columns of numbers: risk, raw and calibrated of the members, then the features, and the risk
#: windows where there is a supervised model.
_RISK, _FOREST_AT, _HALF_SPACE_AT, _SUPERVISED_AT, _FEATURES_AT = 0, 1, 3, 5, 7
#: Columns of integers.
_OFFSET, _TIME, _IS_WARM = range(3)
#: Columns of texts.
_TX, _USER, _AMOUNT, _CURRENCY, _MERCHANT, _DECISION, _REASONS, _LATE = range(8)


@dataclass(frozen=True, slots=True)
class SourcePartition:
    """The partition whose records are scored."""

    topic: str
    partition: int


def pack_decisions(block: RiskBlock, is_late: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Severity, mode and lateness of each event in one byte, kept for the case of a duplicate."""
    packed = block.severity.astype(np.uint8) | (block.mode << 2) | (is_late * _LATE_BIT)
    return packed.astype(np.uint8)


def recommended_action(severity: Severity, mode: Mode) -> Action:
    """What to do with the payment: too little is known of a new user to block one."""
    action = _ACTIONS[severity]
    return "review" if action == "block" and mode == "cold_start" else action


@dataclass(frozen=True, slots=True)
class VerdictWriter:
    """Writes the verdicts of one partition under one model and policy.

    risk_version: of the risk windows taken over; None for those of the model.
    """

    source: SourcePartition
    model: ModelArtifact
    policy: Policy
    risk_version: str | None = None

    def write(
        self,
        payments: Payments,
        features: FeatureBlock,
        rows: NDArray[np.int64],
        risk: RiskBlock,
    ) -> ByteColumn:
        """Verdicts on payments (n) whose features are in rows `rows`, as `risk` is."""
        events = payments.columns.records
        tx, user, currency, merchant = payments.texts
        columns = Rows(
            numbers=_numbers(risk),
            integers=_integers(events, risk),
            texts=(
                *(tx, user),
                json_values(events["amount"].tolist()),  # with all its digits
                *(currency, merchant),
                self._decisions(risk),
                self._explanations(payments, features, rows, risk),
                _BOOLEANS.take(features.is_late[rows]),
            ),
        )
        is_fed = risk.supervised is not None
        return _template(self.source, self._versions(), is_fed).write(columns)

    def write_duplicate(
        self, transaction: Transaction, offset: int, first_offset: int, risk: int, packed: int
    ) -> tuple[bytes, int]:
        """The first verdict again, marked; and its severity code. Its features stand there."""
        topic, partition = self.source.topic, self.source.partition
        severity, mode = SEVERITIES[packed & 3], MODES[packed >> 2 & 1]
        verdict = Verdict(
            verdict_id=verdict_id(topic, partition, offset),
            tx_id=transaction.tx_id,
            user_id=transaction.user_id,
            timestamp=rfc3339(epoch_ms(transaction.timestamp)),
            risk_score=risk / 100,
            severity=severity,
            is_anomaly=severity.rank >= self.policy.anomaly_severity.rank,
            recommended_action=recommended_action(severity, mode),
            mode=mode,
            scores=Scores(),
            reasons=[],
            features={},
            versions=self._versions(),
            source=Source(topic, partition, offset),
            amount=transaction.amount + 0.0,  # -0.0 is 0
            currency=transaction.currency,
            merchant_id=transaction.merchant_id,
            is_late=bool(packed & _LATE_BIT),
            duplicate_of=verdict_id(topic, partition, first_offset),
        )
        return _encode(verdict), severity.rank

    def _decisions(self, risk: RiskBlock) -> ByteColumn:
        choices = _decisions(self.policy.anomaly_severity)
        return choices.take(risk.mode.astype(np.int64) * len(SEVERITIES) + risk.severity)

    def _versions(self) -> Versions:
        zone = self.policy.time_zone
        contract = self.model.feature_contract + ("" if zone == "UTC" else f"@{zone}")
        return Versions(
            models=self.model.version,
            rules="none",
            calibration=self.model.version,
            features=contract,
            risk_windows=self.risk_version,
            cutoffs=self.policy.cutoffs_version,
        )

    def _explanations(
        self,
        payments: Payments,
        features: FeatureBlock,
        rows: NDArray[np.int64],
        risk: RiskBlock,
    ) -> ByteColumn:
        """Reasons of the events severe enough for them, an empty list for the others."""
        least = self.policy.explain_severity
        is_chosen = risk.severity >= (len(SEVERITIES) if least is None else least.rank)
        choice = np.zeros(len(rows), np.int64)
        if not is_chosen.any():
            return _NO_REASONS.take(choice)
        chosen = np.flatnonzero(is_chosen)
        vectors = (np.round(risk.inputs[chosen], DECIMALS) + 0.0).tolist()
        typical = features.typical[rows[chosen]].tolist()
        events = payments.columns.records[chosen]
        paid = events["amount"].tolist(), (events["merchant"] != 0).tolist()
        facts = list(map(Facts, *paid, vectors, typical))
        texts = [b"[]", *map(_encode, reasons(facts, contributions(risk, chosen, self.model)))]
        choice[chosen] = np.arange(1, len(texts))
        return ByteColumn.of(texts).take(choice)


def _integers(events: NDArray[Any], risk: RiskBlock) -> NDArray[np.int64]:
    integers = np.empty((len(events), 3), np.int64)
    integers[:, _OFFSET] = events["offset"]
    integers[:, _TIME] = events["time_ms"]
    integers[:, _IS_WARM] = risk.is_warm
    return integers


def _numbers(risk: RiskBlock) -> NDArray[np.float64]:
    inputs, fed = risk.inputs, risk.supervised
    numbers = np.zeros((len(risk.risk), _FEATURES_AT + inputs.shape[1]))
    numbers[:, _RISK] = risk.risk
    for column, member in ((_FOREST_AT, FOREST), (_HALF_SPACE_AT, HALF_SPACE)):
        numbers[:, column] = risk.raw[:, member]
        numbers[:, column + 1] = risk.share[:, member]
    if fed is not None:
        numbers[:, _SUPERVISED_AT] = fed.raw
        numbers[:, _SUPERVISED_AT + 1] = tail_share(fed.log_p)
    numbers[:, _FEATURES_AT:] = inputs
    return numbers


@lru_cache(maxsize=1024)
def _template(source: SourcePartition, versions: Versions, is_fed: bool) -> Template:
    """The form of a scored verdict: the fields of `Verdict`, in their order.

    is_fed: there is a supervised opinion.
    """
    supervised = _member(_SUPERVISED_AT) if is_fed else [b"null"]
    topic, partition = _encode(source.topic), _encode(source.partition)
    id_prefix = _encode(verdict_id(source.topic, source.partition, 0))[:-2]  # without 0 and quote
    return Template(
        [
            b'{"schema_version":%d,"verdict_id":' % SCHEMA_VERSION,
            *(id_prefix, Integer(_OFFSET), b'","tx_id":', Text(_TX)),
            *(b',"user_id":', Text(_USER)),
            *(b',"timestamp":"', Time(_TIME)),
            *(b'","risk_score":', Number(_RISK)),
            *(b",", Text(_DECISION)),
            *(b',"scores":{"isolation_forest":', *_member(_FOREST_AT)),
            *(b',"half_space_trees":', When(_IS_WARM, _member(_HALF_SPACE_AT))),
            *(b',"supervised":', *supervised),
            *(b',"rules":null},"reasons":', Text(_REASONS)),
            *(b',"features":{', *_features(SUPERVISED_INPUTS if is_fed else FEATURE_NAMES)),
            b'},"versions":%b,"source":{"topic":%b,' % (_encode(versions), topic),
            *(b'"partition":%b,"offset":' % partition, Integer(_OFFSET)),
            *(b'},"amount":', Text(_AMOUNT)),
            *(b',"currency":', Text(_CURRENCY)),
            *(b',"merchant_id":', Text(_MERCHANT)),
            *(b',"is_late":', Text(_LATE)),
            b',"duplicate_of":null}',
        ]
    )


def _member(column: int) -> list[Part]:
    return [b'{"raw":', Number(column), b',"calibrated":', Number(column + 1), b"}"]


def _features(names: tuple[str, ...]) -> list[Part]:
    parts: list[Part] = []
    for i, name in enumerate(names):
        parts += [b'%b"%b":' % (b"," if i else b"", name.encode()), Number(_FEATURES_AT + i)]
    return parts


@lru_cache(maxsize=len(SEVERITIES))
def _decisions(anomaly_severity: Severity) -> ByteColumn:
    """The fields a decision sets, for each mode and in it for each severity."""
    return ByteColumn.of(
        [
            b'"severity":%b,"is_anomaly":%b,"recommended_action":%b,"mode":%b'
            % (
                _encode(severity),
                _encode(severity.rank >= anomaly_severity.rank),
                _encode(recommended_action(severity, mode)),
                _encode(mode),
            )
            for mode in MODES
            for severity in SEVERITIES
        ]
    )
