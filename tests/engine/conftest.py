"""The small model and recorded traffic of the scoring tests, for the engine around them."""

import pytest

from tests.scoring.conftest import Traffic, model, traffic
from tests.scoring.mixed import mixed

__all__ = ["model", "traffic"]  # fixtures


@pytest.fixture(scope="session")
def messages(traffic: Traffic) -> Traffic:
    """Good, bad, repeated, late and far too early messages of one partition."""
    return mixed(traffic, 300)
