"""Numbered SQL files applied once each, in order, by one process at a time."""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql

from streamapp.sinks.protocol import Fatal

#: Key of the advisory lock that lets one process migrate at a time: "strmapp" read as a number.
_LOCK_KEY = int.from_bytes(b"strmapp", "big")

_FILE_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")

_HISTORY_DDL = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True)
class Migration:
    """One SQL file; `checksum` is the SHA-256 of its bytes."""

    number: int
    name: str
    statements: bytes
    checksum: str


def shipped_migrations() -> list[Migration]:
    """The migrations of this version, by number, without gaps from 1."""
    folder = resources.files("streamapp.sinks.postgres") / "migrations"
    found = []
    for entry in folder.iterdir():
        match = _FILE_NAME.match(entry.name)
        if match:
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            found.append(Migration(int(match[1]), entry.name, content, digest))
    found.sort(key=lambda migration: migration.number)
    assert [m.number for m in found] == list(range(1, len(found) + 1)), "migrations have gaps"
    return found


def migrate(connection: psycopg.Connection[Any], schema_name: str) -> list[str]:
    """Apply what is outstanding, all of it or nothing; return the names of what was applied.

    Raises Fatal if an applied migration differs from the shipped one of the same number, or if the
    database is newer than this version.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        _use_schema(connection, schema_name)
        if not _has_history(connection):
            connection.execute(_HISTORY_DDL)
        outstanding = _outstanding(connection)
        for migration in outstanding:
            connection.execute(migration.statements)
            connection.execute(
                "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
    return [migration.name for migration in outstanding]


def require_current(connection: psycopg.Connection[Any]) -> None:
    """Raise Fatal unless every shipped migration has been applied unchanged."""
    missing = shipped_migrations()
    if _has_history(connection):
        missing = _outstanding(connection)
    if missing:
        raise Fatal(f"the database lacks migration {missing[0].name}; run `streamapp sink migrate`")


def _use_schema(connection: psycopg.Connection[Any], schema_name: str) -> None:
    row = connection.execute("SELECT to_regnamespace(%s)", (schema_name,)).fetchone()
    assert row is not None
    if row[0] is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema_name)))


def _has_history(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "SELECT 1 FROM pg_tables WHERE schemaname = current_schema()"
        " AND tablename = 'schema_migrations'"
    ).fetchone()
    return row is not None


def _outstanding(connection: psycopg.Connection[Any]) -> list[Migration]:
    applied = dict(connection.execute("SELECT number, checksum FROM schema_migrations").fetchall())
    shipped = {migration.number: migration for migration in shipped_migrations()}
    for number, checksum in sorted(applied.items()):
        if number not in shipped:
            raise Fatal(f"the database has migration {number}, this streamapp is older than that")
        if shipped[number].checksum != checksum:
            raise Fatal(f"migration {shipped[number].name} was changed after it had been applied")
    return [migration for number, migration in shipped.items() if number not in applied]
