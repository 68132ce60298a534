"""A broker in memory behind `PartitionLog`: it remembers, and fails or hangs where told to."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from streamapp.engine.attempt import Attempt
from streamapp.engine.outbox import LogError
from streamapp.engine.record_batch import Message, Messages
from tests.engine.unpacking import unpacked

#: Places in a checkpoint where things go wrong: output is sent; it is confirmed; the state is
#: appended; all is durable, but the answer does not arrive; the store is written.
Point = Literal["append", "confirm", "state", "answer", "store"]
POINTS: tuple[Point, ...] = ("append", "confirm", "state", "answer", "store")


@dataclass
class Faults:
    """What happens at which visit of a point (counted from 1): an error, or a wait on a gate."""

    errors: dict[tuple[Point, int], Exception] = field(default_factory=dict)
    gates: dict[tuple[Point, int], asyncio.Event] = field(default_factory=dict)
    visits: Counter[Point] = field(default_factory=Counter)

    def fail_at(self, point: Point, visit: int = 1) -> None:
        """Fail at this visit."""
        self.errors[point, visit] = LogError(f"failed at {point}")

    def hold_at(self, point: Point, visit: int = 1) -> asyncio.Event:
        """Wait at this visit until the event is set."""
        self.gates[point, visit] = gate = asyncio.Event()
        return gate

    async def meet(self, point: Point) -> None:
        """Pass a point, unless a fault waits there."""
        gate = self.gates.get((point, self.visits[point] + 1))
        self.raise_at(point)
        if gate is not None:
            await gate.wait()

    def raise_at(self, point: Point) -> None:
        """The same where nothing can be waited for."""
        self.visits[point] += 1
        if error := self.errors.get((point, self.visits[point])):
            raise error


@dataclass
class FakeBroker:
    """What readers of committed records see, by topic, and the changelog; outlives its logs."""

    topics: dict[str, list[Message]] = field(default_factory=dict)
    changelog: list[tuple[bytes, bytes]] = field(default_factory=list)
    committed: int | None = None
    trace: list[str] = field(default_factory=list)

    def publish(self, outputs: Sequence[tuple[str, Message]]) -> None:
        """Make outputs visible."""
        for topic, message in outputs:
            self.topics.setdefault(topic, []).append(message)

    def state(self) -> Mapping[bytes, bytes]:
        """The changelog compacted: the last value of each key."""
        return dict(self.changelog)


class FakeLog:
    """One owner's log.

    transactional: outputs become visible with the commit that covers them. Otherwise they may from
    the moment they were sent: those not confirmed when the owner dies are seen or lost, as
    `crash` is told.
    """

    def __init__(self, broker: FakeBroker, faults: Faults, *, transactional: bool) -> None:
        self.is_fenced = transactional
        self.attempt = Attempt()
        self.broker = broker
        self.faults = faults
        self.transactional = transactional
        self.close_gate: asyncio.Event | None = None
        self._sent: list[tuple[str, Message]] = []
        self._cut = 0

    async def open(self) -> None:
        """Nothing to get ready."""

    async def append(self, topic: str, messages: Messages) -> None:
        """Send."""
        await self.faults.meet("append")
        self.broker.trace.append(f"append {topic}")
        self._sent += [(topic, message) for message in unpacked([messages])]

    def cut(self) -> None:
        """What was sent up to now belongs to the next commit."""
        self._cut = len(self._sent)

    async def commit(self, items: Sequence[tuple[bytes, bytes]], position: int) -> int:
        """Outputs first, then state; together where transactional."""
        await self.faults.meet("confirm")
        outputs, self._sent, self._cut = self._sent[: self._cut], self._sent[self._cut :], 0
        if not self.transactional:
            self.broker.publish(outputs)
            self.broker.trace.append("confirmed")
        await self.faults.meet("state")
        if self.transactional:
            self.broker.publish(outputs)
            self.broker.trace.append("confirmed")
        self.broker.changelog += items
        self.broker.committed = position
        self.broker.trace.append("state")
        offset = len(self.broker.changelog) - 1
        await self.faults.meet("answer")
        return offset

    async def abort(self, messages: Mapping[str, Messages]) -> None:
        """Nothing hangs here."""

    async def close(self) -> None:
        """Release, unless told to hang."""
        if self.close_gate is not None:
            await self.close_gate.wait()
        self.broker.trace.append("closed")

    def crash(self, *, keep_sent: bool) -> None:
        """The owner dies: outputs on their way arrive or don't; those of a transaction don't."""
        if keep_sent and not self.transactional:
            self.broker.publish(self._sent)
        self._sent = []
