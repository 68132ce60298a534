"""A worker's disk that fills up and is freed: a real one where it may be mounted."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from streamapp.broker.waiting import wait_until
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment
from tests.engine.worker_process import WorkerProcess
from tests.stress.exact import assert_exact
from tests.stress.outcome import Outcome

_DISK_MIB: Final = 96
_PIECE: Final = bytes(64 * 1024)
_RATE_PER_S: Final = 200.0
_SCORED_BEFORE: Final = 400
_TIMEOUT_S: Final = 60.0
#: What the system says of a disk, and of a file, that is full.
_FULL: Final = ("No space left on device", "File too large")


class SmallDisk(Protocol):
    """Where a worker keeps its state."""

    kind: str

    def fill(self, worker: WorkerProcess) -> None:
        """Leave nothing for the worker, now and when it is started again."""

    def free(self) -> None:
        """Give it room again."""


class Mounted:
    """A file system of its own in memory, filled by a file beside the state: ENOSPC."""

    kind = "tmpfs"

    def __init__(self, directory: Path) -> None:
        self._filler = directory / "filler"

    def fill(self, worker: WorkerProcess) -> None:
        """To the last byte."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while filler.write(_PIECE) == len(_PIECE):
                pass

    def free(self) -> None:
        """Delete what was in the way."""
        self._filler.unlink()


class Limited:
    """Where nobody may mount: no file of the worker may grow (EFBIG); its successor starts free."""

    kind = "file size limit"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fill(self, worker: WorkerProcess) -> None:
        """From the size that its largest file has now."""
        sizes = [path.stat().st_size for path in self._directory.rglob("*") if path.is_file()]
        _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (max(sizes), hard))

    def free(self) -> None:
        """Nothing: the limit was the process's own."""


@contextmanager
def small_disk(directory: Path) -> Iterator[SmallDisk]:
    """A disk at `directory` that can be filled."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(directory)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError):
        yield Limited(directory)
        return
    try:
        yield Mounted(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True, timeout=10)


def full_disk(deployment: Deployment, model: ModelArtifact, times: int) -> Outcome:
    """Full under load: the worker ends with one line; freed, the next goes on, nothing lost."""
    told: list[str] = []
    deployment.make_topics()
    with small_disk(deployment.directory / "state") as disk:
        worker = deployment.worker()
        with deployment.load(per_s=_RATE_PER_S) as sent:
            for _ in range(times):
                _await_scored(worker)
                disk.fill(worker)
                told.append(_failure(worker))
                if disk.kind == Mounted.kind:
                    told.append(_failure(deployment.worker()))
                disk.free()
                worker = deployment.worker()
            _await_scored(worker)
        [rows] = sent
        deployment.found(rows)
        assert 0 == worker.terminate()[0], worker.log.read_text()[-2000:]
        assert_exact(deployment, model)
    place = str(deployment.directory / "state")
    assert all(place in line and any(map(line.__contains__, _FULL)) for line in told), told
    return Outcome(times, {"records": rows, "disk": disk.kind, "ends with one line": len(told)})


def _await_scored(worker: WorkerProcess) -> None:
    worker.await_ready()

    def is_scored() -> bool:
        return worker.metrics()["streamapp_transactions_total"] > _SCORED_BEFORE

    assert wait_until(is_scored, _TIMEOUT_S), worker.log.read_text()[-2000:]


def _failure(worker: WorkerProcess) -> str:
    """What a worker says that ended by itself: one event, one line."""
    assert 1 == worker.await_end(), worker.log.read_text()[-2000:]
    [event] = worker.logged("worker_failed")
    assert "\n" not in event["error"]
    return str(event["error"])
