"""Servers that integration tests share. A server that can't be had fails the test, never skips it.

A test that stops or kills one of them brings it back before it ends.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import settings

from streamapp.broker import BrokerError, BrokerKind, LocalBroker
from tests.leaks.session import pytest_runtest_logreport, told_nobody
from tests.servers.kafka import GivenBroker, start_broker
from tests.servers.postgres import start_postgres
from tests.servers.redis import start_redis
from tests.servers.server import Server

__all__ = ["pytest_runtest_logreport", "told_nobody"]  # a hook and a fixture

S = TypeVar("S")

# No test fails for being slow: a kernel compiles when it is first called, a machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def _started(start: Callable[[], S]) -> S:
    try:
        return start()
    except (BrokerError, OSError, RuntimeError) as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[LocalBroker | GivenBroker]:
    """A real broker: Apache Kafka unless STREAMAPP_TEST_BROKER names another."""
    broker = _started(start_broker)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def noida_broker() -> Iterator[LocalBroker]:
    """noida-db: starts at once, for what needs any broker."""
    broker = _started(lambda: LocalBroker.start(BrokerKind.NOIDA))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real PostgreSQL; `url` is a DSN whose user may do anything."""
    server = _started(start_postgres)
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A real Redis at `url`."""
    server = _started(start_redis)
    yield server
    server.close()


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """Begins the topic names of one test, which shares its broker with others."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60].strip("-")
    return f"{name}-{uuid.uuid4().hex[:8]}."
