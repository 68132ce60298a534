"""A broker in memory: topics, transactions by the rules of Kafka's coordinator, group offsets.

Modelled on the protocol that aiokafka speaks: epochs are raised by InitProducerId and by the
transaction timeout, not by each transaction; a producer may write only to partitions that were
added to its open transaction (brokers verify that since 3.6); markers are written some time after
the outcome is decided, until then the next transaction of that producer has to wait.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)

from tests.simulation.topic_log import Message, TopicLog, Transaction
from tests.simulation.world import World

#: Record batches a broker remembers of each producer and partition, to know repeats.
REMEMBERED_BATCHES = 5

GroupPartition = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class ProducerId:
    """Who writes: number and epoch, under a transactional id or none."""

    number: int
    epoch: int
    transactional_id: str | None = None


@dataclass(slots=True)
class _Coordinated:
    """What the coordinator knows of a transactional id."""

    number: int
    timeout_s: float = 60.0
    epoch: int = -1
    current: Transaction | None = None
    last_outcome: bool | None = None


@dataclass(slots=True)
class _Sequence:
    """Batches of one producer epoch in one partition."""

    upcoming: int = 0
    recent: dict[int, int] = field(default_factory=dict)


class Broker:
    """Answers requests at once and in order; the network in front of it delays and loses them."""

    def __init__(self, world: World, partitions: int) -> None:
        self._world = world
        self._partitions = partitions
        self.logs: dict[tuple[str, int], TopicLog] = {}
        self.offsets: dict[GroupPartition, int] = {}
        #: Every offset the group has committed, in order.
        self.offset_history: defaultdict[GroupPartition, list[int]] = defaultdict(list)
        #: Told of each transaction that is committed, whether readers come to see it or not.
        self.on_commit: Callable[[Transaction], None] = lambda _: None
        #: Share of markers that are written late.
        self.slow_markers = 0.0
        #: Share of markers of the next transaction that are never written, and what follows that.
        self.lost_markers = 0.0
        #: Share of commits of which half of the markers are never written.
        self.torn_commits = 0.0
        self.on_lost_markers: Callable[[], None] = lambda: None
        self._producers = 0
        self._coordinated: dict[str, _Coordinated] = {}
        self._sequences: dict[tuple[int, int, str, int], _Sequence] = {}

    def log(self, topic: str, partition: int) -> TopicLog:
        """A partition, made when it is first named."""
        assert 0 <= partition < self._partitions
        if (topic, partition) not in self.logs:
            self.logs[topic, partition] = TopicLog(topic, partition)
        return self.logs[topic, partition]

    def init_producer(self, transactional_id: str | None, timeout_s: float) -> ProducerId:
        """A producer id; under a transactional id it ends what an earlier epoch left open.

        timeout_s: after which an open transaction of the producer is aborted.
        """
        if transactional_id is None:
            self._producers += 1
            return ProducerId(self._producers, 0)
        known = self._coordinated.get(transactional_id)
        if known is None:
            self._producers += 1
            known = self._coordinated[transactional_id] = _Coordinated(self._producers)
        if known.current is not None:
            if known.current.outcome is None:
                known.epoch += 1
                self._decide(known, known.current, outcome=False)
            raise ConcurrentTransactions
        known.epoch += 1
        known.timeout_s = timeout_s
        known.last_outcome = None
        return ProducerId(known.number, known.epoch, transactional_id)

    def add_partition(self, producer: ProducerId, topic: str, partition: int) -> None:
        """Make a partition part of the producer's transaction, which begins with the first."""
        self._ongoing(producer, begins=True).partitions.add((topic, partition))

    def produce(
        self,
        producer: ProducerId,
        sequence: int,
        topic: str,
        partition: int,
        messages: Sequence[Message],
    ) -> int:
        """Append a record batch once; the offset of its first record."""
        transaction = None
        if producer.transactional_id is not None:
            transaction = self._ongoing(producer)
            if (topic, partition) not in transaction.partitions:
                raise InvalidTxnState
        known = self._sequence(producer, topic, partition)
        if sequence in known.recent:
            return known.recent[sequence]
        if sequence != known.upcoming:
            raise OutOfOrderSequenceNumber
        base = self.log(topic, partition).append(messages, transaction)
        known.upcoming += len(messages)
        known.recent[sequence] = base
        while len(known.recent) > REMEMBERED_BATCHES:
            del known.recent[next(iter(known.recent))]
        self._world.note(
            "broker", "appended", topic=f"{topic}[{partition}]", base=base, n=len(messages)
        )
        return base

    def _sequence(self, producer: ProducerId, topic: str, partition: int) -> _Sequence:
        key = (producer.number, producer.epoch, topic, partition)
        return self._sequences.setdefault(key, _Sequence())

    def end_transaction(self, producer: ProducerId, *, outcome: bool) -> None:
        """Decide the transaction; its markers follow. A repeat of what was decided is no error."""
        known = self._verified(producer)
        if known.current is None:
            if known.last_outcome is not outcome:
                raise InvalidTxnState
            return
        if known.current.outcome is not None:
            raise ConcurrentTransactions if known.current.outcome is outcome else InvalidTxnState
        self._decide(known, known.current, outcome=outcome)

    def commit_offset(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Commit a group offset."""
        self.offsets[group, topic, partition] = offset
        self.offset_history[group, topic, partition].append(offset)

    def _verified(self, producer: ProducerId) -> _Coordinated:
        assert producer.transactional_id is not None
        known = self._coordinated[producer.transactional_id]
        if (producer.number, producer.epoch) != (known.number, known.epoch):
            self._world.note("broker", "fenced", producer=f"{producer.number}.{producer.epoch}")
            raise ProducerFenced
        return known

    def _ongoing(self, producer: ProducerId, *, begins: bool = False) -> Transaction:
        known = self._verified(producer)
        if known.current is None:
            if not begins:
                raise InvalidTxnState
            self._begin(known)
        assert known.current is not None
        if known.current.outcome is not None:
            raise ConcurrentTransactions if begins else InvalidTxnState
        return known.current

    def _begin(self, known: _Coordinated) -> None:
        transaction = Transaction(known.number, known.epoch, self._world.now)
        known.current = transaction

        def expire() -> None:
            if known.current is transaction and transaction.outcome is None:
                known.epoch += 1
                self._decide(known, transaction, outcome=False)

        self._world.after(known.timeout_s, expire)

    def _decide(self, known: _Coordinated, transaction: Transaction, *, outcome: bool) -> None:
        transaction.outcome = outcome
        self._world.note(
            "broker",
            "committed" if outcome else "aborted",
            producer=f"{transaction.producer_id}.{transaction.epoch}",
        )
        if outcome:
            self.on_commit(transaction)
        places = sorted(transaction.partitions)
        transaction.markers_due = len(places)
        lost_share, self.lost_markers = self.lost_markers, 0.0
        if outcome and self.torn_commits and self._world.chance(self.torn_commits):
            lost_share = max(lost_share, 0.5)

        def written() -> None:
            transaction.markers_due -= 1
            if transaction.markers_due == 0:
                known.current, known.last_outcome = None, outcome

        def is_lost() -> bool:
            is_lost = lost_share > 0 and self._world.chance(lost_share)
            transaction.is_torn |= is_lost
            return is_lost

        def mark(topic: str, partition: int) -> None:
            if is_lost():
                self._world.note("broker", "lost a marker", topic=f"{topic}[{partition}]")
            else:
                self.log(topic, partition).mark(transaction)
            written()

        for topic, partition in places:
            self._world.after(self._marker_delay(), partial(mark, topic, partition))
        if lost_share:
            self.on_lost_markers()

    def _marker_delay(self) -> float:
        """Mostly at once, at times as slow as a coordinator that moves."""
        draw = self._world.random
        is_slow = draw.random() < self.slow_markers
        return draw.uniform(0.01, 1.5) if is_slow else draw.uniform(0.0002, 0.002)
