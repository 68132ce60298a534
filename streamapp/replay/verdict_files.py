"""Verdicts and dead letters as files that appear whole or not at all.

Written under another name beside the target and renamed at the end, so a run that is broken off
leaves what was there before.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streamapp.domain.dead_letter import DeadLetter
from streamapp.domain.verdict import decode_verdict

#: Verdicts of one row group, held in memory: some 40 MB.
ROW_GROUP_VERDICTS: Final = 32_768

_SCHEMA: Final = pa.schema(
    [
        ("verdict_id", pa.string()),
        ("tx_id", pa.string()),
        ("user_id", pa.string()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("risk_score", pa.float64()),
        ("severity", pa.string()),
        ("mode", pa.string()),
        ("reasons", pa.string()),
        ("verdict", pa.string()),
    ]
)

_encoder: Final = msgspec.json.Encoder()


class VerdictFile(Protocol):
    """Takes verdicts in order."""

    def write(self, payloads: list[bytes]) -> None:
        """Append verdicts (verdict v1 in JSON)."""


class _Lines:
    """Verdicts byte for byte as they are published, one a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self._file.write(payload)
            self._file.write(b"\n")


class _Table:
    """Verdicts as Parquet: what analysts filter by as columns, and the verdict itself."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._pending: list[bytes] = []

    def write(self, payloads: list[bytes]) -> None:
        self._pending += payloads
        if len(self._pending) >= ROW_GROUP_VERDICTS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as a row group."""
        payloads, self._pending = self._pending, []
        if not payloads:
            return
        verdicts = [decode_verdict(payload) for payload in payloads]
        times = pa.array([verdict.timestamp for verdict in verdicts], pa.string())
        columns = {
            "verdict_id": [verdict.verdict_id for verdict in verdicts],
            "tx_id": [verdict.tx_id for verdict in verdicts],
            "user_id": [verdict.user_id for verdict in verdicts],
            "timestamp": times.cast(_SCHEMA.field("timestamp").type),
            "risk_score": [verdict.risk_score for verdict in verdicts],
            "severity": [verdict.severity.value for verdict in verdicts],
            "mode": [verdict.mode for verdict in verdicts],
            "reasons": ["; ".join(why.text for why in verdict.reasons) for verdict in verdicts],
            "verdict": [payload.decode() for payload in payloads],
        }
        self._writer.write_table(pa.table(columns, schema=_SCHEMA))


class DeadLetterFile:
    """Dead letters as JSON Lines: why, where from, and the bytes as received in base64."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, letters: list[DeadLetter]) -> None:
        """Append dead letters."""
        self._file.write(_encoder.encode_lines([_described(letter) for letter in letters]))


def dead_letter_path(out: Path) -> Path:
    """Where the dead letters of a run with the output `out` go."""
    return out.with_name(f"{out.name}.dlq.jsonl")


@contextmanager
def verdict_file(path: Path) -> Iterator[VerdictFile]:
    """Write verdicts to `path`, by its suffix: .jsonl or .parquet. Raises OSError, ValueError."""
    if path.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"{path}: suffix is {path.suffix or 'missing'}, expected .jsonl, .parquet")
    with _whole(path) as file:
        if path.suffix == ".jsonl":
            yield _Lines(file)
            return
        with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
            table = _Table(writer)
            yield table
            table.flush()


@contextmanager
def dead_letter_file(path: Path) -> Iterator[DeadLetterFile]:
    """Write dead letters to `path`. Raises OSError."""
    with _whole(path) as file:
        yield DeadLetterFile(file)


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _described(letter: DeadLetter) -> dict[str, object]:
    why = letter.rejected
    return {
        "reason": why.reason.value,
        "field": why.field,
        "stage": why.stage,
        "detail": why.detail,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key_base64": _base64(letter.key),
        "value_base64": _base64(letter.value),
    }


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode("ascii")
