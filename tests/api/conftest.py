"""The API under test."""

from pathlib import Path

import pytest

from tests.api.parts import Api
from tests.engine.conftest import deployment

__all__ = ["deployment"]  # a fixture


@pytest.fixture
def api(tmp_path: Path) -> Api:
    """The API with no broker behind it."""
    return Api(tmp_path)
