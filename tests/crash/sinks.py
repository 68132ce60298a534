"""Sinks of one row: run beside the fault or after it, and what their stores hold in the end."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import psycopg
import pyarrow.dataset

#: As short as the broker allows, for after kill -9 the group waits for it; and a file is complete
#: before the next kill.
SETTINGS: Final = {
    "STREAMAPP_SINK__SESSION_TIMEOUT_S": "6",
    "STREAMAPP_PARQUET__FILE_AGE_S_MAX": "1",
}
NAMES: Final = ("parquet", "postgres")
DSN: Final = "STREAMAPP_POSTGRES__DSN"
_IDLE_S: Final = "2"
_TIMEOUT_S: Final = 120
_COLUMNS: Final = (
    "source_partition",
    "source_offset",
    "verdict_id",
    "tx_id",
    "user_id",
    "risk_score",
    "severity",
)

SinkRow = tuple[int, int, str, str, str, float, str]


class _Verdict(msgspec.Struct):
    verdict_id: str
    tx_id: str
    user_id: str
    risk_score: float
    severity: str


_decode = msgspec.json.Decoder(_Verdict).decode


@dataclass(frozen=True, slots=True)
class Sinks:
    """The sinks of a row: their settings as environment variables, their files in `directory`."""

    directory: Path
    settings: dict[str, str]
    source_topic: str

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """One that runs until it is told to end or killed."""
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                _argv("run", name), env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )

    def complete(self) -> None:
        """Let each store what is left, side by side. Raises RuntimeError where one fails."""
        processes = {
            name: subprocess.Popen(
                _argv("run", name, "--until-idle", _IDLE_S),
                env=self._environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name in NAMES
        }
        for name, process in processes.items():
            try:
                code = process.wait(_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if code != 0:
                raise RuntimeError(f"the sink {name} ended with {code}")

    def rows(self, name: str) -> list[SinkRow]:
        """What its store holds of this row."""
        return self._parquet() if name == "parquet" else self._postgres()

    def _parquet(self) -> list[SinkRow]:
        files = pyarrow.dataset.dataset(self.directory / "parquet", format="parquet")
        columns = files.to_table(columns=list(_COLUMNS)).to_pydict()
        return list(zip(*(columns[name] for name in _COLUMNS), strict=True))

    def _postgres(self) -> list[SinkRow]:
        query = f"SELECT {', '.join(_COLUMNS)} FROM verdict WHERE source_topic = %s"
        with psycopg.connect(self.settings[DSN]) as connection:
            return connection.execute(query.encode(), [self.source_topic]).fetchall()

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
        place = {"STREAMAPP_PARQUET__DIRECTORY": str(self.directory / "parquet")}
        return {**inherited, **self.settings, **SETTINGS, **place}


def migrate(dsn: str) -> None:
    """Make the tables, before several sinks want to."""
    subprocess.run(_argv("migrate"), env={**os.environ, DSN: dsn}, check=True, timeout=_TIMEOUT_S)


def sink_row(partition: int, offset: int, payload: bytes) -> SinkRow:
    """What a sink should hold of this verdict."""
    verdict = _decode(payload)
    return (
        partition,
        offset,
        verdict.verdict_id,
        verdict.tx_id,
        verdict.user_id,
        verdict.risk_score,
        verdict.severity,
    )


def end(process: "subprocess.Popen[bytes]") -> int:
    """SIGTERM; its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(_TIMEOUT_S)


def _argv(*words: str) -> list[str]:
    return [sys.executable, "-m", "streamapp", "sink", *words]
