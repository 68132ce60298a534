"""Profiles of one partition on disk: RocksDB, written in batches that carry their log position."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from rocksdict import Options, Rdict, WriteBatch, WriteOptions

#: Keys of users and of the partition's own state can't meet: their first byte differs. The
#: changelog uses the same keys.
USER_PREFIX: Final = b"u"
PARTITION_STATE_KEY: Final = b"p"

_POSITION_KEY: Final = b"m:changelog_offset"
_CHANGELOG_KEY: Final = b"m:changelog"
_OWN_KEYS: Final = (_POSITION_KEY, _CHANGELOG_KEY)
_WRITE_BUFFER_BYTES: Final = 16 * 1024 * 1024


class StoreError(Exception):
    """Local state can't be opened or read; the message says where and the way out."""


def user_key(user: str) -> bytes:
    """The key of a user's profile in store and changelog."""
    return USER_PREFIX + user.encode()


class Store(Protocol):
    """Profiles and state of one partition, a copy of what its changelog says up to an offset."""

    @property
    def changelog_offset(self) -> int:
        """Offset of the last changelog record applied; -1 where there is none."""

    @property
    def changelog(self) -> str | None:
        """Name of the changelog this is a copy of; None before `follow`."""

    def follow(self, changelog: str) -> None:
        """Note the changelog this is a copy of."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of the keys, None where there is none."""

    def write(self, items: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """Put (or, for None, delete) the items and move the offset: all of it or nothing."""

    def close(self) -> None:
        """Release it for the next owner."""


class StateStore:
    """One partition's RocksDB. A write is all there or not at all, its changelog offset included.

    The write-ahead log stays on (kill -9 keeps what was written) but is not synced: after a power
    cut the changelog gives back what the disk has lost. Raises StoreError where it can't be opened.
    """

    def __init__(self, directory: Path) -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._db = _opened(directory)
        self._write_options = WriteOptions()

    @property
    def changelog_offset(self) -> int:
        """Offset of the last changelog record applied; -1 where there is none."""
        stored = self._db.get(_POSITION_KEY)
        return -1 if stored is None else int.from_bytes(stored, "little")

    @property
    def changelog(self) -> str | None:
        """Name of the changelog this is a copy of; None before `follow`."""
        stored = self._db.get(_CHANGELOG_KEY)
        return None if stored is None else stored.decode()

    def follow(self, changelog: str) -> None:
        """Note the changelog this is a copy of."""
        self._db[_CHANGELOG_KEY] = changelog.encode()

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        value: bytes | None = self._db.get(key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of the keys, None where there is none."""
        return cast(list[bytes | None], self._db.get(list(keys)))

    def write(self, items: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """Put (or, for None, delete) the items and move the position, in one write."""
        batch = WriteBatch(raw_mode=True)
        for key, value in items:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_POSITION_KEY, changelog_offset.to_bytes(8, "little"))
        self._db.write(batch, self._write_options)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All state, in the order of the keys."""
        for key, value in self._db.items():
            if key not in _OWN_KEYS:
                yield cast(bytes, key), value

    def close(self) -> None:
        """Release the directory."""
        self._db.close()


def _opened(directory: Path) -> Rdict:
    try:
        return Rdict(str(directory), options=_options())
    except Exception as error:  # rocksdict raises nothing narrower
        first_line = str(error).splitlines()[0]
        if "lock" in first_line.lower():
            raise StoreError(
                f"local state {directory} is in use by another worker: give each its own "
                f"STREAMAPP_WORKER__STATE_DIR"
            ) from error
        raise StoreError(
            f"local state {directory} can't be opened: {first_line}; remove this directory to "
            f"have it built again from the changelog"
        ) from error


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    return options
