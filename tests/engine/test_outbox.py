"""What an outbox sends when: merged, in order, cut where it is told, and never too much waiting."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from aiokafka.errors import KafkaError

from streamapp.engine import outbox as outbox_module
from streamapp.engine.outbox import (
    RECORD_BYTES_MAX,
    LogError,
    Outbox,
    confirm,
)
from streamapp.engine.producer import BATCH_BYTES, PLAIN_BATCH_BYTES
from streamapp.engine.record_batch import Message, Messages, RecordBatch
from tests.engine.running import run_async, until
from tests.engine.unpacking import unpacked


class Place(NamedTuple):
    """Where a batch went."""

    offset: int


class Producer:
    """Takes batches and confirms them when it is told to."""

    plain_batch_bytes = PLAIN_BATCH_BYTES

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[bytes | None]]] = []
        self.batches: list[RecordBatch] = []
        self.confirmations: list[asyncio.Future[Place]] = []

    async def send_batch(
        self, batch: RecordBatch, topic: str, *, partition: int
    ) -> asyncio.Future[Place]:
        """Take a batch."""
        assert 3 == partition
        await asyncio.sleep(0)
        self.batches.append(batch)
        self.sent.append((topic, [value for _, value, _ in unpacked(batch.blocks)]))
        self.confirmations.append(asyncio.get_running_loop().create_future())
        return self.confirmations[-1]

    def confirm(self, number: int = -1) -> None:
        """The broker has a batch."""
        self.confirmations[number].set_result(Place(number))


def new_outbox(producer: Producer, **options: Any) -> Outbox:
    """An outbox on it."""
    return Outbox(producer, 3, is_transactional=False, **options)  # type: ignore[arg-type]


def messages(*values: bytes) -> Messages:
    """Messages with these values."""
    found: list[Message] = [(b"key", value, ()) for value in values]
    return Messages.of(found)


def test_what_comes_while_a_batch_is_on_its_way_goes_with_the_next() -> None:
    """In its order, merged, as soon as the topic is free; other topics don't wait for it."""

    async def work() -> None:
        producer = Producer()
        box = new_outbox(producer)
        await box.put("a", messages(b"1"))
        await until(lambda: len(producer.sent) == 1)
        await box.put("a", messages(b"2"))
        await box.put("a", messages(b"3", b"4"))
        await box.put("b", messages(b"5"))
        await until(lambda: len(producer.sent) == 2)
        producer.confirm(0)
        await until(lambda: len(producer.sent) == 3)
        assert [("a", [b"1"]), ("b", [b"5"]), ("a", [b"2", b"3", b"4"])] == producer.sent

    run_async(work())


@pytest.mark.parametrize("steps", range(6))
def test_a_cut_parts_what_was_put_before_from_what_comes_after(steps: int) -> None:
    """Wherever the sender is at that moment: nothing of either is lost, moved or sent early."""

    async def work() -> None:
        begun: list[Sequence[str]] = []

        async def begin(topics: Sequence[str]) -> None:
            begun.append(topics)
            await asyncio.sleep(0)

        producer = Producer()
        box = new_outbox(producer, begin=begin)
        await box.put("a", messages(b"1"))
        for _ in range(steps):
            await asyncio.sleep(0)
        await box.put("a", messages(b"2"))
        box.hold()
        await box.put("a", messages(b"3"))
        await box.send_cut()
        waiting = box.take_unconfirmed()
        assert [b"1", b"2"] == [value for _, values in producer.sent for value in values]
        assert len(waiting) == len(producer.sent)
        for number in range(len(producer.sent)):
            producer.confirm(number)
        await confirm(waiting)
        box.go_on()
        await until(lambda: ("a", [b"3"]) == producer.sent[-1])
        assert begun

    run_async(work())


def test_scoring_waits_while_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on when the broker has taken it."""
    monkeypatch.setattr(outbox_module, "WAITING_BYTES_MAX", 1_000)

    async def work() -> None:
        producer = Producer()
        box = new_outbox(producer)
        await box.put("a", messages(b"1"))
        await until(lambda: len(producer.sent) == 1)
        await box.put("a", messages(bytes(2_000)))
        last = asyncio.ensure_future(box.put("a", messages(b"3")))
        await asyncio.sleep(0)
        assert not last.done()
        producer.confirm()
        await last
        producer.confirm()
        await until(lambda: len(producer.sent) == 3)
        await box.close()

    run_async(work())


def sent_batches(values: Sequence[bytes]) -> list[RecordBatch]:
    """The record batches in which these values leave at once, all of them and in their order."""
    producer = Producer()

    async def work() -> None:
        await new_outbox(producer).send("a", [messages(*values)])

    run_async(work())
    assert list(values) == [value for _, sent in producer.sent for value in sent]
    return producer.batches


def test_what_compresses_well_leaves_in_few_batches() -> None:
    """A topic takes one a round trip, and a broker's limit is on what it stores."""
    values = [b'{"transaction_id":"%d"%s}' % (i, b',"amount":1.0' * 100) for i in range(5_000)]
    batches = sent_batches(values)
    assert 2 == len(batches) < sum(map(len, values)) // BATCH_BYTES
    assert all(len(batch._build()) <= BATCH_BYTES for batch in batches)


def test_what_does_not_compress_keeps_to_the_brokers_limit() -> None:
    """It is cut where it is stored as it came."""
    noise = random.Random(7)
    batches = sent_batches([noise.randbytes(1_300) for _ in range(4_000)])
    assert all(len(batch._build()) <= BATCH_BYTES for batch in batches)


def test_a_record_that_no_topic_takes_is_refused() -> None:
    """Before it is sent: aiokafka would try again for as long as it waits for an answer."""
    with pytest.raises(LogError, match="a record batch for a is over 2097152 bytes"):
        sent_batches([random.Random(7).randbytes(RECORD_BYTES_MAX)])


def test_what_the_broker_refuses_is_told() -> None:
    """With the next output and with the next cut; what waited is not sent."""

    async def work() -> None:
        producer = Producer()
        box = new_outbox(producer)
        await box.put("a", messages(b"1"))
        await until(lambda: len(producer.sent) == 1)
        await box.put("a", messages(b"2"))
        producer.confirmations[0].set_exception(KafkaError("no"))
        with pytest.raises(LogError, match="output was not sent"):
            await until_raised(box)
        box.hold()
        with pytest.raises(LogError, match="output was not sent"):
            await box.send_cut()
        assert 1 == len(producer.sent)

    run_async(work())


async def until_raised(box: Outbox) -> None:
    """Put until it is refused."""
    for _ in range(100):
        await box.put("a", messages(b"3"))
        await asyncio.sleep(0)
