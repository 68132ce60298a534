"""Requests that wait for what becomes of their transaction, by user and tx_id."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

from streamapp.api import metrics
from streamapp.api.problems import Problem

Key = tuple[str, str]
"""user_id and tx_id."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The worker sent the transaction to the dead letters: why, and which field."""

    reason: str
    field: str
    detail: str


Outcome = bytes | Refused
"""The verdict as published, or why there is none."""


@dataclass(slots=True)
class Wait:
    """One transaction under way, however many requests ask for it."""

    future: asyncio.Future[Outcome]
    requests: int = 0
    is_sent: bool = False


class Waiting:
    """A bounded table of waits. Used from one event loop."""

    def __init__(self, waiting_max: int) -> None:
        self._waiting_max = waiting_max
        self._waits: dict[Key, Wait] = {}

    @contextmanager
    def join(self, key: Key) -> Iterator[tuple[Wait, bool]]:
        """A wait, and whether it is new: then the transaction is to be sent.

        Raises Problem (503) where too many wait.
        """
        wait = self._waits.get(key)
        is_new = wait is None
        if wait is None:
            if len(self._waits) >= self._waiting_max:
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{self._waiting_max} transactions wait for their verdict already",
                    headers={"Retry-After": "1"},
                )
            wait = self._waits[key] = Wait(asyncio.get_running_loop().create_future())
        wait.requests += 1
        metrics.WAITING.set(len(self._waits))
        try:
            yield wait, is_new
        finally:
            wait.requests -= 1
            if not wait.requests:
                self._waits.pop(key, None)
            metrics.WAITING.set(len(self._waits))

    def settle(self, key: Key, outcome: Outcome) -> None:
        """Tell all who wait for it; nothing where nobody does."""
        wait = self._waits.get(key)
        if wait is not None and not wait.future.done():
            wait.future.set_result(outcome)
