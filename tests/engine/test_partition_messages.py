"""What a partition's messages carry of their transactions, and what of the refused ones is kept."""

import pytest

from streamapp.engine.dead_letter_limit import DeadLetterLimit, DeadLetterLimitError
from tests.engine.fake_log import FakeBroker
from tests.engine.owner import NewOwner
from tests.engine.records import record
from tests.engine.running import run_async
from tests.scoring.conftest import Traffic


def test_verdicts_carry_trace_and_sending_time(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic
) -> None:
    """Key as received; schema and severity in headers; nothing else of the sender's."""
    sent = [("traceparent", b"00-1"), ("tracestate", b"s"), ("sent_at", b"1"), ("own", b"x")]

    async def work() -> None:
        one = owner()
        await one.task.score([record(0, traffic.keys[0], traffic.values[0], sent)])
        await one.task.checkpoint()

    run_async(work())
    [(key, _, headers)] = broker.topics["verdicts"]
    assert traffic.keys[0] == key
    assert [("schema", b"verdict/1"), ("severity", b"LOW"), *sent[:3]] == headers


def test_a_carried_header_stays_small(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic
) -> None:
    """Else a sender's header could make a verdict that its topic never takes."""
    large = [("tracestate", b"x" * 1025), ("tracestate", b"s"), ("tracestate", b"s" * 9)]
    sent = [*large, ("sent_at", None), ("traceparent", b"p" * 1024)]

    async def work() -> None:
        one = owner()
        await one.task.score([record(0, traffic.keys[0], traffic.values[0], sent)])  # type: ignore[arg-type]
        await one.task.checkpoint()

    run_async(work())
    [(_, _, headers)] = broker.topics["verdicts"]
    assert [("tracestate", b"s"), ("traceparent", b"p" * 1024)] == headers[2:]


def test_dead_letters_keep_key_bytes_and_headers(owner: NewOwner, broker: FakeBroker) -> None:
    """The count of redrives goes on; marks of an earlier refusal are not kept beside the new."""
    sent = [("own", b"x"), ("dlq.redriven", b"2"), ("dlq.reason", b"empty"), ("traceparent", b"t")]

    async def work() -> None:
        one = owner()
        await one.task.score([record(0, None, b"\xff{", sent)])
        await one.task.checkpoint()

    run_async(work())
    [(key, value, headers)] = broker.topics["dlq"]
    assert (None, b"\xff{") == (key, value)
    assert [sent[0], sent[1], sent[3]] == headers[:3]
    assert ("dlq.reason", b"not_utf8") in headers
    assert 1 == [name for name, _ in headers].count("dlq.reason")


def test_a_flood_of_refusals_ends_in_an_error_after_its_letters(
    owner: NewOwner, broker: FakeBroker
) -> None:
    """What was refused up to there is kept, so that nothing is lost by stopping."""

    async def work() -> None:
        one = owner(limit=DeadLetterLimit(3, 1.0, 100))
        with pytest.raises(DeadLetterLimitError):
            await one.task.score([record(offset, b"u", b"{") for offset in range(5)])
        await one.task.close(1.0)

    run_async(work())
    assert 5 == len(broker.topics["dlq"])
    assert 5 == broker.committed
