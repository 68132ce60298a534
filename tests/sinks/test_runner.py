"""The consumer loop against a real broker: commits, outages, stops, records it cannot read."""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import REGISTRY

from streamapp.broker import LocalBroker
from streamapp.kafka.settings import KafkaSettings
from streamapp.sinks.protocol import Fatal, Retryable, Sink, StoredVerdict
from streamapp.sinks.runner import SinkRunner, Totals
from streamapp.sinks.settings import RunnerSettings
from tests.servers.kafka import GivenBroker
from tests.sinks.subjects import ParquetSubject
from tests.sinks.verdicts import verdict

pytestmark = pytest.mark.integration

PARTITIONS = 2
DEADLINE_S = 60.0

Broker = LocalBroker | GivenBroker

Background = Callable[[Callable[[], Totals]], Future[Totals]]


class MemorySink:
    """A sink that keeps verdicts in a list, fails when told, and can hold them back."""

    name = "memory"
    batch_records_max = 1_000

    def __init__(self, hold_s_max: float = 60.0, holds: bool = False) -> None:
        self.hold_s_max = hold_s_max
        self.is_away = False
        self.failures = 0
        self.durable: list[str] = []
        self._holds = holds
        self._held: list[StoredVerdict] = []

    def open(self) -> None:
        self._check()

    def assign(self, ends: Mapping[int, int]) -> None:
        pass

    def write(self, verdicts: Sequence[StoredVerdict]) -> int:
        self._check()
        self._held += verdicts
        if not self._holds:
            self.flush()
        return len(verdicts)

    def erase(self, user_id: str) -> None:
        self._check()
        self.durable.append(f"erased {user_id}")

    def held_from(self, partition: int) -> int | None:
        return min((s.offset for s in self._held if s.partition == partition), default=None)

    def flush(self) -> None:
        self._check()
        self.durable += [held.verdict.verdict_id for held in self._held]
        self._held = []

    def forget(self, partitions: Collection[int]) -> None:
        self._held = [held for held in self._held if held.partition not in partitions]

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.is_away:
            self.failures += 1
            raise Retryable("away by order of the test")


class Bench:
    """One topic on the broker, and runners that read it."""

    def __init__(self, servers: str, topic: str, stop: threading.Event) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=servers)
        self.topic = topic
        self.group = f"{topic}.group"
        self.stop = stop
        self.admin = AdminClient({"bootstrap.servers": servers})
        made = self.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        made[topic].result(DEADLINE_S)

    def runner(self, sink: Sink, **settings: float) -> SinkRunner:
        bounds = {"retry_first_s": 0.05, "retry_max_s": 0.2, "session_timeout_s": 6.0, **settings}
        return SinkRunner(
            sink,
            kafka=self.kafka,
            topic=self.topic,
            group=self.group,
            settings=RunnerSettings.model_validate(bounds),
            rng=random.Random(7),
            stop=self.stop,
        )

    def publish(self, count: int, first: int = 0) -> list[str]:
        """Verdicts alternating over the partitions; returns their ids."""
        answers = [verdict(n // PARTITIONS, n % PARTITIONS) for n in range(first, first + count)]
        self.publish_raw([(v.source.partition, msgspec.json.encode(v)) for v in answers])
        return sorted(v.verdict_id for v in answers)

    def publish_raw(self, payloads: Sequence[tuple[int, bytes | None]]) -> None:
        producer = Producer({**self.kafka.librdkafka(), "enable.idempotence": True})
        for partition, payload in payloads:
            producer.produce(self.topic, payload, b"user", partition=partition)
        assert producer.flush(DEADLINE_S) == 0

    def committed(self) -> dict[int, int]:
        """The group's offsets as the broker has them; without those it has not."""
        places = [TopicPartition(self.topic, partition) for partition in range(PARTITIONS)]
        asked = ConsumerGroupTopicPartitions(self.group, places)
        answer = self.admin.list_consumer_group_offsets([asked])[self.group].result(DEADLINE_S)
        return {
            place.partition: place.offset
            for place in answer.topic_partitions
            if place.offset is not None and place.offset >= 0
        }


@pytest.fixture
def stop() -> threading.Event:
    """Ends all runs of one test."""
    return threading.Event()


@pytest.fixture
def bench(kafka_broker: Broker, topic_prefix: str, stop: threading.Event) -> Bench:
    """A fresh topic."""
    return Bench(kafka_broker.bootstrap_servers, f"{topic_prefix}verdicts", stop)


@pytest.fixture
def background(stop: threading.Event) -> Iterator[Background]:
    """Runs a runner beside the test."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit
        stop.set()


def eventually(is_true: Callable[[], bool]) -> None:
    """Wait for the condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def counted(outcome: str) -> float:
    labels = {"sink": "memory", "outcome": outcome}
    return REGISTRY.get_sample_value("streamapp_sink_verdicts_total", labels) or 0.0


def test_every_verdict_arrives_once_and_is_committed(bench: Bench) -> None:
    """A run until idle stores what is there and commits the ends."""
    ids = bench.publish(500)
    sink = MemorySink()
    totals = bench.runner(sink).run(until_idle_s=0.3)
    assert Totals(records=500, stored=500) == totals
    assert ids == sorted(sink.durable)
    assert {0: 250, 1: 250} == bench.committed()


def test_next_run_goes_on_where_the_last_one_stopped(bench: Bench) -> None:
    """Committed verdicts are not read again."""
    bench.publish(20)
    bench.runner(MemorySink()).run(until_idle_s=0.3)
    later = bench.publish(6, first=20)
    sink = MemorySink()
    bench.runner(sink).run(until_idle_s=0.3)
    assert later == sorted(sink.durable)


def test_held_verdicts_are_not_committed(bench: Bench) -> None:
    """Only what is durable is committed: a crash before the flush loses nothing."""
    ids = bench.publish(40)

    class CrashingSink(MemorySink):
        def flush(self) -> None:
            raise Fatal("a crash by order of the test")

    with pytest.raises(Fatal):
        bench.runner(CrashingSink(holds=True)).run(records_max=40)
    assert {} == {p: offset for p, offset in bench.committed().items() if offset > 0}
    sink = MemorySink()
    bench.runner(sink).run(until_idle_s=0.3)
    assert ids == sorted(sink.durable)


def test_held_verdicts_become_durable_in_time(bench: Bench, background: Background) -> None:
    """A sink that holds verdicts is flushed after `hold_s_max`, although nothing more comes."""
    bench.publish(10)
    sink = MemorySink(holds=True, hold_s_max=0.1)
    running = background(bench.runner(sink).run)
    eventually(lambda: len(sink.durable) == 10)
    eventually(lambda: bench.committed() == {0: 5, 1: 5})
    bench.stop.set()
    assert running.result(DEADLINE_S).records == 10


def test_records_max_is_exact(bench: Bench) -> None:
    """A bounded run handles so many records, not a batch more."""
    bench.publish(50)
    sink = MemorySink()
    assert bench.runner(sink).run(records_max=33).records == 33
    assert sum(bench.committed().values()) == 33


def test_undecodable_records_are_counted_and_skipped(bench: Bench) -> None:
    """Junk, tombstones and bad times hold nothing up."""
    good = [msgspec.json.encode(verdict(n)) for n in range(2)]
    no_time = msgspec.json.encode(verdict(9, timestamp="yesterday"))
    bench.publish_raw([(0, good[0]), (0, b"\xff{"), (0, None), (0, no_time), (0, good[1])])
    before = counted("undecodable")
    sink = MemorySink()
    totals = bench.runner(sink).run(until_idle_s=0.3)
    assert Totals(records=5, stored=2) == totals
    assert counted("undecodable") - before == 3
    assert bench.committed()[0] == 5


def test_an_erasure_comes_in_order(bench: Bench) -> None:
    """After the verdicts before it, before those behind it, and it is committed like them."""
    producer = Producer(bench.kafka.librdkafka())
    for payload, headers in (
        (msgspec.json.encode(verdict(0)), []),
        (None, [("schema", b"erasure/1"), ("erasure.offset", b"1")]),
        (msgspec.json.encode(verdict(2)), []),
    ):
        producer.produce(bench.topic, payload, b"user", partition=0, headers=list(headers))
    assert 0 == producer.flush(DEADLINE_S)
    sink = MemorySink()
    assert Totals(records=3, stored=2) == bench.runner(sink).run(until_idle_s=0.3)
    assert ["transactions-0-0", "erased user", "transactions-0-2"] == sink.durable
    assert 3 == bench.committed()[0]


def test_outage_keeps_membership_and_loses_nothing(bench: Bench, background: Background) -> None:
    """A sink away for longer than the session stays in its group and stores all when it is back."""
    ids = bench.publish(30)
    sink = MemorySink()
    assignments: list[int] = []
    sink.assign = lambda ends: assignments.append(len(ends))  # type: ignore[method-assign]
    runner = bench.runner(sink, session_timeout_s=6.0)
    running = background(runner.run)
    eventually(lambda: len(sink.durable) == 30)
    sink.is_away = True
    more = bench.publish(30, first=30)
    started = time.monotonic()
    eventually(lambda: sink.failures > 5 and time.monotonic() - started > 7.5)
    sink.is_away = False
    eventually(lambda: len(sink.durable) == 60)
    bench.stop.set()
    running.result(DEADLINE_S)
    assert sorted(ids + more) == sorted(sink.durable)
    assert [PARTITIONS] == assignments


def test_sink_away_at_the_start_is_waited_for(bench: Bench, background: Background) -> None:
    """Opening is repeated as well."""
    bench.publish(4)
    sink = MemorySink()
    sink.is_away = True
    running = background(lambda: bench.runner(sink).run(until_idle_s=0.3))
    eventually(lambda: sink.failures >= 2)
    sink.is_away = False
    assert running.result(DEADLINE_S).stored == 4


def test_endless_outage_ends_the_run(bench: Bench) -> None:
    """The total time of retries is bounded; nothing is committed."""
    bench.publish(4)
    sink = MemorySink()
    sink.is_away = True
    with pytest.raises(Fatal, match="gave up after"):
        bench.runner(sink, outage_s_max=0.5).run()


def test_stop_flushes_and_commits(bench: Bench, background: Background) -> None:
    """Asked to stop, a run stores what it holds, commits and leaves."""
    ids = bench.publish(10)
    sink = MemorySink(holds=True)
    runner = bench.runner(sink)
    running = background(runner.run)
    eventually(lambda: len(sink._held) == 10)
    assert [] == sink.durable
    bench.stop.set()
    running.result(DEADLINE_S)
    assert ids == sorted(sink.durable)
    assert {0: 5, 1: 5} == bench.committed()


def test_stop_during_an_outage_is_bounded(bench: Bench, background: Background) -> None:
    """A store that stays away cannot keep the process from stopping."""
    bench.publish(4)
    sink = MemorySink()
    running = background(bench.runner(sink, shutdown_s_max=0.5).run)
    eventually(lambda: len(sink.durable) == 4)
    sink.is_away = True
    bench.publish(4, first=4)
    eventually(lambda: sink.failures >= 1)
    bench.stop.set()
    running.result(10)
    assert {0: 2, 1: 2} == bench.committed()


def test_two_members_share_the_partitions(bench: Bench, background: Background) -> None:
    """A second process takes its share over; nothing is lost on the way."""
    first, second = MemorySink(holds=True, hold_s_max=0.2), MemorySink()
    ids = bench.publish(20)
    runs = [background(bench.runner(first).run)]
    eventually(lambda: len(first.durable) == 20)
    runs.append(background(bench.runner(second).run))
    published = iter(range(20, 20_000, 2))
    while not second.durable:
        ids += bench.publish(2, first=next(published))
    eventually(lambda: set(ids) == set(first.durable) | set(second.durable))
    bench.stop.set()
    for run in runs:
        run.result(DEADLINE_S)
    assert set(second.durable).isdisjoint(ids[:20])


def test_aborted_verdicts_are_not_read(bench: Bench) -> None:
    """Only committed transactions count, and their markers do not keep a run from ending."""
    producer = Producer({**bench.kafka.librdkafka(), "transactional.id": bench.topic})
    producer.init_transactions(DEADLINE_S)
    for first, is_committed in ((0, True), (10, False), (20, True)):
        producer.begin_transaction()
        for n in range(first, first + 5):
            producer.produce(bench.topic, msgspec.json.encode(verdict(n)), b"user", partition=0)
        producer.flush(DEADLINE_S)  # an abort drops what has not been sent, and this must be
        if is_committed:
            producer.commit_transaction(DEADLINE_S)
        else:
            producer.abort_transaction(DEADLINE_S)
    sink = MemorySink()
    bench.runner(sink).run(until_idle_s=0.3)
    expected = [f"transactions-0-{n}" for n in (*range(5), *range(20, 25))]
    assert expected == sink.durable


def test_broker_crash_is_survived(
    kafka_broker: Broker, bench: Bench, background: Background
) -> None:
    """With the broker away the run goes on, and picks up when it is back."""
    ids = bench.publish(10)
    sink = MemorySink()
    running = background(bench.runner(sink).run)
    eventually(lambda: len(sink.durable) == 10)
    if kafka_broker.acks_survive_kill:
        kafka_broker.kill()
    kafka_broker.restart()
    ids += bench.publish(10, first=10)
    eventually(lambda: set(ids) <= set(sink.durable))
    bench.stop.set()
    running.result(DEADLINE_S)
    assert {0: 10, 1: 10} == bench.committed()


def test_parquet_behind_the_runner_has_every_verdict_once(bench: Bench, tmp_path: Path) -> None:
    """Stopped at arbitrary counts and started again, files hold each verdict in one row."""
    ids = bench.publish(300)
    subject = ParquetSubject(tmp_path / "out", file_rows_max=40)
    for records_max in (7, 100, 61):
        bench.runner(subject.sink()).run(records_max=records_max)
    bench.runner(subject.sink()).run(until_idle_s=0.3)
    assert ids == sorted(subject.rows())
