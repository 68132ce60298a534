"""Looking verdicts up: memory and PostgreSQL give the same answers, page for page."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from streamapp.api.postgres_store import PostgresVerdicts
from streamapp.api.recent import RecentVerdicts
from streamapp.api.timeline import Timeline
from streamapp.api.verdict_store import (
    CursorError,
    Place,
    StoreAway,
    VerdictStore,
    Wanted,
    place_of,
)
from streamapp.domain.verdict import Severity, Verdict
from streamapp.sinks.postgres.adapter import PostgresSink
from streamapp.sinks.postgres.settings import PostgresSettings
from tests.api.verdicts import entry
from tests.servers.server import Server
from tests.sinks.verdicts import stored, verdict

T = TypeVar("T")

VERDICTS = [
    *(verdict(n, user_id=f"user-{n % 3}") for n in range(20)),
    *(
        verdict(n, user_id="user-0", is_anomaly=False, severity=Severity.LOW, merchant_id="m-8")
        for n in range(20, 25)
    ),
    verdict(25, tx_id="tx-0-3", user_id="user-0", duplicate_of="transactions-0-3"),
    verdict(26, tx_id="shared", user_id="user-1", severity=Severity.CRITICAL),
    verdict(27, tx_id="shared", user_id="user-2", severity=Severity.CRITICAL),
    # The same event time as another: pages neither repeat nor leave out one of them.
    verdict(19, partition=1, user_id="user-1"),
]


class Subject:
    """A store that holds VERDICTS."""

    def __init__(self, open_store: Callable[[], Coroutine[Any, Any, VerdictStore]]) -> None:
        self._runner = asyncio.Runner()
        self.store = self._runner.run(open_store())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of work on the store."""
        return self._runner.run(work)

    def close(self) -> None:
        """Close what is open."""
        if isinstance(self.store, PostgresVerdicts):
            self.run(self.store.__aexit__())
        self._runner.close()


async def _memory() -> VerdictStore:
    recent = RecentVerdicts(1_000)
    for one in VERDICTS:
        recent.add(entry(one))
    return recent


@pytest.fixture(
    params=["memory", pytest.param("postgres", marks=pytest.mark.integration)],
)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Each store in turn."""
    if request.param == "memory":
        made = Subject(_memory)
    else:
        server: Server = request.getfixturevalue("postgres")
        settings = PostgresSettings(dsn=SecretStr(server.url), schema_name="api_reads")
        sink = PostgresSink(settings)
        sink.open()
        sink.write([stored(one) for one in VERDICTS])
        sink.close()

        async def opened() -> VerdictStore:
            return await PostgresVerdicts(settings).__aenter__()

        made = Subject(opened)
    yield made
    made.close()


def _newest_first(verdicts: list[Verdict]) -> list[str]:
    ordered = sorted(verdicts, key=lambda one: (one.timestamp, one.verdict_id), reverse=True)
    return [one.verdict_id for one in ordered]


def _ids(payloads: Any) -> list[str]:
    return [msgspec.json.decode(one)["verdict_id"] for one in payloads]


def test_first_verdict_of_a_transaction(subject: Subject) -> None:
    """The verdict, field by field; of a repeated tx_id the first one."""
    [found] = subject.run(subject.store.of_transaction("tx-0-4", None))
    assert VERDICTS[4] == msgspec.json.decode(found, type=Verdict)
    assert list(msgspec.to_builtins(VERDICTS[4])) == list(msgspec.json.decode(found))
    assert ["transactions-0-3"] == _ids(
        subject.run(subject.store.of_transaction("tx-0-3", "user-0"))
    )
    assert [] == subject.run(subject.store.of_transaction("nowhere", None))


def test_shared_tx_id(subject: Subject) -> None:
    """One for each user; narrowed by the user."""
    found = subject.run(subject.store.of_transaction("shared", None))
    assert {"transactions-0-26", "transactions-0-27"} == set(_ids(found))
    assert ["transactions-0-27"] == _ids(
        subject.run(subject.store.of_transaction("shared", "user-2"))
    )


@pytest.mark.parametrize("size", [1, 3, 100])
def test_pages_of_a_user(subject: Subject, size: int) -> None:
    """All of them once, newest first, whatever the page; the last page leads nowhere."""
    expected = _newest_first([one for one in VERDICTS if one.user_id == "user-1"])
    assert expected == _all(subject, lambda at: subject.store.of_user("user-1", size, at))


@pytest.mark.parametrize(
    ("wanted", "is_wanted"),
    [
        (Wanted(), lambda _: True),
        (Wanted(severity=Severity.CRITICAL), lambda v: v.severity is Severity.CRITICAL),
        (Wanted(user_id="user-2"), lambda v: v.user_id == "user-2"),
        (Wanted(merchant_id="m-8"), lambda v: v.merchant_id == "m-8"),
        (
            Wanted(since=VERDICTS[5].timestamp, until=VERDICTS[9].timestamp),
            lambda v: VERDICTS[5].timestamp <= v.timestamp < VERDICTS[9].timestamp,
        ),
        (
            Wanted(user_id="user-1", severity=Severity.HIGH),
            lambda v: v.user_id == "user-1" and v.severity is Severity.HIGH,
        ),
    ],
)
def test_anomalies(subject: Subject, wanted: Wanted, is_wanted: Callable[[Verdict], bool]) -> None:
    """What is wanted and nothing else, in pages."""
    expected = _newest_first([one for one in VERDICTS if one.is_anomaly and is_wanted(one)])
    assert expected == _all(subject, lambda at: subject.store.anomalies(wanted, 4, at))


def _all(subject: Subject, page: Callable[[Place | None], Coroutine[Any, Any, Any]]) -> list[str]:
    found, place = [], None
    for _ in VERDICTS:
        one = subject.run(page(place))
        found += _ids(one.payloads)
        if one.next_cursor is None:
            return found
        place = place_of(one.next_cursor)
    raise AssertionError("pages have no end")


@pytest.mark.parametrize("cursor", ["", "x", "W10", "WyJhIl0", "é", "W1sxXSxbMl1d"])
def test_other_cursors_are_refused(cursor: str) -> None:
    """What no page gave is no place."""
    with pytest.raises(CursorError, match="not one that an answer gave"):
        place_of(cursor)


@pytest.mark.integration
def test_a_cursor_of_nonsense_is_no_fault_of_ours(postgres: Server) -> None:
    """A well-formed cursor with a time that is none: the store says so, nothing breaks."""
    settings = PostgresSettings(dsn=SecretStr(postgres.url), schema_name="api_nonsense")
    PostgresSink(settings).migrate()

    async def ask() -> None:
        async with PostgresVerdicts(settings) as store:
            await store.of_user("u", 1, ("yesterday-ish", "x"))

    with pytest.raises(StoreAway, match="does not take a value"):
        asyncio.run(ask())


def test_memory_is_bounded() -> None:
    """The oldest go first, and nothing of them is left in any index."""
    recent = RecentVerdicts(10)
    for number in range(1_000):
        assert recent.add(entry(verdict(number)))
        assert not recent.add(entry(verdict(number)))
    assert 10 == len(recent)
    assert recent.first("user-0", "tx-0-0") is None
    assert recent.first("user-99", "tx-0-999")
    sizes = [len(i) for i in (recent._by_tx, recent._by_user, recent._anomalies)]
    assert [10, 10, 10] == sizes


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=40, unique=True))
def test_a_timeline_is_in_order(places: list[tuple[int, int]]) -> None:
    """Whatever order verdicts come and go in; `before` leaves out the place itself."""
    entries = [entry(verdict(offset, partition)) for partition, offset in places]
    timeline = Timeline()
    for one in entries:
        timeline.add(one)
    ordered = sorted(entries, key=lambda one: one.place)
    assert ordered == list(timeline)
    for at, one in enumerate(ordered):
        assert ordered[:at][::-1] == list(timeline.before(one.place))
    for one in entries[::2]:
        timeline.remove(one)
    assert [one for one in ordered if one in entries[1::2]] == list(timeline)
    assert len(timeline) == len(entries) // 2
