"""The user profile: one fixed-layout record of 1 KiB in memory; stored without its zeros."""

import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features import packed_words
from streamapp.features.checksum import checksums

#: Of the record in memory, and of stored forms that are whole.
LAYOUT_VERSION: Final = 1
#: Of stored forms without zeros, see `packed_words`. Builds before it wrote only whole ones.
PACKED_VERSION: Final = 2

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

_FORMS: Final = (LAYOUT_VERSION, PACKED_VERSION)
_WORDS: Final = PROFILE_BYTES // 4
#: Stands in front of every stored form: layout, the ring's place, checksum, source offset.
_HEAD_BYTES: Final = 4 * packed_words.HEAD_WORDS
#: The checksum takes so many at a time.
_STEP_BYTES: Final = 8
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
    """The stored form: the record without its zeros, with the CRC-32 of what is left in it."""
    return seal_all(np.array([record], PROFILE), np.zeros(1, np.int64))[0]


def seal_all(block: ProfileBlock, slots: NDArray[np.integer[Any]]) -> list[bytes]:
    """The stored forms of the profiles at `slots`."""
    packed, ends = packed_words.pack(_words(block), slots.astype(np.int64, copy=False), _FORMS)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    packed[starts + 1] = checksums(packed.view(np.uint64), starts // 2, ends // 2)
    whole, places = packed.tobytes(), [0, *(ends * 4).tolist()]
    return [whole[begin:end] for begin, end in pairwise(places)]


def unseal_all(images: Sequence[bytes]) -> ProfileBlock:
    """Stored profiles, verified. Raises ProfileError, never serves damaged state."""
    found = _unsealed(images)
    if found is None:
        for image in images:
            verify(image)  # says what is wrong
        raise ProfileError("a stored profile can't be used")
    return found


def _unsealed(images: Sequence[bytes]) -> ProfileBlock | None:
    """None where one is not what was written."""
    sizes = np.fromiter(map(len, images), np.int64, len(images))
    if (sizes % _STEP_BYTES).any() or (sizes < _HEAD_BYTES).any():
        return None
    words = np.frombuffer(b"".join(images), np.uint32)
    ends = np.cumsum(sizes // 4)
    starts = ends - sizes // 4
    if (words[starts + 1] != checksums(words.view(np.uint64), starts // 2, ends // 2)).any():
        return None
    found = unset_profiles(len(images))
    if not packed_words.unpack(words, starts, ends, _words(found), _FORMS):
        return None
    found["checksum"] = 0  # it was of the stored form
    return found


def _words(block: ProfileBlock) -> NDArray[np.uint32]:
    return block.view(np.uint32).reshape(len(block), _WORDS)


def unseal(image: bytes) -> bytes:
    """The record of a stored profile. Raises ProfileError, never serves damaged state."""
    return unseal_all([image]).tobytes()


def verify(image: bytes) -> None:
    """Raise ProfileError unless a stored profile is what was written."""
    has_head = len(image) >= _HEAD_BYTES
    is_whole = has_head and _checksum_of(image) == int.from_bytes(image[_CHECKSUM], "little")
    version = int.from_bytes(image[:2], "little")
    if is_whole and version not in _FORMS:
        raise ProfileError(
            f"profile layout {version}; this build reads {PACKED_VERSION}", is_layout=True
        )
    is_packed = version == PACKED_VERSION
    expected = packed_words.packed_bytes(image, _WORDS) if is_packed else PROFILE_BYTES
    if len(image) != expected:
        raise ProfileError(f"profile of {len(image)} bytes; expected {expected}")
    if not is_whole:
        raise ProfileError("profile checksum differs: the stored bytes are damaged")


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
