"""A worker whose wall clock jumps, by libfaketime; event time is all that verdicts know."""

from datetime import datetime
from pathlib import Path
from typing import Final

from streamapp.broker.waiting import wait_until
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment
from tests.engine.worker_process import WorkerProcess
from tests.stress.exact import assert_exact
from tests.stress.outcome import Outcome

JUMPS: Final = ("+2h", "-2h", "+0", "+30d", "+0", "-1h")
_RATE_PER_S: Final = 400.0
_SCORED_BETWEEN: Final = 200
_TIMEOUT_S: Final = 60.0
#: At the end, as the log tells: the last of the jumps.
_HOURS_OFF_MIN: Final = 0.9


def library() -> Path:
    """libfaketime, as Debian installs it."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise RuntimeError("libfaketime is not installed: run deploy/install-test-servers.sh")
    return found[0]


def clock_jumps(deployment: Deployment, model: ModelArtifact, jumps: tuple[str, ...]) -> Outcome:
    """Under load the clock goes hours forward and back: not a byte differs, and none restarts."""
    offset = deployment.directory / "clock"
    _set(offset, "+0")
    worker = deployment.worker(
        environment={
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            # Time that only goes forward is the kernel's own promise, kept when the clock is set.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
    )
    worker.await_ready()
    with deployment.load(per_s=_RATE_PER_S) as sent:
        _await_scored(worker, _SCORED_BETWEEN)
        for jump in jumps:
            _set(offset, jump)
            _await_scored(worker, _SCORED_BETWEEN)
    [rows] = sent
    deployment.found(rows)
    generations = worker.metrics()["streamapp_rebalances_total"]
    assert 0 == worker.terminate()[0], worker.log.read_text()[-2000:]
    assert _hours_off(worker) >= _HOURS_OFF_MIN, "the worker's clock has not jumped"
    assert_exact(deployment, model)
    return Outcome(
        len(jumps),
        {"records": rows, "assignments": generations},
    )


def _set(offset: Path, jump: str) -> None:
    """At once, for the library reads the file at every look at the clock."""
    new = offset.with_suffix(".new")
    new.write_text(f"{jump}\n")
    new.replace(offset)


def _hours_off(worker: WorkerProcess) -> float:
    """How far its clock had gone when it stopped, but for the minutes in between."""
    first, *_, last = (datetime.fromisoformat(event["timestamp"]) for event in worker.events())
    return abs((last - first).total_seconds()) / 3_600


def _await_scored(worker: WorkerProcess, more: int) -> None:
    before = worker.metrics()["streamapp_transactions_total"]
    is_scored = wait_until(
        lambda: (
            worker.metrics()["streamapp_transactions_total"] >= before + more or not worker.is_alive
        ),
        _TIMEOUT_S,
    )
    assert is_scored, worker.log.read_text()[-4000:]
    assert worker.is_alive, worker.log.read_text()[-2000:]
