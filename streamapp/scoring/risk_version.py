"""Risk windows under the name that verdicts carry, and their stored form."""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamapp.features.risk_windows import RISK_COLUMNS, RISK_KINDS, RiskTable

_MAGIC: Final = b"risk\x02\0\0\0"
_WIDTH: Final = len(RISK_COLUMNS)
_DIGEST_CHARS: Final = 24


class RiskVersionError(ValueError):
    """Stored risk windows are not what was published."""


@dataclass(frozen=True, slots=True)
class RiskVersion:
    """A version of the risk windows: its name is its day and a digest of its bytes."""

    version: str
    table: RiskTable

    @classmethod
    def of(cls, table: RiskTable) -> "RiskVersion":
        """The table under its name."""
        return cls(_name(table.day, to_bytes(table)), table)

    @classmethod
    def stored(cls, version: str, image: bytes) -> "RiskVersion":
        """Read back what `to_bytes` gave. Raises RiskVersionError."""
        try:
            table = _table(image)
        except ValueError as error:
            raise RiskVersionError(f"risk windows {version} can't be read: {error}") from error
        if _name(table.day, image) != version:
            raise RiskVersionError(f"risk windows {version} are damaged: another digest")
        return cls(version, table)


def to_bytes(table: RiskTable) -> bytes:
    """Day and numbers of names, then names and values by kind; the same table, the same bytes."""
    counts = np.array([table.day, *map(len, table.names)], "<i8")
    parts = [
        part
        for names, values in zip(table.names, table.values, strict=True)
        for part in (names.astype("<u4").tobytes(), values.astype("<f8").tobytes())
    ]
    return b"".join([_MAGIC, counts.tobytes(), *parts])


def _name(day: int, image: bytes) -> str:
    return f"{np.datetime64(day, 'D')}.{hashlib.sha256(image).hexdigest()[:_DIGEST_CHARS]}"


def _table(image: bytes) -> RiskTable:
    """Raises ValueError."""
    at = len(_MAGIC) + 8 * (1 + len(RISK_KINDS))
    if not image.startswith(_MAGIC) or len(image) < at:
        raise ValueError("the beginning is not ours")
    day, *counts = np.frombuffer(image[len(_MAGIC) : at], "<i8").tolist()
    if min(counts) < 0 or len(image) != at + sum(counts) * (4 + 8 * _WIDTH):
        raise ValueError("its length is not what its beginning says")
    names, values = [], []
    for count in counts:
        names.append(np.frombuffer(image, "<u4", count, at).astype(np.uint32))
        at += 4 * count
        flat = np.frombuffer(image, "<f8", count * _WIDTH, at).astype(np.float64)
        values.append(flat.reshape(count, _WIDTH))
        at += 8 * count * _WIDTH
    return RiskTable(day, tuple(names), tuple(values))
