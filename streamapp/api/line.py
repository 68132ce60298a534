"""A verdict as the API keeps it: the bytes as published, and the few fields it is found by."""

from dataclasses import dataclass
from typing import Final

import msgspec

from streamapp.domain.verdict import Severity


class _Versions(msgspec.Struct, frozen=True, gc=False):
    models: str


class Line(msgspec.Struct, frozen=True, gc=False):
    """What a list shows of a verdict; decoding only this costs a third of decoding all."""

    verdict_id: str
    tx_id: str
    user_id: str
    timestamp: str
    risk_score: float
    severity: Severity
    is_anomaly: bool
    mode: str
    amount: float
    versions: _Versions
    currency: str | None = None
    merchant_id: str | None = None
    duplicate_of: str | None = None


class Entry(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One verdict. `payload` is what stands on the topic. The garbage collector passes it over."""

    line: Line
    payload: bytes

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands among others: by event time, then by id."""
        return self.line.timestamp, self.line.verdict_id


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A user who was erased, in order among the verdicts."""

    user_id: str


_decoder: Final = msgspec.json.Decoder(Line)


def entry_of(payload: bytes | None) -> Entry | None:
    """The entry; None where the record is not verdict v1."""
    if payload is None:
        return None
    try:
        return Entry(_decoder.decode(payload), payload)
    except msgspec.DecodeError:
        return None
