"""Resident memory of a process while something else goes on."""

import math
import threading
import time
from pathlib import Path

_SAMPLE_S = 0.2


class Memory:
    """Samples a process from another thread; Linux."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._over = threading.Event()
        self._started = time.monotonic()
        self._samples: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def now_mib(self) -> int:
        """What it has now."""
        lines = [one for one in self._status.read_text().splitlines() if "VmRSS" in one]
        assert lines, "the process has ended"
        return int(lines[0].split()[1]) // 1024

    def most_mib(self, since: float = 0.0, until: float = math.inf) -> int:
        """The most in the samples of that time, in seconds from the first."""
        return max(mib for at, mib in self._samples if since <= at < until)

    def stop(self) -> None:
        """Take no more samples."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            self._samples.append((time.monotonic() - self._started, self.now_mib()))
            self._over.wait(_SAMPLE_S)
