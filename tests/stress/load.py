"""Load that no plan foresaw: one hot user, a flood of poison, five times what can be done."""

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from signal import SIGCONT, SIGSTOP
from typing import Final

import msgspec
from confluent_kafka import KafkaException, Producer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.traffic import traffic
from streamapp.broker.waiting import wait_until
from streamapp.replay.producer import Sent, send
from streamapp.replay.reader import RecordedBatch
from streamapp.replay.schedule import AtOnce, FixedRate
from streamapp.scoring.artifact import ModelArtifact
from tests.domain.messages import KEY, message
from tests.engine.deployment import Deployment
from tests.engine.worker_process import WorkerProcess
from tests.stress.exact import assert_exact
from tests.stress.memory import Memory
from tests.stress.mutations import mutated
from tests.stress.outcome import Outcome

#: Of five transactions so many are the hot user's.
_HOT_OF_FIVE: Final = 4
_BATCH_RECORDS_MAX: Final = 512
_DRAIN_S: Final = 600.0

#: How much a worker's resident memory may grow after the first third of an overload, by which its
#: users are known: buffers that only full speed fills, when the backlog is done, and fragments.
GROWTH_MIB_MAX: Final = 64
_POPULATIONS: Final = 8
_WARM_UP_ROWS: Final = 10_000
#: A rate that a test can read back; the worker is held to a fifth of it.
_RATE_PER_S: Final = 2_000.0
#: What a worker does in it is far less than what comes while it may stand still.
_SLICE_S: Final = 0.05
#: At a stretch; less than the session, and than any answer is waited for.
_STILL_S_MAX: Final = 5.0
#: Small, so that the worker gets not far between two looks.
_SMALL_BATCH: Final = 16
_OVERLOAD: Final = 5


def hot_key(deployment: Deployment, model: ModelArtifact, rows: int) -> Outcome:
    """Four fifths of the traffic are one user's: the same verdicts, the same bounds on batches."""
    directory = deployment.directory / "hot"
    directory.mkdir()
    spread_per_s = _drain(deployment, model, traffic(rows), rows)
    hot = Deployment(deployment.kafka, f"hot-{deployment.topics.prefix}", directory)
    try:
        hot_per_s = _drain(hot, model, _heated(traffic(rows)), rows)
    finally:
        hot.close()
    return Outcome(
        rows,
        {
            "events/s spread": round(spread_per_s),
            "events/s hot": round(hot_per_s),
            "throughput ratio": round(hot_per_s / spread_per_s, 2),
        },
    )


def _heated(batches: Iterable[RecordedBatch]) -> Iterator[RecordedBatch]:
    """Most of the transactions given to one user."""
    for batch in batches:
        keys, values = [*batch.keys], [*batch.values]
        for row, value in enumerate(values):
            if row % 5 < _HOT_OF_FIVE:
                keys[row] = KEY
                values[row] = msgspec.json.encode(msgspec.json.decode(value) | {"user_id": "ann"})
        yield RecordedBatch(keys, values, batch.time_ms, batch.labels)


def _drain(
    deployment: Deployment, model: ModelArtifact, batches: Iterable[RecordedBatch], rows: int
) -> float:
    """Have a worker score what lies there already; events a second, all of them undisturbed."""
    deployment.make_topics()
    assert _send(deployment, batches).acknowledged == rows
    worker = deployment.worker()
    worker.await_event("partitions_assigned")
    before, started = _done(deployment), time.monotonic()
    assert wait_until(lambda: _done(deployment) >= rows, _DRAIN_S)
    per_s = (rows - before) / (time.monotonic() - started)
    assert _batches_over(worker, _BATCH_RECORDS_MAX) == 0
    assert 0 == worker.terminate()[0], worker.log.read_text()[-2000:]
    assert_exact(deployment, model)
    return per_s


def _send(deployment: Deployment, batches: Iterable[RecordedBatch], per_s: float = 0.0) -> Sent:
    return send(
        batches,
        kafka=deployment.kafka,
        topic=deployment.topics.name("transactions"),
        schedule=FixedRate(per_s) if per_s else AtOnce(),
        flush_timeout_s=60.0,
    )


def _done(deployment: Deployment) -> int:
    return sum(deployment.committed().values())


def _batches_over(worker: WorkerProcess, records: int) -> float:
    """Batches with more records than that."""
    within = whole = 0.0
    for family in text_string_to_metric_families(worker.get("/metrics")[1]):
        for sample in family.samples:
            if sample.name == "streamapp_batch_records_count":
                whole = sample.value
            elif sample.labels.get("le") == f"{records:.1f}" and family.name.endswith("_records"):
                within = sample.value
    assert whole > 0
    return whole - within


def flood(deployment: Deployment, model: ModelArtifact, poison: int, rows: int) -> Outcome:
    """One producer sends nothing but poison: its partition stops, the others go on."""
    deployment.make_topics()
    worker = deployment.worker()
    worker.await_ready()
    _pour(deployment, poison)
    assert _send(deployment, traffic(rows)).complete
    worker.await_event("partition_stopped")
    topic = deployment.topics.name("transactions")
    elsewhere = sum(end for p, end in deployment.expected(model).ends.items() if p != 0)

    def is_done_elsewhere() -> bool:
        return sum(end for p, end in deployment.committed().items() if p != 0) >= elsewhere

    assert wait_until(is_done_elsewhere, _DRAIN_S)
    assert (True, 200, 503) == (
        worker.is_alive,
        worker.get("/healthz")[0],
        worker.get("/readyz")[0],
    )
    letters = deployment.found(0).letters
    [stopped] = worker.logged("partition_stopped")
    assert 0 == stopped["partition"]
    assert 0 == worker.terminate()[0]
    mended = deployment.worker(dead_letter_run_max=10 * poison)
    assert wait_until(lambda: _done(deployment) >= rows + poison, _DRAIN_S), topic
    assert 0 == mended.terminate()[0]
    assert_exact(deployment, model)
    measured = {"refused before the stop": len(letters), "scored elsewhere": elsewhere}
    return Outcome(poison, measured)


def _pour(deployment: Deployment, count: int) -> None:
    """Send records into one partition that nobody could take for transactions."""
    rng = random.Random(1)
    producer = Producer({**deployment.kafka.librdkafka(), "message.max.bytes": 2_000_000})
    topic = deployment.topics.name("transactions")
    poured = 0
    while poured < count:
        mutant = mutated(rng, KEY, message())
        if mutant.is_refused_for_sure:
            producer.produce(topic, mutant.value, mutant.key, partition=0)
            producer.poll(0)
            poured += 1
    assert 0 == producer.flush(60)


@contextmanager
def _held_to_a_fifth(worker: WorkerProcess, deployment: Deployment) -> Iterator[None]:
    """The worker stands still until it has done no more than a fifth of what came, then runs on.

    It stands still while it is looked at: a broker may take its time to answer. What is done is
    read off the ends of topics, which are told at once, even amid a transaction of the worker.
    """
    over = threading.Event()
    before, sent_before = deployment.verdict_offsets(), deployment.source_offsets()

    def is_ahead() -> bool:
        try:
            done, sent = deployment.verdict_offsets(), deployment.source_offsets()
        except KafkaException:  # the broker is busy: nothing is known
            return True
        return (done - before) * _OVERLOAD > sent - sent_before

    def run() -> None:
        while not over.is_set():
            worker.send(SIGSTOP)
            still_until = time.monotonic() + _STILL_S_MAX
            while is_ahead() and time.monotonic() < still_until and not over.is_set():
                over.wait(_SLICE_S)
            worker.send(SIGCONT)
            over.wait(_SLICE_S)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def overload(deployment: Deployment, model: ModelArtifact, seconds: float) -> Outcome:
    """Five times more comes than can be done: memory stays, and the backlog is done afterwards."""
    deployment.make_topics()
    worker = deployment.worker(session_timeout_s=30, batch_records_max=_SMALL_BATCH)
    worker.await_ready()
    assert _send(deployment, traffic(_WARM_UP_ROWS, _POPULATIONS)).complete
    assert wait_until(lambda: _done(deployment) >= _WARM_UP_ROWS, _DRAIN_S)
    memory = Memory(worker.pid)
    batches = traffic(int(_RATE_PER_S * seconds), _POPULATIONS)
    before = deployment.verdict_offsets()
    with _held_to_a_fifth(worker, deployment):
        sent = _send(deployment, batches, _RATE_PER_S)
        done = deployment.verdict_offsets() - before
    assert sent.complete
    rows, backlog = _WARM_UP_ROWS + sent.acknowledged, sent.acknowledged - done
    assert backlog > sent.acknowledged / 2, "the worker kept up: this was no overload"
    times = sent.acknowledged / max(done, 1)
    started = time.monotonic()
    assert wait_until(lambda: _done(deployment) >= rows, _DRAIN_S)
    drained_s = time.monotonic() - started
    memory.stop()
    warm_mib, most_mib = memory.most_mib(until=seconds / 3), memory.most_mib(since=seconds / 3)
    measured = {
        "s of overload": round(sent.wall_s),
        "sent/s": round(sent.per_s),
        "sent for each that was done": round(times, 1),
        "backlog": backlog,
        "drained in s": round(drained_s, 1),
        "MiB warm": warm_mib,
        "MiB at most": most_mib,
        "MiB at the end": memory.now_mib(),
        "MiB allowed": warm_mib + GROWTH_MIB_MAX,
    }
    assert most_mib <= warm_mib + GROWTH_MIB_MAX, measured
    assert 0 == worker.terminate()[0], worker.log.read_text()[-2000:]
    assert 1 == len(worker.logged("worker_started"))
    assert_exact(deployment, model)
    return Outcome(sent.acknowledged, measured)
