"""Sends dead letters back to their source topic, once each, however often it is interrupted.

Progress is kept in the consumer group `streamapp.dlq.redrive`, per partition and per reason, so
that redriving one reason today and the rest tomorrow repeats nothing. The committed offset is where
every reason is done; its metadata holds, as JSON, the reasons that are further. Progress is only
committed for letters that the broker has acknowledged: a crash repeats `COMMIT_LETTERS` at most.

Every letter sent back carries `dlq.redriven`, the count of its returns; with `times_max` reached it
stays where it is, so that a message that can never be scored does not go round for ever.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from streamapp.kafka.dead_letters import REASONS, REDRIVEN, DeadLetterReader, Letter
from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError, topic_partitions
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topic_reader import Span

GROUP = "streamapp.dlq.redrive"

#: Letters sent between two commits of progress: what a crash may repeat.
COMMIT_LETTERS = 500

_DELIVERY_TIMEOUT_S = 30.0

#: librdkafka's mark for "let the partitioner choose".
BY_KEY = -1

#: Partition → reason → the first offset not yet redriven.
Progress = dict[int, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters to redrive. Picked offsets are sent as asked, without regard to progress."""

    reasons: frozenset[str] = frozenset(REASONS)
    partition: int | None = None
    offsets: Span | None = None
    from_start: bool = False
    times_max: int = 3

    @property
    def keeps_progress(self) -> bool:
        """Whether a later run goes on where this one stops."""
        return self.offsets is None


@dataclass(slots=True)
class Redriven:
    """What became of the letters looked at."""

    sent: int = 0
    done_before: int = 0
    not_chosen: int = 0
    exhausted: int = 0
    foreign: int = 0
    interrupted: bool = False
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Letters the broker did not take; they stand where they were and are tried again."""
        return self.errors.total()


def redrive(
    kafka: KafkaSettings,
    dead_letters: str,
    source: str,
    choice: Choice,
    *,
    dry_run: bool = False,
    stop: threading.Event | None = None,
    on_progress: Callable[[Redriven], None] | None = None,
) -> Redriven:
    """Send the chosen letters of topic `dead_letters`, as it stands now, back to topic `source`.

    Bytes, key and partition are those of the refused record. Letters of other topics are left.
    A failed delivery ends the run. Raises TopicError where broker or topic is not there.
    """
    with DeadLetterReader(kafka, dead_letters, GROUP) as reader:
        run = _Run(kafka, reader, source, choice, dry_run)
        run.go(stop or threading.Event(), on_progress)
    return run.figures


class _Run:
    """One pass over the dead letters: look, send, and commit what was acknowledged."""

    def __init__(
        self,
        kafka: KafkaSettings,
        reader: DeadLetterReader,
        source: str,
        choice: Choice,
        dry_run: bool,
    ) -> None:
        self.figures = Redriven()
        self._reader, self._source, self._choice = reader, source, choice
        self._producer = Producer(_config(kafka) | {"on_delivery": self._failed})
        self._source_partitions = topic_partitions(self._producer, kafka, source)
        self._dry_run = dry_run
        self._spans = _chosen(reader.spans(), choice)
        self._progress = _progress(reader, self._spans, choice)
        self._unflushed = 0

    def go(self, stop: threading.Event, on_progress: Callable[[Redriven], None] | None) -> None:
        """Until every span is read, a delivery fails, or `stop` is set."""
        for letter in self._reader.read(self._unread()):
            if stop.is_set():
                self.figures.interrupted = True
                break
            self._take(letter)
            if self._unflushed == COMMIT_LETTERS:
                if not self._commit():
                    return
                if on_progress:
                    on_progress(self.figures)
        else:
            self._reach_ends()
        self._commit()

    def _unread(self) -> dict[int, Span]:
        """From the first offset that some chosen reason has not done."""
        unread = {}
        for partition, span in self._spans.items():
            marks = self._progress[partition]
            unread[partition] = Span(min(marks[r] for r in self._choice.reasons), span.end)
        return unread

    def _take(self, letter: Letter) -> None:
        figures, choice = self.figures, self._choice
        if letter.reason not in choice.reasons:
            figures.not_chosen += 1
            return
        marks = self._progress[letter.partition]
        if letter.offset < marks[letter.reason]:
            figures.done_before += 1
            return
        if letter.text("dlq.topic") != self._source:
            figures.foreign += 1
        elif letter.redriven >= choice.times_max:
            figures.exhausted += 1
        else:
            self._send(letter)
        marks[letter.reason] = letter.offset + 1

    def _send(self, letter: Letter) -> None:
        self.figures.sent += 1
        self._unflushed += 1
        if self._dry_run:
            return
        partition = letter.number("dlq.partition")
        known = partition if partition in self._source_partitions else None
        try:
            self._producer.produce(
                self._source,
                letter.value,
                letter.key,
                partition=BY_KEY if known is None else known,
                headers=_headers_back(letter),
            )
        except KafkaException as error:
            self._failed(error.args[0], None)

    def _failed(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.figures.errors[error.name()] += 1

    def _reach_ends(self) -> None:
        for partition, span in self._spans.items():
            marks = self._progress[partition]
            marks.update({reason: max(marks[reason], span.end) for reason in self._choice.reasons})

    def _commit(self) -> bool:
        """Wait for the acknowledgements, then record progress; False where a delivery failed."""
        self._unflushed = 0
        if self._dry_run:
            return True
        self._flush()
        if self.figures.failed:
            return False
        if self._choice.keeps_progress:
            places = [_place(self._reader.topic, *entry) for entry in self._progress.items()]
            _commit(self._reader, places)
        return True

    def _flush(self) -> None:
        deadline = time.monotonic() + _DELIVERY_TIMEOUT_S + ANSWER_TIMEOUT_S
        while len(self._producer) and time.monotonic() < deadline:
            self._producer.flush(0.1)
        if len(self._producer):
            self.figures.errors["not acknowledged in time"] += len(self._producer)


def _chosen(spans: Mapping[int, Span], choice: Choice) -> dict[int, Span]:
    """The spans of the chosen partition, cut to the picked offsets."""
    if choice.partition is None:
        return dict(spans)
    if choice.partition not in spans:
        raise TopicError(f"there is no partition {choice.partition}, only 0 to {len(spans) - 1}")
    span = spans[choice.partition]
    if choice.offsets is not None:
        span = Span(max(span.start, choice.offsets.start), min(span.end, choice.offsets.end))
    return {choice.partition: span}


def _progress(reader: DeadLetterReader, spans: Mapping[int, Span], choice: Choice) -> Progress:
    """Where to go on in each partition, reason by reason; never before what still stands there."""
    afresh = {part: dict.fromkeys(REASONS, span.start) for part, span in spans.items()}
    if not choice.keeps_progress:
        return afresh
    places = [TopicPartition(reader.topic, partition) for partition in spans]
    try:
        committed = reader.consumer.committed(places, timeout=ANSWER_TIMEOUT_S)
    except KafkaException as error:
        raise TopicError(f"reading progress of group {GROUP}: {error.args[0].str()}") from error
    for place in committed:
        marks = afresh[place.partition]
        if 0 <= place.offset <= spans[place.partition].end:  # beyond it: of a topic now deleted
            done = dict.fromkeys(REASONS, place.offset) | _further(place.metadata)
            kept = set(REASONS) - (choice.reasons if choice.from_start else set())
            marks.update({reason: max(marks[reason], done[reason]) for reason in kept})
    return afresh


def _further(metadata: str | None) -> dict[str, int]:
    """The reasons that are beyond the committed offset; nothing where the text is not ours."""
    try:
        entries = json.loads(metadata or "{}")
    except ValueError:
        return {}
    if not isinstance(entries, dict):
        return {}
    return {k: v for k, v in entries.items() if k in REASONS and isinstance(v, int)}


def _place(topic: str, partition: int, marks: Mapping[str, int]) -> TopicPartition:
    everywhere = min(marks.values())
    further = {reason: mark for reason, mark in sorted(marks.items()) if mark > everywhere}
    return TopicPartition(topic, partition, everywhere, json.dumps(further, separators=(",", ":")))


def _commit(reader: DeadLetterReader, places: list[TopicPartition]) -> None:
    try:
        reader.consumer.commit(offsets=places, asynchronous=False)
    except KafkaException as error:
        raise TopicError(f"recording progress of group {GROUP}: {error.args[0].str()}") from error


def _headers_back(letter: Letter) -> list[tuple[str, str | bytes | None]]:
    """The record's own headers, and the count of its returns; the dead letter's are taken off."""
    own: list[tuple[str, str | bytes | None]] = [
        (name, value) for name, value in letter.headers if not name.startswith("dlq.")
    ]
    return [*own, (REDRIVEN, str(letter.redriven + 1).encode())]


def _config(kafka: KafkaSettings) -> dict[str, str | int | bool]:
    return {
        **kafka.librdkafka(),
        **QUIET,
        "client.id": "streamapp-redrive",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "delivery.timeout.ms": int(_DELIVERY_TIMEOUT_S * 1_000),
    }
