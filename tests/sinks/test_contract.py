"""One contract for all sinks: what the runner may rely on, whatever the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from streamapp.domain.verdict import Verdict
from streamapp.sinks.protocol import Retryable, Sink
from tests.sinks.subjects import Subject
from tests.sinks.verdicts import run_of, stored, verdict


@contextmanager
def opened(subject: Subject) -> Iterator[Sink]:
    """A sink from open to close, owner of partitions 0 and 1."""
    sink = subject.sink()
    sink.open()
    sink.assign({0: -1, 1: -1})
    yield sink
    sink.close()


def per_user(count: int, first: int = 0) -> list[Verdict]:
    """Verdicts of different users: every store keeps each of them."""
    return [verdict(n, user_id=f"user-{n}") for n in range(first, first + count)]


def test_what_is_written_can_be_read_after_close(subject: Subject) -> None:
    """Close makes everything durable."""
    with opened(subject) as sink:
        assert sink.write([stored(v) for v in per_user(3)]) == 3
    expected = {f"transactions-0-{n}": (f"user-{n}", f"tx-0-{n}") for n in range(3)}
    assert expected == subject.rows()


def test_same_batch_twice_is_stored_once(subject: Subject) -> None:
    """Writing a batch again, as after a failed commit, adds nothing and says so."""
    batch = [stored(v) for v in per_user(5)]
    with opened(subject) as sink:
        assert sink.write(batch) == 5
        assert sink.write(batch) == 0
    assert len(subject.rows()) == 5


def test_same_verdict_at_a_later_offset_is_stored_once(subject: Subject) -> None:
    """The worker may publish a verdict again: the id counts, not the place in the topic."""
    first = per_user(4)
    with opened(subject) as sink:
        sink.write([stored(v) for v in first])
        again = [stored(first[2], offset=4), stored(first[3], offset=5)]
        assert sink.write([*again, stored(verdict(4, user_id="new"), offset=6)]) == 1
    assert len(subject.rows()) == 5


def test_same_verdict_twice_in_one_batch_is_stored_once(subject: Subject) -> None:
    """Repeats inside a batch count once too."""
    one = verdict(7)
    with opened(subject) as sink:
        assert sink.write([stored(one, offset=7), stored(one, offset=8)]) == 1
    assert len(subject.rows()) == 1


def test_text_from_outside_comes_back_as_it_was(subject: Subject) -> None:
    """Any Unicode text is kept, quotes and control characters included."""
    strange = 'Ünïcode 支付 🦀 "quoted" \\back\ttab\nline \x01 \u202e'
    with opened(subject) as sink:
        sink.write([stored(verdict(0, user_id=strange, tx_id=strange))])
    assert {"transactions-0-0": (strange, strange)} == subject.rows()


def test_nul_character_loses_no_verdict(subject: Subject) -> None:
    """A verdict with U+0000, which some stores cannot hold in text, is stored with the others."""
    batch = [verdict(0), verdict(1, user_id="a\0b", tx_id="t\0"), verdict(2)]
    with opened(subject) as sink:
        sink.write([stored(v) for v in batch])
    assert {"transactions-0-0", "transactions-0-1", "transactions-0-2"} == set(subject.rows())


def test_partitions_are_kept_apart(subject: Subject) -> None:
    """The same offsets in two partitions are different verdicts."""
    with opened(subject) as sink:
        sink.write([stored(verdict(n, p, user_id=f"u{p}{n}")) for n in range(3) for p in (0, 1)])
    assert len(subject.rows()) == 6


def test_largest_batch_is_taken(subject: Subject) -> None:
    """A batch as large as the sink says it takes is stored whole."""
    with opened(subject) as sink:
        size = sink.batch_records_max
        assert sink.write([stored(v) for v in per_user(size)]) == size
    assert len(subject.rows()) == size


def test_new_process_knows_what_is_stored(subject: Subject) -> None:
    """After a restart, verdicts that come again because their commit was lost add no row."""
    with opened(subject) as sink:
        sink.write([stored(v) for v in per_user(6)])
    with opened(subject) as sink:
        sink.write([stored(v) for v in per_user(6, first=3)])
    assert len(subject.rows()) == 9


def test_held_verdicts_are_named(subject: Subject) -> None:
    """Everything below `held_from` is durable; after a flush nothing is held."""
    with opened(subject) as sink:
        sink.write([stored(v) for v in per_user(5)])
        held = sink.held_from(0)
        durable = 5 if held is None else held
        assert {f"transactions-0-{n}" for n in range(durable)} <= set(subject.rows())
        sink.flush()
        assert sink.held_from(0) is None
        assert len(subject.rows()) == 5


def test_an_erased_user_is_not_found(subject: Subject) -> None:
    """Where a store can forget; nobody else's rows change, and who comes back is stored again."""
    with opened(subject) as sink:
        sink.write([stored(v) for v in per_user(5)])
        sink.erase("user-3")
        sink.erase("nobody")
        sink.flush()
        kept = {user for user, _ in subject.rows().values()}
        can_forget = sink.name in ("postgres", "redis")  # files and receivers keep what they have
        assert {f"user-{n}" for n in range(5) if n != 3 or not can_forget} == kept
        assert 1 == sink.write([stored(verdict(9, user_id="user-3"))])


def test_forgotten_partition_is_not_written_later(subject: Subject) -> None:
    """Rows held for a partition that was lost are left to its new owner."""
    with opened(subject) as sink:
        sink.write(run_of(4))
        before = set(subject.rows())
        sink.forget([0])
        sink.flush()
        assert before == set(subject.rows())


@dataclass
class Outage:
    """A store that is away until `end`."""

    subject: Subject
    is_over: bool = False

    def end(self) -> None:
        self.subject.bring_back()
        self.is_over = True


@contextmanager
def outage(subject: Subject) -> Iterator[Outage]:
    """The store is taken away, and back at the latest when the test ends."""
    subject.take_away()
    away = Outage(subject)
    try:
        yield away
    finally:
        if not away.is_over:
            away.end()


def store(sink: Sink, count: int, first: int) -> None:
    """Write and flush, as the runner does in the end."""
    sink.write([stored(v) for v in per_user(count, first)])
    sink.flush()


def test_outage_is_retryable_and_then_mended(subject: Subject) -> None:
    """While the store is away writes raise Retryable; the same calls succeed when it is back."""
    with opened(subject) as sink:
        store(sink, 3, first=0)
        with outage(subject) as away:
            for _ in range(2):
                with pytest.raises(Retryable):
                    store(sink, 3, first=3)
            away.end()
            eventually_stored(sink, 3, first=3)
    assert len(subject.rows()) == 6


def eventually_stored(sink: Sink, count: int, first: int) -> None:
    """Repeat on Retryable; a store just back may break one old connection."""
    for _ in range(5):
        try:
            return store(sink, count, first)
        except Retryable:
            continue
    raise AssertionError("the sink did not recover")
