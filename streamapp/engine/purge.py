"""Clears the disk of what was erased, beside the scoring."""

import asyncio
from typing import Final

from streamapp.engine.store import Store

#: Between two beginnings: many erasures cost no more than one every so often.
PURGE_PAUSE_S: Final = 5.0


class Purge:
    """Of one store, in a thread: it takes seconds where there are a million users."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: asyncio.Future[None] | None = None
        self._not_before_s = 0.0

    def start(self) -> asyncio.Future[None] | None:
        """Begin where it is due, none runs, and the last did not begin just now; else None."""
        if not self._store.is_purge_due or self._running is not None:
            return None
        now_s = asyncio.get_running_loop().time()
        if now_s < self._not_before_s:
            return None
        self._not_before_s = now_s + PURGE_PAUSE_S
        self._running = asyncio.ensure_future(self._run())
        return self._running

    async def _run(self) -> None:
        try:
            await asyncio.to_thread(self._store.purge)
        finally:
            self._running = None

    async def settle(self, timeout_s: float) -> None:
        """Return when none runs, or time is up: the store is about to be closed."""
        if self._running is not None:
            await asyncio.wait([self._running], timeout=timeout_s)
