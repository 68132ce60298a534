"""How much one caller may ask: a rate, and requests under way."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from streamapp.api import metrics
from streamapp.api.problems import Problem

#: Callers remembered; the one that was seen longest ago is forgotten, with a full bucket.
_CALLERS_MAX: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float
    under_way: int = 0


class Limits:
    """A token bucket and a count of requests under way for each caller."""

    def __init__(
        self, rate_per_s: float, burst: int, concurrency_max: int, clock_s: Callable[[], float]
    ) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._concurrency_max = concurrency_max
        self._clock_s = clock_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    @contextmanager
    def request(self, caller_id: str) -> Iterator[None]:
        """One request under way. Raises Problem (429) where there are too many."""
        bucket = self.charge(caller_id, 1)
        if bucket.under_way >= self._concurrency_max:
            raise _refused("concurrency", f"over {self._concurrency_max} requests under way", 1)
        bucket.under_way += 1
        try:
            yield
        finally:
            bucket.under_way -= 1

    def charge(self, caller_id: str, cost: int) -> _Bucket:
        """Take this many from the caller's rate. Raises Problem (429) with when to come again."""
        bucket = self._bucket(caller_id)
        if bucket.tokens < cost:
            wait_s = math.ceil((cost - bucket.tokens) / self._rate_per_s)
            raise _refused("rate", f"over {self._rate_per_s:g} a second", wait_s)
        bucket.tokens -= cost
        return bucket

    def _bucket(self, caller_id: str) -> _Bucket:
        now_s = self._clock_s()
        bucket = self._buckets.get(caller_id)
        if bucket is None:
            bucket = self._buckets[caller_id] = _Bucket(float(self._burst), now_s)
            self._forget_one()
        self._buckets.move_to_end(caller_id)
        gained = (now_s - bucket.at_s) * self._rate_per_s
        bucket.tokens = min(float(self._burst), bucket.tokens + gained)
        bucket.at_s = now_s
        return bucket

    def _forget_one(self) -> None:
        if len(self._buckets) > _CALLERS_MAX:
            self._buckets.popitem(last=False)


def _refused(limit: metrics.Limit, detail: str, wait_s: int) -> Problem:
    metrics.LIMITED.labels(limit).inc()
    headers = {"Retry-After": str(max(1, wait_s))}
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers)
