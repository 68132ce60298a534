"""Latencies as figures: percentiles, and when they were slow."""

import msgspec
import numpy as np
from numpy.typing import NDArray

#: A verdict later than this is a pause somebody notices.
SLOW_MS = 250.0
#: Slow verdicts closer than this belong to one pause.
_PAUSE_GAP_US = 500_000
_PAUSES_MAX = 20


class Pause(msgspec.Struct, frozen=True):
    """A stretch of payments whose verdicts came late; at_s: since the first payment."""

    at_s: float
    seconds: float
    payments: int
    worst_ms: float


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from the intended sending of a payment to its verdict at the reader."""

    payments: int
    p50: float
    p95: float
    p99: float
    p99_9: float
    max: float
    over_250_ms: int
    pauses: list[Pause]


def latency(times: NDArray[np.int64], start_us: int, end_us: int) -> Latency:
    """Figures of the payments due from `start_us` up to `end_us`; times: see `reader`."""
    chosen = times[(times[:, 0] >= start_us) & (times[:, 0] < end_us)]
    chosen = chosen[np.argsort(chosen[:, 0], kind="stable")]
    took_ms = (chosen[:, 1] - chosen[:, 0]) / 1e3
    p50, p95, p99, p99_9 = np.percentile(took_ms, [50, 95, 99, 99.9]).round(2).tolist()
    slow = took_ms > SLOW_MS
    return Latency(
        payments=len(took_ms),
        p50=p50,
        p95=p95,
        p99=p99,
        p99_9=p99_9,
        max=round(float(took_ms.max()), 2),
        over_250_ms=int(slow.sum()),
        pauses=_pauses(chosen[slow, 0] - start_us, took_ms[slow])[:_PAUSES_MAX],
    )


def _pauses(sent_us: NDArray[np.int64], took_ms: NDArray[np.float64]) -> list[Pause]:
    if len(sent_us) == 0:
        return []
    cuts = np.flatnonzero(np.diff(sent_us) > _PAUSE_GAP_US) + 1
    return [
        Pause(
            round(float(sent[0]) / 1e6, 2),
            round(float(sent[-1] - sent[0]) / 1e6, 2),
            len(sent),
            round(float(took.max()), 1),
        )
        for sent, took in zip(np.split(sent_us, cuts), np.split(took_ms, cuts), strict=True)
    ]
