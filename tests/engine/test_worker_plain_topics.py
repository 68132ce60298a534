"""Topics that keep nothing compressed, with a broker's default limit on a record batch."""

import pytest

from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, assert_undisturbed

pytestmark = pytest.mark.integration

#: Some 4 MB of verdicts a partition.
ROWS = 12_000


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_no_batch_grows_past_a_topics_limit(
    deployment: Deployment, shipped_model: ModelArtifact, guarantee: str
) -> None:
    """Though all payments are there at once, and compressed a batch takes far more of them."""
    deployment.make_topics()
    for role in ("verdicts", "anomalies"):
        config = {"compression.type": "uncompressed"}
        deployment.make_again(deployment.topics.name(role), config)
    deployment.await_leaders()
    deployment.replay(ROWS)
    worker = deployment.worker(guarantee=guarantee)
    found = deployment.found(ROWS)
    assert 0 == worker.terminate()[0]
    assert_undisturbed(deployment, deployment.expected(shipped_model), found)
