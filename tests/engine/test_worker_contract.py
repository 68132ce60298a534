"""The worker's contract with ordinary clients: verdicts, dead letters, metrics, quiet logs.

One worker serves all of these tests; its process must be the same at the end.
"""

import json
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Message, Producer
from prometheus_client import Counter

from streamapp.engine import metrics
from streamapp.kafka.settings import KafkaSettings
from tests.engine.deployment import Deployment, headers_of
from tests.engine.worker_process import WorkerProcess
from tests.kafka.conftest import Broker
from tests.kafka.records import read_all

pytestmark = pytest.mark.integration

USER = "user-not-to-be-logged"
AMOUNT = 9173.42
SHARED_PARTITION = 1
FOREVER = "2030-01-01T00:00:00Z"
_NOT_SHOWN = (
    metrics.PARTITION_STOPPED,
    metrics.RISK_WINDOWS_DAY,
    metrics.SEVERITY_CUTOFFS_HOUR,
)


def payment(**fields: object) -> bytes:
    """A good transaction but for the fields given; None leaves one out."""
    whole: dict[str, object] = {
        "tx_id": "t",
        "user_id": USER,
        "amount": AMOUNT,
        "timestamp": "2026-01-05T09:00:00Z",
    }
    return json.dumps({k: v for k, v in (whole | fields).items() if v is not None}).encode()


KEY = USER.encode()

#: Kind: key, value, reason, field.
BAD: dict[str, tuple[bytes | None, bytes | None, str, str]] = {
    "empty": (KEY, b"", "empty", ""),
    "tombstone": (KEY, None, "empty", ""),
    "not_json": (KEY, b"{'tx_id': 1}", "not_json", ""),
    "bad_utf8": (KEY, b"\xff\xfe" + payment(), "not_utf8", ""),
    "not_an_object": (KEY, b'["tx"]', "not_an_object", ""),
    "wrong_type": (KEY, payment(amount="12"), "wrong_type", "amount"),
    "nan": (KEY, payment(amount=float("nan")), "out_of_range", "amount"),
    "negative": (KEY, payment(amount=-1), "out_of_range", "amount"),
    "missing_field": (KEY, payment(tx_id=None), "missing_field", "tx_id"),
    "key_mismatch": (b"another", payment(), "key_mismatch", "key"),
    "no_key": (None, payment(), "key_mismatch", "key"),
    "over_64_kib": (KEY, payment(note="x" * 65_536), "too_large", ""),
    "near_the_brokers_limit": (KEY, b'{"note":"' + b"y" * 1_048_000, "too_large", ""),
    "in_the_future": (KEY, payment(timestamp=FOREVER), "time_ahead", "timestamp"),
}


@pytest.fixture(scope="module")
def system(
    kafka_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, WorkerProcess]]:
    """A system whose one worker is ready."""
    kafka = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)
    directory = tmp_path_factory.mktemp("contract")
    deployment = Deployment(kafka, f"contract-{directory.name}-{time.time_ns()}.", directory)
    worker = deployment.worker()
    worker.await_ready()
    yield deployment, worker
    deployment.close()


@pytest.fixture(scope="module")
def sent(system: tuple[Deployment, WorkerProcess]) -> dict[str, int]:
    """Bad messages of every kind between good ones, all in one partition: their offsets by kind."""
    deployment, _ = system
    producer = Producer({**deployment.kafka.librdkafka(), "message.max.bytes": 2_000_000})
    topic = deployment.topics.name("transactions")
    offsets: dict[str, int] = {}

    def produce(kind: str, key: bytes | None, value: bytes | None) -> None:
        offsets[kind] = len(offsets)
        headers: list[tuple[str, str | bytes | None]] = [("kind", kind), ("sent_at", b"17")]
        producer.produce(topic, value, key, partition=SHARED_PARTITION, headers=headers)

    produce("good-first", KEY, payment(tx_id="first"))
    for kind, (key, value, _, _) in BAD.items():
        produce(kind, key, value)
        produce(f"good-after-{kind}", KEY, payment(tx_id=f"after-{kind}"))
    assert 0 == producer.flush(30)
    return offsets


def by_kind(records: list[Message]) -> dict[str, Message]:
    """Dead letters by the header their sender gave them."""
    return {headers_of(record)["kind"].decode(): record for record in records}


def test_each_good_message_has_its_verdict(
    system: tuple[Deployment, WorkerProcess], sent: dict[str, int]
) -> None:
    """Read by an ordinary consumer: key, partition, schema, sending time, source."""
    deployment, worker = system
    pid = worker.pid
    found = deployment.found(len(sent))
    topic = deployment.topics.name("transactions")
    good = {offset for kind, offset in sent.items() if kind.startswith("good")}
    assert {f"{topic}-{SHARED_PARTITION}-{offset}" for offset in good} == set(found.verdicts)
    assert (0, 0) == (found.repeated_verdicts, found.repeated_letters)
    for record in read_all(deployment.kafka, deployment.topics.name("verdicts")):
        verdict = json.loads(record.value() or b"")
        assert (SHARED_PARTITION, KEY) == (record.partition(), record.key())
        assert USER == verdict["user_id"]
        headers = headers_of(record)
        assert (b"verdict/1", b"17") == (headers["schema"], headers["sent_at"])
        assert verdict["severity"].encode() == headers["severity"]
    assert worker.is_alive
    assert pid == worker.pid
    assert 1 == len(worker.logged("worker_started"))


@pytest.mark.parametrize("kind", BAD)
def test_each_kind_of_bad_message_is_a_dead_letter_unchanged(
    system: tuple[Deployment, WorkerProcess], sent: dict[str, int], kind: str
) -> None:
    """Key and bytes as sent, its sender's headers, and why, where and from where it was refused."""
    deployment, _ = system
    deployment.found(len(sent))
    letter = by_kind(read_all(deployment.kafka, deployment.topics.name("dead_letters")))[kind]
    key, value, reason, field = BAD[kind]
    assert (key, value) == (letter.key(), letter.value())
    stage = "admit" if kind == "in_the_future" else "decode"
    headers = headers_of(letter)
    assert headers.pop("dlq.detail")
    assert {
        "kind": kind.encode(),
        "sent_at": b"17",
        "dlq.reason": reason.encode(),
        "dlq.field": field.encode(),
        "dlq.stage": stage.encode(),
        "dlq.topic": deployment.topics.name("transactions").encode(),
        "dlq.partition": str(SHARED_PARTITION).encode(),
        "dlq.offset": str(sent[kind]).encode(),
    } == headers


def test_a_redriven_message_keeps_its_count(
    system: tuple[Deployment, WorkerProcess], sent: dict[str, int]
) -> None:
    """Refused again it says how often it was sent back; marks of the first refusal are gone."""
    deployment, _ = system
    deployment.found(len(sent))
    producer = Producer(deployment.kafka.librdkafka())
    headers: list[tuple[str, str | bytes | None]] = [
        ("kind", "redriven"),
        ("dlq.redriven", b"1"),
        ("dlq.reason", b"empty"),
    ]
    topic = deployment.topics.name("transactions")
    producer.produce(topic, b"{", KEY, partition=3, headers=headers)
    assert 0 == producer.flush(30)
    deployment.found(len(sent) + 1)
    letters = by_kind(read_all(deployment.kafka, deployment.topics.name("dead_letters")))
    found = letters["redriven"].headers() or []
    assert [("dlq.redriven", b"1"), ("dlq.reason", b"not_json")] == [
        header for header in found if header[0] in ("dlq.redriven", "dlq.reason")
    ]


def test_every_metric_is_scraped(
    system: tuple[Deployment, WorkerProcess], sent: dict[str, int]
) -> None:
    """All that engine/metrics.py names, with figures that fit what was sent.

    But for stopped partitions, of which there are none, and what is taken over:
    `test_worker_risk_windows` sees that.
    """
    deployment, worker = system
    deployment.found(len(sent))
    worker.await_metric("streamapp_ready", 1)
    samples = worker.metrics()
    for name, metric in vars(metrics).items():
        if name.isupper() and not name.startswith("_") and metric not in _NOT_SHOWN:
            suffix = "_total" if isinstance(metric, Counter) else ""
            base = f"{metric._name}{suffix}"
            assert base in samples or f"{base}_count" in samples, base
    assert len(sent) <= samples["streamapp_transactions_total"]
    assert len(BAD) <= samples["streamapp_dead_letters_total"]
    good = len(sent) - len(BAD)
    assert good <= samples["streamapp_verdicts_total"]
    assert (4, 1) == (samples["streamapp_partitions"], samples["streamapp_ready"])


def test_logs_and_metrics_name_nobody(
    system: tuple[Deployment, WorkerProcess], sent: dict[str, int]
) -> None:
    """No user, no amount, no payload: neither of good messages nor of bad ones."""
    deployment, worker = system
    deployment.found(len(sent))
    told = worker.log.read_text() + worker.get("/metrics")[1]
    assert "worker_started" in told
    for secret in (USER, str(AMOUNT), "another", "yyyy", "xxxx"):
        assert secret not in told


def test_health_is_answered_all_along(system: tuple[Deployment, WorkerProcess]) -> None:
    """Alive and ready, and ended orderly on SIGTERM while idle."""
    _, worker = system
    assert [(200, "alive\n"), (200, "ready\n")] == [worker.get("/healthz"), worker.get("/readyz")]
    code, seconds = worker.terminate()
    assert 0 == code, worker.log.read_text()[-2000:]
    assert seconds < 10
