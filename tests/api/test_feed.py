"""What the API makes of the records of its topics."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message

from streamapp.api.feed import Arrived, VerdictFeed
from streamapp.api.figures import Seen
from streamapp.api.line import Forgotten
from streamapp.api.waiting import Refused
from streamapp.domain.erasure import SCHEMA
from streamapp.domain.verdict import Severity
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from tests.api.verdicts import entry
from tests.sinks.verdicts import verdict

NOW_MS = 1_800_000_000_000.0
VERDICT = verdict(1, user_id="u1", severity=Severity.CRITICAL, mode="cold_start")


@pytest.fixture
def feed() -> Iterator[VerdictFeed]:
    """A reader that has not begun."""
    loop = asyncio.new_event_loop()
    yield VerdictFeed(KafkaSettings(), TopicSettings(), 0, lambda _: None, loop)
    loop.close()


def _arrived(feed: VerdictFeed, value: bytes | None, *headers: Any, topic: str = "") -> Arrived:
    found = Arrived()
    message = Message(
        topic=topic or "verdicts", partition=0, key=b"u1", value=value, headers=list(headers)
    )
    feed._sort_in(message, found, NOW_MS)
    return found


@pytest.mark.parametrize(
    ("sent_at", "latency_ms"),
    [
        (b"1799999999988000", 12.0),
        (b"1800000000001000", 0.0),
        (b"soon", None),
        (b"9" * 20, None),
        (b"", None),
        (None, None),
    ],
)
def test_a_verdict(feed: VerdictFeed, sent_at: bytes | None, latency_ms: float | None) -> None:
    """Kept as its bytes, and counted with its latency where it is known when it was sent."""
    found = _arrived(feed, entry(VERDICT).payload, ("severity", b"LOW"), ("sent_at", sent_at))
    assert [entry(VERDICT).payload] == [one.payload for one in found.entries]  # type: ignore[union-attr]
    assert [Seen(3, 71.5, True, latency_ms)] == found.seen
    assert [None] == [one.latency_ms for one in _arrived(feed, entry(VERDICT).payload).seen]


def test_history_is_not_counted(feed: VerdictFeed) -> None:
    """What is read back from before the start is kept, and is nothing of now."""
    feed._behind = {("verdicts", 0)}
    found = _arrived(feed, entry(VERDICT).payload, ("sent_at", b"1799999999988000"))
    assert (1, []) == (len(found.entries), found.seen)


@pytest.mark.parametrize("value", [b"{}", b"", b"\xff", None])
def test_foreign_records(feed: VerdictFeed, value: bytes | None) -> None:
    """What is no verdict is passed over."""
    assert Arrived() == _arrived(feed, value)


def test_an_erasure(feed: VerdictFeed) -> None:
    """A tombstone of ours names the user."""
    assert [Forgotten("u1")] == _arrived(feed, None, SCHEMA).entries


def test_a_dead_letter(feed: VerdictFeed) -> None:
    """Its words go to who waits for the transaction; one that nobody sent is only counted."""
    payment = {"tx_id": "t1", "user_id": "u1", "amount": 5, "timestamp": "2019-01-01T00:00:00Z"}
    words = [("dlq.reason", b"time_ahead"), ("dlq.field", b"timestamp"), ("dlq.detail", b"x")]
    found = _arrived(feed, msgspec.json.encode(payment), *words, topic="transactions.dlq")
    refused = Refused("time_ahead", "timestamp", "x")
    assert (1, [(("u1", "t1"), refused)]) == (found.dead_letters, found.refused)
    assert (1, []) == (
        (found := _arrived(feed, b"x", topic="transactions.dlq")).dead_letters,
        found.refused,
    )
