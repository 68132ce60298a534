"""All that the process knows of the stream: fed by one reader, asked by every route."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from streamapp.api import metrics
from streamapp.api.feed import Arrived
from streamapp.api.figures import Figures
from streamapp.api.lag import Lag
from streamapp.api.line import Entry, Forgotten
from streamapp.api.models import Models
from streamapp.api.recent import RecentVerdicts
from streamapp.api.verdict_store import Page, Place, VerdictStore, Wanted
from streamapp.api.waiting import Waiting

#: Anomalies a console can catch up on after it was away.
CAUGHT_UP_MAX: Final = 200


class Live:
    """Used from one event loop."""

    def __init__(
        self,
        recent: RecentVerdicts,
        older: VerdictStore | None,
        figures: Figures,
        waiting: Waiting,
        models: Models,
    ) -> None:
        self.models = models
        self._recent = recent
        self._older = older
        self._figures = figures
        self._waiting = waiting
        self._numbered: deque[tuple[int, Entry]] = deque(maxlen=CAUGHT_UP_MAX)
        self._number = 0
        self.lag: Callable[[], Lag | None] = lambda: None
        self.stopping = asyncio.Event()
        self.listeners = 0

    def take(self, arrived: Arrived) -> None:
        """What the reader has brought."""
        for entry in arrived.entries:
            if isinstance(entry, Forgotten):
                self._forget(entry.user_id)
            else:
                self._take(entry)
        for key, refused in arrived.refused:
            self._waiting.settle(key, refused)
        self._figures.count(arrived.seen, arrived.dead_letters)

    def _take(self, entry: Entry) -> None:
        line = entry.line
        if not self._recent.add(entry):
            return
        self._waiting.settle((line.user_id, line.tx_id), entry.payload)
        self.models.saw(line.versions.models, line.timestamp)
        if line.is_anomaly:
            self._number += 1
            self._numbered.append((self._number, entry))

    def _forget(self, user_id: str) -> None:
        """A user was erased: nothing of before is shown again."""
        self._recent.forget(user_id)
        kept = [one for one in self._numbered if one[1].line.user_id != user_id]
        self._numbered = deque(kept, maxlen=CAUGHT_UP_MAX)

    def anomalies_since(self, number: int, count: int) -> tuple[int, int, list[Entry]]:
        """The newest anomalies after that number: the last number, how many are left out, they.

        A number from before a restart stands for none.
        """
        number = number if number <= self._number else 0
        found = [entry for at, entry in self._numbered if at > number]
        return self._number, max(0, self._number - number - count), found[-count:]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """One more console while the block runs."""
        self.listeners += 1
        try:
            with metrics.STREAMS.track_inprogress():
                yield
        finally:
            self.listeners -= 1

    def stats(self) -> dict[str, Any]:
        """The stream at a glance."""
        lag = self.lag()
        return {
            **self._figures.summary(),
            "lag": lag.partitions if lag else None,
            "workers": lag.workers if lag else None,
            "models": self.models.summaries(),
        }

    async def known(self, user_id: str, tx_id: str) -> bytes | None:
        """The first verdict on this user's tx_id, where there is one."""
        entry = self._recent.first(user_id, tx_id)
        if entry is not None and entry.line.duplicate_of is None:
            return entry.payload
        if self._older is not None:
            found = await self._older.of_transaction(tx_id, user_id)
            return found[0] if found else None
        return entry.payload if entry else None

    async def of_transaction(self, tx_id: str, user_id: str | None) -> list[bytes]:
        """The first verdict on this tx_id of each user who has one."""
        if self._older is None:
            return await self._recent.of_transaction(tx_id, user_id)
        # What has just come may not be in the table yet.
        return await self._older.of_transaction(
            tx_id, user_id
        ) or await self._recent.of_transaction(tx_id, user_id)

    async def of_user(self, user_id: str, limit: int, after: Place | None) -> Page:
        """Verdicts on a user's transactions, from the longest memory there is."""
        return await (self._older or self._recent).of_user(user_id, limit, after)

    async def anomalies(self, wanted: Wanted, limit: int, after: Place | None) -> Page:
        """Anomalies, from the longest memory there is."""
        return await (self._older or self._recent).anomalies(wanted, limit, after)
