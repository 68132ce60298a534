"""What checkpoints have made durable and the local store does not hold yet."""

from collections.abc import Sequence
from typing import Final

from streamapp.engine.outbox import LogError
from streamapp.engine.profile_table import Snapshot

#: Under load the store is written once for so many checkpoints, or profiles in them: a user who
#: pays often is written once for all. Until then recovery takes it from the changelog.
CHECKPOINTS_WRITTEN_MAX: Final = 32
_PROFILES_MAX: Final = 4_096
#: Without a checkpoint for so long it is written whatever it lacks: between two batches that come
#: every few ms it would be written for each, and hold up scoring.
CALM_S: Final = 1.0


class Unwritten:
    """What is in the changelog and not in the store yet.

    applied: changelog offset up to which both together hold everything.
    """

    def __init__(self, applied: int) -> None:
        self.applied = applied
        self.items: dict[bytes, bytes | None] = {}
        self.snapshots: list[Snapshot] = []

    def is_due(self, checkpoints_max: int) -> bool:
        """Whether it is time to write."""
        is_many = len(self.snapshots) >= checkpoints_max
        return is_many or len(self.items) >= _PROFILES_MAX

    def add(
        self,
        snapshot: Snapshot,
        items: Sequence[tuple[bytes, bytes | None]],
        last: int,
        *,
        is_alone: bool,
    ) -> None:
        """A checkpoint's items, the last of them at offset `last`.

        Where others may have written in between, the store holds only what came before them.
        Recovery goes on from there, and takes the newer of theirs and ours.
        """
        if last <= self.applied:
            raise LogError(
                f"the changelog gave offset {last} after {self.applied}: it was made again; what "
                f"to do is said when the worker is started again"
            )
        self.items.update(items)
        self.snapshots.append(snapshot)
        if is_alone or last == self.applied + len(items):
            self.applied = last
