"""A system of its own for each stress test, and the model a worker ships with."""

from tests.engine.conftest import deployment, shipped_model

__all__ = ["deployment", "shipped_model"]  # fixtures
