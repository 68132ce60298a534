"""The stream gives what the pipeline gives, byte for byte, however it is cut and shared out."""

import pytest
from confluent_kafka import Producer

from streamapp.broker.waiting import wait_until
from streamapp.replay.brokerless import score_recorded
from streamapp.replay.reader import recorded
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, assert_undisturbed, report
from tests.engine.worker_process import WorkerProcess
from tests.leaks.marks import payments

pytestmark = pytest.mark.integration

ROWS = 4_000


def group_is_shared(workers: list[WorkerProcess]) -> bool:
    """Each worker has at least one partition."""
    return all(worker.metrics().get("streamapp_partitions", 0) >= 1 for worker in workers)


def end(workers: list[WorkerProcess]) -> None:
    """All end orderly."""
    assert [0] * len(workers) == [worker.terminate()[0] for worker in workers]


@pytest.mark.parametrize(
    ("records_max", "rows", "guarantee"),
    [
        (1, 600, "exactly_once"),
        (7, ROWS, "exactly_once"),
        (256, ROWS, "at_least_once"),
        (1024, ROWS, "exactly_once"),
    ],
)
def test_batch_size_changes_nothing(
    deployment: Deployment,
    shipped_model: ModelArtifact,
    records_max: int,
    rows: int,
    guarantee: str,
) -> None:
    """Verdicts of the brokerless run, and the state of an undisturbed pipeline."""
    deployment.make_topics()
    deployment.replay(rows)
    worker = deployment.worker(batch_records_max=records_max, guarantee=guarantee)
    found = deployment.found(rows)
    end([worker])
    brokerless = score_recorded(
        recorded(payments(), limit=rows),
        shipped_model,
        topic=deployment.topics.name("transactions"),
        partitions=deployment.topics.partitions,
    )
    payloads = {payload for outcome in brokerless for payload in outcome.payloads}
    assert payloads == set().union(*found.verdicts.values())
    assert 0 == found.repeated_verdicts
    assert_undisturbed(deployment, deployment.expected(shipped_model), found)


def test_two_workers_give_what_one_gives(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """Each with partitions of its own, over several thousand payments."""
    deployment.make_topics()
    workers = [deployment.worker(state) for state in ("one", "two")]
    for worker in workers:
        worker.await_ready()
    assert wait_until(lambda: group_is_shared(workers), 30)
    deployment.replay(ROWS)
    found = deployment.found(ROWS)
    end(workers)
    assert 0 == found.repeated_verdicts
    assert_undisturbed(deployment, deployment.expected(shipped_model), found, "one", "two")


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_worker_that_joins_and_leaves_under_load_changes_nothing(
    deployment: Deployment, shipped_model: ModelArtifact, guarantee: str
) -> None:
    """Partitions move twice while payments flow; under exactly-once nothing is seen twice."""
    first = deployment.worker("one", guarantee=guarantee)
    first.await_ready()
    with deployment.load(per_s=1_000.0) as sent:
        second = deployment.worker("two", guarantee=guarantee)
        second.await_ready()
        assert wait_until(lambda: group_is_shared([first, second]), 30)
        assert wait_until(lambda: second.metrics()["streamapp_transactions_total"] > 500, 30)
        code, _ = second.terminate()
        assert 0 == code, second.log.read_text()[-2000:]
    [rows] = sent
    found = deployment.found(rows)
    end([first])
    report(f"{guarantee}: {rows} rows, {found.repeated_verdicts} repeated")
    assert 0 == found.differing
    if guarantee == "exactly_once":
        assert 0 == found.repeated_verdicts
    assert_undisturbed(deployment, deployment.expected(shipped_model), found, "one", "two")


def test_transactions_of_upstream_are_read_when_committed(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """Aborted payments have no verdict, and markers at the end are no lag that keeps waiting."""
    deployment.make_topics()
    topic = deployment.topics.name("transactions")
    [batch] = recorded(payments(), limit=200, batch_rows=200)
    producer = Producer({**deployment.kafka.librdkafka(), "transactional.id": f"{topic}-upstream"})
    producer.init_transactions(30)
    for first, last, is_kept in ((0, 80, True), (80, 120, False), (120, 200, True)):
        producer.begin_transaction()
        for key, value in zip(batch.keys[first:last], batch.values[first:last], strict=True):
            producer.produce(topic, value, key, partition=2)
        producer.flush(30)
        (producer.commit_transaction if is_kept else producer.abort_transaction)(30)
    worker = deployment.worker()
    worker.await_ready()
    deployment.found(160)
    caught_up = wait_until(lambda: worker.metrics().get("streamapp_lag_records") == 0, 5)
    end([worker])
    assert (160, True) == (deployment.found(160).answered, caught_up)
