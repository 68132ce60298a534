"""Between the application's one stream of batches and the partitions: a queue for each.

A partition that waits for its broker holds up no other, and what arrives for it meanwhile is
merged, so that a worker under load pays the fixed costs of a batch more rarely.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streamapp.engine.record_columns import RecordColumns

#: Full batches that wait for one partition; then the stream waits, and so does fetching.
BATCHES_WAITING_MAX: Final = 4

#: Under a light load so many batches would fit where there was one.
_LIGHT_BATCHES: Final = 4

Score = Callable[[int, RecordColumns, int], Awaitable[None]]


@dataclass(slots=True)
class _Feed:
    """What waits for one partition: records and the generation they were fetched in."""

    waiting: deque[tuple[RecordColumns, int]] = field(default_factory=deque)
    records: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)
    scorer: "asyncio.Task[None] | None" = None


def _empty(feed: _Feed) -> None:
    feed.waiting.clear()
    feed.records = 0
    feed.room.set()


class Feeds:
    """Queues of all partitions. `score` gets each partition's records in their order.

    rested: called when nothing waits any more, unless under load, where that is for a moment.
    """

    def __init__(
        self,
        score: Score,
        records_max: int,
        failed: Callable[[int, Exception], None],
        rested: Callable[[], None] = lambda: None,
    ) -> None:
        self._score = score
        self._records_max = records_max
        self._failed = failed
        self._rested = rested
        self._feeds: dict[int, _Feed] = {}
        self._assignment = 0
        #: Scoring holds the event loop: were all partitions' batches scored in one of its rounds, a
        #: checkpoint, some ten rounds long, would wait for as many of each.
        self._turn = asyncio.Lock()

    async def put(self, partition: int, records: Sequence[Any], generation: int) -> None:
        """Have records scored after those before them; waits while too many are."""
        assignment = self._assignment
        feed = self._feeds.setdefault(partition, _Feed())
        while feed.records > BATCHES_WAITING_MAX * self._records_max:
            feed.room.clear()
            await feed.room.wait()
        if assignment != self._assignment:
            return
        feed.waiting.append((RecordColumns.of(records), generation))
        feed.records += len(records)
        if feed.scorer is None:
            feed.scorer = asyncio.ensure_future(self._run(partition, feed))

    def clear(self) -> None:
        """Forget what waits: partitions are given back, and what is not scored is read again.

        A generation does not tell: a static member that comes back may find the same one.
        """
        self._assignment += 1
        for feed in self._feeds.values():
            _empty(feed)

    async def _run(self, partition: int, feed: _Feed) -> None:
        is_light = False
        try:
            while feed.waiting:
                async with self._turn:
                    await asyncio.sleep(0)
                if not feed.waiting:  # given back meanwhile
                    break
                records, generation = self._take(feed)
                await self._score(partition, records, generation)
                is_light = len(records) * _LIGHT_BATCHES <= self._records_max
                feed.room.set()
        except Exception as error:
            _empty(feed)
            self._failed(partition, error)
        finally:
            feed.scorer = None
            if is_light and not any(one.scorer for one in self._feeds.values()):
                self._rested()

    def _take(self, feed: _Feed) -> tuple[RecordColumns, int]:
        """The first that wait, of one generation, as many as make a batch."""
        records, generation = feed.waiting.popleft()
        merged, count = [records], len(records)
        while feed.waiting and feed.waiting[0][1] == generation:
            if count + len(feed.waiting[0][0]) > self._records_max:
                break
            merged.append(feed.waiting.popleft()[0])
            count += len(merged[-1])
        feed.records -= count
        return RecordColumns.joined(merged), generation
