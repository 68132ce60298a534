"""Transaction v1: one payment as upstream services send it, decoded strictly from JSON bytes."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

#: Largest accepted message, in bytes: far above any honest payment, far below a broker's limit.
PAYLOAD_BYTES_MAX = 64 * 1024

#: Largest event time, in epoch milliseconds: 9999-12-31T23:59:59.999Z, the end of RFC 3339.
TIME_MS_MAX = 253_402_300_799_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=128)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12, description="finite, in units of currency")]
EventTime = (
    Annotated[
        datetime, msgspec.Meta(tz=True, description="RFC 3339 with offset; read to the millisecond")
    ]
    | Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX, description="epoch milliseconds")]
)
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
# The lengths are stated too, for `$` would also match before a final line feed.
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", max_length=3)]
Country = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$", max_length=2)]


class Transaction(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One payment. Fields that are not named here are ignored, never an error."""

    tx_id: Identifier
    user_id: Identifier
    amount: Amount
    timestamp: EventTime
    currency: Currency | None = None
    merchant_id: Text | None = None
    merchant_category: Text | None = None
    transaction_type: Text | None = None
    country: Country | None = None
    device_id: Text | None = None
    ip_address: Text | None = None
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    channel: Text | None = None
    account_age_days: Annotated[float, msgspec.Meta(ge=0, le=100_000)] | None = None
    device_risk_score: Share | None = None
    ip_risk_score: Share | None = None


def epoch_ms(timestamp: datetime | int) -> int:
    """Event time in epoch milliseconds, rounded down."""
    if isinstance(timestamp, int):
        return timestamp
    elapsed = timestamp - _EPOCH
    return elapsed.days * 86_400_000 + elapsed.seconds * 1000 + elapsed.microseconds // 1000


def rfc3339(time_ms: int) -> str:
    """Event time as RFC 3339 in UTC with milliseconds, the form verdicts carry."""
    seconds, millis = divmod(time_ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"
