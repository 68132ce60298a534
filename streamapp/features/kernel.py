"""The feature kernel: features of each event and the profile after it, in record order.

One compiled loop over a batch. Each row reads its user's profile, writes its features, then
updates the profile, so several events of one user in a batch see each other and the result does
not depend on where batches are cut. Formulas: CONTRACT.md.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features import statistics as stats
from streamapp.features import windows
from streamapp.features.columns import Columns
from streamapp.features.compiled import kernel
from streamapp.features.contract import (
    FEATURE_INDEX,
    FEATURE_NAMES,
    LONGEST_WINDOW_MS,
    MERCHANT_WINDOWS,
    NEW_USER_EVENTS,
    SESSION_SILENCE_MS,
    TYPICAL_NAMES,
    WINDOWS_MS,
    FeatureParameters,
)
from streamapp.features.profile import PROFILE, ProfileBlock

#: What became of a row.
APPLIED: Final = 0
FENCED: Final = 1  # its offset is already in the profile: a replay, nothing to do
DUPLICATE: Final = 2  # its tx_id is among the user's kept events

_COUNTS_AT: Final = FEATURE_INDEX["count_5m"]
_SUMS_AT: Final = FEATURE_INDEX["sum_5m"]
_MEANS_AT: Final = FEATURE_INDEX["mean_5m"]
_MERCHANTS_AT: Final = FEATURE_INDEX["distinct_merchants_5m"]
_SESSION_AT: Final = FEATURE_INDEX["session_gap"]
_MERCHANT_WINDOWS_MS: Final = np.array([WINDOWS_MS[w] for w in MERCHANT_WINDOWS], dtype=np.int64)
_EXCESS_AT: Final = FEATURE_INDEX["amount_log_ratio"]
_GAP_S_MAX: Final = LONGEST_WINDOW_MS / 1000.0


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """What the kernel says of a batch; row i belongs to row i of the columns.

    values (n, 36) float64, typical (n, 8) float64, status, is_late, is_cold (n,) uint8;
    place (n,) the event's place in its profile's ring; first_offset, first_risk, first_flags (n,)
    of the first event of a duplicate, else 0.
    """

    values: NDArray[np.float64]
    typical: NDArray[np.float64]
    status: NDArray[np.uint8]
    is_late: NDArray[np.uint8]
    is_cold: NDArray[np.uint8]
    place: NDArray[np.int64]
    first_offset: NDArray[np.int64]
    first_risk: NDArray[np.uint16]
    first_flags: NDArray[np.uint8]


def compute(
    columns: Columns,
    slots: NDArray[np.int64],
    profiles: ProfileBlock,
    stream_time_ms: int,
    parameters: FeatureParameters,
) -> tuple[FeatureBlock, int]:
    """Features of `columns` in record order; profiles change in place. Returns the stream time."""
    n = len(columns.time_ms)
    assert slots.shape == (n,)
    assert profiles.dtype == PROFILE
    block = FeatureBlock(
        values=np.zeros((n, len(FEATURE_NAMES))),
        typical=np.zeros((n, len(TYPICAL_NAMES))),
        status=np.zeros(n, dtype=np.uint8),
        is_late=np.zeros(n, dtype=np.uint8),
        is_cold=np.zeros(n, dtype=np.uint8),
        place=np.zeros(n, dtype=np.int64),
        first_offset=np.zeros(n, dtype=np.int64),
        first_risk=np.zeros(n, dtype=np.uint16),
        first_flags=np.zeros(n, dtype=np.uint8),
    )
    stream_time = _run(
        columns.records,
        slots,
        profiles,
        stream_time_ms,
        parameters.global_amount_limit,
        parameters.idle_ms_max,
        block.values,
        block.typical,
        block.status,
        block.is_late,
        block.is_cold,
        block.place,
        block.first_offset,
        block.first_risk,
        block.first_flags,
    )
    return block, int(stream_time)


@kernel
def _run(
    events: Any,
    slots: Any,
    profiles: Any,
    stream_time_ms: int,
    global_amount_limit: float,
    idle_ms_max: int,
    values: Any,
    typical: Any,
    status: Any,
    is_late: Any,
    is_cold: Any,
    place: Any,
    first_offset: Any,
    first_risk: Any,
    first_flags: Any,
) -> int:
    for row in range(slots.size):
        event = events[row]
        profile = profiles[slots[row]]
        # Fenced events move stream time too, or expiry would depend on where batches are cut.
        stream_time_ms = max(stream_time_ms, event.time_ms)
        if event.offset <= profile.source_offset:
            status[row] = FENCED
            continue
        if stream_time_ms - profile.last_time_ms > idle_ms_max and profile.event_count > 0:
            _forget(profile)
        kept = _find_kept(profile, event.tx)
        if kept >= 0:
            status[row] = DUPLICATE
            first_offset[row] = _full_offset(profile.ring_offset_low[kept], event.offset)
            first_risk[row] = profile.ring_risk[kept]
            first_flags[row] = profile.ring_flags[kept]
            continue
        is_late[row] = profile.event_count > 0 and event.time_ms < profile.last_time_ms
        is_cold[row] = profile.event_count < NEW_USER_EVENTS
        _read(profile, event, global_amount_limit, values[row], typical[row])
        place[row] = _update(profile, event, values[row])
    return stream_time_ms


@kernel
def keep_decisions(
    profiles: Any,
    slots: Any,
    place: Any,
    events: Any,
    rows: Any,
    hundredths_of_risk: Any,
    flags: Any,
) -> None:
    """Write each decision to its event's place in the ring, for the case of a duplicate.

    rows (n,): of the events decided on; hundredths_of_risk, flags (n,): what was decided. Where
    later events of the batch took the place, the place is no longer this event's.
    """
    for i in range(rows.size):
        row = rows[i]
        profile, at = profiles[slots[row]], place[row]
        if profile.ring_tx[at] == events[row].tx:
            profile.ring_risk[at] = hundredths_of_risk[i]
            profile.ring_flags[at] = flags[i]


@kernel
def _forget(profile: Any) -> None:
    """Make it the profile of a user never seen, as if the expired one had been deleted."""
    profile.event_count = 0
    profile.source_offset = -1
    profile.geo_time_ms = -1
    profile.first_time_ms = 0
    profile.last_time_ms = 0
    profile.device = 0
    profile.country = 0
    profile.category = 0
    profile.session_gap_s = 0.0
    stats.forget(profile)
    windows.forget(profile)


@kernel
def _find_kept(profile: Any, tx: int) -> int:
    for i in range(np.int64(profile.ring_size)):
        if profile.ring_tx[i] == tx:
            return i
    return -1


@kernel
def _full_offset(low: int, offset: int) -> int:
    """The largest offset up to `offset` whose low 32 bits are `low`."""
    candidate = (offset & ~0xFFFFFFFF) | np.int64(low)
    return candidate - (1 << 32) if candidate > offset else candidate


@kernel
def _read(profile: Any, event: Any, global_amount_limit: float, values: Any, typical: Any) -> None:
    counts = values[_COUNTS_AT : _COUNTS_AT + windows.WINDOWS]
    sums = values[_SUMS_AT : _SUMS_AT + windows.WINDOWS]
    windows.read_windows(profile, event.time_ms, counts, sums)
    for i in range(windows.WINDOWS):
        values[_MEANS_AT + i] = sums[i] / counts[i] if counts[i] > 0 else 0.0
    for i in range(_MERCHANT_WINDOWS_MS.size):
        values[_MERCHANTS_AT + i] = windows.distinct_merchants(
            profile, event.time_ms, _MERCHANT_WINDOWS_MS[i]
        )
    is_first = profile.event_count == 0
    gap_s = _GAP_S_MAX
    if not is_first:
        gap_s = min(max(event.time_ms - profile.last_time_ms, 0) / 1000.0, _GAP_S_MAX)
    values[0] = math.log1p(event.amount)
    values[1] = stats.zscore(profile, event.amount)
    values[2] = stats.percentile(profile, event.amount)
    values[3] = stats.velocity_ratio(profile, event.time_ms, counts[2], counts[4])
    values[4] = stats.hour_deviation(profile, event.local_ms)
    values[5] = stats.day_deviation(profile, event.local_ms)
    values[6] = gap_s
    values[7] = stats.familiarity(profile, event.merchant)
    values[8] = 1.0 if profile.event_count < NEW_USER_EVENTS else 0.0
    values[9] = 1.0 if event.amount > global_amount_limit else 0.0
    values[_SESSION_AT] = profile.session_gap_s
    if not is_first and event.time_ms - profile.last_time_ms >= SESSION_SILENCE_MS:
        values[_SESSION_AT] = gap_s
    values[_SESSION_AT + 1] = stats.changed(profile.device, event.device)
    values[_SESSION_AT + 2] = stats.changed(profile.country, event.country)
    values[_SESSION_AT + 3] = stats.changed(profile.category, event.category)
    distance_km, speed_kmh = stats.movement(profile, event.time_ms, event.latitude, event.longitude)
    values[_SESSION_AT + 4] = distance_km
    values[_SESSION_AT + 5] = speed_kmh
    values[_EXCESS_AT] = stats.log_ratio(profile, event.amount)
    values[_EXCESS_AT + 1] = stats.recent_excess(profile, event.time_ms)
    stats.read_typical(profile, typical)


@kernel
def _update(profile: Any, event: Any, values: Any) -> int:
    is_first = profile.event_count == 0
    is_newest = is_first or event.time_ms >= profile.last_time_ms
    stats.learn_typical(profile, values[_COUNTS_AT : _COUNTS_AT + 3], values[6])
    stats.learn_amount(profile, event.amount)
    stats.learn_calendar(profile, event.local_ms)
    stats.learn_merchant(profile, event.merchant)
    windows.add_to_buckets(profile, event.time_ms, event.amount)
    place = windows.keep_event(
        profile, event.time_ms, event.amount, event.merchant, event.tx, event.offset
    )
    if is_first:
        profile.first_time_ms = event.time_ms
    if is_newest:
        profile.session_gap_s = values[_SESSION_AT]
        profile.last_time_ms = event.time_ms
        _learn_context(profile, event)
    profile.event_count += 1
    profile.source_offset = event.offset
    return place


@kernel
def _learn_context(profile: Any, event: Any) -> None:
    """What the user was last seen with; an absent field leaves the last known one."""
    if event.device != 0:
        profile.device = event.device
    if event.country != 0:
        profile.country = event.country
    if event.category != 0:
        profile.category = event.category
    if not math.isnan(event.latitude) and not math.isnan(event.longitude):
        profile.latitude = event.latitude
        profile.longitude = event.longitude
        profile.geo_time_ms = event.time_ms
