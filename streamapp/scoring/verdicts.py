"""Verdicts as messages: from the numbers of a batch to verdict v1 in JSON."""

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamapp.domain.transaction import Transaction, epoch_ms, rfc3339
from streamapp.domain.verdict import (
    SEVERITIES,
    Action,
    MemberScore,
    Mode,
    Reason,
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
from streamapp.scoring.explanation import Facts, reasons
from streamapp.scoring.policy import Policy
from streamapp.scoring.risk import FOREST, HALF_SPACE, MODES, RiskBlock, contributions

#: Decimals of features and scores in a verdict: below any difference a model could act on.
DECIMALS: Final = 6

_ACTIONS: Final[dict[Severity, Action]] = {
    Severity.LOW: "approve",
    Severity.MEDIUM: "review",
    Severity.HIGH: "review",
    Severity.CRITICAL: "block",
}
_LATE_BIT: Final = 8
_encoder: Final = msgspec.json.Encoder()


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
    """Writes the verdicts of one partition under one model and policy."""

    source: SourcePartition
    model: ModelArtifact
    policy: Policy

    @property
    def _versions(self) -> Versions:
        zone = self.policy.time_zone
        contract = self.model.feature_contract + ("" if zone == "UTC" else f"@{zone}")
        return Versions(
            models=self.model.version,
            rules="none",
            calibration=self.model.version,
            features=contract,
        )

    def write(
        self,
        transactions: list[Transaction],
        offsets: list[int],
        features: FeatureBlock,
        rows: NDArray[np.int64],
        risk: RiskBlock,
    ) -> list[bytes]:
        """Verdicts of the events in feature rows `rows`, which `risk` is about."""
        versions = self._versions
        vectors = (np.round(risk.values, DECIMALS) + 0.0).tolist()
        scores = _scores(risk)
        explained = self._explain(transactions, features, rows, risk, vectors)
        late = features.is_late[rows].tolist()
        risks, severities, modes = risk.risk.tolist(), risk.severity.tolist(), risk.mode.tolist()
        return [
            _encoder.encode(
                self._verdict(
                    transaction,
                    offset,
                    risks[i],
                    SEVERITIES[severities[i]],
                    MODES[modes[i]],
                    scores[i],
                    explained.get(i, []),
                    dict(zip(FEATURE_NAMES, vectors[i], strict=True)),
                    versions,
                    bool(late[i]),
                )
            )
            for i, (transaction, offset) in enumerate(zip(transactions, offsets, strict=True))
        ]

    def write_duplicate(
        self, transaction: Transaction, offset: int, first_offset: int, risk: int, packed: int
    ) -> tuple[bytes, int]:
        """The first verdict again, marked; and its severity code. Its features stand there."""
        severity = packed & 3
        mode: Mode = MODES[packed >> 2 & 1]
        verdict = self._verdict(
            transaction,
            offset,
            risk / 100,
            SEVERITIES[severity],
            mode,
            Scores(),
            [],
            {},
            self._versions,
            bool(packed & _LATE_BIT),
            verdict_id(self.source.topic, self.source.partition, first_offset),
        )
        return _encoder.encode(verdict), severity

    def _verdict(
        self,
        transaction: Transaction,
        offset: int,
        risk: float,
        severity: Severity,
        mode: Mode,
        scores: Scores,
        why: list[Reason],
        vector: dict[str, float],
        versions: Versions,
        is_late: bool,
        duplicate_of: str | None = None,
    ) -> Verdict:
        topic, partition = self.source.topic, self.source.partition
        return Verdict(
            verdict_id=verdict_id(topic, partition, offset),
            tx_id=transaction.tx_id,
            user_id=transaction.user_id,
            timestamp=rfc3339(epoch_ms(transaction.timestamp)),
            risk_score=risk,
            severity=severity,
            is_anomaly=severity.rank >= self.policy.anomaly_severity.rank,
            recommended_action=recommended_action(severity, mode),
            mode=mode,
            scores=scores,
            reasons=why,
            features=vector,
            versions=versions,
            source=Source(topic, partition, offset),
            amount=transaction.amount,
            currency=transaction.currency,
            merchant_id=transaction.merchant_id,
            is_late=is_late,
            duplicate_of=duplicate_of,
        )

    def _explain(
        self,
        transactions: list[Transaction],
        features: FeatureBlock,
        rows: NDArray[np.int64],
        risk: RiskBlock,
        vectors: list[list[float]],
    ) -> dict[int, list[Reason]]:
        chosen = np.flatnonzero(risk.severity >= self.policy.explain_severity.rank)
        if len(chosen) == 0:
            return {}
        shares = contributions(risk, chosen, self.model).tolist()
        typical = features.typical[rows[chosen]].tolist()
        return {
            int(i): reasons(Facts(transactions[i], vectors[i], usual), row)
            for i, row, usual in zip(chosen, shares, typical, strict=True)
        }


def _scores(risk: RiskBlock) -> list[Scores]:
    raw = np.round(risk.raw, DECIMALS).tolist()
    share = np.round(risk.share, DECIMALS).tolist()
    return [
        Scores(
            isolation_forest=MemberScore(raw[i][FOREST], share[i][FOREST]),
            half_space_trees=MemberScore(raw[i][HALF_SPACE], share[i][HALF_SPACE])
            if warm
            else None,
        )
        for i, warm in enumerate(risk.is_warm.tolist())
    ]
