"""How a worker ends: told to, flooded, with wrong state, with wrong configuration."""

import pytest
from confluent_kafka import Producer

from streamapp.broker.waiting import wait_until
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, assert_undisturbed, report

pytestmark = pytest.mark.integration

SHUTDOWN_S = 4.0
ROWS = 1_000


def test_sigterm_under_load_and_while_starting(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """Exit code 0 in time; what was not done is done by the next one, nothing twice."""
    worker = deployment.worker(shutdown_timeout_s=SHUTDOWN_S)
    worker.await_ready()
    with deployment.load(per_s=2_000.0) as sent:
        assert wait_until(lambda: worker.metrics()["streamapp_transactions_total"] > 500, 30)
        code, seconds = worker.terminate()
        report(f"under load: exit {code} after {seconds:.1f} s")
        assert 0 == code, worker.log.read_text()[-2000:]
        assert seconds < 2 * SHUTDOWN_S
    starting = deployment.worker("anew", shutdown_timeout_s=SHUTDOWN_S)
    starting.await_event("health_served")
    code, seconds = starting.terminate()
    report(f"while starting: exit {code} after {seconds:.1f} s")
    assert 0 == code, starting.log.read_text()[-2000:]
    assert seconds < 2 * SHUTDOWN_S
    [rows] = sent
    last = deployment.worker("anew")
    found = deployment.found(rows)
    assert 0 == last.terminate()[0]
    assert 0 == found.repeated_verdicts
    assert_undisturbed(deployment, deployment.expected(shipped_model), found, "anew")


def test_a_flood_of_refusals_stops_its_partition_only(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """Not ready any more, and it says why; the others go on. A new start goes on there."""
    deployment.make_topics()
    deployment.replay(ROWS)
    producer = Producer({**deployment.kafka.librdkafka()})
    for number in range(60):
        producer.produce(deployment.topics.name("transactions"), b"{", b"u", partition=0)
        if number % 20 == 19:
            producer.flush(30)  # several batches, though all come in a row
    worker = deployment.worker(dead_letter_run_max=30, batch_records_max=10)
    worker.await_event("partition_stopped")
    assert wait_until(lambda: worker.get("/readyz")[0] == 503, 10)
    assert (200, True) == (worker.get("/healthz")[0], worker.is_alive)
    told = worker.get("/readyz")[1]
    assert told.startswith("not ready: partition 0 stopped: more than 30 records in a row")
    found = deployment.found(ROWS + 31)
    assert ROWS == len(found.verdicts)
    assert 31 <= len(found.letters) < 31 + 10  # the batch that passed the limit is kept whole
    assert worker.metrics()["streamapp_partition_stopped"] == 1
    [stopped] = worker.logged("partition_stopped")
    assert 0 == stopped["partition"]
    assert "more than 30 records in a row were refused; mend their producer" in stopped["reason"]
    assert 0 == worker.terminate()[0]
    patient = deployment.worker(dead_letter_run_max=1_000)
    found = deployment.found(ROWS + 60)
    assert 0 == patient.terminate()[0]
    assert_undisturbed(deployment, deployment.expected(shipped_model), found)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("STREAMAPP_WORKER__BATCH_RECORDS_MAX", "0", "STREAMAPP_WORKER__BATCH_RECORDS_MAX: given"),
        ("STREAMAPP_WORKER__GUARANTEE", "once", "STREAMAPP_WORKER__GUARANTEE: given a text 'once'"),
        ("STREAMAPP_WORKER__BATCHES", "9", "STREAMAPP_WORKER__BATCHES is not a setting; the near"),
        ("STREAMAPP_WORKER__MODEL_DIR", "no-such-model", "no-such-model"),
        ("STREAMAPP_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1", "no broker answered at 127.0.0.1:1"),
        ("STREAMAPP_TOPICS__PARTITIONS", "3", "has 4 partitions, expected 3 as the source topic"),
    ],
)
def test_bad_configuration_is_one_line_and_code_2(
    deployment: Deployment, variable: str, value: str, told: str
) -> None:
    """No stack trace, no start."""
    deployment.make_topics()
    worker = deployment.worker(environment={variable: value})
    assert 2 == worker.await_end()
    [line] = worker.log.read_text().splitlines()
    assert line.startswith("streamapp: ")
    assert told in line
