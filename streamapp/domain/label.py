"""Label v1: what became known of one payment, decoded strictly from JSON bytes."""

import msgspec

from streamapp.domain.transaction import EventTime, Identifier, Text


class Label(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One opinion on one payment; the one known last holds. Other fields are ignored."""

    tx_id: Identifier
    user_id: Identifier
    is_fraud: bool
    timestamp: EventTime
    label_time: EventTime
    merchant_id: Text | None = None
