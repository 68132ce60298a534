"""The sinks under test."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.server import Server
from tests.sinks.receiver import Receiver
from tests.sinks.subjects import (
    ParquetSubject,
    PostgresSubject,
    RedisSubject,
    Subject,
    WebhookSubject,
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook receiver on the loopback."""
    server = Receiver()
    yield server
    server.stop()


@pytest.fixture
def store_name() -> str:
    """Sets one test's rows apart from others on the same server."""
    return f"t_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def postgres_subject(postgres: Server, store_name: str) -> PostgresSubject:
    """The PostgreSQL sink on a real server."""
    return PostgresSubject(postgres, store_name)


@pytest.fixture
def redis_subject(redis_server: Server, store_name: str) -> RedisSubject:
    """The Redis sink on a real server."""
    return RedisSubject(redis_server, store_name)


@pytest.fixture
def parquet_subject(tmp_path: Path) -> ParquetSubject:
    """The Parquet sink in an empty directory."""
    return ParquetSubject(tmp_path / "verdicts")


@pytest.fixture
def webhook_subject(receiver: Receiver) -> WebhookSubject:
    """The alert sink before a webhook."""
    return WebhookSubject(receiver)


@pytest.fixture(
    params=[
        pytest.param("postgres_subject", marks=pytest.mark.integration, id="postgres"),
        pytest.param("redis_subject", marks=pytest.mark.integration, id="redis"),
        pytest.param("parquet_subject", id="parquet"),
        pytest.param("webhook_subject", id="webhook"),
    ]
)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each sink in turn."""
    found: Subject = request.getfixturevalue(request.param)
    return found
