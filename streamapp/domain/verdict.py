"""Verdict v1: what streamapp says of one transaction. Only ever extended."""

from enum import StrEnum
from typing import Final, Literal

import msgspec

SCHEMA_VERSION: Final = 1


class Severity(StrEnum):
    """How urgent a verdict is; the order of members is the order of urgency."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> int:
        """0 for LOW up to 3 for CRITICAL."""
        return SEVERITIES.index(self)


SEVERITIES: Final = tuple(Severity)

Action = Literal["approve", "review", "block"]
Mode = Literal["model", "cold_start", "rules_only"]


class Reason(msgspec.Struct, frozen=True, gc=False):
    """One cause of a score: a feature (or rule), its value and what is typical for this user."""

    feature: str
    value: float
    typical: float | None
    contribution: float
    text: str


class MemberScore(msgspec.Struct, frozen=True, gc=False):
    """One model's opinion. `calibrated` is the tail share p: 0.01 = one in a hundred is higher."""

    raw: float
    calibrated: float


class Scores(msgspec.Struct, frozen=True, gc=False):
    """Opinions of the ensemble's members; null where a member has none (absent, warming up)."""

    isolation_forest: MemberScore | None = None
    half_space_trees: MemberScore | None = None
    supervised: MemberScore | None = None
    rules: MemberScore | None = None


class Versions(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What made the verdict: enough to make it again.

    risk_windows: their version, once taken over; absent where they are the model's own. cutoffs: an
    hour and the lowest risk scores of MEDIUM, HIGH and CRITICAL; absent: 50, 70 and 90.
    """

    models: str
    rules: str
    calibration: str
    features: str
    risk_windows: str | None = None
    cutoffs: str | None = None


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where the transaction stands in Kafka."""

    topic: str
    partition: int
    offset: int


class Verdict(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The answer to one transaction. Nothing in it depends on a wall clock."""

    schema_version: Literal[1] = SCHEMA_VERSION
    verdict_id: str
    tx_id: str
    user_id: str
    timestamp: str
    risk_score: float
    severity: Severity
    is_anomaly: bool
    recommended_action: Action
    mode: Mode
    scores: Scores
    reasons: list[Reason]
    features: dict[str, float]
    versions: Versions
    source: Source
    amount: float
    currency: str | None = None
    merchant_id: str | None = None
    is_late: bool = False
    duplicate_of: str | None = None


def verdict_id(topic: str, partition: int, offset: int) -> str:
    """The id of the verdict on the record at this place; the same however often it is scored."""
    return f"{topic}-{partition}-{offset}"


_decoder = msgspec.json.Decoder(Verdict)


def decode_verdict(payload: bytes) -> Verdict:
    """Read a verdict back. Raises msgspec.ValidationError where it is not verdict v1."""
    return _decoder.decode(payload)
