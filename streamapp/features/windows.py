"""Windows by event time over one profile: exact from kept events, else from buckets.

Sketch: one event reads at most 12 kept events and 57 buckets and writes 4 buckets; about 0.2 us.
"""

from typing import Any, Final

import numpy as np

from streamapp.features.compiled import kernel
from streamapp.features.contract import WINDOWS_MS
from streamapp.features.profile import BUCKET_COUNTS, BUCKET_WIDTHS_MS, KEPT_EVENTS

WINDOWS: Final = len(WINDOWS_MS)
_LENGTHS: Final = np.array(list(WINDOWS_MS.values()), dtype=np.int64)
#: The bucket level that serves each window: 5m, 1h, 24h one each; 7d and 30d share the days.
_LEVEL_OF: Final = np.array([0, 1, 2, 3, 3], dtype=np.int64)
_WIDTHS: Final = np.array(BUCKET_WIDTHS_MS, dtype=np.int64)
_COUNTS: Final = np.array(BUCKET_COUNTS, dtype=np.int64)
_STARTS: Final = np.concatenate([[0], np.cumsum(BUCKET_COUNTS)[:-1]]).astype(np.int64)
_COUNT_MAX: Final = 65_535


@kernel
def _window_from_ring(profile: Any, time_ms: int, start_ms: int) -> tuple[float, float]:
    count = 0.0
    total = 0.0
    for i in range(np.int64(profile.ring_size)):
        if start_ms < profile.ring_time_ms[i] <= time_ms:
            count += 1.0
            total += profile.ring_amount[i]
    return count, total


@kernel
def _window_from_buckets(
    profile: Any, level: int, time_ms: int, start_ms: int
) -> tuple[float, float]:
    """Whole buckets, and of the one the window starts in the share that lies inside."""
    width = _WIDTHS[level]
    size = _COUNTS[level]
    base = _STARTS[level]
    newest = profile.last_time_ms // width
    first = start_ms // width
    last = min(time_ms // width, newest)
    count = 0.0
    total = 0.0
    for bucket in range(max(first, newest - size + 1), last + 1):
        at = base + bucket % size
        share = 1.0
        if bucket == first:
            share = ((first + 1) * width - start_ms) / width
        count += share * profile.bucket_counts[at]
        total += share * profile.bucket_sums[at]
    return count, total


@kernel
def read_windows(profile: Any, time_ms: int, counts: Any, sums: Any) -> None:
    """Fill counts and sums of each window over the events the profile has seen so far."""
    for window in range(WINDOWS):
        start_ms = time_ms - _LENGTHS[window]
        nothing_evicted = profile.evicted_time_ms < 0
        if nothing_evicted or profile.evicted_time_ms <= start_ms:
            count, total = _window_from_ring(profile, time_ms, start_ms)
        else:
            count, total = _window_from_buckets(profile, _LEVEL_OF[window], time_ms, start_ms)
        counts[window] = count
        sums[window] = total


@kernel
def distinct_merchants(profile: Any, time_ms: int, length_ms: int) -> int:
    """Different merchants among the kept events of the window; 0 marks a payment without one."""
    start_ms = time_ms - length_ms
    distinct = 0
    for i in range(np.int64(profile.ring_size)):
        merchant = profile.ring_merchant[i]
        if merchant == 0 or not start_ms < profile.ring_time_ms[i] <= time_ms:
            continue
        seen = False
        for j in range(i):
            inside = start_ms < profile.ring_time_ms[j] <= time_ms
            if inside and profile.ring_merchant[j] == merchant:
                seen = True
                break
        if not seen:
            distinct += 1
    return distinct


@kernel
def add_to_buckets(profile: Any, time_ms: int, amount: float) -> None:
    """Count the event where it belongs; a late one only if its bucket is still kept.

    Must run before `last_time_ms` moves: the buckets between the old and the new newest are
    cleared here.
    """
    for level in range(_WIDTHS.size):
        width = _WIDTHS[level]
        size = _COUNTS[level]
        base = _STARTS[level]
        bucket = time_ms // width
        newest = profile.last_time_ms // width
        if profile.event_count == 0:
            newest = bucket
        for cleared in range(max(newest + 1, bucket - size + 1), bucket + 1):
            profile.bucket_counts[base + cleared % size] = 0
            profile.bucket_sums[base + cleared % size] = 0.0
        if bucket <= newest - size:
            continue
        at = base + bucket % size
        if profile.bucket_counts[at] < _COUNT_MAX:  # a full bucket takes no amounts either
            profile.bucket_counts[at] += 1
            profile.bucket_sums[at] += amount


@kernel
def forget(profile: Any) -> None:
    """Clear kept events and buckets."""
    profile.ring_size = 0
    profile.ring_next = 0
    profile.evicted_time_ms = -1
    for i in range(KEPT_EVENTS):
        profile.ring_time_ms[i] = 0
        profile.ring_tx[i] = 0
        profile.ring_amount[i] = 0.0
        profile.ring_merchant[i] = 0
        profile.ring_offset_low[i] = 0
        profile.ring_risk[i] = 0
        profile.ring_flags[i] = 0
    for i in range(profile.bucket_counts.size):
        profile.bucket_counts[i] = 0
        profile.bucket_sums[i] = 0.0


@kernel
def keep_event(
    profile: Any, time_ms: int, amount: float, merchant: int, tx: int, offset: int
) -> int:
    """Put the event into the ring in the place of the oldest arrival; returns its place."""
    place = np.int64(profile.ring_next)
    if profile.ring_size == KEPT_EVENTS:
        profile.evicted_time_ms = max(profile.evicted_time_ms, profile.ring_time_ms[place])
    else:
        profile.ring_size += 1
    profile.ring_time_ms[place] = time_ms
    profile.ring_amount[place] = amount
    profile.ring_merchant[place] = merchant
    profile.ring_tx[place] = tx
    profile.ring_offset_low[place] = offset & 0xFFFFFFFF
    profile.ring_risk[place] = 0
    profile.ring_flags[place] = 0
    profile.ring_next = (place + 1) % KEPT_EVENTS
    return place
