"""Queues between the stream of batches and the partitions."""

import asyncio
from collections.abc import Sequence

from aiokafka.structs import ConsumerRecord

from streamapp.engine.feeds import BATCHES_WAITING_MAX, Feeds
from streamapp.engine.record_columns import FetchedRecord
from tests.engine.records import record
from tests.engine.running import run_async, until

Call = tuple[int, list[int], int]


class Scoring:
    """Notes what it is given; partitions wait where told to, and fail where told to."""

    def __init__(self, *held: int) -> None:
        self.calls: list[Call] = []
        self.failures: list[tuple[int, str]] = []
        self.gates = {partition: asyncio.Event() for partition in held}
        self.refused = -1
        self.rests = 0

    async def score(self, partition: int, found: Sequence[FetchedRecord], generation: int) -> None:
        """Note, and wait at the partition's gate."""
        self.calls.append((partition, [one.offset for one in found], generation))
        if partition == self.refused:
            raise ValueError("refused")
        if partition in self.gates:
            await self.gates[partition].wait()

    def rested(self) -> None:
        """Note that nothing waits."""
        self.rests += 1

    def failed(self, partition: int, error: Exception) -> None:
        """Note a failure."""
        self.failures.append((partition, str(error)))


def batch(first: int, count: int) -> list[ConsumerRecord]:
    """Records with offsets from `first` on."""
    return [record(offset, b"u", b"{}") for offset in range(first, first + count)]


def test_a_partition_that_waits_holds_up_no_other() -> None:
    """Others are scored meanwhile; what came for it is scored later, in its order."""

    async def work() -> None:
        scoring = Scoring(0)
        feeds = Feeds(scoring.score, 4, scoring.failed)
        await feeds.put(0, batch(0, 3), 1)
        await until(lambda: len(scoring.calls) == 1)
        await feeds.put(0, batch(3, 3), 1)
        await feeds.put(1, batch(0, 2), 1)
        await until(lambda: len(scoring.calls) == 2)
        assert (1, [0, 1], 1) == scoring.calls[1]
        scoring.gates[0].set()
        await until(lambda: len(scoring.calls) == 3)
        assert (0, [3, 4, 5], 1) == scoring.calls[2]

    run_async(work())


def test_what_waits_is_merged_up_to_a_batch_and_within_a_generation() -> None:
    """The fixed costs of a batch are shared; a later assignment's records are not mixed in."""

    async def work() -> None:
        scoring = Scoring(0)
        feeds = Feeds(scoring.score, 4, scoring.failed)
        await feeds.put(0, batch(0, 1), 1)
        await until(lambda: len(scoring.calls) == 1)
        for first, generation in ((1, 1), (3, 1), (5, 1), (6, 2)):
            await feeds.put(0, batch(first, 2 if first < 5 else 1), generation)
        scoring.gates[0].set()
        await until(lambda: len(scoring.calls) == 4)
        expected = [(0, [1, 2, 3, 4], 1), (0, [5], 1), (0, [6], 2)]
        assert expected == scoring.calls[1:]

    run_async(work())


def test_there_is_a_rest_once_all_that_was_put_is_scored() -> None:
    """Not between two partitions, nor while one waits."""

    async def work() -> None:
        scoring = Scoring(1)
        feeds = Feeds(scoring.score, 16, scoring.failed, scoring.rested)
        await feeds.put(0, batch(0, 3), 1)
        await feeds.put(1, batch(0, 2), 1)
        await feeds.put(2, batch(0, 2), 1)
        await until(lambda: len(scoring.calls) == 3)
        for _ in range(10):
            await asyncio.sleep(0)
        assert 0 == scoring.rests
        scoring.gates[1].set()
        await until(lambda: scoring.rests > 0)
        assert 1 == scoring.rests
        await feeds.put(2, batch(2, 5), 1)
        await until(lambda: len(scoring.calls) == 4)
        for _ in range(10):
            await asyncio.sleep(0)
        assert 1 == scoring.rests, "under load it would be for a moment"

    run_async(work())


def test_a_partition_that_is_too_far_behind_makes_the_stream_wait() -> None:
    """So what waits is bounded; it goes on when there is room."""

    async def work() -> None:
        scoring = Scoring(0)
        feeds = Feeds(scoring.score, 2, scoring.failed)
        await feeds.put(0, batch(0, 2), 1)
        await until(lambda: len(scoring.calls) == 1)
        ends = range(2, 2 + 2 * (BATCHES_WAITING_MAX + 2), 2)
        putting = asyncio.gather(*(feeds.put(0, batch(first, 2), 1) for first in ends))
        await asyncio.sleep(0)
        assert not putting.done()
        scoring.gates[0].set()
        await putting
        await until(lambda: len(scoring.calls) == 1 + len(ends))
        assert [offset for _, found, _ in scoring.calls for offset in found] == [*range(ends.stop)]

    run_async(work())


def test_a_failure_is_told_and_ends_what_waits() -> None:
    """Nothing after a batch that failed is scored; the others' go on."""

    async def work() -> None:
        scoring = Scoring()
        scoring.refused = 0
        feeds = Feeds(scoring.score, 1, scoring.failed)
        await feeds.put(0, batch(0, 1), 1)
        await feeds.put(0, batch(1, 1), 1)
        await feeds.put(1, batch(0, 1), 1)
        await until(lambda: bool(scoring.failures) and len(scoring.calls) == 2)
        assert [(0, "refused")] == scoring.failures
        assert [(0, [0], 1), (1, [0], 1)] == scoring.calls

    run_async(work())


def test_what_waits_is_forgotten_when_partitions_are_given_back() -> None:
    """It is read again from where the state ends: scored later, it would leave out what is not."""

    async def work() -> None:
        scoring = Scoring(0)
        feeds = Feeds(scoring.score, 1, scoring.failed)
        first = [feeds.put(0, batch(offset, 1), 1) for offset in range(BATCHES_WAITING_MAX + 4)]
        putting = asyncio.gather(*first)
        await until(lambda: len(scoring.calls) == 1)
        assert not putting.done()
        feeds.clear()
        await putting
        await feeds.put(0, batch(1, 1), 1)
        scoring.gates[0].set()
        await until(lambda: len(scoring.calls) == 2)
        await asyncio.sleep(0)
        assert [(0, [0], 1), (0, [1], 1)] == scoring.calls

    run_async(work())
