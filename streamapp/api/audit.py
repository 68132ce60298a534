"""Who did what with the scope admin: on a topic, before it is done."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final, Literal

import msgspec

from streamapp.api.access import Caller
from streamapp.api.problems import Problem
from streamapp.api.publisher import Headers, PublishError

Action = Literal["keys_listed", "key_revoked", "user_erased"]
Publish = Callable[[str, bytes, bytes, Headers], Awaitable[None]]

_HEADERS: Final = (("schema", b"audit/1"),)


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `target`: the id of a key, or the SHA-256 of a user's id."""

    schema_version: Literal[1] = 1
    time: datetime
    caller: str
    action: Action
    target: str | None = None


class AuditLog:
    """Writes entries; nothing is done that could not be written down."""

    def __init__(self, publish: Publish, topic: str, now: Callable[[], datetime]) -> None:
        self._publish = publish
        self._topic = topic
        self._now = now

    async def record(self, caller: Caller, action: Action, target: str | None = None) -> None:
        """Return when the broker has the entry. Raises Problem (503)."""
        entry = AuditEntry(time=self._now(), caller=caller.id, action=action, target=target)
        value = msgspec.json.encode(entry)
        try:
            await self._publish(self._topic, caller.id.encode(), value, _HEADERS)
        except PublishError:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the audit topic can't be written, so nothing was done",
                headers={"Retry-After": "5"},
            ) from None
