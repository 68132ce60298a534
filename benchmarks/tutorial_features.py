"""The ten core features in plain Python, an event at a time, as a tutorial would write them."""

import math
from datetime import datetime, timedelta

import faust

FEATURE_NAMES = (
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
NEW_USER_EVENTS = 20
GLOBAL_AMOUNT_LIMIT = 1_000.0
RECENT_MAX = 100


class Transaction(faust.Record, serializer="json", coerce=True):
    """A payment as it comes in."""

    tx_id: str
    user_id: str
    amount: float
    timestamp: datetime
    merchant_id: str | None = None
    merchant_category: str | None = None


class Profile(faust.Record, serializer="json"):
    """What is remembered of a user."""

    event_count: int = 0
    amount_mean: float = 0.0
    amount_m2: float = 0.0
    hour_sin: float = 0.0
    hour_cos: float = 0.0
    weekdays: list[int] = []  # noqa: RUF012 - a field of the record, copied for each
    recent_amounts: list[float] = []  # noqa: RUF012
    recent_times: list[float] = []  # noqa: RUF012
    merchants: dict[str, int] = {}  # noqa: RUF012


def new_profile() -> Profile:
    """The profile of a user never seen."""
    return Profile(weekdays=[0] * 7, recent_amounts=[], recent_times=[], merchants={})


def features_of(transaction: Transaction, profile: Profile) -> dict[str, float]:
    """The features of an event, from the user's events before it."""
    amount, moment = transaction.amount, transaction.timestamp
    hour = moment.hour + moment.minute / 60 + moment.second / 3600
    busiest = max(profile.weekdays)
    known = profile.event_count
    return {
        "log_amount": math.log1p(amount),
        "amount_zscore": _zscore(profile, amount),
        "amount_percentile": _percentile(profile.recent_amounts, amount),
        "velocity_ratio": _velocity_ratio(profile.recent_times, moment.timestamp()),
        "hour_deviation": _hour_deviation(profile, hour),
        "day_deviation": 1 - profile.weekdays[moment.weekday()] / busiest if busiest else 0.0,
        "time_since_last": _time_since_last(profile.recent_times, moment.timestamp()),
        "merchant_familiarity": profile.merchants.get(transaction.merchant_id or "", 0)
        / max(known, 1),
        "is_new_user": float(known < NEW_USER_EVENTS),
        "global_amount_flag": float(amount > GLOBAL_AMOUNT_LIMIT),
    }


def learn(transaction: Transaction, profile: Profile) -> None:
    """Add an event to its user's profile."""
    moment = transaction.timestamp
    angle = 2 * math.pi * (moment.hour + moment.minute / 60) / 24
    profile.event_count += 1
    delta = transaction.amount - profile.amount_mean
    profile.amount_mean += delta / profile.event_count
    profile.amount_m2 += delta * (transaction.amount - profile.amount_mean)
    profile.hour_sin += math.sin(angle)
    profile.hour_cos += math.cos(angle)
    profile.weekdays[moment.weekday()] += 1
    profile.recent_amounts = [*profile.recent_amounts[1 - RECENT_MAX :], transaction.amount]
    profile.recent_times = [*profile.recent_times[1 - RECENT_MAX :], moment.timestamp()]
    merchant = transaction.merchant_id or ""
    profile.merchants[merchant] = profile.merchants.get(merchant, 0) + 1


def _zscore(profile: Profile, amount: float) -> float:
    if profile.event_count < 2:
        return 0.0
    deviation = math.sqrt(profile.amount_m2 / profile.event_count)
    return (amount - profile.amount_mean) / max(deviation, 0.01)


def _percentile(amounts: list[float], amount: float) -> float:
    if not amounts:
        return 0.5
    return sum(earlier <= amount for earlier in amounts) / len(amounts)


def _velocity_ratio(times: list[float], now: float) -> float:
    day, month = timedelta(days=1).total_seconds(), timedelta(days=30).total_seconds()
    in_day = sum(now - day < time <= now for time in times)
    in_month = sum(now - month < time <= now for time in times)
    return (in_day + 1) / (in_month / 30 + 1)


def _hour_deviation(profile: Profile, hour: float) -> float:
    if not profile.event_count:
        return 0.0
    usual = math.atan2(profile.hour_sin, profile.hour_cos) * 12 / math.pi % 24
    distance = abs(hour - usual)
    return min(distance, 24 - distance)


def _time_since_last(times: list[float], now: float) -> float:
    return max(now - times[-1], 0.0) if times else timedelta(days=30).total_seconds()
