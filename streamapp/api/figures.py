"""What the stream has been doing lately: rates, severities, scores, latencies, by the second.

The reference of scores is no table: a risk score is a fixed map of the share of reference traffic
that scores higher (`scoring.calibration`), so the shares between two scores follow from it.
"""

import bisect
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from streamapp.api import metrics
from streamapp.domain.verdict import SEVERITIES
from streamapp.scoring.calibration import risk_tail_share

#: Seconds of history kept.
WINDOW_S: Final = 120
#: Width of a score's bin.
SCORE_BIN: Final = 10
_BINS: Final = 100 // SCORE_BIN
#: Upper ends of latency bins in ms: a twentieth wide, from 1 ms to a minute.
_LATENCY_MS: Final = [1.05**n for n in range(226)]
#: A verdict that is older than this when it comes was waited for by nobody: history, not latency.
_LATENCY_MS_MAX: Final = 60_000.0


@dataclass(slots=True)
class _Second:
    at_s: int
    verdicts: int = 0
    dead_letters: int = 0
    cold_starts: int = 0
    severities: list[int] = field(default_factory=lambda: [0] * len(SEVERITIES))
    scores: list[int] = field(default_factory=lambda: [0] * _BINS)
    latencies: list[int] = field(default_factory=lambda: [0] * (len(_LATENCY_MS) + 1))


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What is counted of one verdict. latency_ms: from its sending to the API; None: not known."""

    severity_rank: int
    risk_score: float
    is_cold_start: bool
    latency_ms: float | None


class Figures:
    """Counts of the last two minutes. Used from one event loop."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._seconds: deque[_Second] = deque(maxlen=WINDOW_S)
        self.verdicts_total = 0
        self.dead_letters_total = 0

    def count(self, seen: Sequence[Seen], dead_letters: int = 0) -> None:
        """Add what has just come."""
        second = self._now()
        second.dead_letters += dead_letters
        second.verdicts += len(seen)
        self.dead_letters_total += dead_letters
        self.verdicts_total += len(seen)
        for one in seen:
            second.severities[one.severity_rank] += 1
            second.scores[min(int(one.risk_score) // SCORE_BIN, _BINS - 1)] += 1
            second.cold_starts += one.is_cold_start
        latencies_ms = [
            one.latency_ms
            for one in seen
            if one.latency_ms is not None and one.latency_ms < _LATENCY_MS_MAX
        ]
        if latencies_ms:
            metrics.VERDICT_SECONDS.observe_all(np.array(latencies_ms) / 1_000)
        for latency_ms in latencies_ms:
            second.latencies[bisect.bisect_left(_LATENCY_MS, latency_ms)] += 1

    def summary(self) -> dict[str, Any]:
        """The figures as /v1/stats shows them; the second under way is left out of rates."""
        now = int(self._clock_s())
        seconds = [one for one in self._seconds if now - WINDOW_S <= one.at_s <= now]
        last_minute = [one for one in seconds if one.at_s >= now - 60]
        last_ten = [one for one in seconds if one.at_s >= now - 10]
        verdicts = sum(one.verdicts for one in last_minute)
        return {
            "verdicts_total": self.verdicts_total,
            "dead_letters_total": self.dead_letters_total,
            "verdicts_per_s": {str(s): _rate(seconds, now, s) for s in (1, 10, 60)},
            "dead_letters_last_minute": sum(one.dead_letters for one in last_minute),
            "latency_ms": _percentiles(_added([one.latencies for one in last_ten])),
            "severity": _by_severity([one.severities for one in last_minute]),
            "scores": _shares(_added([one.scores for one in last_minute])),
            "scores_reference": reference_shares(),
            "cold_start_share": _ratio(sum(one.cold_starts for one in last_minute), verdicts),
            "history_per_s": _history(seconds, now),
        }

    def _now(self) -> _Second:
        at_s = int(self._clock_s())
        if not self._seconds or self._seconds[-1].at_s != at_s:
            self._seconds.append(_Second(at_s))
        return self._seconds[-1]


def reference_shares() -> list[float]:
    """The share of reference traffic in each bin of scores."""
    tails = risk_tail_share(np.arange(0.0, 100.0, SCORE_BIN)).tolist()
    ends = [*tails[1:], 0.0]
    return [round(above - below, 6) for above, below in zip(tails, ends, strict=True)]


def _added(rows: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]


def _by_severity(rows: Sequence[Sequence[int]]) -> dict[str, int]:
    return dict(zip(SEVERITIES, _added([[0] * len(SEVERITIES), *rows]), strict=True))


def _rate(seconds: Sequence[_Second], now: int, length: int) -> float:
    return round(sum(s.verdicts for s in seconds if now - length <= s.at_s < now) / length, 1)


def _shares(counts: Sequence[int]) -> list[float] | None:
    total = sum(counts)
    return [round(count / total, 6) for count in counts] if total else None


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _percentiles(counts: Sequence[int]) -> dict[str, float] | None:
    """Upper ends of the bins that hold the percentiles: at most a twentieth too high."""
    total = sum(counts)
    if not total:
        return None
    found = {}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        seen = 0
        for at, count in enumerate(counts):
            seen += count
            if seen >= share * total:
                found[name] = round(_LATENCY_MS[min(at, len(_LATENCY_MS) - 1)], 1)
                break
    return found


def _history(seconds: Sequence[_Second], now: int) -> list[int]:
    counts = {one.at_s: one.verdicts for one in seconds}
    return [counts.get(at, 0) for at in range(now - WINDOW_S + 1, now)]
