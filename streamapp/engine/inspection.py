"""Looks at local state without changing it: is it sound, and does it fit its topics?"""

import asyncio
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streamapp.engine.local_state import open_sound
from streamapp.engine.recovery import (
    RecoveryError,
    recover,
    verify_changelog,
    verify_changelog_end,
    verify_position,
    verify_source,
)
from streamapp.engine.store import (
    PARTITION_STATE_KEY,
    USER_PREFIX,
    DamagedStoreError,
    Origin,
    StateStore,
)
from streamapp.features.profile import ProfileError, verify
from streamapp.kafka.offsets import OffsetReader
from streamapp.scoring import partition_state

#: Kinds of problems shown of one partition; the counts are of all.
_PROBLEMS_MAX: Final = 20


@dataclass(slots=True)
class Inspection:
    """What was found of one partition. It is sound where there are no problems."""

    partition: int
    directory: str
    profiles: int = 0
    changelog_offset: int | None = None
    source_position: int | None = None
    changelog_end: int | None = None
    compared: int | None = None
    problems: list[str] = field(default_factory=list)

    def note(self, problem: str) -> None:
        """Add a problem, up to a bound."""
        if problem not in self.problems and len(self.problems) < _PROBLEMS_MAX:
            self.problems.append(problem)


def inspect(directory: Path, partition: int, changelog: str) -> Inspection:
    """Open the store and verify every value. Raises StoreBusyError where a worker holds it."""
    found = Inspection(partition, str(directory))
    try:
        store = open_sound(directory, changelog)
        try:
            _read(store, found)
        finally:
            store.close()
    except DamagedStoreError as error:
        found.note(str(error))
    return found


def _read(store: StateStore, found: Inspection) -> None:
    found.changelog_offset = store.changelog_offset
    damaged = 0
    for key, value in store.items():
        if key == PARTITION_STATE_KEY:
            found.source_position = partition_state.source_offset(value) + 1
        elif key.startswith(USER_PREFIX):
            found.profiles += 1
            try:
                verify(value)
            except ProfileError as error:
                damaged += 1
                found.note(str(error))
        else:
            found.note("it holds a key that is neither a user's nor its own")
    if damaged:
        found.note(f"{damaged} of {found.profiles} profiles can't be used")


def compare_offsets(
    found: Inspection, directory: Path, present: Origin, source: str, reader: OffsetReader
) -> None:
    """Hold the store's offsets and the ids of its topics against the broker's."""
    partition = found.partition
    changelog = reader.span(present.changelog, partition)
    found.changelog_end = changelog.end
    origin = _origin(directory, present.changelog)
    with _noted(found):
        verify_changelog(partition, origin, present)
        verify_changelog_end(
            present.changelog, partition, found.changelog_offset or 0, changelog.end
        )
    position = found.source_position
    if position is None:
        return
    with _noted(found):
        verify_source(source, partition, origin.source_id, present.source_id)
        span = reader.span(source, partition)
        verify_position(source, partition, position, span.begin, span.end)


class _noted(suppress):  # noqa: N801 - reads as the statement it is
    """Note what recovery would refuse, and go on."""

    def __init__(self, found: Inspection) -> None:
        super().__init__(RecoveryError)
        self._found = found

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        """Note it."""
        if isinstance(error, RecoveryError):
            self._found.note(str(error))
        return super().__exit__(kind, error, trace)


def _origin(directory: Path, changelog: str) -> Origin:
    store = open_sound(directory, changelog)
    try:
        return store.origin or Origin(changelog)
    finally:
        store.close()


def compare_deep(
    found: Inspection,
    directory: Path,
    present: Origin,
    client: dict[str, Any],
    timeout_s: float,
    *,
    is_fenced: bool,
) -> None:
    """Replay the changelog beside the store and compare byte by byte.

    What the changelog changed after the store's offset is left out.
    """
    with tempfile.TemporaryDirectory(prefix="streamapp-verify-") as scratch:
        replayed = StateStore(Path(scratch) / directory.name)
        local = open_sound(directory, present.changelog)
        try:
            newer = ChangedKeys(local.changelog_offset)
            for store in (replayed, newer):
                refused = asyncio.run(
                    recover(
                        {found.partition: store},
                        Origin(present.changelog),
                        client,
                        timeout_s,
                        is_fenced=is_fenced,
                    )
                )
                for error in refused.values():
                    found.note(str(error))
                    return
            _compare(found, local, replayed, newer.keys)
        finally:
            local.close()
            replayed.close()


def _compare(found: Inspection, local: StateStore, replayed: StateStore, newer: set[bytes]) -> None:
    mine, theirs = dict(_items(local, newer)), 0
    differing = missing = 0
    for key, value in _items(replayed, newer):
        theirs += 1
        have = mine.pop(key, None)
        missing += have is None
        differing += have is not None and have != value
    found.compared = theirs
    for count, what in (
        (differing, "differ from the changelog"),
        (missing, "of the changelog are not in the local state"),
        (len(mine), "are not in the changelog"),
    ):
        if count:
            found.note(
                f"{count} values {what}: streamapp state rebuild --partition {found.partition}"
            )


def _items(store: StateStore, without: set[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return ((key, value) for key, value in store.items() if key not in without)


class ChangedKeys:
    """A store that keeps nothing but the keys that are written to it."""

    is_purge_due = False

    def __init__(self, changelog_offset: int) -> None:
        self.changelog_offset = changelog_offset
        self.origin: Origin | None = None
        self.keys: set[bytes] = set()

    def follow(self, origin: Origin) -> None:
        """Note it."""
        self.origin = origin

    def get(self, _key: bytes) -> None:
        """Nothing is known."""

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Nothing is known."""
        return [None for _ in keys]

    def write(self, items: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """Keep the keys."""
        self.keys.update(key for key, _ in items)
        self.changelog_offset = changelog_offset

    def purge(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing to release."""
