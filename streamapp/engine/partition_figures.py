"""What a partition's batches add to the metrics.

A metric takes a µs to find by its labels, and a batch may be one record: each is found once.
"""

import math
from collections import Counter
from functools import cached_property

from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from streamapp.domain.verdict import SEVERITIES
from streamapp.engine import metrics
from streamapp.scoring.process import ScoredBatch


class PartitionFigures:
    """Of one partition, from its assignment to its release."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._transactions = metrics.TRANSACTIONS.labels(partition)
        self._order = metrics.HALF_SPACE_ORDER.labels(partition)
        self._order.set(math.nan)  # until a window is full

    def count(self, records: int, scored: ScoredBatch, seconds: float) -> None:
        """Count a batch of so many records."""
        self._transactions.inc(records)
        metrics.BATCH_RECORDS.observe(records)
        metrics.BATCH_SECONDS.observe(seconds)
        for code, count in Counter(scored.severities).items():
            metrics.VERDICTS.labels(SEVERITIES[code].value).inc(count)
        for letter in scored.dead_letters:
            metrics.DEAD_LETTERS.labels(letter.rejected.reason.value).inc()
        metrics.RISK_SCORE.observe_all(scored.risks)
        _add(metrics.LATE_EVENTS, scored.late)
        _add(metrics.DUPLICATES, scored.duplicates)
        _add(metrics.FENCED_EVENTS, scored.fenced)
        _add(metrics.ERASURES, len(scored.erased))
        _add(metrics.CROWDING_EVENTS, scored.crowding)
        if scored.orders:
            self._order.set(min(scored.orders))

    def show(self, time_ms: int, cached_profiles: int) -> None:
        """Show how far its stream time and its table have come."""
        self._stream_time.set(time_ms / 1000)
        self._cached_profiles.set(cached_profiles)

    @cached_property
    def _stream_time(self) -> Gauge:
        return metrics.STREAM_TIME_SECONDS.labels(self._partition)

    @cached_property
    def _cached_profiles(self) -> Gauge:
        return metrics.CACHED_PROFILES.labels(self._partition)


def _add(metric: Metric, count: int) -> None:
    if count:
        metric.inc(count)
