"""The wall clock of a worker is set while it scores."""

import pytest

from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, report
from tests.stress.clock import JUMPS, clock_jumps

pytestmark = pytest.mark.integration


def test_a_clock_that_jumps_changes_no_byte(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """Two hours forward, two hours back: the same verdicts, by the same process."""
    report(str(clock_jumps(deployment, shipped_model, JUMPS[:2])))
