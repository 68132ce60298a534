"""The profile table of one partition: a bounded array of profiles in front of the store.

Profiles are changed in the array; a checkpoint takes the sealed bytes of the changed ones and,
once they are safe in the changelog, has them written to the store. Until then their slots are
pinned: the store would give back an older profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamapp.engine import metrics
from streamapp.engine.store import USER_PREFIX, Store
from streamapp.features.profile import (
    ProfileBlock,
    copy_profiles,
    place,
    reset,
    seal_all,
    unseal_all,
    unset_profiles,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Changed profiles as a checkpoint writes them, and the slots they pin meanwhile.

    erased: slots of users who were erased; their items are None.
    """

    items: list[tuple[bytes, bytes | None]]
    slots: NDArray[np.int64]
    erased: list[int]


class ProfileTable:
    """Profiles of one partition, at most `profiles_max` in memory (more only while pinned)."""

    def __init__(self, store: Store, profiles_max: int) -> None:
        self._store = store
        self._profiles_max = profiles_max
        self._slot_of: dict[bytes, int] = {}
        self._free: list[int] = []
        self._users: list[bytes] = []
        self._block = unset_profiles(0)
        self._dirty = np.zeros(0, dtype=np.bool_)
        self._used = np.zeros(0, dtype=np.bool_)
        self._pins = np.zeros(0, dtype=np.int64)
        self._hand = 0
        self._grow(profiles_max)

    def _grow(self, capacity: int) -> None:
        """Have so many slots. At once, for what is not used takes no memory, and to copy pauses."""
        before = len(self._block)
        added = capacity - before
        block = unset_profiles(capacity)
        copy_profiles(self._block, block)
        self._block = block
        self._dirty = np.concatenate([self._dirty, np.zeros(added, dtype=np.bool_)])
        self._used = np.concatenate([self._used, np.zeros(added, dtype=np.bool_)])
        self._pins = np.concatenate([self._pins, np.zeros(added, dtype=np.int64)])
        self._users += [b""] * added
        self._free += range(capacity - 1, before - 1, -1)

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def block(self) -> ProfileBlock:
        """The array of profiles; valid until the next call of `slots`."""
        return self._block

    @property
    def changed(self) -> int:
        """Profiles changed since the last snapshot."""
        return int(np.count_nonzero(self._dirty))

    def slots(self, users: Sequence[bytes]) -> NDArray[np.int64]:
        """The slot of each user (n,), loading those that are not in memory."""
        slot_of = self._slot_of
        found, missing = list(map(slot_of.get, users)), 0
        present = np.array([at for at in found if at is not None], dtype=np.int64)
        self._used[present] = True
        if len(present) < len(users):
            unknown = [user for user, at in zip(users, found, strict=True) if at is None]
            absent = list(dict.fromkeys(unknown))
            self._load(absent, present)
            found, missing = list(map(slot_of.get, users)), len(absent)
        metrics.PROFILE_READS.labels("memory").inc(len(users) - missing)
        return np.array(found, dtype=np.int64)

    def image(self, user: bytes) -> bytes | None:
        """A user's profile in its stored form, None where there is none; remembers nothing."""
        slot = self._slot_of.get(user)
        if slot is None:
            return self._store.get(USER_PREFIX + user)
        if self._block["event_count"][slot] == 0:
            return None
        return seal_all(self._block, np.array([slot]))[0]

    def mark(self, slots: NDArray[np.int64]) -> None:
        """Note that the profiles at `slots` have changed."""
        self._dirty[slots] = True

    def snapshot(self) -> Snapshot:
        """Sealed bytes of every changed profile, in slot order; their slots are pinned.

        None for one that was erased.
        """
        slots = np.flatnonzero(self._dirty).astype(np.int64)
        keys = [USER_PREFIX + self._users[slot] for slot in slots.tolist()]
        images: list[bytes | None] = [*seal_all(self._block, slots)]
        erased = np.flatnonzero(self._block["event_count"][slots] == 0)
        for at in erased.tolist():
            images[at] = None
        items = list(zip(keys, images, strict=True))
        self._dirty[slots] = False
        self._pins[slots] += 1
        return Snapshot(items, slots, slots[erased].tolist())

    def release(self, snapshot: Snapshot) -> None:
        """The snapshot is in the store: its slots may be given to others again.

        Those of users erased and not seen since are, so that memory does not keep their names.
        """
        self._pins[snapshot.slots] -= 1
        for slot in snapshot.erased:
            if not self._dirty[slot] and not self._pins[slot]:
                del self._slot_of[self._users[slot]]
                self._users[slot] = b""
                self._free.append(slot)

    def _load(self, users: list[bytes], wanted: NDArray[np.int64]) -> None:
        self._make_room(len(users), wanted)
        stored = self._store.get_many([USER_PREFIX + user for user in users])
        known = unseal_all([image for image in stored if image is not None])
        taken = self._free[: -len(users) - 1 : -1]
        del self._free[-len(users) :]
        self._slot_of.update(zip(users, taken, strict=True))
        for slot, user in zip(taken, users, strict=True):
            self._users[slot] = user
        slots = np.array(taken, dtype=np.int64)
        self._used[slots] = False  # most never come again; who does is worth a place
        is_known = np.array([image is not None for image in stored])
        place(self._block, slots[is_known], known)
        reset(self._block, slots[~is_known])
        metrics.PROFILE_READS.labels("store").inc(len(known))
        metrics.PROFILE_READS.labels("new").inc(len(users) - len(known))

    def _make_room(self, count: int, wanted: NDArray[np.int64]) -> None:
        if len(self._free) < count:
            self._evict(max(count - len(self._free), len(self._block) // 16), wanted)
        if len(self._free) < count:  # everything is pinned or wanted: rather grow than wait
            self._grow(len(self._block) + count - len(self._free))

    def _evict(self, count: int, wanted: NDArray[np.int64]) -> None:
        """Give up to `count` slots back, never a changed, pinned or `wanted` one.

        In turn those not used, since they were loaded or the marks of use were last taken away,
        which is when they are too few.
        """
        may_go = ~self._dirty & (self._pins == 0)
        may_go[self._free] = False
        may_go[wanted] = False
        if np.count_nonzero(may_go & ~self._used) < count:
            self._used[may_go] = False
        idle = np.flatnonzero(may_go & ~self._used)
        chosen = np.roll(idle, -int(np.searchsorted(idle, self._hand)))[:count].tolist()
        for slot in chosen:
            del self._slot_of[self._users[slot]]
        self._free += chosen
        self._hand = chosen[-1] + 1 if chosen else 0
