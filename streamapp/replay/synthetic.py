"""Labelled synthetic payments: users with habits, and frauds that follow named patterns.

For tests and load. Nothing measured on it says how well fraud is found: who writes the frauds
decides what finds them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from streamapp.replay.errors import RecordedError
from streamapp.replay.fraud_patterns import (
    DAY_MS,
    HOUR_MS,
    LEAKY_MERCHANT,
    PATTERNS,
    Payment,
    User,
)

#: Genuine payments a user needs to be worth a fraud.
HISTORY_MIN: Final = 50

#: When nobody has complained for so long, a payment counts as genuine.
MATURITY_MS: Final = 30 * DAY_MS
_DELAY_MAX: Final = 6.0

_MERCHANTS: Final = 400
_CATEGORIES: Final = ("grocery", "fuel", "restaurant", "travel", "clothing", "electronics")
_COUNTRIES: Final = ("BE", "DE", "FR", "NL")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make. episodes: users that each pattern befalls. label_delay_ms: mean time until a
    fraud is known as one."""

    users: int
    days: int
    start_ms: int
    episodes: int
    label_delay_ms: int
    seed: int
    patterns: tuple[str, ...] = tuple(PATTERNS)


def synthetic(plan: Plan) -> pa.Table:
    """Payments in order of time with `is_fraud`, `scenario` (number of the pattern, 0 genuine)
    and `label_time`, when the label becomes known.

    The same plan gives the same table. Raises RecordedError where too few users pay often enough
    for the frauds asked for.
    """
    rng = np.random.default_rng(plan.seed)
    users = [_user(number, rng) for number in range(plan.users)]
    genuine = [_genuine(user, plan, rng) for user in users]
    victims = _victims(genuine, plan, rng)
    rows: list[tuple[int, int, Payment]] = []
    for user, payments in zip(users, genuine, strict=True):
        story = victims.get(user.number)
        lived = payments if story is None else PATTERNS[story](user, payments, rng)
        rows += [(one.time_ms, user.number, one) for one in lived]
    rows.sort(key=lambda row: row[:2])
    return _table(users, rows, plan, rng)


def _user(number: int, rng: np.random.Generator) -> User:
    return User(
        number=number,
        hour=float(rng.uniform(8, 20)),
        per_day=float(rng.gamma(3.0, 0.7)),
        log_amount=float(rng.normal(3.3, 0.7)),
        spread=float(rng.uniform(0.2, 0.7)),
        merchants=_liked(rng),
        country=str(rng.choice(_COUNTRIES)),
    )


def _liked(rng: np.random.Generator) -> tuple[int, ...]:
    """Twelve merchants by preference; everybody now and then pays at the one that may leak."""
    others = 1 + rng.choice(_MERCHANTS - 1, 11, replace=False)
    return tuple(int(one) for one in np.insert(others, 3, LEAKY_MERCHANT))


def _genuine(user: User, plan: Plan, rng: np.random.Generator) -> list[Payment]:
    """A user's own payments in order of time; one user in five changes to a new device for good."""
    count = int(rng.poisson(user.per_day * plan.days))
    days = rng.integers(0, plan.days, count)
    hours = rng.normal(user.hour, 2.5, count) % 24
    times = np.sort(plan.start_ms + days * DAY_MS + (hours * HOUR_MS).astype(np.int64))
    amounts = np.maximum(rng.lognormal(user.log_amount, user.spread, count), 0.01)
    liked = 1.0 / np.arange(1, len(user.merchants) + 1)
    merchants = rng.choice(user.merchants, count, p=liked / liked.sum())
    changes = count if rng.random() > 0.2 else int(rng.integers(0, count + 1))
    return [
        Payment(int(times[i]), round(float(amounts[i]), 2), int(merchants[i]), int(i >= changes), 0)
        for i in range(count)
    ]


def _victims(
    genuine: Sequence[list[Payment]], plan: Plan, rng: np.random.Generator
) -> dict[int, str]:
    """Which pattern befalls which user: no user has two."""
    free = [number for number, payments in enumerate(genuine) if _has_history(payments)]
    wanted = plan.episodes * len(plan.patterns)
    if len(free) < wanted:
        raise RecordedError(
            f"{len(free)} users have a history of {HISTORY_MIN} payments, expected {wanted}:"
            " give more users, more days or fewer episodes"
        )
    drawn = rng.permutation(free).tolist()
    return {drawn.pop(): name for name in plan.patterns for _ in range(plan.episodes)}


def _has_history(payments: list[Payment]) -> bool:
    early = payments[: len(payments) // 2]
    return len(payments) >= HISTORY_MIN and any(one.merchant == LEAKY_MERCHANT for one in early)


def _table(
    users: Sequence[User],
    rows: Sequence[tuple[int, int, Payment]],
    plan: Plan,
    rng: np.random.Generator,
) -> pa.Table:
    payments = [payment for _, _, payment in rows]
    numbers = [number for _, number, _ in rows]
    times = np.array([one.time_ms for one in payments], np.int64)
    patterns = np.array([one.pattern for one in payments], np.int16)
    delays = rng.exponential(plan.label_delay_ms, len(rows))
    delays = np.clip(delays, HOUR_MS, max(_DELAY_MAX * plan.label_delay_ms, HOUR_MS))
    known = times + np.where(patterns > 0, delays.astype(np.int64), MATURITY_MS)
    width = len(str(len(rows)))
    return pa.table(
        {
            "tx_id": [f"t{i:0{width}}" for i in range(len(rows))],
            "user_id": [f"u{number:06}" for number in numbers],
            "amount": [one.amount for one in payments],
            "timestamp": pa.array(times).cast(pa.timestamp("ms", "UTC")),
            "merchant_id": [f"m{one.merchant:03}" for one in payments],
            "merchant_category": [_CATEGORIES[one.merchant % len(_CATEGORIES)] for one in payments],
            "country": [users[number].country for number in numbers],
            "device_id": [
                f"d{number:06}-{one.device}" for number, one in zip(numbers, payments, strict=True)
            ],
            "is_fraud": (patterns > 0).astype(np.int8),
            "scenario": patterns,
            "label_time": pa.array(known).cast(pa.timestamp("ms", "UTC")),
        }
    )
