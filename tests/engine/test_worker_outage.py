"""The broker goes away while payments flow, and comes back."""

from collections.abc import Callable
from typing import Protocol

import pytest

from streamapp.broker.waiting import wait_until
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, assert_undisturbed, report

pytestmark = pytest.mark.integration

ROWS = 36_000
"""So many that the broker is gone before the worker has done them."""
SHUTDOWN_S = 4.0


class Breakable(Protocol):
    """A broker that can be taken away."""

    kill: Callable[[], None]
    restart: Callable[[], None]


@pytest.mark.parametrize(
    "guarantee",
    ["exactly_once", pytest.param("at_least_once", marks=pytest.mark.campaign)],
)
def test_a_broker_that_comes_back_finds_the_end_undisturbed(
    deployment: Deployment, shipped_model: ModelArtifact, kafka_broker: Breakable, guarantee: str
) -> None:
    """The worker goes on, or ends with 1 to be started again; then SIGTERM with the broker away."""
    deployment.make_topics()
    deployment.replay(ROWS)
    worker = deployment.worker(
        batch_records_max=16, guarantee=guarantee, shutdown_timeout_s=SHUTDOWN_S
    )
    try:
        assert wait_until(lambda: deployment.output_offsets() > ROWS // 12, 60)
        kafka_broker.kill()
        assert worker.metrics()["streamapp_transactions_total"] < ROWS, "all was done before"
    finally:
        kafka_broker.restart()
    wait_until(
        lambda: not worker.is_alive or sum(deployment.committed().values()) >= ROWS, timeout_s=60
    )
    went_on = worker.is_alive
    if not went_on:
        assert 1 == worker.await_end()
        worker = deployment.worker(guarantee=guarantee, shutdown_timeout_s=SHUTDOWN_S)
    found = deployment.found(ROWS)
    try:
        kafka_broker.kill()
        code, seconds = worker.terminate()
    finally:
        kafka_broker.restart()
    deployment.await_leaders()
    report(
        f"{guarantee}: {'went on' if went_on else 'ended with 1'}, {found.repeated_verdicts} "
        f"repeated; SIGTERM without broker: exit {code} after {seconds:.1f} s"
    )
    assert 0 == code
    assert seconds < 2 * SHUTDOWN_S + 1
    assert 0 == found.differing
    if guarantee == "exactly_once":
        assert 0 == found.repeated_verdicts
    assert_undisturbed(deployment, deployment.expected(shipped_model), found)
