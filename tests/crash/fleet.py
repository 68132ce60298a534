"""Workers of one group and their supervisor, which starts again what has ended, as k8s would."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from streamapp.broker.network import free_port

ROOT: Final = Path(__file__).parents[2]
#: Before a worker that ended by itself is started again.
BACKOFF_S: Final = 0.5
STOP_TIMEOUT_S: Final = 60.0
_ANSWER_S: Final = 1.0
_STARTED: Final = b'"event": "health_served"'
_ASSIGNED: Final = b'"event": "partitions_assigned"'


@dataclass(frozen=True, slots=True)
class Stop:
    """How a worker ended that was told to by SIGTERM."""

    code: int
    seconds: float


@dataclass(slots=True)
class Worker:
    """A place for one worker process: its directory stays when the process changes."""

    number: int
    directory: Path
    port: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    #: SIGSTOP holds it.
    is_held: bool = False
    is_wanted: bool = True
    #: When we sent it SIGTERM.
    told_at: float | None = None
    ended_at: float | None = None
    #: Its last end was our own doing: it is started again at once.
    is_struck: bool = False
    struck_at: float = 0.0

    @property
    def order(self) -> Path:
        """The file that arms its trap."""
        return self.directory / "order"

    @property
    def struck(self) -> Path:
        """The time at which its trap struck."""
        return self.directory / "struck"

    @property
    def state_dir(self) -> Path:
        """Its RocksDB directories."""
        return self.directory / "state"

    @property
    def is_alive(self) -> bool:
        """Its process has not ended."""
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def hold(self) -> None:
        """SIGSTOP: it stands still and knows nothing of it."""
        self.is_held = True
        self.send(signal.SIGSTOP)

    def let_go(self) -> None:
        """SIGCONT."""
        self.is_held = False
        self.send(signal.SIGCONT)

    def is_ready(self) -> bool:
        """It answers that it is assigned, recovered and scoring."""
        try:
            url = f"http://127.0.0.1:{self.port}/readyz"
            with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@dataclass(slots=True)
class Fleet:
    """Up to a few workers; `tend` must be called while one waits for anything."""

    directory: Path
    settings: dict[str, str]
    #: Static membership: each place has its own group instance id.
    is_static: bool = False
    #: Workers are started with traps at their named points.
    is_trapped: bool = False
    workers: list[Worker] = field(default_factory=list)
    #: Exit codes of workers that ended by themselves.
    own_exits: Counter[int] = field(default_factory=Counter)
    kills: int = 0
    stops: list[Stop] = field(default_factory=list)

    @property
    def wanted(self) -> list[Worker]:
        """The workers that should run."""
        return [worker for worker in self.workers if worker.is_wanted]

    @property
    def ends(self) -> int:
        """Workers that ended because they were killed or told to."""
        return self.kills + len(self.stops)

    def scale(self, count: int) -> None:
        """Have the first `count` places run, the others leave by SIGTERM."""
        for worker in self.workers[count:]:
            if worker.is_wanted:
                worker.is_wanted = False
                self.terminate(worker)
        for number in range(count):
            if number == len(self.workers):
                self.workers.append(self._new(number))
            elif not self.workers[number].is_wanted:
                self._await_end(self.workers[number])
                self.workers[number].is_wanted = True
                self._start(self.workers[number])

    def tend(self) -> None:
        """Start again what has ended."""
        for worker in self.workers:
            if worker.is_alive:
                continue
            ended_at = self._note_end(worker)
            is_due = worker.is_struck or time.monotonic() - ended_at > BACKOFF_S
            if worker.is_wanted and is_due:
                self._start(worker)

    def is_ready(self) -> bool:
        """Every worker that is wanted and not held is ready."""
        return all(one.is_ready() for one in self.wanted if not one.is_held)

    def rebalances(self) -> int:
        """Assignments that workers were given beyond the first of each process."""
        count = 0
        for worker in self.workers:
            for life in (worker.directory / "log").read_bytes().split(_STARTED)[1:]:
                count += max(life.count(_ASSIGNED) - 1, 0)
        return count

    def kill(self, worker: Worker) -> None:
        """kill -9; the supervisor starts it again."""
        worker.send(signal.SIGKILL)
        worker.process.wait(STOP_TIMEOUT_S)

    def terminate(self, worker: Worker) -> None:
        """SIGTERM; a worker that is wanted is started again."""
        worker.told_at = time.monotonic()
        worker.send(signal.SIGTERM)

    def stop(self) -> None:
        """End all by SIGTERM."""
        running = [worker for worker in self.wanted if worker.is_alive]
        for worker in self.workers:
            worker.is_wanted = False
        for worker in running:
            self.terminate(worker)
        for worker in self.workers:
            self._await_end(worker)

    def destroy(self) -> None:
        """End all at once, whatever state they are in."""
        for worker in self.workers:
            worker.is_wanted = False
            if worker.is_alive:
                worker.process.kill()
                worker.process.wait(STOP_TIMEOUT_S)
            worker.log.close()

    def _await_end(self, worker: Worker) -> None:
        try:
            worker.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait(STOP_TIMEOUT_S)
        self._note_end(worker)

    def _note_end(self, worker: Worker) -> float:
        """Count how it ended, once; when that was."""
        if worker.ended_at is None:
            worker.ended_at = time.monotonic()
            worker.is_struck = self._is_our_doing(worker, worker.ended_at)
            if worker.is_struck:
                worker.struck_at = worker.ended_at
        return worker.ended_at

    def _is_our_doing(self, worker: Worker, ended_at: float) -> bool:
        code, told_at = worker.process.returncode, worker.told_at
        if worker.struck.exists():
            if code != -signal.SIGKILL:
                told_at = float(worker.struck.read_text())
            worker.struck.unlink()
        if told_at is not None:
            self.stops.append(Stop(code, round(ended_at - told_at, 2)))
        elif code == -signal.SIGKILL:
            self.kills += 1
        else:
            self.own_exits[code] += 1
        return told_at is not None or code == -signal.SIGKILL

    def _new(self, number: int) -> Worker:
        directory = self.directory / f"w{number}"
        directory.mkdir(parents=True)
        log = (directory / "log").open("ab")
        port = free_port()
        process = self._spawn(number, directory, port, log)
        return Worker(number, directory, port, process, log)

    def _start(self, worker: Worker) -> None:
        worker.process = self._spawn(worker.number, worker.directory, worker.port, worker.log)
        worker.told_at = None
        worker.ended_at = None

    def _spawn(
        self, number: int, directory: Path, port: int, log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
        own = {
            "STREAMAPP_WORKER__STATE_DIR": str(directory / "state"),
            "STREAMAPP_WORKER__HTTP_PORT": str(port),
        }
        if self.is_static:
            own["STREAMAPP_WORKER__INSTANCE_ID"] = f"w{number}"
        trapped = ["-m", "tests.crash.launcher", str(directory / "order")]
        arguments = trapped if self.is_trapped else ["-m", "streamapp", "worker"]
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**inherited, **self.settings, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def lose_state(worker: Worker) -> None:
    """Its volume is gone."""
    shutil.rmtree(worker.state_dir, ignore_errors=True)
