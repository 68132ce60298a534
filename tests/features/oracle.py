"""The feature contract by brute force: every event is kept, and every feature is computed anew.

Written from streamapp/features/CONTRACT.md alone. Slow and plain on purpose: no arrays, no sketch,
no bound on memory. Where the contract lets the profile's bounds make a value inexact, the oracle
answers with the interval the contract allows; else both ends of the interval are the value.
"""

import math
import struct
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import fmean
from zoneinfo import ZoneInfo

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
KEPT = 12

#: Window: length, width of its buckets, buckets kept.
WINDOWS = {
    "5m": (5 * MINUTE, MINUTE, 6),
    "1h": (HOUR, 10 * MINUTE, 7),
    "24h": (DAY, 2 * HOUR, 13),
    "7d": (7 * DAY, DAY, 31),
    "30d": (30 * DAY, DAY, 31),
}
SILENCE_MAX_S = 30 * 86_400.0
BIN_EDGES = sorted([2.0**k for k in range(20)] + [math.ldexp(math.sqrt(0.5), k) for k in range(20)])
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One transaction at its place in the partition; None where a field was not given."""

    offset: int
    user: str
    tx_id: str
    time_ms: int
    amount: float
    merchant: str | None = None
    category: str | None = None
    country: str | None = None
    device: str | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """What the contract allows a value to be."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What the contract says of one event; only an applied one has `values` and `typical`."""

    status: str
    first_offset: int = 0
    is_late: bool = False
    is_cold: bool = False
    values: dict[str, Interval] = field(default_factory=dict)
    typical: dict[str, Interval] = field(default_factory=dict)


@dataclass(slots=True)
class _History:
    """All applied events of a user, what was last known, and the weighted means."""

    events: list[Event] = field(default_factory=list)
    newest: int = 0
    session_gap: float = 0.0
    known: dict[str, str] = field(default_factory=dict)
    place: tuple[float, float, int] | None = None
    usual: dict[str, Interval] = field(default_factory=dict)


class Oracle:
    """A partition's stream, told event by event."""

    def __init__(
        self,
        amount_limit: float = math.inf,
        idle_ms_max: int = 90 * DAY,
        time_zone: str = "UTC",
    ) -> None:
        self._amount_limit = amount_limit
        self._idle_ms_max = idle_ms_max
        self._zone = ZoneInfo(time_zone)
        self._stream_time = -1
        self._users: dict[str, _History] = {}

    def tell(self, event: Event) -> Expected:
        """What the next event of the stream must give."""
        self._stream_time = max(self._stream_time, event.time_ms)
        history = self._users.setdefault(event.user, _History())
        if history.events and event.offset <= history.events[-1].offset:
            return Expected("fenced")
        if history.events and self._stream_time - history.newest > self._idle_ms_max:
            history = self._users[event.user] = _History()
        for earlier in history.events[-KEPT:]:
            if earlier.tx_id == event.tx_id:
                return Expected("duplicate", first_offset=earlier.offset)
        late = bool(history.events) and event.time_ms < history.newest
        values = self._features(history, event, late)
        expected = Expected(
            "applied", 0, late, len(history.events) < 20, values, self._typical(history)
        )
        _learn(history, event, late, values)
        return expected

    def _features(self, history: _History, event: Event, late: bool) -> dict[str, Interval]:
        seen = history.events
        values = _amount_features(seen, event.amount)
        values["global_amount_flag"] = _exact(event.amount > self._amount_limit)
        values["is_new_user"] = _exact(len(seen) < 20)
        values["time_since_last"] = _exact(_gap(history, event))
        values["session_gap"] = _exact(_session_gap(history, event, late))
        values["merchant_familiarity"] = _familiarity(seen, event.merchant)
        values["hour_deviation"] = self._hour_deviation(seen, event)
        values["day_deviation"] = self._day_deviation(seen, event)
        for name in WINDOWS:
            values |= _window(name, history, event)
        values["velocity_ratio"] = _velocity(seen, event, values)
        values["recent_excess"] = _recent_excess(seen, event)
        for name in ("device", "country", "category"):
            last, current = history.known.get(name), getattr(event, name)
            values[f"{name}_changed"] = _exact(bool(last and current and last != current))
        return values | _movement(history, event)

    def _typical(self, history: _History) -> dict[str, Interval]:
        amounts = [earlier.amount for earlier in history.events]
        nothing = Interval(0.0, 0.0)
        mean, deviation = (fmean(amounts), _deviation(amounts)) if amounts else (0.0, 0.0)
        slack = 1e-6 * deviation + 1e-9 * (1 + mean)
        typical = {
            "amount": _near(mean),
            "amount_deviation": Interval(deviation - slack, deviation + slack),
            "event_count": _exact(len(amounts)),
            "hour": self._usual_hour(history.events),
        }
        for name in ("count_5m", "count_1h", "count_24h", "time_since_last"):
            usual = history.usual.get(name, nothing)
            typical[name] = Interval(usual.low * (1 - 1e-5), usual.high * (1 + 1e-5))
        return typical

    def _local(self, event: Event) -> datetime:
        return (EPOCH + timedelta(milliseconds=event.time_ms)).astimezone(self._zone)

    def _hour(self, event: Event) -> float:
        at = self._local(event)
        return at.hour + at.minute / 60 + at.second / 3600 + at.microsecond / 3.6e9

    def _direction(self, seen: list[Event]) -> complex:
        angles = [math.pi / 12 * self._hour(earlier) for earlier in seen]
        return complex(math.fsum(map(math.cos, angles)), math.fsum(map(math.sin, angles)))

    def _usual_hour(self, seen: list[Event]) -> Interval:
        direction = self._direction(seen)
        if abs(direction) < 0.9e-6:
            return Interval(-1.0, -1.0)
        if abs(direction) < 1e-3:  # so nearly none that rounding decides which
            return Interval(-1.0, 24.0)
        hour = math.atan2(direction.imag, direction.real) * 12 / math.pi % 24
        if min(hour, 24 - hour) < 1e-9:  # midnight, from either side
            return Interval(0.0, 24.0)
        return _near(hour)

    def _hour_deviation(self, seen: list[Event], event: Event) -> Interval:
        direction = self._direction(seen)
        if abs(direction) < 0.9e-6:
            return _exact(0)
        if abs(direction) < 1e-3:
            return Interval(0.0, 12.0)
        usual = math.atan2(direction.imag, direction.real) * 12 / math.pi
        distance = abs(self._hour(event) - usual) % 24
        return _near(min(distance, 24 - distance))

    def _day_deviation(self, seen: list[Event], event: Event) -> Interval:
        days = Counter(self._local(earlier).weekday() for earlier in seen)
        if not days:
            return _exact(0)
        return _near(1 - days[self._local(event).weekday()] / max(days.values()))


def _learn(history: _History, event: Event, late: bool, values: dict[str, Interval]) -> None:
    count = len(history.events)
    for name in ("count_5m", "count_1h", "count_24h", "time_since_last"):
        stands = count == 0 or (count == 1 and name == "time_since_last")
        weight = 1.0 if stands else 0.05
        old, new = history.usual.get(name, Interval(0.0, 0.0)), values[name]
        history.usual[name] = Interval(
            old.low + weight * (new.low - old.low), old.high + weight * (new.high - old.high)
        )
    history.events.append(event)
    if late:
        return
    history.newest = event.time_ms
    history.session_gap = values["session_gap"].low
    for name in ("device", "country", "category"):
        if getattr(event, name):
            history.known[name] = getattr(event, name)
    if event.latitude is not None and event.longitude is not None:
        history.place = (_single(event.latitude), _single(event.longitude), event.time_ms)


def _amount_features(seen: list[Event], amount: float) -> dict[str, Interval]:
    amounts = [earlier.amount for earlier in seen]
    bins = [bisect_right(BIN_EDGES[:39], earlier) for earlier in amounts]
    own = bisect_right(BIN_EDGES[:39], amount)
    zscore, percentile = 0.0, 0.5
    if len(amounts) >= 2:
        mean = fmean(amounts)
        zscore = (amount - mean) / max(_deviation(amounts), 0.01 * mean + 0.01)
    if amounts:
        percentile = (sum(b < own for b in bins) + bins.count(own) / 2) / len(bins)
    return {
        "log_amount": _near(math.log(1 + amount)),
        "amount_zscore": _near(min(max(zscore, -100.0), 100.0)),
        "amount_percentile": _near(percentile),
        "amount_log_ratio": _log_ratio(amounts, amount),
    }


def _log_ratio(amounts: list[float], amount: float) -> Interval:
    return _near(math.log((amount + 0.01) / (fmean(amounts) + 0.01)) if len(amounts) > 1 else 0.0)


def _recent_excess(seen: list[Event], event: Event) -> Interval:
    if not seen:
        return _exact(0)
    mean, total = fmean([earlier.amount for earlier in seen]), 0.0
    for earlier in seen[-KEPT:]:
        days = max(event.time_ms - earlier.time_ms, 0) / DAY
        excess = max(math.log((earlier.amount + 0.01) / (mean + 0.01)) - 1, 0.0)
        total += excess * 2**-days
    return _near(total, 1e-6)  # kept amounts are float32


def _deviation(amounts: list[float]) -> float:
    mean = fmean(amounts)
    return math.sqrt(fmean([(amount - mean) ** 2 for amount in amounts]))


def _gap(history: _History, event: Event) -> float:
    if not history.events:
        return SILENCE_MAX_S
    return min(max(event.time_ms - history.newest, 0) / 1000, SILENCE_MAX_S)


def _session_gap(history: _History, event: Event, late: bool) -> float:
    begins = history.events and not late and event.time_ms - history.newest >= 30 * MINUTE
    return _gap(history, event) if begins else history.session_gap


def _familiarity(seen: list[Event], merchant: str | None) -> Interval:
    if not merchant:
        return _exact(1)
    if not seen:
        return _exact(0)
    at = Counter(earlier.merchant for earlier in seen if earlier.merchant)
    share = at[merchant] / len(seen)
    if len(at) <= KEPT:
        return _near(share)
    return Interval(max(share - 1 / 12 - 1e-9, 0.0), min(share + 1 / 12 + 1e-9, 1.0))


def _window(name: str, history: _History, event: Event) -> dict[str, Interval]:
    length, width, buckets = WINDOWS[name]
    start, seen = event.time_ms - length, history.events
    inside = [earlier for earlier in seen if start < earlier.time_ms <= event.time_ms]
    surely = possibly = inside
    if any(earlier.time_ms > start for earlier in seen[:-KEPT]):
        oldest_kept = history.newest // width - buckets + 1
        surely = [e for e in inside if e.time_ms // width >= max(start // width + 1, oldest_kept)]
        reach = range(max(start // width, oldest_kept), event.time_ms // width + 1)
        possibly = [e for e in seen if e.time_ms // width in reach]
    rounding = 6e-8 * (1 + len(possibly)) + 1e-12
    low, high = (sum(e.amount for e in events) for events in (surely, possibly))
    amounts = [earlier.amount for earlier in possibly]
    mean = Interval(min(amounts, default=0.0), max(amounts, default=0.0))
    if surely == possibly and amounts:
        mean = Interval(fmean(amounts), fmean(amounts))
    values = {
        f"count_{name}": Interval(len(surely), len(possibly)),
        f"sum_{name}": Interval(low * (1 - rounding), high * (1 + rounding)),
        f"mean_{name}": Interval(mean.low * (1 - rounding), mean.high * (1 + rounding)),
    }
    if name in ("5m", "1h", "24h"):
        kept = [e for e in seen[-KEPT:] if start < e.time_ms <= event.time_ms]
        merchants = {earlier.merchant for earlier in kept if earlier.merchant}
        values[f"distinct_merchants_{name}"] = _exact(len(merchants))
    return values


def _velocity(seen: list[Event], event: Event, values: dict[str, Interval]) -> Interval:
    first = seen[0].time_ms if seen else event.time_ms
    days = min(max((event.time_ms - first) / DAY, 1.0), 30.0)
    day, month = values["count_24h"], values["count_30d"]
    low = (day.low + 1) / (month.high / days + 1)
    high = (day.high + 1) / (month.low / days + 1)
    return Interval(low * (1 - 1e-9), high * (1 + 1e-9))


def _movement(history: _History, event: Event) -> dict[str, Interval]:
    place = history.place
    if place is None or event.latitude is None or event.longitude is None:
        return {"distance_km": _exact(0), "speed_kmh": _exact(0)}
    latitude, longitude, time_ms = place
    phi, last_phi = math.radians(event.latitude), math.radians(latitude)
    turned = math.radians(event.longitude - longitude)
    haversine = (
        math.sin((phi - last_phi) / 2) ** 2
        + math.cos(phi) * math.cos(last_phi) * math.sin(turned / 2) ** 2
    )
    km = 2 * 6371.0088 * math.asin(math.sqrt(min(haversine, 1.0)))
    hours = max(abs(event.time_ms - time_ms) / HOUR, 1 / 60)
    return {
        "distance_km": Interval(km * (1 - 1e-6) - 1e-9, km * (1 + 1e-6) + 1e-9),
        "speed_kmh": _near(min(km / hours, 50_000.0), 1e-6),
    }


def _exact(value: float) -> Interval:
    return Interval(float(value), float(value))


def _near(value: float, tolerance: float = 1e-9) -> Interval:
    """The value but for the rounding of float64 sums."""
    slack = tolerance * max(1.0, abs(value))
    return Interval(value - slack, value + slack)


def _single(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])
