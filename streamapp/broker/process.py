"""A server process that outlives the one that started it."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Process(BaseModel):
    """A process of this machine, told apart from a later one that got the same pid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started: str

    @classmethod
    def spawn(cls, argv: list[str], log: Path) -> "Process":
        """Start `argv` in its own session, both its outputs in `log`.

        Raises OSError if there is no such program.
        """
        # A Popen would warn at collection that its child still runs, which here is the purpose.
        pid = os.posix_spawn(
            argv[0],
            argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        return cls(pid=pid, started=_started(pid) or "ended")

    def is_alive(self) -> bool:
        """Whether it still runs; a child of ours that ended is reaped on the way."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return _started(self.pid) == self.started

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _started(pid: int) -> str | None:
    """When `pid` began, in the system's own notation; None if it ended, as zombies have."""
    if Path("/proc/self/stat").exists():
        return _started_by_proc(pid)
    return _started_by_ps(pid)


def _started_by_proc(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the name stands in parentheses and may hold any character; field 3 is the state,
    # field 20 the number of threads, field 22 the start in clock ticks since boot.
    fields = text.rpartition(")")[2].split()
    state, threads, started = fields[0], int(fields[17]), fields[19]
    # A first thread that ended while others still do keeps the files and ports open.
    has_ended = state in "ZX" and threads <= 1
    return None if has_ended else started


def _started_by_ps(pid: int) -> str | None:
    line = subprocess.run(  # noqa: S603 - the pid is an integer
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    ).stdout.strip()
    state, _, start = line.partition(" ")
    return None if not state or state.startswith("Z") else start.strip()
