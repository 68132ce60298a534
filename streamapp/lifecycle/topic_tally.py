"""Cut-offs of severities made of the verdicts that stand in their topic, and published.

What is published holds the tally and how far the verdicts have been read, in one record. So whoever
publishes next goes on from there, and counts nothing twice and nothing never.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
from confluent_kafka import Message

from streamapp.domain.verdict import Severity
from streamapp.features.contract import HOUR_MS
from streamapp.kafka.control import CUTOFFS_KEY, ControlFollower, publish
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topic_reader import Span, TopicReader
from streamapp.scoring.calibration import DEFAULT_CUTOFFS
from streamapp.scoring.severity_budget import Counted, Cutoffs, CutoffsError, Tally

GROUP: Final = "streamapp.severity"

#: Read before what was counted is recorded: a few seconds' worth, so that little is done again.
_STEP_RECORDS: Final = 500_000


class _Record(msgspec.Struct, frozen=True):
    """What is published: the cut-offs by name, and all that the next ones follow from."""

    version: str
    read_up_to: dict[int, int]
    hours: list[Counted]


class _Versions(msgspec.Struct, frozen=True, gc=False):
    cutoffs: str | None = None


class _Decision(msgspec.Struct, frozen=True, gc=False):
    """Of a verdict what is counted."""

    timestamp: datetime
    severity: Severity
    versions: _Versions
    duplicate_of: str | None = None


_decode = msgspec.json.Decoder(_Decision).decode


class TopicTally:
    """Reads on in the topic of verdicts, and publishes cut-offs for each new hour of event time."""

    def __init__(self, kafka: KafkaSettings, verdicts: str, control: str) -> None:
        """Goes on from what was published last, else from the beginning. Raises TopicError."""
        self._kafka, self._control = kafka, control
        self._published, self.tally = -1, Tally()
        self._read_up_to: dict[int, int] = {}
        #: Whether more had come than the last step took in.
        self.is_behind = True
        follower = ControlFollower(kafka, control)
        try:
            self._go_on(follower.newest().get(CUTOFFS_KEY))
        finally:
            follower.close()
        self._reader = TopicReader(kafka, verdicts, GROUP, _decision)

    def close(self) -> None:
        """Leave the broker."""
        self._reader.consumer.close()

    def advance(self) -> Cutoffs | None:
        """Count what has come, a step of it; the cut-offs published, if an hour has passed.

        Raises TopicError.
        """
        unread = self._reader.unread(self._read_up_to)
        step = max(1, _STEP_RECORDS // len(unread))
        spans = {
            part: Span(one.start, min(one.start + step, one.end)) for part, one in unread.items()
        }
        self.is_behind = spans != unread
        add(self.tally, (one for one in self._reader.read(spans) if one is not None))
        self._read_up_to = {part: span.end for part, span in spans.items()}
        hour = self.tally.newest
        if hour is None:
            return None
        self.tally.forget(hour)
        if hour <= self._published:
            return None
        cutoffs = self.tally.cutoffs(hour)
        record = _Record(cutoffs.name, self._read_up_to, self.tally.hours())
        publish(self._kafka, self._control, CUTOFFS_KEY, msgspec.json.encode(record))
        self._published = hour
        return cutoffs

    def _go_on(self, value: bytes | None) -> None:
        if value is None:
            return
        try:
            record = msgspec.json.decode(value, type=_Record)
            self._published = Cutoffs.named(record.version).hour
        except (msgspec.DecodeError, CutoffsError):  # of another version: it is made anew
            return
        self.tally, self._read_up_to = Tally(record.hours), record.read_up_to


def add(tally: Tally, decisions: Iterable[tuple[int, str | None, int]]) -> None:
    """Count decisions: hour of event time, name of the cut-offs, and severity 0 to 3."""
    counts: defaultdict[tuple[int, str | None], Counter[int]] = defaultdict(Counter)
    for hour, name, severity in decisions:
        counts[hour, name][severity] += 1
    for (hour, name), by_severity in counts.items():
        try:
            risks = DEFAULT_CUTOFFS if name is None else Cutoffs.named(name).risks
        except CutoffsError:  # of a newer version
            continue
        tally.count(hour, np.array([by_severity[code] for code in range(4)]), risks)


def decided(payload: bytes | None) -> tuple[int, str | None, int] | None:
    """What `add` takes of a verdict; None of what is no decision: tombstones, repetitions."""
    if payload is None:
        return None
    try:
        verdict = _decode(payload)
    except msgspec.DecodeError:
        return None
    if verdict.duplicate_of is not None:
        return None
    hour = int(verdict.timestamp.timestamp()) * 1000 // HOUR_MS
    return hour, verdict.versions.cutoffs, verdict.severity.rank


def _decision(message: Message) -> tuple[int, str | None, int] | None:
    return decided(message.value())
