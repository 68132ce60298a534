"""Who alerted when, in event time, within bounded memory."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A map of the most recently touched keys; beyond `size_max` the least recent goes."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value, without touching it."""
        return self._entries.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Store and touch."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)


@dataclass(frozen=True)
class LastAlert:
    """A user's last alert and what has been held back since."""

    time_s: float
    severity_rank: int
    suppressed: int = 0


class Cooldown:
    """Decides per user whether a verdict alerts. Pure event time; asks no clock."""

    def __init__(self, cooldown_s: float, users_max: int) -> None:
        self._cooldown_s = cooldown_s
        self._last: Recent[str, LastAlert] = Recent(users_max)

    def holds(self, user_id: str, time_s: float, severity_rank: int) -> bool:
        """Whether a similar alert went out near this time: same user, no lower severity."""
        last = self._last.get(user_id)
        if last is None or severity_rank > last.severity_rank:
            return False
        return abs(time_s - last.time_s) < self._cooldown_s

    def suppressed(self, user_id: str) -> int:
        """How many were held back since the user's last alert."""
        last = self._last.get(user_id)
        return last.suppressed if last else 0

    def held_back(self, user_id: str) -> None:
        """Count one more for the next alert."""
        last = self._last.get(user_id)
        assert last is not None, "only a known user is held back"
        count = last.suppressed + 1
        self._last.put(user_id, LastAlert(last.time_s, last.severity_rank, count))

    def alerted(self, user_id: str, time_s: float, severity_rank: int) -> None:
        """Start the cooldown anew."""
        self._last.put(user_id, LastAlert(time_s, severity_rank))
