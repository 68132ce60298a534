"""Dead letters: messages that cannot be scored, kept with their bytes and the reason."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Reason(StrEnum):
    """Why a message is dead. A closed set: consumers may switch over it."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    KEY_MISMATCH = "key_mismatch"
    TIME_AHEAD = "time_ahead"


Stage = Literal["decode", "admit"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why one record was refused: which field, what it was, what was expected."""

    reason: Reason
    field: str
    stage: Stage
    detail: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused record with its bytes as received and the place it came from."""

    rejected: Rejected
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

    def headers(self) -> list[tuple[str, bytes]]:
        """Kafka headers; `dlq.detail` names kinds and limits, never the payload's values."""
        return [
            ("dlq.reason", self.rejected.reason.encode()),
            ("dlq.field", self.rejected.field.encode()),
            ("dlq.stage", self.rejected.stage.encode()),
            ("dlq.detail", self.rejected.detail.encode()),
            ("dlq.topic", self.topic.encode()),
            ("dlq.partition", str(self.partition).encode()),
            ("dlq.offset", str(self.offset).encode()),
        ]
