"""One real-looking message of each kind, built from the types so that it can't go stale."""

from typing import Final

from streamapp.domain.label import Label
from streamapp.domain.transaction import Transaction
from streamapp.domain.verdict import (
    MemberScore,
    Reason,
    Scores,
    Severity,
    Source,
    Verdict,
    Versions,
    verdict_id,
)

TRANSACTION: Final = Transaction(
    tx_id="pay-70113",
    user_id="user-1842",
    amount=1249.0,
    timestamp=1_530_403_509_000,
    currency="EUR",
    merchant_id="merchant-318",
    country="FR",
)

#: The least a sender has to give.
TRANSACTION_REQUIRED_ONLY: Final = Transaction(
    tx_id="pay-70114", user_id="user-1842", amount=3.5, timestamp=1_530_403_571_250
)

VERDICT: Final = Verdict(
    verdict_id=verdict_id("transactions", 3, 70112),
    tx_id=TRANSACTION.tx_id,
    user_id=TRANSACTION.user_id,
    timestamp="2018-07-01T00:05:09.000Z",
    risk_score=93.1,
    severity=Severity.CRITICAL,
    is_anomaly=True,
    recommended_action="block",
    mode="model",
    scores=Scores(
        isolation_forest=MemberScore(raw=0.71, calibrated=0.0006),
        half_space_trees=MemberScore(raw=0.94, calibrated=0.002),
    ),
    reasons=[
        Reason(
            feature="amount_zscore",
            value=18.2,
            typical=0.0,
            contribution=0.44,
            text="amount 37× this user's usual",
        )
    ],
    features={"log_amount": 7.13, "amount_zscore": 18.2},
    versions=Versions(models="demo-1", rules="none", calibration="demo-1", features="1"),
    source=Source(topic="transactions", partition=3, offset=70112),
    amount=TRANSACTION.amount,
    currency=TRANSACTION.currency,
    merchant_id=TRANSACTION.merchant_id,
)

LABEL: Final = Label(
    tx_id=TRANSACTION.tx_id,
    user_id=TRANSACTION.user_id,
    is_fraud=True,
    timestamp=TRANSACTION.timestamp,
    label_time=1_531_008_309_000,
    merchant_id=TRANSACTION.merchant_id,
)
