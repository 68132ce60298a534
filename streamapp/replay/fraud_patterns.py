"""Frauds by name: what each makes of one user's genuine payments.

Numbers are promises that tests hold every payment to. A usual amount is the mean of the user's
genuine payments before the fraud begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

#: Good payments before a bust-out, and how many times the usual its amounts are at least (an
#: increase of over 500 %).
BUST_OUT_GOOD: Final = (20, 50)
BUST_OUT_FACTOR: Final = 6.0
TAKEOVER_FACTOR: Final = 5.0
#: How far from the user's usual hour a takeover pays at least.
TAKEOVER_HOURS: Final = 8.0
SLEEPER_DAYS: Final = 30
SLEEPER_FACTOR: Final = 5.0
TESTING_AMOUNT_MAX: Final = 2.0
TESTING_MS: Final = 10 * MINUTE_MS
TESTING_PAYMENTS: Final = (10, 30)
#: The merchant whose customers' numbers leak.
LEAKY_MERCHANT: Final = 0
LEAK_DAYS: Final = (1, 7)
#: A velocity burst pays as often as it can with no more than this in any five minutes.
BURST_IN_WINDOW: Final = 4
BURST_WINDOW_MS: Final = 5 * MINUTE_MS
BURST_GROUPS: Final = 6


class Payment(NamedTuple):
    """One payment of a user. pattern: 0 genuine, else a number of `PATTERNS`."""

    time_ms: int
    amount: float
    merchant: int
    device: int
    pattern: int


@dataclass(frozen=True, slots=True)
class User:
    """Habits: hour of day, payments a day, log amounts, merchants by preference, own device."""

    number: int
    hour: float
    per_day: float
    log_amount: float
    spread: float
    merchants: tuple[int, ...]
    country: str


#: What a pattern makes of a user's payments, which are in order of time.
Pattern = Callable[[User, list[Payment], np.random.Generator], list[Payment]]

#: Devices of a user are numbered; thieves bring one of these.
THIEF_DEVICE: Final = 100


def bust_out(user: User, good: list[Payment], rng: np.random.Generator) -> list[Payment]:
    """An account that behaves, 20 to 50 payments long, spends over 6 times as much, and is gone."""
    kept = good[: int(rng.integers(*BUST_OUT_GOOD, endpoint=True))]
    times = kept[-1].time_ms + np.sort(rng.integers(HOUR_MS, DAY_MS, rng.integers(3, 9)))
    return kept + _frauds(1, user, kept, times.tolist(), (BUST_OUT_FACTOR, 12.0), rng)


def account_takeover(user: User, good: list[Payment], rng: np.random.Generator) -> list[Payment]:
    """Somebody else's device, far from the user's hours, over 5 times the usual amount."""
    at = good[_middle(good, rng)].time_ms
    day_ms = at - at % DAY_MS
    hour = (user.hour + 12 + rng.uniform(-2, 2)) % 24
    first_ms = day_ms + DAY_MS + int(hour * HOUR_MS)
    times = [first_ms + i * 3 * MINUTE_MS for i in range(int(rng.integers(1, 6)))]
    before = [one for one in good if one.time_ms < first_ms]
    return good + _frauds(2, user, before, times, (TAKEOVER_FACTOR, 10.0), rng, THIEF_DEVICE)


def sleeper(user: User, good: list[Payment], rng: np.random.Generator) -> list[Payment]:
    """No payment for 30 days, then over 5 times the usual."""
    # Early, so that it wakes while others still pay: stream time would refuse it later.
    asleep_ms = good[int(rng.integers(len(good) // 6, len(good) // 4, endpoint=True))].time_ms
    awake_ms = asleep_ms + SLEEPER_DAYS * DAY_MS + int(rng.integers(HOUR_MS, 5 * DAY_MS))
    kept = [one for one in good if not asleep_ms < one.time_ms <= awake_ms]
    before = [one for one in kept if one.time_ms <= asleep_ms]
    times = [awake_ms + i * HOUR_MS for i in range(int(rng.integers(1, 4)))]
    return kept + _frauds(3, user, before, times, (SLEEPER_FACTOR, 10.0), rng)


def card_testing(user: User, good: list[Payment], rng: np.random.Generator) -> list[Payment]:
    """A burst of tiny payments within ten minutes: does the number work?"""
    first_ms = good[_middle(good, rng)].time_ms + HOUR_MS
    count = int(rng.integers(*TESTING_PAYMENTS, endpoint=True))
    times = first_ms + np.sort(rng.integers(0, TESTING_MS, count))
    merchants = rng.choice(user.merchants, 3)
    tests = [
        Payment(
            int(time_ms),
            round(float(rng.uniform(0.5, TESTING_AMOUNT_MAX)), 2),
            int(rng.choice(merchants)),
            THIEF_DEVICE,
            4,
        )
        for time_ms in times
    ]
    return good + tests


def compromised_merchant(
    user: User, good: list[Payment], rng: np.random.Generator
) -> list[Payment]:
    """One to seven days after a payment at the merchant that leaks, frauds with the number."""
    there = [one.time_ms for one in good[: len(good) // 2] if one.merchant == LEAKY_MERCHANT]
    leaked_ms = there[-1]
    first_ms, last_ms = (days * DAY_MS for days in LEAK_DAYS)
    times = leaked_ms + np.sort(rng.integers(first_ms, last_ms, rng.integers(1, 4)))
    before = [one for one in good if one.time_ms <= leaked_ms]
    return good + _frauds(5, user, before, times.tolist(), (3.0, 6.0), rng, THIEF_DEVICE)


def velocity_burst(user: User, good: list[Payment], rng: np.random.Generator) -> list[Payment]:
    """Payments of usual amounts, timed so that a window of five minutes never holds over four."""
    first_ms = good[_middle(good, rng)].time_ms + HOUR_MS
    times = [
        first_ms + group * BURST_WINDOW_MS + i * SECOND_MS
        for group in range(BURST_GROUPS)
        for i in range(BURST_IN_WINDOW)
    ]
    before = [one for one in good if one.time_ms < first_ms]
    return good + _frauds(6, user, before, times, (1.0, 2.0), rng, THIEF_DEVICE)


PATTERNS: Final[dict[str, Pattern]] = {
    "bust_out": bust_out,
    "account_takeover": account_takeover,
    "sleeper": sleeper,
    "card_testing": card_testing,
    "compromised_merchant": compromised_merchant,
    "velocity_burst": velocity_burst,
}


def _middle(good: list[Payment], rng: np.random.Generator) -> int:
    """A place after some history."""
    return int(rng.integers(len(good) // 3, len(good) // 2, endpoint=True))


def _frauds(
    pattern: int,
    user: User,
    before: Sequence[Payment],
    times: Sequence[int],
    factors: tuple[float, float],
    rng: np.random.Generator,
    device: int = 0,
) -> list[Payment]:
    usual = float(np.mean([one.amount for one in before]))
    return [
        Payment(
            int(time_ms),
            # Rounded up: a promised factor is kept to the cent.
            float(np.ceil(usual * rng.uniform(*factors) * 100) / 100),
            int(rng.choice(user.merchants)),
            device,
            pattern,
        )
        for time_ms in times
    ]
