"""Batches of verdicts into PostgreSQL: COPY to a temporary table, then one upsert.

Sketch: a verdict is about 1.5 KB, a batch of 2,000 is 3 MB and one commit. The first verdict stored
under an id stays: later ones are repeats.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg import conninfo, errors

from streamapp.sinks import metrics
from streamapp.sinks.immediate import Immediate
from streamapp.sinks.postgres.migrate import migrate, require_current
from streamapp.sinks.postgres.rows import COLUMNS, row_of, stored_text
from streamapp.sinks.postgres.settings import PostgresSettings
from streamapp.sinks.protocol import Fatal, Retryable, StoredVerdict

log = structlog.get_logger()

Answer = TypeVar("Answer")

_STAGING_DDL: Final = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS verdict_staging (LIKE verdict) ON COMMIT DELETE ROWS"
)
_LIST: Final = ", ".join(COLUMNS)
_COPY: Final = f"COPY verdict_staging ({_LIST}) FROM STDIN"
_UPSERT: Final = (
    f"INSERT INTO verdict ({_LIST}) SELECT {_LIST} FROM verdict_staging"  # noqa: S608 - constants
    " ON CONFLICT (verdict_id) DO NOTHING"
)

#: Of a batch: COPY and upsert, each within the server's own timeout.
_STATEMENTS: Final = 2

#: Trouble that passes: the server is away, restarting, full, out of slots, or a lock was lost.
_PASSING: Final = (
    errors.OperationalError,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.InterfaceError,
    errors.ReadOnlySqlTransaction,
)
#: Passing by class, but no wait mends them.
_LASTING: Final = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
)
#: The row itself cannot be stored.
_ROW_REFUSED: Final = (errors.DataError, errors.IntegrityError, errors.ProgramLimitExceeded)


class PostgresSink(Immediate):
    """Stores every verdict as one row of table `verdict`, keyed by `verdict_id`."""

    name = "postgres"

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._connection: psycopg.Connection[Any] | None = None

    def open(self) -> None:
        """Connect, bring the schema up to date (or check that it is), prepare for writing."""
        self._guarded(self._connected)

    def write(self, verdicts: Sequence[StoredVerdict]) -> int:
        """Upsert in one transaction. A row PostgreSQL refuses is counted and left out."""
        rows = [row_of(stored) for stored in verdicts]
        try:
            return self._guarded(partial(self._upsert, rows))
        except _ROW_REFUSED:
            return self._write_singly(verdicts)

    def erase(self, user_id: str) -> None:
        """Delete the user's rows."""
        self._guarded(partial(self._delete, stored_text(user_id)))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def migrate(self) -> list[str]:
        """Apply outstanding migrations; return their names."""
        return self._guarded(self._migrate)

    def _migrate(self) -> list[str]:
        with self._dial() as connection:
            return migrate(connection, self._settings.schema_name)

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            connection = self._dial()
            try:
                with self._bounded(connection):
                    self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _dial(self) -> psycopg.Connection[Any]:
        settings = self._settings
        return psycopg.connect(
            _checked_dsn(settings.dsn.get_secret_value()),
            autocommit=True,
            connect_timeout=settings.connect_timeout_s,
            application_name="streamapp-sink",
            # A dead peer is noticed within half a minute instead of after hours.
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=(settings.statement_timeout_s + 5) * 1000,
            options=(
                f"-c search_path={settings.schema_name} -c timezone=UTC"
                f" -c statement_timeout={settings.statement_timeout_s}s"
            ),
        )

    @contextmanager
    def _bounded(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """Break the connection where work on it takes longer than the server would let it.

        A server that hangs still takes what it is sent; libpq would wait for its answer for ever.
        """
        seconds = _STATEMENTS * self._settings.statement_timeout_s
        timer = threading.Timer(seconds, _break, [connection])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        if self._settings.migrate_on_start:
            for name in migrate(connection, self._settings.schema_name):
                log.info("migration_applied", name=name)
        require_current(connection)
        connection.execute(_STAGING_DDL)

    def _upsert(self, rows: Sequence[tuple[Any, ...]]) -> int:
        connection = self._connected()
        with self._bounded(connection), connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(_COPY) as copy:
                for row in rows:
                    copy.write_row(row)
            return cursor.execute(_UPSERT).rowcount

    def _delete(self, user_id: str) -> None:
        connection = self._connected()
        with self._bounded(connection):
            connection.execute("DELETE FROM verdict WHERE user_id = %s", [user_id])

    def _write_singly(self, verdicts: Sequence[StoredVerdict]) -> int:
        """One row, one transaction: slow, and used only for a batch that holds a bad row."""
        new = 0
        for stored in verdicts:
            try:
                new += self._guarded(partial(self._upsert, [row_of(stored)]))
            except _ROW_REFUSED as error:
                metrics.REFUSED.labels(self.name).inc()
                log.warning(
                    "verdict_refused",
                    sqlstate=error.sqlstate,
                    partition=stored.partition,
                    offset=stored.offset,
                )
        return new

    def _guarded(self, work: Callable[[], Answer]) -> Answer:
        """Run `work`; divide what fails into Retryable and Fatal, and drop a broken connection."""
        try:
            return work()
        except _ROW_REFUSED:
            raise
        except _LASTING as error:
            raise Fatal(f"PostgreSQL refused the connection: {_first_line(error)}") from error
        except _PASSING as error:
            self._drop()
            raise Retryable(f"PostgreSQL is away: {_first_line(error)}") from error
        except psycopg.Error as error:
            self._drop()
            raise Fatal(f"PostgreSQL: {_first_line(error)}") from error

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _break(connection: psycopg.Connection[Any]) -> None:
    """End the conversation under the thread that waits for its answer."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def _checked_dsn(dsn: str) -> str:
    try:
        conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # libpq's own message repeats part of the address, which may be the password.
        raise Fatal("the PostgreSQL address (dsn) is not a libpq connection string") from None
    return dsn


def _first_line(error: psycopg.Error) -> str:
    """What the server said, without the DETAIL lines, which may quote values."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
