"""Profiles of one partition on disk: RocksDB, written in batches that carry their log position."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, cast

import msgspec
from rocksdict import (
    BlockBasedOptions,
    BottommostLevelCompaction,
    CompactOptions,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from streamapp.engine import write_ahead_log

#: Keys of users and of the partition's own state can't meet: their first byte differs. The
#: changelog uses the same keys.
USER_PREFIX: Final = b"u"
PARTITION_STATE_KEY: Final = b"p"

#: How this build lays a store out; any other is built again from the changelog.
FORMAT: Final = b"streamapp-store-1"

_FORMAT_KEY: Final = b"m:format"
_POSITION_KEY: Final = b"m:changelog_offset"
_ORIGIN_KEY: Final = b"m:origin"
_PURGE_KEY: Final = b"m:purge"
_OWN_PREFIX: Final = b"m:"
_POSITION_BYTES: Final = 8
_WRITE_BUFFER_BYTES: Final = 16 * 1024 * 1024
#: A read asks 1 in 100 tables in vain.
_BLOOM_BITS: Final = 10
#: Of the write buffer, for a filter of its own: a profile that is read is seldom in it.
_BUFFER_FILTER_SHARE: Final = 0.05

#: What RocksDB says of contents that are not what it wrote. Anything else (no room, no rights,
#: too many files) says nothing about them.
_DAMAGE: Final = ("Corruption", "Invalid argument", "No such file", "Not a directory", "Not impl")

#: What a store can be beside sound: its contents are damaged; its layout is another version's; it
#: was never a store of ours.
Fault = Literal["damaged", "layout", "foreign"]


class StoreError(Exception):
    """Local state can't be opened, read or written; the message says where and the way out."""


class StoreBusyError(StoreError):
    """A living process holds the directory."""


class DamagedStoreError(StoreError):
    """The contents can't be trusted; the changelog has them. `fault` says what is wrong."""

    def __init__(self, directory: Path, fault: Fault, detail: str) -> None:
        super().__init__(
            f"local state {directory} is {_FAULT_WORDS[fault]}: {detail}; "
            f"it is set aside and built again from the changelog when the worker starts"
        )
        self.directory = directory
        self.fault = fault
        self.detail = detail


_FAULT_WORDS: Final[dict[Fault, str]] = {
    "damaged": "damaged",
    "layout": "of another version",
    "foreign": "not ours",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a store is a copy of. Ids are the broker's names for one life of a topic.

    An id is empty where the broker gives none. source_id: the topic that the position in the
    partition's state counts records of.
    """

    changelog: str
    changelog_id: str = ""
    source_id: str = ""


def user_key(user: str) -> bytes:
    """The key of a user's profile in store and changelog."""
    return USER_PREFIX + user.encode()


class Store(Protocol):
    """Profiles and state of one partition, a copy of what its changelog says up to an offset."""

    @property
    def changelog_offset(self) -> int:
        """Offset of the last changelog record applied; -1 where there is none."""

    @property
    def origin(self) -> Origin | None:
        """What this is a copy of; None before `follow`."""

    def follow(self, origin: Origin) -> None:
        """Note what this is a copy of."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of the keys, None where there is none."""

    def write(self, items: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """Put (or, for None, delete) the items and move the offset: all of it or nothing."""

    @property
    def is_purge_due(self) -> bool:
        """Something was deleted whose bytes may still stand on the disk."""

    def purge(self) -> None:
        """Leave no byte of what was deleted; others may write meanwhile."""

    def close(self) -> None:
        """Release it for the next owner."""


class StateStore:
    """One partition's RocksDB. A write is all there or not at all, its changelog offset included.

    The write-ahead log stays on (kill -9 keeps what was written) but is not synced: after a power
    cut the changelog gives back what the disk has lost.

    Raises StoreBusyError, DamagedStoreError (also where it is read), or another StoreError.
    """

    def __init__(self, directory: Path) -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        writes = write_ahead_log.written(directory)
        with _explained(directory):
            self._db = Rdict(str(directory), options=_options())
            self._db.set_read_options(_read_options())
        self._write_options = WriteOptions()
        self._purge_lock = threading.Lock()
        try:
            if write_ahead_log.has_hole(directory, writes):
                detail = "writes before those of its write-ahead log are missing"
                raise DamagedStoreError(directory, "damaged", detail)
            self._verify_format()
            self._is_purge_due = self.get(_PURGE_KEY) is not None
        except BaseException:
            self._db.close()
            raise

    def _verify_format(self) -> None:
        with _explained(self.directory):
            found = self._db.get(_FORMAT_KEY)
            if found is None and next(self._everything(), None) is None:
                self._db[_FORMAT_KEY] = found = FORMAT
            position = self._db.get(_POSITION_KEY)
        if found is None:
            raise DamagedStoreError(self.directory, "foreign", "it has no record of its layout")
        if found != FORMAT:
            raise DamagedStoreError(
                self.directory, "layout", f"found {found[:40]!r}, this build has {FORMAT!r}"
            )
        if position is not None and len(position) != _POSITION_BYTES:
            raise DamagedStoreError(self.directory, "damaged", "its changelog offset is no number")

    @property
    def changelog_offset(self) -> int:
        """Offset of the last changelog record applied; -1 where there is none."""
        stored = self.get(_POSITION_KEY)
        return -1 if stored is None else int.from_bytes(stored, "little")

    @property
    def origin(self) -> Origin | None:
        """What this is a copy of; None before `follow`."""
        stored = self.get(_ORIGIN_KEY)
        if stored is None:
            return None
        try:
            return msgspec.json.decode(stored, type=Origin)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            detail = f"its origin can't be read: {error}"
            raise DamagedStoreError(self.directory, "damaged", detail) from error

    def follow(self, origin: Origin) -> None:
        """Note what this is a copy of."""
        with _explained(self.directory):
            self._db[_ORIGIN_KEY] = msgspec.json.encode(origin)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        with _explained(self.directory):
            value: bytes | None = self._db.get(key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of the keys, None where there is none."""
        with _explained(self.directory):
            return cast(list[bytes | None], self._db.get(list(keys)))

    def write(self, items: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """Put (or, for None, delete) the items and move the position, in one write."""
        batch = WriteBatch(raw_mode=True)
        is_purge_due = False
        for key, value in items:
            if value is None:
                batch.delete(key)
                is_purge_due = True
            else:
                batch.put(key, value)
        if is_purge_due:
            batch.put(_PURGE_KEY, b"1")
        batch.put(_POSITION_KEY, changelog_offset.to_bytes(_POSITION_BYTES, "little"))
        with _explained(self.directory), self._purge_lock:
            self._db.write(batch, self._write_options)
            self._is_purge_due |= is_purge_due

    @property
    def is_purge_due(self) -> bool:
        """Something was deleted whose bytes may still stand on the disk."""
        return self._is_purge_due

    def purge(self) -> None:
        """Write the tables anew without what was deleted; others may write meanwhile.

        60 MB take 0.4 s. The last flush has the manifest, which names first and last keys of
        tables, begin anew as well.
        """
        with _explained(self.directory):
            self._is_purge_due = False
            self._db.flush()
            # All of it: the bounds of a part would stand in RocksDB's journal.
            self._db.compact_range(None, None, _compact_options())
            with self._purge_lock:
                if not self._is_purge_due:
                    self._db.delete(_PURGE_KEY)
            self._db.flush()

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All state, in the order of the keys."""
        for key, value in self._everything():
            if not key.startswith(_OWN_PREFIX):
                yield key, value

    def _everything(self) -> Iterator[tuple[bytes, bytes]]:
        """What rocksdict's own iterators don't do: they end at a damaged block as at the end."""
        with _explained(self.directory):
            at = self._db.iter(_read_options())
            at.seek_to_first()
            while at.valid():
                yield cast(bytes, at.key()), cast(bytes, at.value())
                at.next()
            at.status()

    def close(self) -> None:
        """Release the directory."""
        self._db.close()


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """RocksDB's errors as ours: rocksdict raises nothing narrower than Exception."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        first_line = str(error).splitlines()[0] if str(error) else repr(error)
        if "lock file" in first_line or "lock hold" in first_line:
            raise StoreBusyError(
                f"local state {directory} is in use by another worker: give each its own "
                f"STREAMAPP_WORKER__STATE_DIR, or end the other"
            ) from error
        if any(sign in first_line for sign in _DAMAGE):
            raise DamagedStoreError(directory, "damaged", first_line) from error
        raise StoreError(
            f"local state {directory} can't be used: {first_line}; mend the disk or the rights, "
            f"then start the worker again"
        ) from error


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_paranoid_checks(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    tables = BlockBasedOptions()
    tables.set_bloom_filter(_BLOOM_BITS, block_based=False)
    options.set_block_based_table_factory(tables)
    # Profiles come without their zeros: lz4 saves a quarter more, and a read 2 µs without it.
    options.set_compression_type(DBCompressionType.none())
    options.set_memtable_prefix_bloom_ratio(_BUFFER_FILTER_SHARE)
    options.set_memtable_whole_key_filtering(True)
    # Begins anew at each change of tables: an old one names keys that are gone.
    options.set_max_manifest_file_size(1)
    return options


def _compact_options() -> CompactOptions:
    options = CompactOptions()
    options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
    return options


def _read_options() -> ReadOptions:
    options = ReadOptions()
    options.set_verify_checksums(True)
    # What was read is in the table of profiles. rocksdict's stub lacks the argument.
    options.fill_cache(False)  # type: ignore[call-arg]
    return options
