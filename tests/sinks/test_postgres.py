"""What only PostgreSQL asks of its sink: a schema, U+0000, rows it refuses."""

import psycopg
import pytest
from pydantic import SecretStr

from streamapp.sinks.postgres.adapter import PostgresSink
from streamapp.sinks.postgres.migrate import migrate, shipped_migrations
from streamapp.sinks.postgres.settings import PostgresSettings
from streamapp.sinks.protocol import Fatal, Retryable
from tests.servers.server import Server
from tests.sinks.subjects import PostgresSubject
from tests.sinks.verdicts import run_of, stored, verdict

pytestmark = pytest.mark.integration


def test_columns_say_what_the_verdict_says(postgres_subject: PostgresSubject) -> None:
    """Plain columns and jsonb hold the same verdict."""
    sink = postgres_subject.sink()
    sink.write([stored(verdict(3))])
    sink.close()
    rows = postgres_subject.query(
        "SELECT extract(epoch FROM event_time)::int, amount, merchant_id, severity, mode,"
        " source_topic, source_partition, source_offset, verdict->'versions'->>'models',"
        " verdict_exact FROM verdict"
    )
    expected = (1_546_300_980, 1234.5, "m-7", "HIGH", "model", "transactions", 0, 3, "m1", None)
    assert [expected] == rows


def test_nul_is_replaced_and_the_published_bytes_are_kept(
    postgres_subject: PostgresSubject,
) -> None:
    """Text columns hold U+FFFD, verdict_exact the bytes as they were published."""
    published = stored(verdict(0, user_id="a\0b", tx_id="\\u0000 is not NUL"))
    sink = postgres_subject.sink()
    sink.write([published])
    sink.close()
    rows = postgres_subject.query(
        "SELECT user_id, tx_id, verdict->>'user_id', verdict_exact FROM verdict"
    )
    assert [("a\ufffdb", "\\u0000 is not NUL", "a\ufffdb", published.payload)] == rows


def test_refused_row_leaves_its_neighbours_stored(postgres_subject: PostgresSubject) -> None:
    """A row the database rejects costs itself only."""
    odd = stored(verdict(1, user_id="u" * 40_000 + "".join(map(chr, range(0x4E00, 0x9FFF)))))
    sink = postgres_subject.sink()
    assert 2 == sink.write([stored(verdict(0)), odd, stored(verdict(2))])
    sink.close()
    assert {"transactions-0-0", "transactions-0-2"} == set(postgres_subject.rows())


def test_first_verdict_of_an_id_stays(postgres_subject: PostgresSubject) -> None:
    """What was published first is what people were told; a repeat does not rewrite it."""
    sink = postgres_subject.sink()
    sink.write([stored(verdict(0, risk_score=71.5))])
    sink.write([stored(verdict(0, risk_score=12.0), offset=1)])
    sink.close()
    assert [(71.5,)] == postgres_subject.query("SELECT risk_score FROM verdict")


def test_migrations_are_applied_once(postgres_subject: PostgresSubject) -> None:
    """The second run has nothing to do."""
    sink = postgres_subject.sink()
    assert [migration.name for migration in shipped_migrations()] == sink.migrate()
    assert [] == sink.migrate()


def test_changed_migration_is_refused(postgres_subject: PostgresSubject) -> None:
    """A migration edited after it was applied means the schema is not what the code thinks."""
    postgres_subject.sink().migrate()
    postgres_subject.query("UPDATE schema_migrations SET checksum = 'x' RETURNING number")
    with pytest.raises(Fatal, match="was changed after it had been applied"):
        postgres_subject.sink().open()


def test_newer_database_is_refused(postgres_subject: PostgresSubject) -> None:
    """An older program does not write into a newer schema."""
    postgres_subject.sink().migrate()
    postgres_subject.query(
        "INSERT INTO schema_migrations (number, name, checksum) VALUES (99, 'x', 'x')"
        " RETURNING number"
    )
    with pytest.raises(Fatal, match="migration 99"):
        postgres_subject.sink().open()


def test_failed_migration_leaves_nothing(
    postgres: Server, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All outstanding migrations are applied, or none."""
    from streamapp.sinks.postgres.migrate import Migration

    broken = [*shipped_migrations(), Migration(2, "0002_x.sql", b"CREATE TABLE x (", "x")]
    monkeypatch.setattr("streamapp.sinks.postgres.migrate.shipped_migrations", lambda: broken)
    options = f"-csearch_path={store_name}"
    with psycopg.connect(postgres.url, autocommit=True, options=options) as connection:
        with pytest.raises(psycopg.errors.SyntaxError):
            migrate(connection, store_name)
        assert (None,) == connection.execute("SELECT to_regclass('verdict')").fetchone()


def test_missing_schema_names_the_command(postgres: Server, store_name: str) -> None:
    """Where the sink may not migrate, it says what to run."""
    settings = PostgresSettings(
        dsn=SecretStr(postgres.url), schema_name=store_name, migrate_on_start=False
    )
    with pytest.raises(Fatal, match="run `streamapp sink migrate`"):
        PostgresSink(settings).open()


def test_server_that_is_away_at_the_start_is_retryable() -> None:
    """A connection refused passes."""
    with pytest.raises(Retryable, match="PostgreSQL is away"):
        PostgresSink(PostgresSettings(dsn=SecretStr("postgresql://127.0.0.1:1/x"))).open()


def test_malformed_address_is_not_repeated_in_the_error() -> None:
    """The address may hold the password."""
    with pytest.raises(Fatal) as caught:
        PostgresSink(PostgresSettings(dsn=SecretStr("secret-password"))).open()
    assert "secret-password" not in str(caught.value)


def test_crash_of_the_server_loses_nothing_acknowledged(
    postgres: Server, postgres_subject: PostgresSubject
) -> None:
    """After kill -9 of the server the sink goes on with what it was told to write."""
    sink = postgres_subject.sink()
    sink.write(run_of(50))
    postgres.kill()
    try:
        with pytest.raises(Retryable):
            sink.write(run_of(50, first=50))
    finally:
        postgres.restart()
    assert 50 == sink.write(run_of(50, first=50))
    sink.close()
    assert 100 == len(postgres_subject.rows())
