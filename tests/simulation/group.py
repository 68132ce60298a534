"""The consumer group's coordinator: members, generations, eager rebalances."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiokafka.errors import CommitFailedError

from tests.simulation.broker import Broker
from tests.simulation.world import World

#: Shorter than in life, so that a run has time for many rebalances; the ratios are kept.
SESSION_TIMEOUT_S = 0.8
REBALANCE_TIMEOUT_S = 1.5
_EXPIRY_INTERVAL_S = 0.1

Health = Literal["stable", "rebalancing", "unknown"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one member has in one generation."""

    generation: int
    partitions: tuple[int, ...]


@dataclass(slots=True)
class _Member:
    seen_at: float
    assignment: Assignment | None = None


@dataclass(slots=True)
class Group:
    """Called through the network, like the broker."""

    world: World
    broker: Broker
    name: str
    topic: str
    partitions: int
    generation: int = 0
    is_rebalancing: bool = False
    #: Called when partitions have new owners.
    on_assigned: Callable[[], None] = lambda: None
    _members: dict[str, _Member] = field(default_factory=dict)
    _joined: set[str] = field(default_factory=set)

    def watch(self) -> None:
        """Begin to look for members that have gone silent."""
        silent = [
            name
            for name, member in self._members.items()
            if self.world.now - member.seen_at > SESSION_TIMEOUT_S and not self.is_rebalancing
        ]
        for name in silent:
            self._remove(name)
        self.world.after(_EXPIRY_INTERVAL_S, self.watch)

    def join(self, name: str) -> None:
        """Become, or stay, a member; everyone has to join again."""
        self._members.setdefault(name, _Member(self.world.now)).seen_at = self.world.now
        self.rebalance()
        self._joined.add(name)
        self._complete_if_all()

    def leave(self, name: str) -> None:
        """Be a member no more."""
        if name in self._members:
            self._remove(name)

    def assigned(self, name: str) -> Assignment | None:
        """The member's part, when the rebalance is over. Raises CommitFailedError if it is out."""
        if name not in self._members:
            raise CommitFailedError
        self._members[name].seen_at = self.world.now
        return None if self.is_rebalancing else self._members[name].assignment

    def heartbeat(self, name: str, generation: int) -> Health:
        """Whether the member's assignment still stands."""
        if name not in self._members or generation != self.generation:
            return "unknown"
        self._members[name].seen_at = self.world.now
        return "rebalancing" if self.is_rebalancing else "stable"

    def commit(self, name: str, generation: int, offsets: Mapping[int, int]) -> None:
        """Commit offsets of a member of this generation. Raises CommitFailedError."""
        if name not in self._members or generation != self.generation:
            raise CommitFailedError
        for partition, offset in offsets.items():
            self.broker.commit_offset(self.name, self.topic, partition, offset)

    def committed(self, partition: int) -> int | None:
        """The group's offset."""
        return self.broker.offsets.get((self.name, self.topic, partition))

    def rebalance(self) -> None:
        """Have everyone give back and join again; who does not in time is out."""
        if self.is_rebalancing:
            return
        self.is_rebalancing = True
        self._joined.clear()
        generation = self.generation
        self.world.note("group", "rebalance began", members=sorted(self._members))

        def expire() -> None:
            if self.is_rebalancing and self.generation == generation:
                self._members = {n: m for n, m in self._members.items() if n in self._joined}
                self._complete_if_all()

        self.world.after(REBALANCE_TIMEOUT_S, expire)

    def _remove(self, name: str) -> None:
        del self._members[name]
        self._joined.discard(name)
        self.world.note("group", "member out", member=name)
        if self.is_rebalancing:
            self._complete_if_all()
        else:
            self.rebalance()

    def _complete_if_all(self) -> None:
        if not self.is_rebalancing or self._joined != set(self._members):
            return
        self.generation += 1
        self.is_rebalancing = False
        names = sorted(self._members)
        self.world.random.shuffle(names)
        for at, name in enumerate(names):
            partitions = tuple(range(at, self.partitions, len(names)))
            self._members[name].assignment = Assignment(self.generation, partitions)
            self._members[name].seen_at = self.world.now
            self.world.note("group", "assigned", member=name, partitions=partitions)
        self.on_assigned()
