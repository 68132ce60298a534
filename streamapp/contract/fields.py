"""What each field means to a reader of the contract; its type and limits come from the code."""

from collections.abc import Mapping
from typing import Any, Final

Annotations = Mapping[str, Mapping[str, Any]]

TRANSACTION: Final[Annotations] = {
    "tx_id": {"description": "The sender's id of this payment; repeated ids are duplicates."},
    "user_id": {"description": "Whose payment it is; must equal the message key."},
    "amount": {"description": "Finite, in units of the currency (not in cents)."},
    "timestamp": {"description": "Event time: when the payment was made."},
    "currency": {"description": "ISO 4217 code."},
    "merchant_id": {"description": "Who is paid."},
    "merchant_category": {"description": "The merchant's line of business, in the sender's codes."},
    "transaction_type": {
        "description": "Purchase, transfer, withdrawal, ... in the sender's codes."
    },
    "country": {"description": "ISO 3166-1 alpha-2 code of where the payment was made."},
    "device_id": {"description": "The paying device, as the sender knows it."},
    "ip_address": {"description": "The paying device's address, IPv4 or IPv6."},
    "latitude": {"description": "Degrees north."},
    "longitude": {"description": "Degrees east."},
    "channel": {"description": "Web, app, card terminal, ... in the sender's codes."},
    "account_age_days": {"description": "Days since the account was opened."},
    "device_risk_score": {"description": "The sender's opinion of the device, 1 is the worst."},
    "ip_risk_score": {"description": "The sender's opinion of the address, 1 is the worst."},
}

VERDICT: Final[Annotations] = {
    "schema_version": {"description": "1 for this document; fields are only ever added to it."},
    "verdict_id": {
        "description": "Source topic, partition and offset joined by '-'. Deduplicate by it."
    },
    "tx_id": {"description": "As in the transaction."},
    "user_id": {"description": "As in the transaction; also the message key."},
    "timestamp": {
        "description": "Event time, RFC 3339 in UTC with milliseconds.",
        "format": "date-time",
    },
    "risk_score": {
        "description": "0 for the usual up to 100; a fixed map of the calibrated tail share.",
        "minimum": 0,
        "maximum": 100,
    },
    "severity": {},
    "is_anomaly": {"description": "True at or above the severity set for anomalies (MEDIUM)."},
    "recommended_action": {"description": "What the cut-offs suggest; the decision is yours."},
    "mode": {"description": "What the score rests on; cold_start says the user is hardly known."},
    "scores": {},
    "reasons": {"description": "What moved the score, strongest first."},
    "features": {"description": "The feature vector, by name, of contract `versions.features`."},
    "versions": {},
    "source": {},
    "amount": {"description": "As in the transaction."},
    "currency": {"description": "As in the transaction."},
    "merchant_id": {"description": "As in the transaction."},
    "is_late": {"description": "True if an event of this user with a later time came before."},
    "duplicate_of": {
        "description": "The verdict_id of the first verdict on this tx_id, if it was seen before."
    },
}

LABEL: Final[Annotations] = {
    "tx_id": {"description": "As in the transaction."},
    "user_id": {"description": "As in the transaction; must equal the message key."},
    "is_fraud": {"description": "Of labels that contradict each other the one known last holds."},
    "timestamp": {"description": "Event time of the payment, as in the transaction."},
    "label_time": {"description": "When this became known; it counts from then on, never before."},
    "merchant_id": {"description": "As in the transaction."},
}
