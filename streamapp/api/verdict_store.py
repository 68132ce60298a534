"""Where verdicts are looked up: one face on memory and on PostgreSQL, pages by cursor."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from streamapp.domain.verdict import Severity

PAGE_MAX: Final = 200
PAGE_DEFAULT: Final = 50
#: Users that may share a tx_id before the answer stops counting.
SHARED_MAX: Final = 10

Place = tuple[str, str]
"""Event time (RFC 3339 in UTC) and verdict_id: what pages are ordered by, newest first."""


class CursorError(ValueError):
    """A cursor that no answer gave."""


class StoreAway(Exception):
    """The store does not answer."""


@dataclass(frozen=True, slots=True)
class Page:
    """Verdicts, newest first, and the cursor of the next ones; None at the end."""

    payloads: Sequence[bytes]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which verdicts of severity MEDIUM and above: what is None does not matter. Times RFC 3339
    in UTC with milliseconds, `since` included, `until` not."""

    severity: Severity | None = None
    user_id: str | None = None
    merchant_id: str | None = None
    since: str | None = None
    until: str | None = None


class VerdictStore(Protocol):
    """Reads verdicts. Every method raises StoreAway where it can't."""

    async def of_transaction(self, tx_id: str, user_id: str | None) -> list[bytes]:
        """The first verdict on this tx_id of each user who has one, `SHARED_MAX` at most."""

    async def of_user(self, user_id: str, limit: int, after: Place | None) -> Page:
        """Verdicts on a user's transactions."""

    async def anomalies(self, wanted: Wanted, limit: int, after: Place | None) -> Page:
        """Verdicts that are anomalies."""


def cursor_of(place: Place) -> str:
    """A text that leads on from this place."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str | None) -> Place | None:
    """The place a cursor leads on from. Raises CursorError."""
    if cursor is None:
        return None
    try:
        content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(content, type=tuple[str, str])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise CursorError("cursor: not one that an answer gave") from None
