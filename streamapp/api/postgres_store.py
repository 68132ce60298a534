"""Verdicts from the table that the PostgreSQL sink fills, read only.

jsonb keeps no order of fields and no form of numbers: a verdict read here is equal to the published
one, field by field, and written in the same order, but not byte for byte.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString, Self

import msgspec
import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from streamapp.api.verdict_store import SHARED_MAX, Page, Place, StoreAway, Wanted, cursor_of
from streamapp.domain.verdict import Verdict, decode_verdict
from streamapp.sinks.postgres.settings import PostgresSettings

_CONNECTIONS_MAX: Final = 8
#: Requests that wait for one of them.
_WAITING_MAX: Final = 200
_WAIT_S: Final = 5.0
_STATEMENT_TIMEOUT_S: Final = 5

_SELECT: Final = "SELECT verdict::text, verdict_exact FROM verdict"
_ORDER: Final = " ORDER BY event_time DESC, verdict_id DESC LIMIT %(limit)s"
#: Per user the verdict that is no duplicate, else the earliest in the source.
_OF_TRANSACTION: Final = (
    "SELECT DISTINCT ON (user_id) verdict::text, verdict_exact FROM verdict WHERE tx_id = %(tx_id)s"
)
_FIRST: Final = (
    " ORDER BY user_id, (duplicate_of IS NOT NULL), source_partition, source_offset LIMIT %(limit)s"
)

#: What narrows anomalies, by the name of its parameter.
_NARROW: Final[Mapping[str, LiteralString]] = {
    "severity": " AND severity = %(severity)s",
    "user_id": " AND user_id = %(user_id)s",
    "merchant_id": " AND merchant_id = %(merchant_id)s",
    "since": " AND event_time >= %(since)s",
    "until": " AND event_time < %(until)s",
}
_AFTER: Final = " AND (event_time, verdict_id) < (%(after_time)s, %(after_id)s)"

_AWAY: Final = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, TooManyRequests)


class PostgresVerdicts:
    """The table of one sink, by a few connections that are kept."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._pool = AsyncConnectionPool(
            settings.dsn.get_secret_value(),
            min_size=1,
            max_size=_CONNECTIONS_MAX,
            max_waiting=_WAITING_MAX,
            timeout=_WAIT_S,
            open=False,
            kwargs={
                "autocommit": True,
                "application_name": "streamapp-api",
                "connect_timeout": settings.connect_timeout_s,
                "options": (
                    f"-c search_path={settings.schema_name} -c timezone=UTC"
                    f" -c default_transaction_read_only=on"
                    f" -c statement_timeout={_STATEMENT_TIMEOUT_S}s"
                ),
            },
        )

    async def __aenter__(self) -> Self:
        """Open without waiting for the server: it may come later."""
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._pool.close()

    async def of_transaction(self, tx_id: str, user_id: str | None) -> list[bytes]:
        """The first verdict on this tx_id of each user who has one."""
        narrow = _NARROW["user_id"] if user_id is not None else ""
        given = {"tx_id": tx_id, "user_id": user_id, "limit": SHARED_MAX}
        return [
            payload for payload, _ in await self._rows(_OF_TRANSACTION + narrow + _FIRST, given)
        ]

    async def of_user(self, user_id: str, limit: int, after: Place | None) -> Page:
        """Verdicts on a user's transactions, newest event time first."""
        return await self._page(" WHERE user_id = %(user_id)s", {"user_id": user_id}, limit, after)

    async def anomalies(self, wanted: Wanted, limit: int, after: Place | None) -> Page:
        """Anomalies that are wanted, newest event time first."""
        given = {name: getattr(wanted, name) for name in _NARROW}
        where: LiteralString = " WHERE is_anomaly"
        for name, narrow in _NARROW.items():
            if given[name] is not None:
                where += narrow
        return await self._page(where, given, limit, after)

    async def _page(
        self, where: LiteralString, given: dict[str, Any], limit: int, after: Place | None
    ) -> Page:
        if after is not None:
            where += _AFTER
            given |= {"after_time": after[0], "after_id": after[1]}
        rows = await self._rows(_SELECT + where + _ORDER, {**given, "limit": limit + 1})
        shown = rows[:limit]
        more = cursor_of(shown[-1][1]) if len(rows) > limit else None
        return Page([payload for payload, _ in shown], more)

    async def _rows(
        self, query: LiteralString, given: Mapping[str, Any]
    ) -> Sequence[tuple[bytes, Place]]:
        async with self._connection() as connection:
            found = await connection.execute(query, given)
            return [_published(text, exact) for text, exact in await found.fetchall()]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except psycopg.DataError:
            raise StoreAway("PostgreSQL does not take a value of the request") from None
        except _AWAY as error:
            raise StoreAway("PostgreSQL does not answer") from error


def _published(text: str, exact: bytes | None) -> tuple[bytes, Place]:
    verdict: Verdict = decode_verdict(exact or text.encode())
    payload = bytes(exact) if exact else msgspec.json.encode(verdict)
    return payload, (verdict.timestamp, verdict.verdict_id)
