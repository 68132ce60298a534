"""A whole brokerless run: history and recording in, files of verdicts and dead letters out."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from streamapp.domain.verdict import SEVERITIES
from streamapp.replay.brokerless import BrokerlessRun, ScoredRecording
from streamapp.replay.reader import BATCH_ROWS, RecordedBatch, recorded
from streamapp.replay.verdict_files import dead_letter_file, dead_letter_path, verdict_file


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """What is read, and where the outcome goes.

    history stands before the recording in the topic; it is learned from, not written. limit and
    skip are rows of the recording. batch_rows are read and scored at once; they change no verdict.
    """

    recording: Path
    output: Path
    history: Path | None = None
    limit: int | None = None
    skip: int = 0
    batch_rows: int = BATCH_ROWS


@dataclass(slots=True)
class ScoreFigures:
    """What a run counted; history apart, the rest is of the recording."""

    history: int = 0
    transactions: int = 0
    dead_letters: int = 0
    late: int = 0
    duplicates: int = 0
    severities: list[int] = field(default_factory=lambda: [0] * len(SEVERITIES))

    @property
    def verdicts(self) -> int:
        """Verdicts written."""
        return sum(self.severities)

    def count(self, scored: ScoredRecording) -> None:
        """Add one batch's outcome."""
        self.transactions += len(scored.payloads) + len(scored.dead_letters)
        self.dead_letters += len(scored.dead_letters)
        self.late += scored.late
        self.duplicates += scored.duplicates
        for code in scored.severities:
            self.severities[code] += 1


class InterruptedRun(Exception):
    """The run was asked to stop; no file was written."""


def score_file(
    run: BrokerlessRun,
    job: ScoreJob,
    *,
    stop: threading.Event,
    on_progress: Callable[[ScoreFigures], None],
) -> ScoreFigures:
    """Score a recording into files, which appear whole at the end or not at all.

    Raises RecordedError or ValueError where input or output is not what it should be, OSError,
    and InterruptedRun once `stop` is set.
    """
    figures = ScoreFigures()
    with (
        verdict_file(job.output) as verdicts,
        dead_letter_file(dead_letter_path(job.output)) as dead_letters,
    ):
        if job.history:
            for earlier in _until(stop, recorded(job.history, batch_rows=job.batch_rows)):
                run.score(earlier)
                figures.history += len(earlier)
                on_progress(figures)
        rest = recorded(job.recording, limit=job.limit, skip=job.skip, batch_rows=job.batch_rows)
        for batch in _until(stop, rest):
            scored = run.score(batch)
            verdicts.write(scored.payloads)
            dead_letters.write(scored.dead_letters)
            figures.count(scored)
            on_progress(figures)
    return figures


def _until(stop: threading.Event, batches: Iterator[RecordedBatch]) -> Iterator[RecordedBatch]:
    for batch in batches:
        if stop.is_set():
            raise InterruptedRun
        yield batch
