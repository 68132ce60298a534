"""API keys: 256 random bits shown once, of which only the hash is kept, in one file.

The secret is random and long, so a plain SHA-256 is enough: there is nothing to guess. The id
before it finds the record; the comparison takes the same time wherever the difference is.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from streamapp.api.access import Caller, Scope

PREFIX: Final = "sak"
#: Far above what anyone keeps; a file that is larger is not ours.
KEYS_MAX: Final = 10_000
_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 8


class KeyFileError(Exception):
    """The file of keys can't be used; one line that says why and what to do."""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a key. `digest` is the SHA-256 of its secret in hex."""

    id: str
    name: str
    digest: str
    scopes: frozenset[Scope]
    created: datetime
    expires: datetime
    revoked: datetime | None = None

    def why_refused(self, now: datetime) -> str | None:
        """Why this key opens nothing now; None where it does."""
        if self.revoked is not None and self.revoked <= now:
            return "revoked"
        return "expired" if self.expires <= now else None


class KeyRing:
    """Keys by their ids; never changed."""

    def __init__(self, records: list[KeyRecord]) -> None:
        self.records = tuple(records)
        self._by_id = {record.id: record for record in records}

    def caller(self, token: str, now: datetime) -> Caller | None:
        """Whom a token lets in now; None where it is wrong, expired or revoked."""
        parts = token.split("_", 2)
        if len(parts) != 3 or parts[0] != PREFIX:
            return None
        record = self._by_id.get(parts[1])
        # Of an unknown id something is compared as well, so that time does not tell which exist.
        wanted = record.digest if record else "0" * 64
        is_right = hmac.compare_digest(wanted, _digest(parts[2]))
        if record is None or not is_right or record.why_refused(now):
            return None
        return Caller(f"key:{record.id}", record.scopes)


class KeyFile:
    """The file that holds the keys of an API; changed by one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> KeyRing:
        """The keys there are; none where there is no file. Raises KeyFileError."""
        try:
            with self._path.open("rb") as file:
                content = file.read(_FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return KeyRing([])
        except OSError as error:
            raise KeyFileError(f"{self._path} can't be read: {error.strerror}") from error
        if len(content) > _FILE_BYTES_MAX:
            raise KeyFileError(f"{self._path} is over {_FILE_BYTES_MAX} bytes: no file of keys")
        try:
            return KeyRing(msgspec.json.decode(content, type=list[KeyRecord]))
        except msgspec.DecodeError as error:
            raise KeyFileError(
                f"{self._path} is damaged; restore it, or delete it and make new keys: {error}"
            ) from error

    def stamp(self) -> tuple[int, int, int]:
        """Another value after each change; zeros where there is no file."""
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_ino, found.st_mtime_ns, found.st_size

    def create(
        self, name: str, scopes: frozenset[Scope], lifetime: timedelta, now: datetime
    ) -> tuple[str, KeyRecord]:
        """A new key: the token, which nobody can show again, and what is kept of it."""
        token, record = new_key(name, scopes, lifetime, now)
        with self._changing() as records:
            if len(records) >= KEYS_MAX:
                raise KeyFileError(f"{self._path} holds {KEYS_MAX} keys already: remove old ones")
            records.append(record)
        return token, record

    def rotate(
        self, key_id: str, overlap: timedelta, lifetime: timedelta, now: datetime
    ) -> tuple[str, KeyRecord]:
        """A new key like the one named, which goes on for `overlap` at most."""
        with self._changing() as records:
            at = self._index(records, key_id)
            old = records[at]
            if old.why_refused(now):
                raise KeyFileError(f"key {key_id} is {old.why_refused(now)}: create a new one")
            token, record = new_key(old.name, old.scopes, lifetime, now)
            records[at] = msgspec.structs.replace(old, expires=min(old.expires, now + overlap))
            records.append(record)
        return token, record

    def revoke(self, key_id: str, now: datetime) -> None:
        """This key opens nothing from now on. Raises KeyFileError where there is none."""
        with self._changing() as records:
            at = self._index(records, key_id)
            if records[at].revoked is None:
                records[at] = msgspec.structs.replace(records[at], revoked=now)

    def _index(self, records: list[KeyRecord], key_id: str) -> int:
        for at, record in enumerate(records):
            if record.id == key_id:
                return at
        raise KeyFileError(f"{self._path} has no key of this id; streamapp keys list shows them")

    @contextmanager
    def _changing(self) -> Iterator[list[KeyRecord]]:
        """The records, to be changed in place; written when the block ends well."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                records = list(self.read().records)
                yield records
                self._write(records)
        except OSError as error:
            raise KeyFileError(f"{self._path} can't be written: {error.strerror}") from error

    def _write(self, records: list[KeyRecord]) -> None:
        """All or nothing, readable by its owner only."""
        content = msgspec.json.format(msgspec.json.encode(records), indent=1) + b"\n"
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".keys-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class KeyWatch:
    """The keys of a file as they are now: looked at again every second at most."""

    def __init__(
        self, file: KeyFile, clock_s: Callable[[], float], extra: tuple[KeyRecord, ...] = ()
    ) -> None:
        """`extra` are keys of this process alone. Raises KeyFileError."""
        self._file = file
        self._clock_s = clock_s
        self._extra = list(extra)
        self._stamp = file.stamp()
        self._ring = KeyRing([*file.read().records, *extra])
        self._looked_s = clock_s()
        self.failure: str | None = None

    def ring(self) -> KeyRing:
        """The keys; where their file was damaged since, none of it opens anything."""
        now_s = self._clock_s()
        if now_s - self._looked_s >= 1.0:
            self._looked_s = now_s
            stamp = self._file.stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                self._read()
        return self._ring

    def _read(self) -> None:
        try:
            self._ring = KeyRing([*self._file.read().records, *self._extra])
            self.failure = None
        except KeyFileError as error:
            self._ring = KeyRing(self._extra)
            self.failure = str(error)


def new_key(
    name: str, scopes: frozenset[Scope], lifetime: timedelta, now: datetime
) -> tuple[str, KeyRecord]:
    """A token of 256 random bits and the record that knows it again."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    record = KeyRecord(
        id=secrets.token_hex(_ID_BYTES),
        name=name,
        digest=_digest(secret),
        scopes=scopes,
        created=now,
        expires=now + lifetime,
    )
    return f"{PREFIX}_{record.id}_{secret}", record


def utc_now() -> datetime:
    """The wall clock: keys live by it, verdicts never do."""
    return datetime.now(UTC)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
