"""What an earlier owner of a partition writes to its changelog late, where nothing fences it.

It is not wrong, for all owners compute the same, but over: a user erased since must not come back.
"""

from collections.abc import Sequence
from typing import Final

from streamapp.engine.store import PARTITION_STATE_KEY, Store
from streamapp.engine.tombstone import state_offset
from streamapp.features import profile
from streamapp.scoring import partition_state

Aged = tuple[bytes, bytes | None, int]
"""Key and value of a changelog record, and the source offset it stands for."""

#: The source offset of an operator's tombstone. What comes after one may be of a source topic that
#: was made again.
BEGINS_ANEW: Final = -1


class LateState:
    """Tells what is late from what is not, while a changelog is applied to a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Of keys erased while the changelog was read.
        self._erased: dict[bytes, int] = {}
        state = store.get(PARTITION_STATE_KEY)
        #: So far the store had all there is when reading began. A user whom it does not know had
        #: no profile then, or was erased.
        self._complete = source_offset(PARTITION_STATE_KEY, state) if state else -1

    def begin_anew(self, key: bytes) -> None:
        """Take what comes of this key: it replaces what could not be used."""
        self._erased[key] = BEGINS_ANEW

    def without_late(self, items: Sequence[Aged]) -> list[Aged]:
        """Items without the late ones: older than one of the same key before, or in the store."""
        keys = list({key for key, _, _ in items})
        stored = zip(keys, self._store.get_many(keys), strict=True)
        newest = {key: source_offset(key, value) for key, value in stored if value is not None}
        newest |= {key: self._erased[key] for key in keys if key in self._erased}
        kept = []
        for key, value, offset in items:
            if key == PARTITION_STATE_KEY and offset == BEGINS_ANEW:
                self._complete = BEGINS_ANEW
            if offset == BEGINS_ANEW or offset >= newest.get(key, self._complete + 1):
                newest[key] = offset
                kept.append((key, value, offset))
                self._erased.pop(key, None)
                if value is None:
                    self._erased[key] = offset
        return kept


def source_offset(
    key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
) -> int:
    """The source offset that a sound record of the changelog stands for."""
    if value is None:
        found = state_offset(headers)
        return BEGINS_ANEW if found is None else found
    if key == PARTITION_STATE_KEY:
        return partition_state.source_offset(value)
    return profile.source_offset(value)
