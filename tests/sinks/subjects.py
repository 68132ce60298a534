"""Each sink with the means to look into its store from outside and to take it away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import duckdb
import psycopg
import redis
from pydantic import SecretStr

from streamapp.sinks.alerts.adapter import AlertSink
from streamapp.sinks.alerts.settings import AlertSettings, WebhookSettings
from streamapp.sinks.alerts.webhook import WebhookChannel
from streamapp.sinks.parquet.adapter import ParquetSink
from streamapp.sinks.parquet.settings import ParquetSettings
from streamapp.sinks.postgres.adapter import PostgresSink
from streamapp.sinks.postgres.settings import PostgresSettings
from streamapp.sinks.protocol import Sink
from streamapp.sinks.redis.adapter import RedisSink
from streamapp.sinks.redis.settings import RedisSettings
from tests.servers.server import Server
from tests.sinks.receiver import Receiver

KEY = "a webhook key of enough length"


class Subject(Protocol):
    """A sink under test."""

    def sink(self) -> Sink:
        """A new sink on the same store, as after a restart."""

    def rows(self) -> dict[str, tuple[str, str]]:
        """What the store holds: (user_id, tx_id) by verdict_id; repeats fail the test."""

    def take_away(self) -> None:
        """Make the store unreachable."""

    def bring_back(self) -> None:
        """Make it reachable again, with what it held."""


class PostgresSubject:
    """Table verdict in a schema of its own."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name

    def sink(self) -> PostgresSink:
        dsn = SecretStr(self._server.url)
        return PostgresSink(PostgresSettings(dsn=dsn, schema_name=self._name))

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._server.url, options=f"-csearch_path={self._name}") as connection:
            return connection.execute(text.encode()).fetchall()

    def rows(self) -> dict[str, tuple[str, str]]:
        return unique(self.query("SELECT verdict_id, user_id, tx_id FROM verdict"))

    def take_away(self) -> None:
        self._server.stop()

    def bring_back(self) -> None:
        self._server.restart()


class RedisSubject:
    """Keys below a prefix of their own."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self.prefix = f"{name}:user:"

    def sink(self) -> RedisSink:
        return RedisSink(RedisSettings(url=SecretStr(self._server.url), key_prefix=self.prefix))

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self._server.url)

    def rows(self) -> dict[str, tuple[str, str]]:
        rows = []
        with self.client() as client:
            for key in client.scan_iter(match=f"{self.prefix}*", count=1000):
                entry = client.hgetall(key)
                user_id = key.decode().removeprefix(self.prefix)
                rows.append((entry[b"verdict_id"].decode(), user_id, entry[b"tx_id"].decode()))
        return unique(rows)

    def take_away(self) -> None:
        self._server.stop()

    def bring_back(self) -> None:
        self._server.restart()


class ParquetSubject:
    """Files in a directory, read back by DuckDB. Its outage is a full disk."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self._settings = ParquetSettings(directory=directory, **settings)
        self._full = mock.patch(
            "streamapp.sinks.parquet.shelf.os.fsync", side_effect=OSError(28, "No space left")
        )

    def sink(self) -> ParquetSink:
        return ParquetSink(self._settings)

    def query(self, columns: str) -> list[tuple[Any, ...]]:
        if not list(self.directory.glob("**/*.parquet")):
            return []
        files = f"{self.directory}/**/*.parquet"
        with duckdb.connect() as database:
            return database.execute(f"SELECT {columns} FROM read_parquet('{files}')").fetchall()

    def rows(self) -> dict[str, tuple[str, str]]:
        return unique(self.query("verdict_id, user_id, tx_id"))

    def take_away(self) -> None:
        self._full.start()

    def bring_back(self) -> None:
        self._full.stop()


class WebhookSubject:
    """Alerts without cooldown to a receiver that keeps what it is sent."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def sink(self) -> AlertSink:
        webhook = WebhookSettings(
            url=SecretStr(self.receiver.url), secret=SecretStr(KEY), allow_private=True
        )
        settings = AlertSettings(channel="webhook", cooldown_s=0, webhook=webhook)
        return AlertSink(settings, WebhookChannel(webhook, lambda: 1_700_000_000.0))

    def rows(self) -> dict[str, tuple[str, str]]:
        """The receiver does its part of the contract: it acts once for each Idempotency-Key."""
        alerts = {request.key: request.body for request in self.receiver.accepted}
        return {
            str(alert["verdict_id"]): (str(alert["user_id"]), str(alert["tx_id"]))
            for alert in alerts.values()
        }

    def take_away(self) -> None:
        self.receiver.stop()

    def bring_back(self) -> None:
        self.receiver.start()


def unique(rows: list[tuple[Any, ...]]) -> dict[str, tuple[str, str]]:
    """Rows by their verdict_id, which no two may share."""
    by_id = {row[0]: (row[1], row[2]) for row in rows}
    assert len(rows) == len(by_id), "a verdict_id is stored twice"
    return by_id


SubjectMaker = Callable[[], Subject]
