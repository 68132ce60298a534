"""Every metric of the API, declared once. Label values are closed sets; none names a person."""

import time
from functools import cache
from typing import Final, Literal, Self

from prometheus_client import Counter, Gauge, Histogram

from streamapp.engine.batch_histogram import BatchHistogram

Limit = Literal["rate", "concurrency", "pressure"]

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
VERDICT_SECONDS: Final = BatchHistogram(
    "streamapp_api_verdict_seconds",
    "From a transaction's intended sending to its verdict, committed and read.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
FEED_LIVE: Final = Gauge(
    "streamapp_api_feed_live", "1 while the API reads verdicts as they come, else 0."
)
STREAMS: Final = Gauge("streamapp_api_streams", "Consoles that listen.")


#: Found again for each request; routes and statuses are closed sets.
_seconds: Final = cache(REQUEST_SECONDS.labels)
_requests: Final = cache(REQUESTS.labels)


class Measured:
    """Counts and times one request of a route, named by its template, while the block runs."""

    __slots__ = ("_route", "_started_s", "status")

    def __init__(self, route: str) -> None:
        self._route = route
        #: An error of ours until it is known better.
        self.status = 500

    def __enter__(self) -> Self:
        self._started_s = time.perf_counter()
        return self

    def __exit__(self, *_error: object) -> None:
        _seconds(self._route).observe(time.perf_counter() - self._started_s)
        _requests(self._route, str(self.status)).inc()
