"""Gauges of partitions: lag in seconds, state on disk; and what is forgotten with a partition."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka.errors import KafkaError
from prometheus_client import REGISTRY, CollectorRegistry

from streamapp.engine.batch_histogram import BatchHistogram
from streamapp.engine.gauges import Gauges
from streamapp.engine.outbox import LogError
from streamapp.engine.partition_log import ExactlyOnceLog
from streamapp.engine.producer import PLAIN_BATCH_BYTES
from streamapp.scoring.verdicts import SourcePartition
from tests.engine.running import run_async

NOW = 1_700_000_000


def _shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def _lags(*looks: tuple[int, int, int | None]) -> list[float | None]:
    """Seconds shown after each look: (time after NOW, records that wait, newest's time or None)."""
    at = [0]
    gauges = Gauges(lambda: NOW + at[0])
    shown = []
    for at[0], records, newest in looks:
        newest_ms = None if newest is None else (NOW + newest) * 1000
        gauges.show_lag({7: records}, {7: newest_ms})
        shown.append(_shown("streamapp_lag_seconds", partition="7"))
    gauges.forget()
    return shown


def test_lag_is_the_age_of_the_newest_scored() -> None:
    """A worker that reads what was sent 90 s ago is 90 s behind, and catches up."""
    assert [0, 90, 30, 0] == _lags((0, 100, None), (1, 100, -89), (2, 100, -28), (3, 0, 3))


def test_a_quiet_hour_is_no_lag() -> None:
    """Records after it have waited since they came, not since the last ones."""
    assert [0, 0, 1, 2] == _lags((0, 0, 0), (3600, 0, 0), (3601, 5, 0), (3602, 5, 0))


def test_a_partition_that_scores_nothing_falls_behind() -> None:
    """From its assignment on, where it is not known since when its records wait."""
    assert [0, 10, 600] == _lags((0, 5, None), (10, 5, None), (600, 5, None))


def test_a_senders_clock_ahead_is_no_negative_lag() -> None:
    """Nor does what is given back show anything."""
    assert [0, 0] == _lags((0, 5, 60), (1, 5, 60))
    assert _shown("streamapp_lag_seconds", partition="7") is None


def test_state_bytes_are_those_of_the_files(tmp_path: Path) -> None:
    """And 0 where there are none yet."""
    (tmp_path / "000004.sst").write_bytes(b"x" * 1000)
    (tmp_path / "000005.log").write_bytes(b"x" * 24)
    gauges = Gauges()
    gauges.show_state({7: tmp_path, 8: tmp_path / "not there"})
    assert 1024 == _shown("streamapp_state_bytes", partition="7")
    assert 0 == _shown("streamapp_state_bytes", partition="8")
    gauges.forget()
    assert _shown("streamapp_state_bytes", partition="7") is None


def test_many_values_count_as_one_by_one() -> None:
    """Buckets, sum and count are those of the library's own `observe`."""
    registry = CollectorRegistry()
    values = np.array([0.0, 4.99, 5.0, 5.01, 50.0, 99.5, 100.0, 100.0, 7.0])
    many = BatchHistogram("many", "", buckets=(5, 50, 100), registry=registry)
    single = BatchHistogram("single", "", buckets=(5, 50, 100), registry=registry)
    many.observe_all(values)
    many.observe_all(np.zeros(0))
    for value in values:
        single.observe(value)
    shown = {family.name: family.samples for family in registry.collect()}

    def counted(name: str) -> list[tuple[str, dict[str, str], float]]:
        rows = [(s.name.removeprefix(name), s.labels, s.value) for s in shown[name]]
        return [row for row in rows if row[0] != "_created"]

    assert counted("single") == counted("many")


class _Producer:
    """Takes what it is given; commits fail."""

    plain_batch_bytes = PLAIN_BATCH_BYTES

    def __init__(self, **_options: Any) -> None:
        self.start = self.stop = self.begin_transaction = self.abort_transaction = self._done

    async def _done(self, *_: object) -> None:
        """Answer at once."""

    async def commit_transaction(self) -> None:
        raise KafkaError("away")

    async def send_batch(self, *_: object, **_options: object) -> "asyncio.Future[Any]":
        sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sent.set_result(type("Metadata", (), {"offset": 0}))
        return sent


def test_a_transaction_without_an_end_counts_as_aborted() -> None:
    """Once, when it is given up; one that never began does not."""

    def count() -> float:
        name = "streamapp_transactions_aborted_total"
        return _shown(name, reason="unfinished") or 0.0

    async def given_up(*, begun: bool) -> None:
        source = SourcePartition("transactions", 0)
        log = ExactlyOnceLog({}, "g", source, "state", 10.0, _Producer)  # type: ignore[arg-type]
        await log.open()
        if begun:
            log.cut()
            try:
                await log.commit([(b"p", b"state")], 1)
            except LogError:
                pass
            else:
                raise AssertionError("the commit has failed")
        await log.close()

    before = count()
    run_async(given_up(begun=False))
    assert before == count()
    run_async(given_up(begun=True))
    assert before + 1 == count()
