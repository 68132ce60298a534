"""The servers that other integration tests rely on can be taken away and brought back."""

from collections.abc import Callable

import psycopg
import pytest
import redis

from streamapp.broker import LocalBroker
from tests.servers import postgres as postgres_servers
from tests.servers import redis as redis_servers
from tests.servers.kafka import VARIABLE, start_broker
from tests.servers.server import Server

Outage = Callable[[Server], None]
OUTAGES = pytest.mark.parametrize(
    "outage", [lambda server: server.stop(), lambda server: server.kill()], ids=["stop", "kill"]
)


@pytest.mark.integration
@OUTAGES
def test_postgres_keeps_its_rows_over_an_outage(postgres: Server, outage: Outage) -> None:
    """While it is away it does not answer; afterwards a committed row is there, same DSN."""
    with psycopg.connect(postgres.url) as connection:
        connection.execute("create table if not exists outage (value int)")
        connection.execute("truncate outage")
        connection.execute("insert into outage values (7)")
    outage(postgres)
    assert not postgres_servers.answers(postgres.url)
    postgres.restart()
    with psycopg.connect(postgres.url) as connection:
        assert [(7,)] == connection.execute("select value from outage").fetchall()


@pytest.mark.integration
@OUTAGES
def test_redis_keeps_its_keys_over_an_outage(redis_server: Server, outage: Outage) -> None:
    """While it is away it does not answer; afterwards a written key is there, same URL."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("outage", "7")
    outage(redis_server)
    assert not redis_servers.answers(redis_server.url)
    redis_server.restart()
    with redis.Redis.from_url(redis_server.url) as client:
        assert b"7" == client.get("outage")


def test_unknown_broker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped kind fails instead of quietly testing another one."""
    monkeypatch.setenv(VARIABLE, "kafak")
    with pytest.raises(RuntimeError, match="kafak: say noida, kafka, redpanda or host:port"):
        start_broker()


def test_given_broker_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody answers fails with the variable to mend."""
    monkeypatch.setenv(VARIABLE, "127.0.0.1:1")
    monkeypatch.setattr("tests.servers.kafka.ANSWER_TIMEOUT_S", 0.5)
    with pytest.raises(RuntimeError, match=f"no broker answers at 127.0.0.1:1: .*{VARIABLE}"):
        start_broker()


@pytest.mark.integration
def test_given_broker_is_used_and_left_alone(
    noida_broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """host:port is taken as it is; stop does nothing, kill is refused."""
    address = noida_broker.bootstrap_servers
    monkeypatch.setenv(VARIABLE, address)
    given = start_broker()
    given.stop()
    assert (address, True) == (given.bootstrap_servers, noida_broker.answers())
    with pytest.raises(RuntimeError, match=f"unset {VARIABLE}"):
        given.kill()


def test_topic_prefix_is_a_legal_beginning(topic_prefix: str) -> None:
    """It is made of what topic names may hold and tells whose topic it is."""
    from streamapp.kafka.settings import TopicSettings

    assert topic_prefix.startswith("test-topic-prefix-is-a-legal-beginning-")
    assert topic_prefix == TopicSettings(prefix=topic_prefix).prefix
