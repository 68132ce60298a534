"""Load that no plan foresaw, in short; `make stress` runs the long forms."""

import pytest

from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, report
from tests.stress.load import hot_key, overload

pytestmark = pytest.mark.integration


def test_a_hot_key_changes_no_verdict(deployment: Deployment, shipped_model: ModelArtifact) -> None:
    """Four fifths of the traffic are one user's; batches stay within their bound."""
    report(str(hot_key(deployment, shipped_model, rows=10_000)))


def test_memory_stays_under_overload(deployment: Deployment, shipped_model: ModelArtifact) -> None:
    """Five times more comes than can be done; it is done afterwards, by the same process."""
    report(str(overload(deployment, shipped_model, seconds=12)))
