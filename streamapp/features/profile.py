"""The user profile: one fixed-layout record of 1 KiB, the same bytes in memory, store and log."""

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.checksum import checksums

LAYOUT_VERSION: Final = 1

#: Events kept one by one: windows that reach no further back are exact, and a `tx_id` seen again
#: within them is a duplicate.
KEPT_EVENTS: Final = 12
#: Merchants counted per user (space-saving sketch).
KEPT_MERCHANTS: Final = 12
#: Half-octave bins of the amount histogram: bin 1 starts at 1/sqrt(2), the last above 370,000.
AMOUNT_BINS: Final = 40
#: Bucket levels (width, number): 1 min, 10 min, 2 h, 1 day; one bucket more than the window needs.
BUCKET_WIDTHS_MS: Final = (60_000, 600_000, 7_200_000, 86_400_000)
BUCKET_COUNTS: Final = (6, 7, 13, 31)
BUCKETS: Final = sum(BUCKET_COUNTS)

PROFILE: Final = np.dtype(
    [
        ("layout_version", "<u2"),
        ("ring_size", "<u1"),
        ("ring_next", "<u1"),
        ("checksum", "<u4"),
        ("source_offset", "<i8"),
        ("first_time_ms", "<i8"),
        ("last_time_ms", "<i8"),
        ("evicted_time_ms", "<i8"),
        ("geo_time_ms", "<i8"),
        ("amount_mean", "<f8"),
        ("amount_m2", "<f8"),
        ("hour_sin", "<f8"),
        ("hour_cos", "<f8"),
        ("session_gap_s", "<f8"),
        ("ring_time_ms", "<i8", (KEPT_EVENTS,)),
        ("ring_tx", "<u8", (KEPT_EVENTS,)),
        ("latitude", "<f4"),
        ("longitude", "<f4"),
        ("event_count", "<u4"),
        ("device", "<u4"),
        ("country", "<u4"),
        ("category", "<u4"),
        ("typical_counts", "<f4", (3,)),
        ("typical_gap_s", "<f4"),
        ("ring_amount", "<f4", (KEPT_EVENTS,)),
        ("ring_merchant", "<u4", (KEPT_EVENTS,)),
        ("ring_offset_low", "<u4", (KEPT_EVENTS,)),
        ("merchants", "<u4", (KEPT_MERCHANTS,)),
        ("bucket_sums", "<f4", (BUCKETS,)),
        ("bucket_counts", "<u2", (BUCKETS,)),
        ("merchant_counts", "<u2", (KEPT_MERCHANTS,)),
        ("amount_bins", "<u2", (AMOUNT_BINS,)),
        ("weekdays", "<u2", (7,)),
        ("ring_risk", "<u2", (KEPT_EVENTS,)),
        ("ring_flags", "<u1", (KEPT_EVENTS,)),
        ("reserved", "<u1", (16,)),
    ]
)
PROFILE_BYTES: Final = 1024
assert PROFILE.itemsize == PROFILE_BYTES, PROFILE.itemsize

ProfileBlock = NDArray[Any]
"""An array of `PROFILE` records; slots of it are users."""

_CHECKSUM: Final = slice(4, 8)
_SOURCE_OFFSET: Final = slice(8, 16)
assert PROFILE.fields is not None
assert PROFILE.fields["source_offset"][1] == _SOURCE_OFFSET.start


class ProfileError(Exception):
    """A stored profile is not what was written: wrong size, checksum or layout version.

    is_layout: the bytes are whole, but another version's.
    """

    def __init__(self, message: str, *, is_layout: bool = False) -> None:
        super().__init__(message)
        self.is_layout = is_layout


def empty_profiles(count: int) -> ProfileBlock:
    """Profiles of users never seen."""
    block = np.empty(count, dtype=PROFILE)
    reset(block, slice(None))
    return block


def _never_seen() -> ProfileBlock:
    block = np.zeros(1, dtype=PROFILE)
    block["layout_version"] = LAYOUT_VERSION
    for name in ("source_offset", "evicted_time_ms", "geo_time_ms"):
        block[name] = -1
    return block


#: Profiles as bytes without fields: numpy copies those whole, and others field by field.
_WHOLE: Final = np.dtype(f"V{PROFILE_BYTES}")
_NEVER_SEEN: Final = _never_seen().view(_WHOLE)


def reset(block: ProfileBlock, slots: slice | NDArray[np.integer[Any]]) -> None:
    """Make the profiles at `slots` those of users never seen."""
    block.view(_WHOLE)[slots] = _NEVER_SEEN


def unset_profiles(count: int) -> ProfileBlock:
    """Room for profiles, each to be reset or placed before it is read."""
    return np.empty(count, dtype=PROFILE)


def copy_profiles(source: ProfileBlock, target: ProfileBlock) -> None:
    """Make the first profiles of `target` those of `source`."""
    target.view(_WHOLE)[: len(source)] = source.view(_WHOLE)


def place(block: ProfileBlock, slots: NDArray[np.integer[Any]], found: ProfileBlock) -> None:
    """Put profiles (n,) at `slots` (n,)."""
    block.view(_WHOLE)[slots] = found.view(_WHOLE)


def seal(record: np.void) -> bytes:
    """The stored form: the record's bytes with their CRC-32 written in."""
    return seal_all(np.array([record], PROFILE), np.zeros(1, np.int64))[0]


def seal_all(block: ProfileBlock, slots: NDArray[np.integer[Any]]) -> list[bytes]:
    """The stored forms of the profiles at `slots`."""
    chosen = block.view(_WHOLE)[slots]
    chosen.view(PROFILE)["checksum"] = checksums(_words(chosen))
    whole = chosen.tobytes()
    return [whole[at : at + PROFILE_BYTES] for at in range(0, len(whole), PROFILE_BYTES)]


def unseal_all(images: Sequence[bytes]) -> ProfileBlock:
    """Verify stored profiles. Raises ProfileError, never serves damaged state."""
    if not _are_sound(images):
        for image in images:
            unseal(image)  # says what is wrong
    return np.frombuffer(b"".join(images), PROFILE)


def _are_sound(images: Sequence[bytes]) -> bool:
    if any(len(image) != PROFILE_BYTES for image in images):
        return False
    found = np.frombuffer(b"".join(images), PROFILE)
    is_whole = found["checksum"] == checksums(_words(found))
    return bool((is_whole & (found["layout_version"] == LAYOUT_VERSION)).all())


def _words(block: ProfileBlock) -> NDArray[np.uint64]:
    return block.view(np.uint64).reshape(len(block), PROFILE_BYTES // 8)


def unseal(image: bytes) -> bytes:
    """Verify a stored profile and return it. Raises ProfileError, never serves damaged state."""
    has_head = len(image) >= _SOURCE_OFFSET.stop
    is_whole = has_head and _checksum_of(image) == int.from_bytes(image[_CHECKSUM], "little")
    version = int.from_bytes(image[:2], "little")
    if is_whole and version != LAYOUT_VERSION:
        raise ProfileError(
            f"profile layout {version}; this build reads {LAYOUT_VERSION}", is_layout=True
        )
    if len(image) != PROFILE_BYTES:
        raise ProfileError(f"profile of {len(image)} bytes; expected {PROFILE_BYTES}")
    if not is_whole:
        raise ProfileError("profile checksum differs: the stored bytes are damaged")
    return image


def moved(image: bytes, offset: int) -> bytes:
    """A stored profile with another source offset in it, sealed again."""
    placed = image[: _SOURCE_OFFSET.start] + offset.to_bytes(8, "little", signed=True)
    placed += image[_SOURCE_OFFSET.stop :]
    checksum = _checksum_of(placed).to_bytes(4, "little")
    return placed[: _CHECKSUM.start] + checksum + placed[_CHECKSUM.stop :]


def source_offset(image: bytes) -> int:
    """Source offset of the last event applied to a stored profile."""
    return int.from_bytes(image[_SOURCE_OFFSET], "little", signed=True)


def _checksum_of(image: bytes) -> int:
    """CRC-32 of all bytes but its own: the kernel trusts the ring's place without a check."""
    return zlib.crc32(image[_CHECKSUM.stop :], zlib.crc32(image[: _CHECKSUM.start]))
