"""The disk of a worker's state is full, and freed."""

import pytest

from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, report
from tests.stress.disk import full_disk

pytestmark = pytest.mark.integration


def test_a_full_disk_ends_the_worker_and_loses_nothing(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """One line that says so, code 1; with room again the next worker goes on, nothing twice."""
    report(str(full_disk(deployment, shipped_model, times=1)))
