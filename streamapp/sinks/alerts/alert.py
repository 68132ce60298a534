"""The alert message: what a person needs to decide, and the verdict to look up."""

from typing import Literal

import msgspec

from streamapp.domain.verdict import Reason, Verdict

#: Reasons in one alert; the verdict has them all.
REASONS_MAX = 5


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert, version 1. `suppressed` counts similar verdicts held back since the last one."""

    alert_version: Literal[1] = 1
    verdict_id: str
    tx_id: str
    user_id: str
    timestamp: str
    amount: float
    currency: str | None
    merchant_id: str | None
    risk_score: float
    severity: str
    recommended_action: str
    mode: str
    reasons: list[Reason]
    suppressed: int


def alert_of(verdict: Verdict, suppressed: int) -> Alert:
    """The alert that this verdict causes."""
    return Alert(
        verdict_id=verdict.verdict_id,
        tx_id=verdict.tx_id,
        user_id=verdict.user_id,
        timestamp=verdict.timestamp,
        amount=verdict.amount,
        currency=verdict.currency,
        merchant_id=verdict.merchant_id,
        risk_score=verdict.risk_score,
        severity=verdict.severity.value,
        recommended_action=verdict.recommended_action,
        mode=verdict.mode,
        reasons=verdict.reasons[:REASONS_MAX],
        suppressed=suppressed,
    )
