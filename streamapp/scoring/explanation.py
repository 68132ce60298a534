"""Reasons in words: what a feature's value was, what is usual for this user, and a sentence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.domain.verdict import Reason
from streamapp.features.compiled import kernel
from streamapp.features.context import CONTEXT_NAMES
from streamapp.features.contract import (
    FEATURE_NAMES,
    LONGEST_WINDOW_MS,
    MERCHANT_WINDOWS,
    TYPICAL_NAMES,
    WINDOWS_MS,
)
from streamapp.features.profile import KEPT_EVENTS
from streamapp.features.risk_windows import RISK_WINDOWS

#: Reasons of one verdict at most: more than three no analyst reads.
REASONS_MAX: Final = 3

#: A reason carries at least this share of what pushed the score up.
SHARE_MIN: Final = 0.05

_NAMES: Final = (*FEATURE_NAMES, *CONTEXT_NAMES)
_INDEX: Final = {name: index for index, name in enumerate(_NAMES)}
_TYPICAL: Final = {name: index for index, name in enumerate(TYPICAL_NAMES)}
_WINDOW_WORDS: Final = {
    "5m": "5 min",
    "1h": "1 hour",
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
}
_FIRST: Final = "the first payment of this user"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sentence may draw on: the payment, its features, the user's typical values.

    has_merchant: one is given. features: by FEATURE_NAMES, and by CONTEXT_NAMES after them where
    there is a context.
    """

    amount: float
    has_merchant: bool
    features: list[float]
    typical: list[float]

    def value(self, feature: str) -> float:
        """A feature of the event."""
        return self.features[_INDEX[feature]]

    @property
    def is_first(self) -> bool:
        """Nothing is known of the user."""
        return self.usual("event_count") == 0

    def usual(self, name: str) -> float:
        """A typical value of the user, by `TYPICAL_NAMES`."""
        return self.typical[_TYPICAL[name]]


def reasons(facts: Sequence[Facts], contributions: NDArray[np.float64]) -> list[list[Reason]]:
    """Of each event the features that pushed its score up most, one for each subject.

    contributions: of each event and feature (m, k). The strongest come first.
    """
    columns = np.full((len(facts), REASONS_MAX), -1, np.int64)
    shares = np.zeros((len(facts), REASONS_MAX))
    _choose(contributions, _SUBJECTS[: contributions.shape[1]], columns, shares)
    return [
        [_reason(one, *told) for told in zip(*chosen, strict=True) if told[0] >= 0]
        for one, *chosen in zip(facts, columns.tolist(), shares.tolist(), strict=True)
    ]


@kernel
def _choose(contributions: Any, subjects: Any, columns: Any, shares: Any) -> None:
    """Columns of the reasons of each row, and their shares of what pushed its score up."""
    is_seen = np.empty(contributions.shape[1], np.bool_)
    for row in range(contributions.shape[0]):
        total, count = 0.0, 0
        for column in range(contributions.shape[1]):
            total += max(contributions[row, column], 0.0)
        is_seen[:] = total <= 0.0
        while count < columns.shape[1]:
            best = -1
            for column in range(contributions.shape[1]):
                is_open = not is_seen[column]
                if is_open and (best < 0 or contributions[row, column] > contributions[row, best]):
                    best = column
            if best < 0 or contributions[row, best] / total < SHARE_MIN:
                break
            is_seen |= subjects == subjects[best]
            columns[row, count], shares[row, count] = best, contributions[row, best] / total
            count += 1


def _reason(facts: Facts, column: int, share: float) -> Reason:
    name, value = _NAMES[column], facts.features[column]
    _, sentence = _SENTENCES[name]
    return Reason(name, value, _typical_of(name, facts), round(share, 4), sentence(facts))


def _typical_of(feature: str, facts: Facts) -> float | None:
    """The feature's usual value for this user, in the feature's own unit; None if not kept."""
    if facts.usual("event_count") < (2 if feature == "time_since_last" else 1):
        return None
    if feature in ("count_5m", "count_1h", "count_24h", "time_since_last"):
        return round(facts.usual(feature), 2)
    return _NEUTRAL.get(feature)


#: Values that say «as usual» by definition.
_NEUTRAL: Final = {
    "amount_zscore": 0.0,
    "amount_percentile": 0.5,
    "amount_log_ratio": 0.0,
    "recent_excess": 0.0,
    "velocity_ratio": 1.0,
    "hour_deviation": 0.0,
    "day_deviation": 0.0,
    "device_changed": 0.0,
    "country_changed": 0.0,
    "category_changed": 0.0,
    "global_amount_flag": 0.0,
}


def _amount(facts: Facts) -> str:
    amount, usual = facts.amount, facts.usual("amount")
    if facts.is_first:
        return f"amount {amount:,.2f}, the first of this user"
    if usual > 0 and amount >= 1.5 * usual:
        return f"amount {amount / usual:,.1f}× this user's usual"
    return f"amount {amount:,.2f}, usually {usual:,.2f}"


def _count(window: str) -> Callable[[Facts], str]:
    def sentence(facts: Facts) -> str:
        count = round(facts.value(f"count_{window}")) + 1
        usual = ""
        if f"count_{window}" in _TYPICAL and not facts.is_first:
            usual = f", usually {round(facts.usual(f'count_{window}')) + 1}"
        payments = "payment" if count == 1 else "payments"
        return f"{count} {payments} in {_WINDOW_WORDS[window]}{usual}"

    return sentence


def _spent(window: str) -> Callable[[Facts], str]:
    def sentence(facts: Facts) -> str:
        return f"{facts.value(f'sum_{window}'):,.2f} spent in the {_WINDOW_WORDS[window]} before"

    return sentence


def _average(window: str) -> Callable[[Facts], str]:
    def sentence(facts: Facts) -> str:
        mean = facts.value(f"mean_{window}")
        if facts.value(f"count_{window}") == 0:
            return f"no payments in the {_WINDOW_WORDS[window]} before"
        return f"payments of {mean:,.2f} on average in the {_WINDOW_WORDS[window]} before"

    return sentence


def _merchants(window: str) -> Callable[[Facts], str]:
    def sentence(facts: Facts) -> str:
        count = round(facts.value(f"distinct_merchants_{window}"))
        many = f"{count} or more" if count == KEPT_EVENTS else f"{count}"
        return f"{many} different merchants in the {_WINDOW_WORDS[window]} before"

    return sentence


def _velocity(facts: Facts) -> str:
    if facts.is_first:
        return _FIRST
    return f"{facts.value('velocity_ratio'):.1f}× this user's usual payments a day"


def _hour(facts: Facts) -> str:
    usual = facts.usual("hour")
    if usual < 0:
        return _FIRST if facts.is_first else "this user has no usual hour"
    away = f"{facts.value('hour_deviation'):.0f} h away"
    return f"{away} from this user's usual hour (around {round(usual) % 24:02d}:00)"


def _time_of_day(facts: Facts) -> str:
    minutes = int(facts.value("utc_hour") * 60)
    return f"at {minutes // 60:02d}:{minutes % 60:02d} UTC"


def _weekday(facts: Facts) -> str:
    if facts.is_first:
        return _FIRST
    often = "seldom" if facts.value("day_deviation") >= 0.5 else "often"
    return f"on a weekday this user {often} pays on"


def _since_last(facts: Facts) -> str:
    if facts.is_first:
        return _FIRST
    gap = _duration(facts.value("time_since_last"))
    if facts.usual("event_count") < 2:
        return f"{gap} since the last payment"
    return f"{gap} since the last payment, usually {_duration(facts.usual('time_since_last'))}"


def _merchant(facts: Facts) -> str:
    if not facts.has_merchant:
        return "no merchant given"
    share = facts.value("merchant_familiarity")
    if share == 0:
        return "a merchant that is not among this user's usual ones"
    percent = f"{share:.0%}" if share >= 0.01 else "under 1%"
    return f"a merchant with {percent} of this user's payments"


def _new_user(facts: Facts) -> str:
    count = round(facts.usual("event_count"))
    known = f"{count} earlier payment{'s' if count != 1 else ''}"
    if facts.value("is_new_user"):
        return f"little is known of this user: {known}"
    return f"this user has {known}"


def _session(facts: Facts) -> str:
    silence = facts.value("session_gap")
    if silence == 0:
        return "in this user's first session"
    return f"active again after {_duration(silence)} of silence"


def _speed(facts: Facts) -> str:
    distance, speed = facts.value("distance_km"), facts.value("speed_kmh")
    if distance == 0:
        return "no distance from the last known place"
    return f"{distance:,.0f} km from the last payment, {speed:,.0f} km/h"


def _run(facts: Facts) -> str:
    if facts.value("recent_excess") > 0:
        return "after other payments far above this user's usual"
    return "not after payments far above this user's usual"


def _risk(kind: str, days: int) -> Callable[[Facts], str]:
    where = _RISK_WORDS[kind]
    since = f"{days} days" if days > 1 else "1 day"

    def sentence(facts: Facts) -> str:
        if facts.value(f"{kind}_traffic_{days}d") == 0:
            return f"no payments {where} in the last {since} with labels"
        share = facts.value(f"{kind}_fraud_share_{days}d")
        percent = f"{share:.0%}" if share == 0 or share >= 0.01 else "under 1%"
        return f"{percent} fraud among payments {where} in the last {since} with labels"

    return sentence


def _fraud_age(kind: str) -> Callable[[Facts], str]:
    where = _RISK_WORDS[kind]

    def sentence(facts: Facts) -> str:
        first, last = (facts.value(f"{kind}_{which}_fraud_days") for which in ("first", "last"))
        if first == 0:
            return f"no known fraud {where} of late"
        days = f"{last:.0f} day{'s' if last != 1 else ''} ago"
        if first == last:
            return f"known fraud {where} {days}"
        return f"known fraud {where}, first {first:.0f} and last {days}"

    return sentence


#: Where risk windows were counted.
_RISK_WORDS: Final = {
    "merchant": "at this merchant",
    "category": "of this category",
    "device": "from this device",
}


def _either(feature: str, yes: str, no: str) -> Callable[[Facts], str]:
    return lambda facts: yes if facts.value(feature) else no


def _changed(field: str, what: str) -> Callable[[Facts], str]:
    return _either(f"{field}_changed", f"another {what} than last time", f"no change of {what}")


def _duration(seconds: float) -> str:
    if seconds >= LONGEST_WINDOW_MS / 1000:
        return "30 days or more"
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = round(seconds / length)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{round(seconds)} s"


#: Of each feature: its subject (one reason for each) and its sentence.
_SENTENCES: Final[dict[str, tuple[str, Callable[[Facts], str]]]] = {
    "log_amount": ("amount", _amount),
    "amount_zscore": ("amount", _amount),
    "amount_percentile": ("amount", _amount),
    "global_amount_flag": (
        "amount",
        _either(
            "global_amount_flag",
            "amount among the highest of all users",
            "amount not among the highest of all users",
        ),
    ),
    "velocity_ratio": ("velocity", _velocity),
    "hour_deviation": ("hour", _hour),
    "day_deviation": ("weekday", _weekday),
    "time_since_last": ("gap", _since_last),
    "merchant_familiarity": ("merchant", _merchant),
    "is_new_user": ("new", _new_user),
    **{f"count_{w}": ("velocity", _count(w)) for w in WINDOWS_MS},
    **{f"sum_{w}": ("spending", _spent(w)) for w in WINDOWS_MS},
    **{f"mean_{w}": ("spending", _average(w)) for w in WINDOWS_MS},
    **{f"distinct_merchants_{w}": ("merchants", _merchants(w)) for w in MERCHANT_WINDOWS},
    "session_gap": ("session", _session),
    "device_changed": ("device", _changed("device", "device")),
    "country_changed": ("country", _changed("country", "country")),
    "category_changed": ("category", _changed("category", "kind of merchant")),
    "distance_km": ("place", _speed),
    "speed_kmh": ("place", _speed),
    "amount_log_ratio": ("amount", _amount),
    "recent_excess": ("run", _run),
    "utc_hour": ("hour", _time_of_day),
    **{
        f"{kind}_{what}_{days}d": (f"{kind} risk", _risk(kind, days))
        for kind in _RISK_WORDS
        for what in ("traffic", "fraud_share")
        for days in RISK_WINDOWS
    },
    **{
        f"{kind}_{which}_fraud_days": (f"{kind} risk", _fraud_age(kind))
        for kind in _RISK_WORDS
        for which in ("first", "last")
    },
}
assert set(_SENTENCES) == set(_NAMES)

_WORDS: Final = [_SENTENCES[name][0] for name in _NAMES]
#: Of each feature the number of its subject.
_SUBJECTS: Final = np.array([_WORDS.index(word) for word in _WORDS], np.int64)
