"""What is done and missing somewhere is found from what stands in the topics, never guessed."""

import json
from typing import Any

from aiokafka.structs import ConsumerRecord

from streamapp.engine.attempt import Attempt
from streamapp.engine.settlement import Evidence, Settlement, Topics, settlement
from streamapp.engine.store import PARTITION_STATE_KEY, user_key
from streamapp.features.profile import empty_profiles, seal
from streamapp.scoring import partition_state

UNNAMED = Attempt()
#: Two owners of the partition, and where the topics ended when they began.
FIRST = Attempt({"verdicts": 10, "dlq": 0, "state": 10})
SECOND = Attempt({"verdicts": 20, "dlq": 0, "state": 20})
TOPICS = Topics("in", ("verdicts", "dlq"), "state", "group", "id-1")


def record(
    topic: str, value: Any, *, key: bytes = b"u", headers: Any = (), at: int = 0, time_ms: int = 0
) -> ConsumerRecord:
    """A record as aiokafka gives it."""
    return ConsumerRecord(topic, 0, at, time_ms, 0, key, value, None, -1, -1, tuple(headers))


def state(
    offset: int, source_id: str = "id-1", attempt: Attempt = UNNAMED, **options: Any
) -> ConsumerRecord:
    """The partition's state after this source offset."""
    image = partition_state.moved(b"\1" + bytes(91), offset)
    headers = [("source_id", source_id.encode()), *attempt.headers()]
    return record("state", image, key=PARTITION_STATE_KEY, headers=headers, **options)


def profile(user: str, offset: int, risk: int = 0, **options: Any) -> ConsumerRecord:
    """A profile that this event changed last, with the risk it was found to have."""
    block = empty_profiles(1)
    block["source_offset"], block["ring_risk"][0, 0] = offset, risk
    return record("state", seal(block[0]), key=user_key(user), **options)


def verdict(offset: int, source: str = "in", model: str = "", **options: Any) -> ConsumerRecord:
    """A verdict as far as it matters."""
    payload = {"source": {"topic": source, "partition": 0, "offset": offset}, "model": model}
    return record("verdicts", json.dumps(payload).encode(), **options)


def settled(
    committed: list[ConsumerRecord],
    tail: list[ConsumerRecord],
    group_offset: int | None = 5,
    applied: int = -1,
) -> Settlement | None:
    """What is to be done, given the last committed records and those behind them."""
    tails = {topic: [one for one in tail if one.topic == topic] for topic in TOPICS.written}
    last = {one.topic: one for one in committed}
    return settlement(TOPICS, Evidence(last, tails, group_offset, applied))


def found(settlement: Settlement | None) -> tuple[int, list[bytes | None], list[bytes]]:
    """Source offset, values of verdicts, keys of state that are to be written."""
    assert settlement is not None
    verdicts = [value for _, value, _ in settlement.outputs.get("verdicts", [])]
    return settlement.source_offset, verdicts, [key for key, _ in settlement.state]


def test_where_all_agree_nothing_is_to_be_done() -> None:
    """Also with what an aborted attempt has left behind."""
    tail = [verdict(5), profile("a", 5), state(5)]
    assert Settlement(4, 4) == settled([verdict(4), state(4)], tail)


def test_a_committed_verdict_brings_the_state_that_holds_it() -> None:
    """The first such state, and of each profile the newest that belongs to it."""
    first = [profile("a", 5, at=1), profile("a", 6, at=2), state(6, at=3)]
    tail = [*first, profile("b", 9, at=4), state(9, at=5)]
    offset, verdicts, keys = found(settled([verdict(6), state(4)], tail))
    assert (6, []) == (offset, verdicts)
    assert [user_key("a"), PARTITION_STATE_KEY] == keys


def test_a_committed_state_brings_the_verdicts_before_it() -> None:
    """Each once and in order, whichever attempt wrote them; none beyond it."""
    tail = [verdict(4), verdict(3), verdict(4), verdict(5)]
    offset, verdicts, _ = found(settled([verdict(2), state(4)], tail))
    assert (4, [verdict(3).value, verdict(4).value]) == (offset, verdicts)


def test_what_is_shown_without_a_state_that_holds_it_is_named() -> None:
    """The changelog has forgotten it: nothing can be written again."""
    assert Settlement(4, 6) == settled([verdict(4), state(4)], [], 7)


def test_a_group_that_was_told_less_proves_nothing() -> None:
    """It is told behind the commit, and whoever goes on tells it."""
    assert Settlement(4, 4) == settled([verdict(4), state(4)], [], None)


def test_a_verdict_of_an_earlier_source_topic_proves_nothing() -> None:
    """By its name, or by being older than the state."""
    for one in (verdict(9, "other", time_ms=8), verdict(9, time_ms=6)):
        assert Settlement(4, 4) == settled([one, state(4, time_ms=7)], [state(9)])


def test_a_state_that_recovery_refuses_is_left_to_it() -> None:
    """Damaged, cut short, or about another source topic."""
    whole = state(4)
    flipped = record("state", whole.value[:-1] + b"\7", key=PARTITION_STATE_KEY)
    short = record("state", b"\1", key=PARTITION_STATE_KEY)
    for one in (flipped, short, state(4, "id-0")):
        assert settled([verdict(9), one], [state(9)]) is None


def test_what_is_not_ours_is_passed_over() -> None:
    """Other programs may have written to these topics."""
    headers = [("dlq.offset", b"x"), ("dlq.topic", b"in")]
    strangers = [
        record("dlq", b"", headers=headers),
        record("dlq", b"", headers=headers[:1]),
        record("verdicts", b"?"),
        record("verdicts", None),
        record("state", b"\1", key=PARTITION_STATE_KEY),
        record("state", b"?", key=b"theirs"),
    ]
    assert Settlement(4, 4) == settled([verdict(4), state(4)], strangers)


def test_output_of_another_attempt_than_the_committed_state_is_left_aside() -> None:
    """It may be of another model; where that alone has anything, there is nothing."""
    a, b = (verdict(5, model=model, at=at) for model, at in (("a", 11), ("b", 20)))
    tail = [a, verdict(6, model="a", at=12), b]
    held = state(6, attempt=SECOND, at=30)
    assert (6, [b.value]) == found(settled([verdict(4, at=3), held], tail, 7))[:2]


def test_a_committed_verdict_brings_state_of_its_own_attempt() -> None:
    """Not of an earlier one that has aborted, though that goes as far, too."""
    aborted = [profile("a", 5, at=11), state(6, attempt=FIRST, at=12)]
    mine = [profile("b", 5, at=21), state(7, attempt=SECOND, at=22)]
    todo = settled([verdict(6, at=21), state(4, at=3)], [*aborted, *mine])
    assert (7, [], [user_key("b"), PARTITION_STATE_KEY]) == found(todo)
    assert todo is not None
    assert SECOND == todo.attempt


def test_the_groups_offset_alone_is_of_the_newest_attempt_that_went_so_far() -> None:
    """A later owner would have begun behind it."""
    states = [state(6, attempt=FIRST, at=12), state(6, attempt=SECOND, at=22)]
    a, b = (verdict(5, model=model, at=at) for model, at in (("a", 11), ("b", 20)))
    todo = settled([verdict(4, at=3), state(4, at=3)], [*states, a, b], 7)
    assert (6, [b.value]) == found(todo)[:2]


def test_what_a_store_alone_knows_of_gives_way_to_what_was_done_since() -> None:
    """Another owner could not see it, has done it again, and readers have got that."""
    tail = [state(8, attempt=FIRST, at=12), state(6, attempt=SECOND, at=22)]
    before = state(4, at=3)
    assert 8 == found(settled([verdict(4, at=3), before], tail, applied=12))[0]
    assert 6 == found(settled([verdict(6, at=21), before], tail, applied=12))[0]


def test_profiles_of_a_later_attempt_at_the_same_payments_are_left_aside() -> None:
    """It was aborted, and may have had another model than the one that a store holds."""
    first = [profile("a", 5, 1, at=11), state(6, attempt=FIRST, at=12)]
    second = [profile("a", 5, 2, at=21), state(6, attempt=SECOND, at=22)]
    todo = settled([verdict(4, at=3), state(4, at=3)], [*first, *second], applied=12)
    assert todo is not None
    assert [one.value for one in first] == [value for _, value in todo.state]


def test_a_first_transaction_that_only_its_verdict_shows_is_done() -> None:
    """No state is committed yet, and its attempt began with empty topics."""
    attempt = Attempt(dict.fromkeys(TOPICS.written, 0))
    todo = settled([verdict(3)], [profile("a", 2), state(3, attempt=attempt, at=1)], None)
    assert (3, [], [user_key("a"), PARTITION_STATE_KEY]) == found(todo)
