"""Stores with moods, in short; `make stress` takes longer over it."""

import pytest

from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, report
from tests.servers.server import Server
from tests.stress.sinks import slow_sinks

pytestmark = pytest.mark.integration


def test_stores_that_fail_hold_nobody_up_and_get_all(
    deployment: Deployment, shipped_model: ModelArtifact, postgres: Server, redis_server: Server
) -> None:
    """Slow, silent, away: the worker keeps up, and each verdict is stored once."""
    moods = ("slow", "silent", "away")
    report(str(slow_sinks(deployment, shipped_model, postgres, redis_server, moods, seconds=2)))
