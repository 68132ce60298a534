"""Reference traffic as workers logged it: serving is the training set, nothing is computed twice.

A vector is that of its verdict; names, times and amounts are those of its payment, for a verdict
does not repeat them all. So both topics have to reach as far back as training shall.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from streamapp.domain.verdict import Mode, Source, Versions
from streamapp.features.columns import Columns
from streamapp.features.contract import CONTRACT_VERSION, FEATURE_NAMES
from streamapp.features.risk_windows import risk_hashes
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topic_reader import Span, TopicReader
from streamapp.lifecycle.topic_payments import GROUP, read_topic_payments
from streamapp.lifecycle.training import REFERENCE_ROWS_MAX, Reference, TrainingError

_CHUNK: Final = 2_048


class _Logged(msgspec.Struct, frozen=True, gc=False):
    """What training needs of a verdict."""

    mode: Mode
    features: dict[str, float]
    versions: Versions
    source: Source
    duplicate_of: str | None = None


@dataclass(frozen=True, slots=True)
class TopicReference:
    """The reference, and verdicts left out of it.

    foreign: of another feature contract, time zone or topic. unmatched: their payment is gone.
    """

    reference: Reference
    foreign: int
    unmatched: int


@dataclass(slots=True)
class _Vectors:
    """Of one partition. rows: those not yet in a chunk."""

    offsets: list[int] = field(default_factory=list)
    is_cold: list[bool] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    chunks: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, logged: _Logged) -> None:
        self.offsets.append(logged.source.offset)
        self.is_cold.append(logged.mode == "cold_start")
        self.rows.append([logged.features[name] for name in FEATURE_NAMES])
        if len(self.rows) == _CHUNK:
            self.chunks.append(np.array(self.rows))
            self.rows.clear()

    def values(self) -> NDArray[np.float64]:
        """All of them (n, d)."""
        rest = np.array(self.rows, np.float64).reshape(-1, len(FEATURE_NAMES))
        return np.concatenate([*self.chunks, rest])


def read_topic_reference(
    kafka: KafkaSettings,
    topics: TopicSettings,
    *,
    time_zone: str = "UTC",
    limit: int | None = None,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> TopicReference:
    """The newest `limit` verdicts (all by default) as they stand now, joined to their payments.

    Rows are in the order of time, partition and offset. Raises TopicError; TrainingError where
    there are none, or more than fit.
    """
    source = topics.name("transactions")
    contract = CONTRACT_VERSION + ("" if time_zone == "UTC" else f"@{time_zone}")
    vectors: defaultdict[int, _Vectors] = defaultdict(_Vectors)
    foreign = count = 0
    for logged in _verdicts(kafka, topics.name("verdicts"), limit):
        if logged.duplicate_of is not None:
            continue  # a repetition: it changed no profile, and its first stands there
        if logged.versions.features != contract or logged.source.topic != source:
            foreign += 1
            continue
        vectors[logged.source.partition].add(logged)
        count += 1
        if count % _CHUNK == 0:
            on_progress(_CHUNK)
        if count > REFERENCE_ROWS_MAX:
            raise TrainingError(
                f"more than {REFERENCE_ROWS_MAX:,} verdicts don't fit a training run; add --limit"
            )
    if not vectors:
        raise TrainingError(
            f"{topics.name('verdicts')} holds no verdict of feature contract {contract}"
            f" on {source}: let a worker score first"
        )
    wanted = {p: Span(min(one.offsets), max(one.offsets) + 1) for p, one in vectors.items()}
    joined = _joined(vectors, read_topic_payments(kafka, source, wanted))
    return TopicReference(joined, foreign, count - len(joined.rows))


def _verdicts(kafka: KafkaSettings, topic: str, limit: int | None) -> Iterator[_Logged]:
    decode = msgspec.json.Decoder(_Logged).decode

    def made(message: Message) -> _Logged:
        try:
            return decode(message.value() or b"")
        except msgspec.DecodeError as error:
            place = f"{topic}[{message.partition()}] at offset {message.offset()}"
            raise TrainingError(f"{place} is no verdict: {error}") from error

    with TopicReader(kafka, topic, GROUP, made) as reader:
        spans = reader.spans()
        if limit is not None:
            each = max(limit // len(spans), 1)
            spans = {p: Span(max(s.start, s.end - each), s.end) for p, s in spans.items()}
        yield from reader.read(spans)


def _joined(vectors: Mapping[int, _Vectors], payments: Mapping[int, NDArray[Any]]) -> Reference:
    numbers, rows, is_cold, events = [], [], [], []
    for partition in sorted(payments.keys() & vectors.keys()):
        own, all_events = vectors[partition], payments[partition]
        offsets = np.array(own.offsets, np.int64)
        # Where a crash repeated verdicts, the same ones: the first of each.
        _, at, event_at = np.intersect1d(offsets, all_events["offset"], return_indices=True)
        numbers.append(np.full(len(at), partition))
        rows.append(own.values()[at])
        is_cold.append(np.array(own.is_cold)[at])
        events.append(all_events[event_at])
    if not sum(map(len, numbers)):
        raise TrainingError("none of the payments that have verdicts is in its topic any more")
    return _ordered(*map(np.concatenate, (numbers, rows, is_cold, events)))


def _ordered(
    partition: NDArray[np.int64],
    rows: NDArray[np.float64],
    is_cold: NDArray[np.bool_],
    events: NDArray[Any],
) -> Reference:
    order = np.lexsort((events["offset"], partition, events["time_ms"]))
    partition, events = partition[order], events[order]
    places = [np.flatnonzero(partition == one) for one in np.unique(partition)]
    return Reference(
        rows=rows[order],
        amounts=events["amount"].copy(),
        users=events["user"].copy(),
        tx=events["tx"].copy(),
        names=risk_hashes(Columns(events)),
        time_ms=events["time_ms"].copy(),
        is_cold=is_cold[order],
        partitions=[at[np.argsort(events["offset"][at])] for at in places],
        refused=0,
    )
