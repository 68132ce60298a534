"""How far a sink has come in each partition, and what may be committed. No Kafka in here."""

from collections.abc import Callable, Collection, Mapping


class Progress:
    """Positions of the assigned partitions: the next offset to handle, and the last committed."""

    def __init__(self) -> None:
        self._positions: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._assigned: set[int] = set()

    @property
    def assigned(self) -> frozenset[int]:
        """Partitions this process owns now."""
        return frozenset(self._assigned)

    def assign(self, partitions: Collection[int]) -> None:
        """Own these too; where they stand is learnt from their first record."""
        self._assigned.update(partitions)

    def forget(self, partitions: Collection[int]) -> None:
        """Own these no longer."""
        self._assigned.difference_update(partitions)
        for partition in partitions:
            self._positions.pop(partition, None)
            self._committed.pop(partition, None)

    def handled(self, partition: int, next_offset: int) -> None:
        """Everything below `next_offset` is stored, held by the sink, or skipped for good."""
        if partition in self._assigned:
            self._positions[partition] = max(next_offset, self._positions.get(partition, 0))

    def position(self, partition: int) -> int:
        """The next offset to handle; 0 before the first record."""
        return self._positions.get(partition, 0)

    def due(self, held_from: Callable[[int], int | None]) -> dict[int, int]:
        """Offsets that may be committed and have not been: below them all is durable."""
        due = {}
        for partition, position in self._positions.items():
            held = held_from(partition)
            durable = position if held is None else min(position, held)
            if durable > self._committed.get(partition, -1):
                due[partition] = durable
        return due

    def committed(self, offsets: Mapping[int, int]) -> None:
        """The broker has accepted these."""
        for partition in self._assigned.intersection(offsets):
            self._committed[partition] = offsets[partition]

    def reached(self, ends: Mapping[int, int]) -> bool:
        """Whether every assigned partition has come to the end given for it."""
        return all(self.position(known) >= ends.get(known, 0) for known in self._assigned)
