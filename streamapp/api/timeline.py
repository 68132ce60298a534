"""Verdicts in the order of their pages: by event time, then by id."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from streamapp.api.line import Entry
from streamapp.api.verdict_store import Place


def _place(entry: Entry) -> Place:
    return entry.place


class Timeline:
    """Kept in order, so that a page costs what it shows and not what there is."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def add(self, entry: Entry) -> None:
        """Put it where it belongs: mostly at the end."""
        entries = self._entries
        if not entries or entries[-1].place < entry.place:
            entries.append(entry)
        else:
            insort(entries, entry, key=_place)

    def remove(self, entry: Entry) -> None:
        """Take out one that is there: mostly the first."""
        entries = self._entries
        is_first = entries[0] is entry
        del entries[0 if is_first else bisect_left(entries, entry.place, key=_place)]

    def before(self, place: Place | None) -> Iterator[Entry]:
        """Those before a place, or all: the newest first."""
        entries = self._entries
        end = len(entries) if place is None else bisect_left(entries, place, key=_place)
        return (entries[at] for at in range(end - 1, -1, -1))
