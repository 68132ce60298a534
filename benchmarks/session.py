"""A session on a stand: topics, group and state of its own, and the processes on them.

What is read must be as much as was sent, to the payment, or its figures mean nothing and it ends in
BenchmarkError.
"""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from confluent_kafka.admin import AdminClient
from numpy.typing import NDArray

from benchmarks import generator, reader, relay
from benchmarks.contender import STREAMAPP, BenchmarkError
from benchmarks.crowd import BATCH_ROWS
from benchmarks.machine import Use, memory_mib, usage
from benchmarks.processes import STOP_TIMEOUT_S, end, has_ended, module, start
from benchmarks.reader import Isolation
from benchmarks.recording import blocks
from benchmarks.tally import Tally
from streamapp.broker.network import free_port
from streamapp.engine.settings import WorkerSettings
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics

if TYPE_CHECKING:
    from benchmarks.stand import Stand

#: For start-up, and then between any two verdicts.
SILENCE_S_MAX = 60.0
WARM_UP_ROWS = BATCH_ROWS
#: The name of its process.
RELAY = "relay"
#: Of a worker's, before its number.
_WORKER = "worker"
_POLL_S = 0.01
_WATCH_S = 0.05
_SETTLE_S = 0.5
_LOG_LINES = 15


def is_worker(process: str) -> bool:
    """Whether a process of a session's is a worker, by its name."""
    return process.startswith(_WORKER)


class Session:
    """Topics with a prefix of their own, and the processes on them."""

    def __init__(self, stand: "Stand", prefix: str, recording: Path) -> None:
        self.stand = stand
        self.prefix = prefix
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.pay(recording)
        self._ports: list[int] = []
        self._tally_path = stand.directory / f"{prefix}tally"
        self.tally = Tally(self._tally_path, is_new=True)
        self.topics = TopicSettings(prefix=prefix, partitions=stand.partitions)

    def start(
        self,
        stack: ExitStack,
        readers: Sequence[Isolation],
        stamped: bool,
        workers: int,
        settings: Mapping[str, str],
    ) -> None:
        """Make the topics; start workers and readers, to be ended by the stack."""
        kafka = KafkaSettings(bootstrap_servers=self.stand.bootstrap_servers)
        names = [self.topics.name(role) for role in ("transactions", "verdicts", "anomalies")]
        ensure_topics(kafka, [TopicPlan(name, self.stand.partitions) for name in names], 1)
        for number in range(workers):
            self.start_worker(stack, number, settings)
        for isolation in readers:
            plan = reader.Plan(
                bootstrap_servers=self.stand.bootstrap_servers,
                topic=self.topics.name("verdicts"),
                partitions=self.stand.partitions,
                isolation=isolation,
                tally=str(self._tally_path),
                latencies=str(self._latencies(isolation)) if stamped else "",
            )
            self.start_process(stack, isolation, module("reader", plan), {})

    def start_worker(self, stack: ExitStack, number: int, settings: Mapping[str, str]) -> None:
        """Start a worker with a state directory of its own number."""
        environment = {
            "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": self.stand.bootstrap_servers,
            "STREAMAPP_TOPICS__PREFIX": self.prefix,
            "STREAMAPP_TOPICS__PARTITIONS": str(self.stand.partitions),
            "STREAMAPP_WORKER__STATE_DIR": str(self.state_dir(number)),
            "STREAMAPP_WORKER__HTTP_PORT": str(self.port(number)),
        } | {f"STREAMAPP_WORKER__{name.upper()}": value for name, value in settings.items()}
        self.start_process(stack, f"{_WORKER}{number}", STREAMAPP.command(), environment)

    def start_relay(self, stack: ExitStack, guarantee: str) -> None:
        """Start a relay in a worker's place, with as long from one commit to the next."""
        plan = relay.Plan(
            bootstrap_servers=self.stand.bootstrap_servers,
            source=self.topics.name("transactions"),
            target=self.topics.name("verdicts"),
            partitions=self.stand.partitions,
            guarantee=guarantee,
            interval_ms=WorkerSettings().checkpoint_interval_ms,
        )
        self.start_process(stack, RELAY, module("relay", plan), {})

    def port(self, number: int = 0) -> int:
        """Where worker `number` serves health and metrics."""
        while len(self._ports) <= number:
            self._ports.append(free_port())
        return self._ports[number]

    def state_dir(self, number: int = 0) -> Path:
        """Where worker `number` keeps its state."""
        return self.stand.directory / f"{self.prefix}state{number}"

    def _latencies(self, isolation: Isolation) -> Path:
        return self.stand.directory / f"{self.prefix}{isolation}.npy"

    def start_process(
        self, stack: ExitStack, name: str, command: list[str], environment: Mapping[str, str]
    ) -> None:
        """Start a process whose use is measured with the others', to be ended by the stack."""
        log = self.stand.directory / f"{self.prefix}{name}.log"
        self.processes[name] = process = start(command, environment, log)
        stack.callback(end, process)

    def pay(self, recording: Path) -> None:
        """From now on, send the payments of this recording, from its first one."""
        self._recording, self._next_row = recording, 0

    def first_payment(self) -> bytes:
        """The recording's first one."""
        _, values = next(iter(blocks(self._recording, 0)))
        return values[0]

    def changelog_bytes(self) -> int:
        """What the changelog takes on the broker's disk, index files included."""
        logs = (self.stand.broker_data / "log").glob(f"{self.prefix}*.state-*")
        return sum(map(directory_bytes, logs))

    def warm_up(self) -> None:
        """Have a first few payments scored: everything is started then."""
        self.send_few(WARM_UP_ROWS)
        self.await_read()

    def await_ready(self, workers: int) -> None:
        """Return when so many workers have partitions, and payments sent since were answered."""
        names = [f"{_WORKER}{number}" for number in range(workers)]
        self._await(
            lambda: all("partitions_assigned" in self.log_events(name) for name in names),
            "not every worker has partitions",
        )
        self.warm_up()

    def memory_mib(self) -> int:
        """The resident memory of all workers."""
        workers = filter(is_worker, self.processes)
        return sum(memory_mib(self.processes[name].pid) for name in workers)

    def send_few(self, rows: int) -> None:
        """Send from this process, at once."""
        self._note(generator.send(self._plan(rows=rows)))

    def send(
        self,
        *,
        rows: int = 0,
        rate: float = 0.0,
        seconds: float = 0.0,
        skip_s: float = 0.0,
        ahead: int = generator.AHEAD,
    ) -> tuple[generator.Outcome, Use]:
        """Send paced (rate and seconds) or unpaced (rows, or seconds); what was used meanwhile.

        The first `skip_s` seconds are not in the use.
        """
        rows = rows or (int(rate * seconds) if rate else sys.maxsize)
        plan = self._plan(rows, rate, seconds, ahead)
        process = subprocess.Popen(module("generator", plan), stdout=subprocess.PIPE)
        try:
            used = self._watch(process, skip_s)
            told, _ = process.communicate(timeout=STOP_TIMEOUT_S)
        finally:
            end(process)
        outcome = msgspec.json.decode(told, type=generator.Outcome)
        self._note(outcome)
        return outcome, used

    def _plan(
        self,
        rows: int,
        rate: float = 0.0,
        seconds: float = 0.0,
        ahead: int = generator.AHEAD,
    ) -> generator.Plan:
        return generator.Plan(
            bootstrap_servers=self.stand.bootstrap_servers,
            topic=self.topics.name("transactions"),
            recording=str(self._recording),
            tally=str(self._tally_path),
            rows=rows,
            first=self._next_row,
            rate=rate,
            seconds=seconds,
            ahead=ahead,
        )

    def _note(self, outcome: generator.Outcome) -> None:
        if outcome.failed:
            raise BenchmarkError(f"the broker did not take {outcome.failed} payments")
        self._next_row += -(-outcome.sent // BATCH_ROWS) * BATCH_ROWS

    def _watch(self, sender: subprocess.Popen[bytes], skip_s: float) -> Use:
        """Usage from `skip_s` after the first payment sent until the generator's end."""
        sent_before = self.tally["sent"]
        self._await(lambda: self.tally["sent"] > sent_before or has_ended(sender), "sent nothing")
        threading.Event().wait(skip_s)
        return self._use_until(lambda: has_ended(sender), {"generator": sender.pid})

    def watch_reading(self) -> Use:
        """Usage from the first verdict read until the last one."""
        self._await(lambda: self.tally["read_committed"] > 0, "no verdict")
        return self._use_until(lambda: self.tally["read_committed"] >= self.tally["sent"], {})

    def _use_until(self, is_over: Callable[[], bool], others: Mapping[str, int]) -> Use:
        pause, pids = threading.Event(), self.pids() | dict(others)
        uses = [self._usage(pids)]
        last = uses[0]
        while not is_over():
            last = self._usage(pids)
            if last.at_s >= uses[0].at_s + len(uses):
                uses.append(last)
            self._check_processes()
            pause.wait(_WATCH_S)
        each_s = tuple(after.read - before.read for before, after in pairwise(uses))
        return replace(last - uses[0], read_each_s=each_s)

    def _usage(self, pids: Mapping[str, int]) -> Use:
        return usage(pids, self.tally["sent"], self.tally["read_committed"])

    def pids(self) -> dict[str, int]:
        """Process ids by name, the broker's among them."""
        own = {name: process.pid for name, process in self.processes.items()}
        return own | {"broker": self.stand.broker_process.pid}

    def await_read(self) -> None:
        """Return when a verdict on every payment sent so far was read by every reader."""
        for isolation in [name for name in self.processes if name.startswith("read_")]:
            self._await_reader(isolation)  # type: ignore[arg-type]

    def _await_reader(self, isolation: Isolation) -> None:
        count, heard_s = -1, time.monotonic()
        while self.tally[isolation] < self.tally["sent"]:
            self._check_processes()
            if self.tally[isolation] > count:
                count, heard_s = self.tally[isolation], time.monotonic()
            elif time.monotonic() - heard_s > SILENCE_S_MAX:
                raise BenchmarkError(f"silent for {SILENCE_S_MAX:.0f} s after {count} verdicts")
            threading.Event().wait(_POLL_S)

    def _await(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline_s = time.monotonic() + SILENCE_S_MAX
        while not is_so():
            self._check_processes()
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"{otherwise} within {SILENCE_S_MAX:.0f} s")
            threading.Event().wait(_POLL_S)

    def _check_processes(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise BenchmarkError(f"{name} ended with code {process.returncode}")
        if not self.stand.broker_process.is_alive():
            raise BenchmarkError("the broker ended")

    def verify(self) -> None:
        """Raise BenchmarkError unless every payment was answered once, for each reader."""
        self.await_read()
        for isolation in [name for name in self.processes if name.startswith("read_")]:
            self._verify(isolation)  # type: ignore[arg-type]

    def _verify(self, isolation: Isolation) -> None:
        threading.Event().wait(_SETTLE_S)
        if (read := self.tally[isolation]) != (sent := self.tally["sent"]):
            raise BenchmarkError(f"{isolation}: {read} verdicts for {sent} payments")

    def clear(self) -> None:
        """Remove topics and state: what later sessions don't read need not fill the disk."""
        kafka = KafkaSettings(bootstrap_servers=self.stand.bootstrap_servers)
        admin = AdminClient({**kafka.librdkafka(), **QUIET})
        known = admin.list_topics(timeout=STOP_TIMEOUT_S).topics
        if own := [topic for topic in known if topic.startswith(self.prefix)]:
            for deleted in admin.delete_topics(own).values():
                deleted.result()
        for directory in self.stand.directory.glob(f"{self.prefix}state*"):
            shutil.rmtree(directory)

    def end_reader(self, isolation: Isolation) -> NDArray[np.int64]:
        """Stop a reader, as `verify`; its latencies (n, 2), see `reader`."""
        self._await_reader(isolation)
        self._verify(isolation)
        end(self.processes.pop(isolation))
        return np.load(self._latencies(isolation))  # type: ignore[no-any-return]

    def log_events(self, name: str) -> dict[str, dict[str, Any]]:
        """What a worker has logged: of each kind of event the last."""
        lines = (self.stand.directory / f"{self.prefix}{name}.log").read_bytes().splitlines()
        events = [msgspec.json.decode(line) for line in lines if line.startswith(b"{")]
        return {event["event"]: event for event in events}

    def last_log_lines(self) -> str:
        """The end of each process's log."""
        logs = sorted(self.stand.directory.glob(f"{self.prefix}*.log"))
        logs += self.stand.broker_data.parent.glob("*.log")
        told = [log.read_text(errors="replace").splitlines()[-_LOG_LINES:] for log in logs]
        return "\n".join(line for lines in told for line in lines)


def directory_bytes(directory: Path) -> int:
    """What a directory takes on the disk."""
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*") if file.is_file())
