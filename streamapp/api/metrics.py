"""Every metric of the API, declared once. Label values are closed sets; none names a person."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram

Limit = Literal["rate", "concurrency"]

REQUESTS: Final = Counter(
    "streamapp_api_requests_total", "Requests answered, by route and status.", ["route", "status"]
)
REQUEST_SECONDS: Final = Histogram(
    "streamapp_api_request_seconds",
    "Time to answer a request.",
    ["route"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
DENIED: Final = Counter(
    "streamapp_api_denied_total", "Requests without a right to what they asked.", ["status"]
)
LIMITED: Final = Counter(
    "streamapp_api_limited_total", "Requests refused for their number.", ["limit"]
)
WAITING: Final = Gauge("streamapp_api_waiting", "Transactions that wait for their verdict.")
TIMEOUTS: Final = Counter(
    "streamapp_api_score_timeouts_total", "Transactions answered with 202 and a link."
)
FEED_VERDICTS: Final = Counter(
    "streamapp_api_feed_verdicts_total", "Verdicts the API read from their topic."
)
VERDICT_SECONDS: Final = Histogram(
    "streamapp_api_verdict_seconds",
    "From a transaction's intended sending to its verdict, committed and read.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
FEED_LIVE: Final = Gauge(
    "streamapp_api_feed_live", "1 while the API reads verdicts as they come, else 0."
)
STREAMS: Final = Gauge("streamapp_api_streams", "Consoles that listen.")


@dataclass(slots=True)
class Measured:
    """One request under measurement; 500 until it is known better."""

    status: int = 500


@contextmanager
def request_measured(route: str) -> Iterator[Measured]:
    """Count and time one request of a route, named by its template."""
    measured = Measured()
    started = time.perf_counter()
    try:
        yield measured
    finally:
        REQUEST_SECONDS.labels(route).observe(time.perf_counter() - started)
        REQUESTS.labels(route, str(measured.status)).inc()
