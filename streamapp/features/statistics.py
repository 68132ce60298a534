"""Running statistics of one profile: amounts, hours, weekdays, merchants, movement, typical values.

Each function reads or updates one record of `profile.PROFILE`; formulas are in CONTRACT.md.
"""

import math
from typing import Any, Final

import numpy as np

from streamapp.features.compiled import kernel
from streamapp.features.contract import DAY_MS, HOUR_MS
from streamapp.features.profile import AMOUNT_BINS, KEPT_MERCHANTS

ZSCORE_MAX: Final = 100.0
SPEED_KMH_MAX: Final = 50_000.0
_SQRT_HALF: Final = math.sqrt(0.5)
_COUNT_MAX: Final = 65_535
_EARTH_RADIUS_KM: Final = 6371.0088
_TYPICAL_WEIGHT: Final = 0.05  # of the newest value: remembers about twenty events
_DAYS_MAX: Final = 30.0


@kernel
def forget(profile: Any) -> None:
    """Clear every statistic of this module."""
    profile.amount_mean = 0.0
    profile.amount_m2 = 0.0
    profile.hour_sin = 0.0
    profile.hour_cos = 0.0
    profile.latitude = 0.0
    profile.longitude = 0.0
    profile.typical_gap_s = 0.0
    for i in range(profile.typical_counts.size):
        profile.typical_counts[i] = 0.0
    for i in range(KEPT_MERCHANTS):
        profile.merchants[i] = 0
        profile.merchant_counts[i] = 0
    for i in range(AMOUNT_BINS):
        profile.amount_bins[i] = 0
    for i in range(7):
        profile.weekdays[i] = 0


@kernel
def _deviation(profile: Any) -> float:
    if profile.event_count == 0:
        return 0.0
    return math.sqrt(max(profile.amount_m2, 0.0) / profile.event_count)


@kernel
def zscore(profile: Any, amount: float) -> float:
    """Distance from the mean in deviations, at least 1 % of the mean and 0.01 each, bounded."""
    if profile.event_count < 2:
        return 0.0
    floor = 0.01 * profile.amount_mean + 0.01
    score = (amount - profile.amount_mean) / max(_deviation(profile), floor)
    return min(max(score, -ZSCORE_MAX), ZSCORE_MAX)


@kernel
def log_ratio(profile: Any, amount: float) -> float:
    """How many times the user's mean the amount is, as a logarithm; a cent keeps both above 0."""
    if profile.event_count < 2:
        return 0.0
    return math.log((amount + 0.01) / (profile.amount_mean + 0.01))


@kernel
def recent_excess(profile: Any, time_ms: int) -> float:
    """How far the kept amounts were above e times the mean, each halved for every day since.

    Fraud on one card comes in runs: an odd payment makes the next one more suspect.
    """
    usual = math.e * (profile.amount_mean + 0.01)
    total = 0.0
    for i in range(np.int64(profile.ring_size)):
        amount = np.float64(profile.ring_amount[i]) + 0.01
        if amount > usual:
            days = max(time_ms - profile.ring_time_ms[i], 0) / DAY_MS
            total += math.log(amount / usual) * 0.5**days
    return total


@kernel
def amount_bin(amount: float) -> int:
    """Half-octave bin: exact, since frexp is. Bin 0 holds amounts under sqrt(1/2)."""
    mantissa, exponent = math.frexp(amount)
    bin_ = 2 * exponent + (1 if mantissa >= _SQRT_HALF else 0)
    return min(max(bin_, 0), AMOUNT_BINS - 1) if amount > 0.0 else 0


@kernel
def percentile(profile: Any, amount: float) -> float:
    """Share of earlier amounts in lower bins plus half of those in its own; 0.5 without any."""
    own = amount_bin(amount)
    below = 0
    total = 0
    for i in range(AMOUNT_BINS):
        total += profile.amount_bins[i]
        if i < own:
            below += profile.amount_bins[i]
    if total == 0:
        return 0.5
    return (below + 0.5 * profile.amount_bins[own]) / total


@kernel
def learn_amount(profile: Any, amount: float) -> None:
    """Welford's update (Welford 1962) of mean and squared deviations, and the histogram."""
    count = profile.event_count + 1
    delta = amount - profile.amount_mean
    profile.amount_mean += delta / count
    profile.amount_m2 += delta * (amount - profile.amount_mean)
    bin_ = amount_bin(amount)
    if profile.amount_bins[bin_] == _COUNT_MAX:
        for i in range(AMOUNT_BINS):
            profile.amount_bins[i] //= 2
    profile.amount_bins[bin_] += 1


@kernel
def velocity_ratio(profile: Any, time_ms: int, count_24h: float, count_30d: float) -> float:
    """Payments of this day, this one included, over what a day of the last 30 days had."""
    days = min(max((time_ms - profile.first_time_ms) / DAY_MS, 1.0), _DAYS_MAX)
    return (count_24h + 1.0) / (count_30d / days + 1.0)


@kernel
def _hour_angle(local_ms: int) -> float:
    return 2.0 * math.pi * (local_ms % DAY_MS) / DAY_MS


@kernel
def _weekday(local_ms: int) -> int:
    return (local_ms // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0


@kernel
def _usual_hour(profile: Any) -> float:
    """Circular mean hour in [0, 24); -1 where the hours have no direction."""
    if profile.hour_sin * profile.hour_sin + profile.hour_cos * profile.hour_cos < 1e-12:
        return -1.0
    hour = math.atan2(profile.hour_sin, profile.hour_cos) * 12.0 / math.pi
    return hour if hour >= 0.0 else hour + 24.0


@kernel
def hour_deviation(profile: Any, local_ms: int) -> float:
    """Circular distance in hours, 0 to 12, from the user's circular mean hour."""
    usual = _usual_hour(profile)
    if usual < 0.0:
        return 0.0
    distance = abs((local_ms % DAY_MS) / HOUR_MS - usual)
    return min(distance, 24.0 - distance)


@kernel
def day_deviation(profile: Any, local_ms: int) -> float:
    """0 on the user's busiest weekday, 1 on one never used, 0 without history."""
    busiest = 0
    for i in range(7):
        busiest = max(busiest, profile.weekdays[i])
    if busiest == 0:
        return 0.0
    return 1.0 - profile.weekdays[_weekday(local_ms)] / busiest


@kernel
def learn_calendar(profile: Any, local_ms: int) -> None:
    """Add the event to the circular sums and its weekday."""
    angle = _hour_angle(local_ms)
    profile.hour_sin += math.sin(angle)
    profile.hour_cos += math.cos(angle)
    day = _weekday(local_ms)
    if profile.weekdays[day] == _COUNT_MAX:
        for i in range(7):
            profile.weekdays[i] //= 2
    profile.weekdays[day] += 1


@kernel
def familiarity(profile: Any, merchant: int) -> float:
    """Share of earlier events at this merchant; 1 where the event names none."""
    if merchant == 0:
        return 1.0
    if profile.event_count == 0:
        return 0.0
    for i in range(KEPT_MERCHANTS):
        if profile.merchants[i] == merchant:
            return min(profile.merchant_counts[i] / profile.event_count, 1.0)
    return 0.0


@kernel
def learn_merchant(profile: Any, merchant: int) -> None:
    """Space-saving counts (Metwally, Agrawal, El Abbadi 2005): the least counted makes room."""
    if merchant == 0:
        return
    least = 0
    for i in range(KEPT_MERCHANTS):
        if profile.merchants[i] == merchant:
            least = i
            break
        if profile.merchant_counts[i] < profile.merchant_counts[least]:
            least = i
    profile.merchants[least] = merchant
    if profile.merchant_counts[least] < _COUNT_MAX:
        profile.merchant_counts[least] += 1


@kernel
def changed(last: int, current: int) -> float:
    """1 where both are known and differ."""
    if last == 0 or current == 0:
        return 0.0
    return 1.0 if last != current else 0.0


@kernel
def movement(profile: Any, time_ms: int, latitude: float, longitude: float) -> tuple[float, float]:
    """Great-circle distance in km (haversine) and implied speed in km/h over at least a minute."""
    if profile.geo_time_ms < 0 or math.isnan(latitude) or math.isnan(longitude):
        return 0.0, 0.0
    phi = math.radians(latitude)
    last_phi = math.radians(np.float64(profile.latitude))  # or sine and cosine were float32 too
    half_phi = math.sin((phi - last_phi) / 2.0)
    half_lambda = math.sin(math.radians(longitude - profile.longitude) / 2.0)
    chord = half_phi * half_phi + math.cos(phi) * math.cos(last_phi) * half_lambda * half_lambda
    distance_km = 2.0 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(chord, 1.0)))
    hours = max(abs(time_ms - profile.geo_time_ms) / HOUR_MS, 1.0 / 60.0)
    return distance_km, min(distance_km / hours, SPEED_KMH_MAX)


@kernel
def read_typical(profile: Any, typical: Any) -> None:
    """What explanations compare with, in the order of `contract.TYPICAL_NAMES`."""
    typical[0] = profile.amount_mean
    typical[1] = _deviation(profile)
    for i in range(3):
        typical[2 + i] = profile.typical_counts[i]
    typical[5] = profile.typical_gap_s
    typical[6] = _usual_hour(profile)
    typical[7] = profile.event_count


@kernel
def learn_typical(profile: Any, counts: Any, gap_s: float) -> None:
    """Exponentially weighted means over the user's events; the first value stands as it is."""
    weight = 1.0 if profile.event_count == 0 else _TYPICAL_WEIGHT
    for i in range(3):
        profile.typical_counts[i] += weight * (counts[i] - profile.typical_counts[i])
    gap_weight = 1.0 if profile.event_count <= 1 else _TYPICAL_WEIGHT
    profile.typical_gap_s += gap_weight * (gap_s - profile.typical_gap_s)
