"""Names, windows and bounds of the feature contract; CONTRACT.md beside this file is its text."""

from dataclasses import dataclass
from typing import Final

#: Changes whenever the value of any feature could change for any input.
CONTRACT_VERSION: Final = "2"

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

#: Windows by name: a window of length w at event time t holds events with time in (t - w, t].
WINDOWS_MS: Final = {
    "5m": 5 * MINUTE_MS,
    "1h": HOUR_MS,
    "24h": DAY_MS,
    "7d": 7 * DAY_MS,
    "30d": 30 * DAY_MS,
}
LONGEST_WINDOW_MS: Final = WINDOWS_MS["30d"]

#: Windows short enough for the kept events to tell merchants apart.
MERCHANT_WINDOWS: Final = ("5m", "1h", "24h")

CORE_FEATURES: Final = (
    "log_amount",
    "amount_zscore",
    "amount_percentile",
    "velocity_ratio",
    "hour_deviation",
    "day_deviation",
    "time_since_last",
    "merchant_familiarity",
    "is_new_user",
    "global_amount_flag",
)
FEATURE_NAMES: Final = (
    *CORE_FEATURES,
    *(f"count_{window}" for window in WINDOWS_MS),
    *(f"sum_{window}" for window in WINDOWS_MS),
    *(f"mean_{window}" for window in WINDOWS_MS),
    *(f"distinct_merchants_{window}" for window in MERCHANT_WINDOWS),
    "session_gap",
    "device_changed",
    "country_changed",
    "category_changed",
    "distance_km",
    "speed_kmh",
    "amount_log_ratio",
    "recent_excess",
)
FEATURE_INDEX: Final = {name: index for index, name in enumerate(FEATURE_NAMES)}

#: What is typical for the user, kept for explanations; columns of `FeatureBlock.typical`.
TYPICAL_NAMES: Final = (
    "amount",
    "amount_deviation",
    "count_5m",
    "count_1h",
    "count_24h",
    "time_since_last",
    "hour",
    "event_count",
)

#: A user with fewer earlier transactions is new: too few to know what is usual.
NEW_USER_EVENTS: Final = 20

#: A silence of at least this length ends a session; half an hour is web analytics' convention.
SESSION_SILENCE_MS: Final = 30 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class FeatureParameters:
    """What features need beside the stream; part of the model artifact.

    `global_amount_limit`: amount above which `global_amount_flag` is 1, a quantile of reference
    traffic. `time_zone`: IANA name for hours and weekdays. `idle_ms_max`: a profile idle for
    longer, against the partition's stream time, starts anew.
    """

    global_amount_limit: float = float("inf")
    time_zone: str = "UTC"
    idle_ms_max: int = LONGEST_WINDOW_MS + 60 * DAY_MS
