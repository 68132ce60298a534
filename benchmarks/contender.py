"""A worker process under measurement: its topics loaded, it started, its verdicts read."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks.machine import peak_memory_mib, tree, used_by_tree
from benchmarks.processes import end
from benchmarks.traffic import traffic
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics
from streamapp.replay.producer import send

#: For start-up, and then between any two verdicts: Faust takes some 10 s to join, Flink 15 s to
#: start, and more than a minute beside other programs.
SILENCE_S_MAX = 150.0
#: A Faust worker's options; without the last it serves its web pages whatever its app says.
FAUST = ("-l", "warn", "--without-web")

_READ_RECORDS = 5_000
_READ_S = 0.02
_SETTLE_S = 1.0


class BenchmarkError(Exception):
    """A run whose figures would mean nothing; the message says what happened."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What every run shares."""

    bootstrap_servers: str
    partitions: int
    directory: Path
    populations: int = 1
    model_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to score: its name and how its worker is started."""

    name: str
    title: str

    def command(self) -> list[str]:
        """The worker's command line."""
        if self.name == "tutorial":
            return [sys.executable, "-m", "benchmarks.tutorial_worker", "worker", *FAUST]
        return [str(Path(sys.executable).with_name("streamapp")), "worker"]

    def environment(self, setup: Setup, prefix: str) -> dict[str, str]:
        """The worker's settings."""
        state_dir = str(setup.directory / f"{prefix}state")
        if self.name == "tutorial":
            return {
                "BENCHMARK_BOOTSTRAP": setup.bootstrap_servers,
                "BENCHMARK_PREFIX": prefix,
                "BENCHMARK_PARTITIONS": str(setup.partitions),
                "BENCHMARK_STATE_DIR": state_dir,
            }
        chosen = {"STREAMAPP_WORKER__MODEL_DIR": str(setup.model_dir)} if setup.model_dir else {}
        return chosen | {
            "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": setup.bootstrap_servers,
            "STREAMAPP_TOPICS__PREFIX": prefix,
            "STREAMAPP_TOPICS__PARTITIONS": str(setup.partitions),
            "STREAMAPP_WORKER__STATE_DIR": state_dir,
            "STREAMAPP_WORKER__HTTP_PORT": "0",
        }


TUTORIAL = Contender("tutorial", "the tutorial way on Faust")
STREAMAPP = Contender("streamapp", "streamapp worker")


class Run(msgspec.Struct, frozen=True):
    """One measurement, from the first verdict in the topic to the last one read.

    Start-up is not in it; the last commit is, for the reader sees committed verdicts only.

    cores: CPU seconds a second used by the worker, all of its processes; cores_others: by
    everything else that ran, broker and reader included.
    """

    events: int
    seconds: float
    events_per_s: float
    cpu_us_per_event: float
    cores: float
    cores_others: float
    peak_memory_mib: int


def measure(contender: Contender, setup: Setup, number: int, rows: int) -> tuple[Run, list[bytes]]:
    """Load fresh topics, start the worker, and time it by the verdicts it publishes; these too.

    Raises BenchmarkError unless each of `rows` transactions gets one.
    """
    prefix = f"run{number}.{contender.name}."
    _load(setup, prefix, rows)
    verdicts: list[bytes] = []
    with _worker(contender, setup, prefix) as process, _reader(setup, prefix) as reader:
        events = rows - _await_first(reader, process, setup, prefix)
        start_s, start = time.perf_counter(), used_by_tree(process.pid)
        for values in _verdicts(reader, process, rows):
            verdicts += values
        seconds, end = time.perf_counter() - start_s, used_by_tree(process.pid)
        memory_mib = sum(map(peak_memory_mib, tree(process.pid)))
        verdicts += [message.value() or b"" for message in reader.consume(1, _SETTLE_S)]
    _verify(contender, verdicts, setup, rows)
    cpu_s = end.process_s - start.process_s
    run = Run(
        events=events,
        seconds=round(seconds, 3),
        events_per_s=round(events / seconds, 1),
        cpu_us_per_event=round(cpu_s / events * 1e6, 2),
        cores=round(cpu_s / seconds, 2),
        cores_others=round((end.machine_s - start.machine_s - cpu_s) / seconds, 2),
        peak_memory_mib=memory_mib,
    )
    return run, verdicts


def _verify(contender: Contender, verdicts: list[bytes], setup: Setup, rows: int) -> None:
    found = [_tx_id(verdict) for verdict in verdicts]
    wanted = _tx_ids(rows, setup.populations)
    if len(found) != rows or not wanted.issubset(found):
        raise BenchmarkError(
            f"{contender.title}: {len(found)} verdicts for {len(wanted.intersection(found))} of "
            f"{rows} transactions"
        )


@cache
def _tx_ids(rows: int, populations: int) -> frozenset[str]:
    return frozenset(
        _tx_id(value) for batch in traffic(rows, populations) for value in batch.values
    )


class _HasTxId(msgspec.Struct):
    tx_id: str


_decoder = msgspec.json.Decoder(_HasTxId)


def _tx_id(value: bytes) -> str:
    return _decoder.decode(value).tx_id


def _load(setup: Setup, prefix: str, rows: int) -> None:
    kafka, topics = _settings(setup, prefix)
    names = [topics.name(role) for role in ("transactions", "verdicts", "anomalies")]
    ensure_topics(kafka, [TopicPlan(name, setup.partitions) for name in names], 1)
    sent = send(traffic(rows, setup.populations), kafka=kafka, topic=topics.name("transactions"))
    if not sent.complete or sent.acknowledged != rows:
        raise BenchmarkError(f"the broker took {sent.acknowledged} of {rows} transactions")


def _settings(setup: Setup, prefix: str) -> tuple[KafkaSettings, TopicSettings]:
    kafka = KafkaSettings(bootstrap_servers=setup.bootstrap_servers)
    return kafka, TopicSettings(prefix=prefix, partitions=setup.partitions)


@contextmanager
def _worker(contender: Contender, setup: Setup, prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
    environment = inherited | contender.environment(setup, prefix)
    log_file = setup.directory / f"{prefix}log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            contender.command(), env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    except BenchmarkError as error:
        lines = log_file.read_text(errors="replace").splitlines()
        raise BenchmarkError("\n".join([f"{contender.title}: {error}", *lines[-15:]])) from error
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for it or processes of it that do not go."""
    below = tree(process.pid)[1:]
    end(process)
    for pid in below:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def _reader(setup: Setup, prefix: str) -> Iterator[Consumer]:
    kafka, topics = _settings(setup, prefix)
    reader = Consumer(
        {
            **kafka.librdkafka(),
            **QUIET,
            "group.id": f"{prefix}reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
        }
    )
    name = topics.name("verdicts")
    reader.assign([TopicPartition(name, number, 0) for number in range(setup.partitions)])
    try:
        yield reader
    finally:
        reader.close()


def _verdicts(
    reader: Consumer, process: subprocess.Popen[bytes], rows: int
) -> Iterator[list[bytes]]:
    """Verdicts as they come, until there are `rows`."""
    count, heard_s = 0, time.monotonic()
    while count < rows:
        messages = reader.consume(_READ_RECORDS, _READ_S)
        if errors := [error for message in messages if (error := message.error())]:
            raise BenchmarkError(f"the reader met {errors[0]}")
        if messages:
            count, heard_s = count + len(messages), time.monotonic()
            yield [message.value() or b"" for message in messages]
        elif process.poll() is not None:
            raise BenchmarkError(f"ended with code {process.returncode} after {count} verdicts")
        elif time.monotonic() - heard_s > SILENCE_S_MAX:
            raise BenchmarkError(f"silent for {SILENCE_S_MAX:.0f} s after {count} of {rows}")


def _await_first(
    reader: Consumer, process: subprocess.Popen[bytes], setup: Setup, prefix: str
) -> int:
    """Wait for the first verdicts in the topic, committed or not; how many there are."""
    name = _settings(setup, prefix)[1].name("verdicts")
    places = [TopicPartition(name, number) for number in range(setup.partitions)]
    deadline_s = time.monotonic() + SILENCE_S_MAX
    while time.monotonic() < deadline_s and process.poll() is None:
        ends = [reader.get_watermark_offsets(place, timeout=10.0)[1] for place in places]
        if any(ends):
            return sum(ends)
        time.sleep(_READ_S)
    raise BenchmarkError(f"no verdict in {SILENCE_S_MAX:.0f} s")
