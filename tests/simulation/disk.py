"""A host's disk: stores whose writes are whole or not there; a power cut loses the last of them."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from streamapp.engine.store import Origin
from tests.simulation.world import Process

_Write = tuple[tuple[tuple[bytes, bytes | None], ...], int]


class StoreLocked(Exception):
    """Another process holds the directory."""


class StoreImage:
    """What stands on the disk in one directory: what is synced, and writes after it."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        self.changelog_offset = -1
        self.origin: Origin | None = None
        self.holder: Process | None = None
        self._synced: tuple[dict[bytes, bytes], int] = ({}, -1)
        self._unsynced: list[_Write] = []

    def write(self, write: _Write, *, is_synced: bool) -> None:
        """Apply a write."""
        items, self.changelog_offset = write
        for key, value in items:
            if value is None:
                self.items.pop(key, None)
            else:
                self.items[key] = value
        self._unsynced.append(write)
        if is_synced:
            self._synced = (dict(self.items), self.changelog_offset)
            self._unsynced.clear()

    def cut_power(self, draw: random.Random) -> int:
        """Lose some of the last writes that were not synced; how many."""
        kept = draw.randint(0, len(self._unsynced))
        lost = len(self._unsynced) - kept
        again = self._unsynced[:kept]
        items, self.changelog_offset = self._synced
        self.items = dict(items)
        self._unsynced = []
        for write in again:
            self.write(write, is_synced=False)
        return lost


class Disk:
    """The disk of a host; outlives its processes."""

    def __init__(self) -> None:
        self.images: dict[Path, StoreImage] = {}

    def cut_power(self, draw: random.Random) -> int:
        """Lose writes of every store; how many."""
        return sum(image.cut_power(draw) for image in self.images.values())

    def remove(self, directory: Path) -> None:
        """Set a directory aside."""
        del self.images[directory]

    def wipe(self) -> None:
        """A new disk."""
        self.images.clear()


class SimulatedStore:
    """The `Store` of one process over a directory of its host."""

    def __init__(self, process: Process, disk: Disk, directory: Path, sync_share: float) -> None:
        image = disk.images.setdefault(directory, StoreImage())
        if image.holder is not None and image.holder.is_alive:
            raise StoreLocked(str(directory))
        image.holder = process
        self._image = image
        self._process = process
        self._sync_share = sync_share

    @property
    def changelog_offset(self) -> int:
        """Offset of the last changelog record applied; -1 where there is none."""
        return self._image.changelog_offset

    @property
    def origin(self) -> Origin | None:
        """What this is a copy of."""
        return self._image.origin

    def follow(self, origin: Origin) -> None:
        """Note what this is a copy of."""
        self._image.origin = origin

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        return self._image.items.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of the keys."""
        return [self._image.items.get(key) for key in keys]

    def write(self, items: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """One write: all of it or nothing."""
        if not self._process.is_alive:
            return
        assert self._image.holder is self._process, "a closed store was written"
        is_synced = self._process.world.chance(self._sync_share)
        self._image.write((tuple(items), changelog_offset), is_synced=is_synced)

    @property
    def is_purge_due(self) -> bool:
        """Never: what is deleted is gone."""
        return False

    def purge(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Release the directory."""
        if self._process.is_alive and self._image.holder is self._process:
            self._image.holder = None
