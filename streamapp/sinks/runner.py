"""The loop that carries verdicts from their topic into a sink.

Offsets are committed only after the sink is durable below them: at least once, and once in effect,
since sinks are idempotent by verdict_id. While the other side is away the loop keeps polling with
its partitions paused, so the sink stays in its group and nothing is re-balanced or lost.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaError, TopicPartition

from streamapp.kafka.consumer import committed_consumer
from streamapp.kafka.settings import KafkaSettings
from streamapp.sinks import metrics
from streamapp.sinks.backoff import Backoff
from streamapp.sinks.feed import Batch, Feed
from streamapp.sinks.protocol import Erased, Fatal, Retryable, Sink, SinkError, StoredVerdict
from streamapp.sinks.settings import RunnerSettings

log = structlog.get_logger()

Answer = TypeVar("Answer")

_LAG_EVERY_S: Final = 1.0
#: How long a run with `until_idle_s` waits for topic, broker and first assignment.
_START_S_MAX: Final = 60.0


class _Abandoned(Exception):
    """A stop was asked for and the other side stayed away: what is not durable comes again."""


@dataclass
class Totals:
    """What one run did."""

    records: int = 0
    stored: int = 0


class SinkRunner:
    """Runs one sink until it is stopped, idle, or has handled enough."""

    def __init__(
        self,
        sink: Sink,
        *,
        kafka: KafkaSettings,
        topic: str,
        group: str,
        settings: RunnerSettings,
        rng: random.Random,
        stop: threading.Event,
    ) -> None:
        """`rng` draws the jitter of retries; setting `stop` ends the run in good order."""
        self._sink = sink
        self._settings = settings
        self._topic = topic
        self._rng = rng
        self._stop = stop
        self._stop_at: float | None = None
        self._flush_at = 0.0
        self._lag_at = 0.0
        self._totals = Totals()
        consumer = committed_consumer(
            kafka,
            group,
            session_timeout_s=settings.session_timeout_s,
            fetch_kib_max=settings.fetch_kib_max,
            on_commit=self._on_commit,
        )
        self._feed = Feed(consumer, topic, sink.name, self._store_held, self._sink.forget)

    def run(self, until_idle_s: float | None = None, records_max: int | None = None) -> Totals:
        """Carry verdicts until stopped.

        With `until_idle_s`, also end once the end offsets at the start are reached and nothing has
        come for that long; with `records_max`, after that many records. Raises Fatal.
        """
        try:
            self._persist(self._sink.open)
            idle = Idleness(until_idle_s, self._ends_at_start(until_idle_s))
            self._feed.subscribe()
            self._flush_at = time.monotonic() + self._sink.hold_s_max
            while not self._is_done(idle, records_max):
                batch = self._step(records_max)
                idle.note(batch.records)
            self._persist(self._sink.flush)
        except _Abandoned:
            log.warning("sink_stopped_while_away", sink=self._sink.name)
        finally:
            self._leave()
        return self._totals

    def _is_done(self, idle: "Idleness", records_max: int | None) -> bool:
        if self._stop.is_set():
            return True
        if records_max is not None and self._totals.records >= records_max:
            return True
        return idle.is_over(self._feed)

    def _step(self, records_max: int | None) -> Batch:
        size = min(self._settings.batch_records_max, self._sink.batch_records_max)
        if records_max is not None:
            size = min(size, records_max - self._totals.records)
        batch = self._feed.fill(size, self._settings.linger_s)
        self._persist(self._take_over)
        self._store(batch)
        for partition, next_offset in batch.next_offsets.items():
            self._feed.progress.handled(partition, next_offset)
        if time.monotonic() >= self._flush_at:
            self._persist(self._sink.flush)
            self._flush_at = time.monotonic() + self._sink.hold_s_max
        self._feed.commit(self._due())
        self._report_lag()
        return batch

    def _take_over(self) -> None:
        arrived = self._feed.arrivals()
        if arrived:
            try:
                self._sink.assign(arrived)
            except Retryable:
                self._feed.arrived_again(arrived)
                raise

    def _store(self, batch: Batch) -> None:
        if not batch.verdicts:
            self._totals.records += batch.records
            return
        new = self._persist(lambda: self._write(batch))
        self._totals.records += batch.records
        self._totals.stored += new
        metrics.VERDICTS.labels(self._sink.name, "stored").inc(new)
        verdicts = sum(isinstance(one, StoredVerdict) for one in batch.verdicts)
        unchanged = max(0, verdicts - new)
        metrics.VERDICTS.labels(self._sink.name, "unchanged").inc(unchanged)

    def _write(self, batch: Batch) -> int:
        # Read anew at each attempt: a rebalance during the wait takes its partitions out.
        with metrics.WRITE_SECONDS.labels(self._sink.name).time():
            return sum(self._write_run(list(run)) for _, run in groupby(batch.verdicts, type))

    def _write_run(self, run: list[StoredVerdict | Erased]) -> int:
        """Verdicts in a row, or erasures; how many were new."""
        verdicts = [one for one in run if isinstance(one, StoredVerdict)]
        for one in run:
            if isinstance(one, Erased):
                self._sink.erase(one.user_id)
        return self._sink.write(verdicts) if verdicts else 0

    def _persist(self, work: Callable[[], Answer]) -> Answer:
        """Repeat `work` while the other side is away, within the bounds of the settings."""
        settings = self._settings
        backoff = Backoff(settings.retry_first_s, settings.retry_max_s, self._rng)
        started = time.monotonic()
        while True:
            try:
                answer = work()
            except Retryable as error:
                self._wait(error, backoff, started)
            else:
                metrics.AVAILABLE.labels(self._sink.name).set(1)
                return answer

    def _wait(self, error: Retryable, backoff: Backoff, started: float) -> None:
        metrics.AVAILABLE.labels(self._sink.name).set(0)
        metrics.RETRIES.labels(self._sink.name).inc()
        wait_s = backoff.next_wait_s(error.retry_after_s)
        now = time.monotonic()
        if now + wait_s - started > self._settings.outage_s_max:
            raise Fatal(f"gave up after {now - started:.0f} s: {error}") from error
        log.warning("sink_away", sink=self._sink.name, reason=str(error), wait_s=round(wait_s, 2))
        if self._stop.is_set():
            self._wait_stopping(wait_s, now)
        else:
            self._feed.idle(wait_s, self._stop.is_set)

    def _wait_stopping(self, wait_s: float, now: float) -> None:
        """Wait within what is left of the time for stopping."""
        if self._stop_at is None:
            self._stop_at = now + self._settings.shutdown_s_max
        if now + wait_s > self._stop_at:
            raise _Abandoned
        self._feed.idle(wait_s, lambda: False)

    def _due(self) -> dict[int, int]:
        return self._feed.progress.due(self._sink.held_from)

    def _store_held(self) -> None:
        """Before partitions go to another owner: one attempt to make durable what is held."""
        try:
            self._sink.flush()
        except SinkError as error:
            log.warning("flush_failed", sink=self._sink.name, reason=str(error))
        self._feed.commit_now(self._due())

    def _leave(self) -> None:
        """Give the partitions back (which flushes and commits), then let go of the sink."""
        try:
            self._feed.close()
        finally:
            with suppress(SinkError):
                self._sink.close()

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        self._feed.on_commit(error, places)

    def _report_lag(self) -> None:
        if time.monotonic() >= self._lag_at:
            self._lag_at = time.monotonic() + _LAG_EVERY_S
            metrics.LAG.labels(self._sink.name).set(self._feed.lag())

    def _ends_at_start(self, until_idle_s: float | None) -> dict[int, int]:
        if until_idle_s is None:
            return {}
        deadline = time.monotonic() + _START_S_MAX
        while (ends := self._feed.ends()) is None:
            if time.monotonic() > deadline:
                raise Fatal(f"topic {self._topic} was not found within {_START_S_MAX:.0f} s")
            if self._stop.wait(0.2):
                raise _Abandoned
        return ends


class Idleness:
    """When a run that ends by itself has come to its end."""

    def __init__(self, idle_s: float | None, ends: dict[int, int]) -> None:
        """`ends` are the end offsets at the start; `idle_s` None means never."""
        self._idle_s = idle_s
        self._ends = ends
        self._last_record = time.monotonic()

    def note(self, records: int) -> None:
        """So many records have just come."""
        if records:
            self._last_record = time.monotonic()

    def is_over(self, feed: Feed) -> bool:
        """Whether the ends are reached and nothing has come for long enough."""
        if self._idle_s is None:
            return False
        now = time.monotonic()
        if not feed.has_assignment:
            if now - self._last_record > _START_S_MAX:
                raise Fatal(f"no partition was assigned within {_START_S_MAX:.0f} s")
            return False
        return now - self._last_record >= self._idle_s and feed.progress.reached(self._ends)
