"""Where the pipeline finds users' profiles: slots of one array, whoever keeps it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamapp.features.profile import ProfileBlock, empty_profiles


class Profiles(Protocol):
    """Profiles of one partition. The pipeline changes records of `block` in place."""

    @property
    def block(self) -> ProfileBlock:
        """The array of profiles; valid until the next call of `slots`."""

    def slots(self, users: Sequence[bytes]) -> NDArray[np.int64]:
        """The slot of each user (n,), new users included. Slots hold until the next call."""


class MemoryProfiles:
    """Every profile in memory: the brokerless run and the Python API."""

    def __init__(self) -> None:
        self._slot_of: dict[bytes, int] = {}
        self._block = empty_profiles(1024)

    @property
    def block(self) -> ProfileBlock:
        """The array of profiles."""
        return self._block

    def slots(self, users: Sequence[bytes]) -> NDArray[np.int64]:
        """The slot of each user (n,); the array doubles when it is full."""
        slot_of = self._slot_of
        slots = [slot_of.setdefault(user, len(slot_of)) for user in users]
        while len(slot_of) > len(self._block):
            self._block = np.concatenate([self._block, empty_profiles(len(self._block))])
        return np.array(slots, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._slot_of)

    def items(self) -> list[tuple[str, np.void]]:
        """Users and their profiles, in order of first sight, without those who were erased."""
        found = [(user, self._block[slot]) for user, slot in self._slot_of.items()]
        return [(user.decode(), profile) for user, profile in found if profile["event_count"]]
