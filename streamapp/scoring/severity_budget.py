"""Cut-offs that move so that a week's MEDIUM, HIGH and CRITICAL come to their budgets.

At each hour of event time cut-offs are chosen for the next day, so that the week that ends with it
keeps its budgets; where the calibrated ones do that, they stay. Scores never move.
"""

import math
import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamapp.features.contract import HOUR_MS
from streamapp.scoring.admission import AHEAD_RUN_MAX
from streamapp.scoring.calibration import (
    DEFAULT_CUTOFFS,
    risk_score,
    risk_tail_share,
    severity_codes,
)

#: What a budget is of, in hours, and how far ahead cut-offs are chosen.
WEEK_HOURS: Final = 168
_AHEAD_HOURS: Final = 24

#: A cut-off's tail share moves by this factor (e²) at most, either way: a wave is still told.
REACH: Final = math.exp(2.0)
#: A week's count may be off its budget by `_FACTOR`; it is steered to so many standard deviations
#: of a count inside, where nothing else varied, and to `_BAND_MAX` at most.
_FACTOR: Final = 1.5
_DEVIATIONS: Final = 3.0
_BAND_MAX: Final = 1.2
#: How many alerts as calibrated weigh as much as what was counted in the last day.
_PRIOR_ALERTS: Final = 10.0

_BUDGETS: Final = risk_tail_share(np.array(DEFAULT_CUTOFFS))
_NAME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)/(\d{1,3}\.\d\d)/(\d{1,3}\.\d\d)/(\d{1,3}\.\d\d)")

Risks = tuple[float, float, float]


class CutoffsError(ValueError):
    """A text is no name of cut-offs."""


class Cutoffs(NamedTuple):
    """The lowest risk of MEDIUM, HIGH and CRITICAL, to be taken over from an hour (UTC) on."""

    hour: int
    risks: Risks

    @property
    def name(self) -> str:
        """All there is of them: 2024-03-01T09/50.00/70.00/92.88."""
        risks = "/".join(f"{one:.2f}" for one in self.risks)
        return f"{np.datetime64(self.hour, 'h')}/{risks}"

    @classmethod
    def named(cls, name: str) -> Self:
        """Those of a name. Raises CutoffsError."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise CutoffsError(f"{name!r} names no cut-offs")
        hour, *texts = found.groups()
        medium, high, critical = map(float, texts)
        if not 0 <= medium <= high <= critical <= 100:
            raise CutoffsError(f"{name!r}: cut-offs rise from 0 to 100")
        try:
            return cls(int(np.datetime64(hour, "h").astype(np.int64)), (medium, high, critical))
        except ValueError as error:
            raise CutoffsError(f"{name!r}: {error}") from error


class Counted(NamedTuple):
    """Of an hour: payments, alerts of each severity or worse, and how many as calibrated."""

    hour: int
    payments: int
    alerts: tuple[int, int, int]
    expected: Risks


class Tally:
    """What was decided in the last week of event time, by hour; order does not matter."""

    def __init__(self, hours: Iterable[Counted] = ()) -> None:
        self._hours: dict[int, NDArray[np.float64]] = {}
        for one in hours:
            self._hours[one.hour] = np.array([one.payments, *one.alerts, *one.expected])

    def count(self, hour: int, severities: NDArray[np.int64], risks: Risks) -> None:
        """Add payments of an hour (4, by severity) that were judged by these cut-offs."""
        payments = int(severities.sum())
        worse = np.cumsum(severities[::-1])[::-1][1:]
        expected = payments * risk_tail_share(np.array(risks))
        into = self._hours.setdefault(hour, np.zeros(7))
        into += np.concatenate([[payments], worse, expected])

    @property
    def newest(self) -> int | None:
        """The newest hour to which time has moved on; None before that is told.

        No few payments tell it: a partition believes the clock of its very first one.
        """
        since = 0.0
        for hour in sorted(self._hours, reverse=True):
            since += self._hours[hour][0]
            if since > AHEAD_RUN_MAX:
                return hour
        return None

    def forget(self, hour: int) -> None:
        """Drop what no cut-offs of this hour or a later one depend on."""
        self._hours = {at: row for at, row in self._hours.items() if at >= hour - WEEK_HOURS}

    def hours(self) -> list[Counted]:
        """All of it, in order."""
        found = []
        for hour, row in sorted(self._hours.items()):
            payments, m, h, c, e_m, e_h, e_c = row.tolist()
            found.append(Counted(hour, int(payments), (int(m), int(h), int(c)), (e_m, e_h, e_c)))
        return found

    def cutoffs(self, hour: int) -> Cutoffs:
        """What is to hold from this hour on, by the hours before it alone."""
        past = {hour - at: row for at, row in self._hours.items() if 0 < hour - at <= WEEK_HOURS}
        span = max(past, default=0)
        if span < _AHEAD_HOURS:
            return Cutoffs(hour, DEFAULT_CUTOFFS)
        kept = _sum(row for ago, row in past.items() if ago <= WEEK_HOURS - _AHEAD_HOURS)
        lately = _sum(row for ago, row in past.items() if ago <= _AHEAD_HOURS)
        week = max(float(_sum(past.values())[0]), 1.0)
        return Cutoffs(hour, _chosen(kept, lately, week, week / span * _AHEAD_HOURS))


class Steering:
    """Severities of traffic in order of time, by cut-offs of what went before."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._hour = -1

    def severities(self, time_ms: NDArray[np.int64], risk: NDArray[np.float64]) -> NDArray[np.int8]:
        """Severity of each payment (n): 0 LOW to 3 CRITICAL; given in any order of time."""
        codes = np.empty(len(risk), np.int8)
        order = np.argsort(time_ms, kind="stable")
        hours = time_ms[order] // HOUR_MS
        starts = np.flatnonzero(np.diff(hours, prepend=-1))
        for rows in np.split(order, starts[1:]) if len(order) else ():
            hour = int(time_ms[rows[0]]) // HOUR_MS
            self._hour = max(self._hour, hour)
            found = self._tally.cutoffs(self._hour).risks
            codes[rows] = severity_codes(risk[rows], found)
            self._tally.count(hour, np.bincount(codes[rows], minlength=4), found)
            self._tally.forget(self._hour)
        return codes


def _sum(rows: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = sum(rows, np.zeros(7))
    return total


def _chosen(
    kept: NDArray[np.float64], lately: NDArray[np.float64], week: float, ahead: float
) -> Risks:
    """Cut-offs of the payments ahead, which together with those kept are a week's.

    The share that brings the week to a bound of its budget, as counts of late say that shares come
    out; where the calibrated share lies between both bounds, that one.
    """
    noise = _DEVIATIONS / np.sqrt(_BUDGETS * week)
    band = np.clip(_FACTOR / (1.0 + noise), 1.0, _BAND_MAX)
    total = _BUDGETS * (kept[0] + ahead)
    realised = (lately[1:4] + _PRIOR_ALERTS) / (lately[4:] + _PRIOR_ALERTS)
    least = (total / band - kept[1:4]) / ahead / realised
    most = (total * band - kept[1:4]) / ahead / realised
    share = np.clip(np.clip(_BUDGETS, least, most), _BUDGETS / REACH, _BUDGETS * REACH)
    medium, high, critical = np.maximum.accumulate(risk_score(np.log(share))).tolist()
    return medium, high, critical
