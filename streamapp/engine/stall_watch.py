"""Notices a worker that stands still while records wait."""

from collections.abc import Mapping


class StallWatch:
    """Told again and again what is done; says when nothing has moved for too long."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._done: Mapping[int, int | None] = {}
        self._moved_at_s = 0.0

    def begin(self, now_s: float) -> None:
        """Count from here."""
        self._moved_at_s = now_s

    def look(
        self, done: Mapping[int, int | None], now_s: float, *, is_waiting: bool
    ) -> RuntimeError | None:
        """The failure, if records wait and no partition's offset in `done` has moved."""
        if done != self._done or not is_waiting:
            self._done, self._moved_at_s = done, now_s
        elif now_s - self._moved_at_s > self._timeout_s:
            return RuntimeError(f"records wait but no offset has moved for {self._timeout_s:.0f} s")
        return None
