"""Figures of the benchmark of the API, and their medians."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from benchmarks.api_load import Outcome
from benchmarks.latency_figures import Latency
from benchmarks.report import median_of

_PERCENTILES = ("p50", "p95", "p99")


class Scored(msgspec.Struct, frozen=True):
    """POST /v1/score at a rate, and the same transactions in the stream."""

    api: Outcome
    stream: Latency


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Payments at a rate; 0: as many as the worker takes. requests: None without.

    stream: of all payments due between start_us and end_us, those of the API among them; None
    where none are due at a time. cores: CPU seconds a second by process.
    """

    rate: int
    requests: Outcome | None
    events_per_s: float
    worker_cpu_us_per_event: float
    cores: dict[str, float]
    generator_behind_ms_p99: float
    start_us: int
    end_us: int
    stream: Latency | None = None


def medians(
    scores: Sequence[Scored], batches: Sequence[dict[str, float]], runs: Sequence[Run]
) -> dict[str, Any]:
    """Medians over runs: latencies in ms, and ratios of neighbouring runs with and without."""
    kinds = [one.api.kinds["score"] for one in scores]
    answered = sum(kind.statuses.get("200", 0) for kind in kinds)
    rates = dict.fromkeys(run.rate for run in runs)
    return {
        "score": _latencies(kinds)
        | {"requests": sum(sum(kind.statuses.values()) for kind in kinds), "answered": answered},
        "score_stream": _latencies([one.stream for one in scores]),
        "batch": {
            "ms": median_of(batches, lambda one: one["ms"]),
            "batches": len(batches),
            "answered": sum(one["answered"] for one in batches),
        },
        "load": [_load(rate, [run for run in runs if run.rate == rate]) for rate in rates],
    }


def _load(rate: int, runs: Sequence[Run]) -> dict[str, Any]:
    """Of one rate; a run without and the one with requests next to it are a pair."""
    alone = [run for run in runs if not run.requests]
    beside = [run for run in runs if run.requests]
    pairs = list(zip(alone, beside, strict=True))
    requests = [run.requests for run in beside if run.requests]
    return {
        "rate": rate,
        "pairs": len(pairs),
        "alone": _side(alone, rate),
        "beside": _side(beside, rate),
        "ratios": {
            name: median_of(pairs, lambda pair, figure=figure: figure(pair[1]) / figure(pair[0]))  # type: ignore[misc]
            for name, figure in _figures(rate).items()
        },
        "answered_per_s": median_of(requests, lambda one: one.per_s),
        "requests": {
            kind: _latencies([one.kinds[kind] for one in requests]) for kind in requests[0].kinds
        },
        "statuses": _statuses(requests),
    }


def _figures(rate: int) -> dict[str, Callable[[Run], float]]:
    """What is compared; latencies only of payments that were due at a time."""
    latencies: dict[str, Callable[[Run], float]] = {
        "p50": lambda run: run.stream.p50 if run.stream else math.nan,
        "p99": lambda run: run.stream.p99 if run.stream else math.nan,
    }
    return (latencies if rate else {}) | {
        "events_per_s": lambda run: run.events_per_s,
        "worker_cpu_us_per_event": lambda run: run.worker_cpu_us_per_event,
    }


def _side(runs: Sequence[Run], rate: int) -> dict[str, float]:
    return {name: median_of(runs, figure) for name, figure in _figures(rate).items()}


def _latencies(found: Sequence[Any]) -> dict[str, float]:
    return {
        name: median_of(found, lambda one, name=name: getattr(one, name))  # type: ignore[misc]
        for name in _PERCENTILES
    }


def _statuses(requests: Sequence[Outcome]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for outcome in requests:
        for kind in outcome.kinds.values():
            for status, count in kind.statuses.items():
                counts[status] = counts.get(status, 0) + count
    return counts
