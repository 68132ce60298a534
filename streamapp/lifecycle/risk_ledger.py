"""The ledger that risk tables are made of: payments and known frauds by name and day.

Tables are a pure function of payments, labels and the day: it does not matter in which order or
in what portions both are entered, as long as a table is asked for after what it is made of.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.context import CONTEXT_NAMES, context
from streamapp.features.contract import DAY_MS
from streamapp.features.risk_windows import (
    LONGEST_RISK_WINDOW,
    RISK_COLUMNS,
    RISK_KINDS,
    RISK_WINDOWS,
    RiskTable,
)

_NEVER: Final = -(2**62)


@dataclass(slots=True)
class _Day:
    """Of one day and kind: names with payments and frauds, in portions until they are summed."""

    names: list[NDArray[np.uint32]] = field(default_factory=list)
    counts: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, names: NDArray[np.uint32], counts: NDArray[np.int64]) -> None:
        self.names.append(names)
        self.counts.append(counts)

    def summed(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Distinct names and (k, 2) payments and frauds."""
        if len(self.names) > 1:
            names, counts = _sum_by_name(np.concatenate(self.names), np.concatenate(self.counts))
            self.names, self.counts = [names], [counts]
        return self.names[0], self.counts[0]


@dataclass(frozen=True, slots=True)
class _Changes:
    """Frauds that became more (1) or fewer (-1). day: of their payments."""

    day: NDArray[np.int64]
    hashes: NDArray[np.uint32]
    change: NDArray[np.int64]


class RiskLedger:
    """Enter payments and what labels say; ask for the tables of days that never go back."""

    def __init__(self, delay_days: int) -> None:
        """delay_days: how long before a day's midnight its windows end, at least 0."""
        assert delay_days >= 0
        self._delay_days = delay_days
        self._days: list[dict[int, _Day]] = [{} for _ in RISK_KINDS]
        self._payments: Counter[int] = Counter()
        self._coming: defaultdict[int, list[_Changes]] = defaultdict(list)
        self._oldest = _NEVER
        self._last: RiskTable | None = None
        self._day = _NEVER

    def add_payments(self, time_ms: NDArray[np.int64], hashes: NDArray[np.uint32]) -> None:
        """Enter payments at times (n) with the names hashes (n, kinds)."""
        ones, days = np.ones(len(time_ms), np.int64), time_ms // DAY_MS
        for day, count in zip(*np.unique(days, return_counts=True), strict=True):
            self._payments[int(day)] += int(count)
        self._enter(days, hashes, np.stack([ones, 0 * ones], axis=1))

    def add_fraud_changes(
        self,
        time_ms: NDArray[np.int64],
        hashes: NDArray[np.uint32],
        known_ms: NDArray[np.int64],
        change: NDArray[np.int64],
    ) -> None:
        """Enter that payments (n) turned out as fraud (1) or not after all (-1), and when."""
        # Known at a midnight is what became known up to it: ceiling division.
        counts_from = -(-known_ms // DAY_MS)
        for day in np.unique(counts_from).tolist():
            at = counts_from == day
            changes = _Changes(time_ms[at] // DAY_MS, hashes[at], change[at])
            self._coming[day].append(changes)

    @property
    def day(self) -> int:
        """The day of the table asked for last; far in the past before the first."""
        return self._day

    def table(self, day: int) -> RiskTable:
        """The windows that hold on a day, by labels known at its midnight."""
        assert day >= self._day, "days never go back"
        self._day = day
        due = [number for number in self._coming if number <= day]
        for number in due:
            for changes in self._coming.pop(number):
                counts = np.stack([0 * changes.change, changes.change], axis=1)
                self._enter(changes.day, changes.hashes, counts)
        if self._last is None or self._last.day != day:
            self._forget(day - self._delay_days - LONGEST_RISK_WINDOW)
            tables = [self._windows(days, day) for days in self._days]
            self._last = RiskTable(
                day, tuple(names for names, _ in tables), tuple(values for _, values in tables)
            )
        return self._last

    def _enter(
        self, day: NDArray[np.int64], hashes: NDArray[np.uint32], counts: NDArray[np.int64]
    ) -> None:
        if self._last is not None and (day < self._last.day - self._delay_days).any():
            self._last = None
        for kind, days in enumerate(self._days):
            given = (hashes[:, kind] != 0) & (day >= self._oldest)
            for number in np.unique(day[given]).tolist():
                at = given & (day == number)
                days.setdefault(number, _Day()).add(*_sum_by_name(hashes[at, kind], counts[at]))

    def _forget(self, oldest: int) -> None:
        """Drop days that no later table reaches."""
        self._oldest = max(oldest, self._oldest)
        everything: list[dict[int, Any]] = [self._payments, *self._days]
        for days in everything:
            for number in [number for number in days if number < self._oldest]:
                del days[number]

    def _windows(
        self, days: dict[int, _Day], day: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
        """Names and their values (k, len(RISK_COLUMNS)) on a day."""
        stop = day - self._delay_days
        known = [n for n in range(stop - LONGEST_RISK_WINDOW, stop) if n in days]
        portions = [(number, *days[number].summed()) for number in known]
        if not portions:
            return np.zeros(0, np.uint32), np.zeros((0, len(RISK_COLUMNS)))
        names, at = np.unique(np.concatenate([n for _, n, _ in portions]), return_inverse=True)
        counts = np.concatenate([c for *_, c in portions])
        age = np.concatenate([np.full(len(n), stop - number) for number, n, _ in portions])
        traffic, shares = [], []
        for days_back in RISK_WINDOWS:
            inside = (counts * (age <= days_back)[:, None]).T
            payments, frauds = (_sums(at, column, names) for column in inside)
            total = sum(self._payments[number] for number in range(stop - days_back, stop))
            traffic.append(payments * 1_000.0 / max(total, 1))
            shares.append(frauds / np.maximum(payments, 1.0))
        is_fraud = counts[:, 1] > 0
        ages = _first_and_last(at[is_fraud], age[is_fraud] + self._delay_days, len(names))
        return names, np.stack([*traffic, *shares, *ages], axis=1)


def contexts_of(
    ledger: RiskLedger, time_ms: NDArray[np.int64], hashes: NDArray[np.uint32]
) -> NDArray[np.float64]:
    """The contexts (n, c) of payments that follow those entered; they are entered on the way.

    A payment that comes late is looked up in the table that is in force.
    """
    contexts = np.zeros((len(time_ms), len(CONTEXT_NAMES)))
    days = time_ms // DAY_MS
    for day in np.unique(days).tolist():
        rows = np.flatnonzero(days == day)
        table = ledger.table(max(day, ledger.day))
        contexts[rows] = context(table, time_ms[rows], hashes[rows])
        ledger.add_payments(time_ms[rows], hashes[rows])
    return contexts


def days_of(delay_ms: int) -> int:
    """A delay in whole days, the last one begun."""
    return -(-delay_ms // DAY_MS)


def _sums(
    at: NDArray[np.int64], counts: NDArray[np.int64], names: NDArray[np.uint32]
) -> NDArray[np.float64]:
    return np.bincount(at, weights=counts, minlength=len(names)).astype(np.float64)


def _first_and_last(
    at: NDArray[np.int64], days: NDArray[np.int64], names: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The most and the fewest days (n) of each name, which at (n) is the number of; 0 without."""
    first, last = np.zeros(names), np.full(names, np.inf)
    np.maximum.at(first, at, days)
    np.minimum.at(last, at, days)
    return first, np.where(np.isinf(last), 0.0, last)


def _sum_by_name(
    names: NDArray[np.uint32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    distinct, at = np.unique(names, return_inverse=True)
    sums = np.zeros((len(distinct), 2), np.int64)
    np.add.at(sums, at, counts)
    return distinct, sums
