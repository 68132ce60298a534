"""How long a worker that knows a million users takes from its start to its first verdict.

    python -m benchmarks.restart [--quick] [--users 1000000] [--runs 5]

State is made by `seeded_state`. Then a worker is started with payments waiting
for it: on the RocksDB its predecessor closed, on one it was killed with, and on none, so that the
changelog alone gives it back; both also with the machine's page cache dropped (as root). Where the
predecessor was killed, the group first waits for its session (6 s) to end, unless it was a static
member. The clock runs from starting the process to the committed verdict in a reader's hands.
docs/performance.md says more.
"""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks.contender import BenchmarkError
from benchmarks.crowd import BATCH_ROWS, Crowd
from benchmarks.machine import memory_mib, peak_memory_mib, used
from benchmarks.processes import end
from benchmarks.report import conditions, console, median_of, table, write
from benchmarks.seeded_state import NEXT_DAY, Seeded, seed_state
from benchmarks.session import Session, directory_bytes
from benchmarks.stand import Stand
from benchmarks.tables import performance

START_S_MAX = 600.0
PAYMENTS_WAITING = 200
_POLL_S = 0.01
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class Case(msgspec.Struct, frozen=True):
    """What a worker finds at its start. is_repeated: whether it is started so in every run."""

    name: str
    title: str
    is_killed: bool = False
    has_store: bool = True
    is_cold: bool = False
    instance_id: str | None = None
    is_repeated: bool = False


CASES = (
    Case("rocksdb", "RocksDB, stopped orderly", is_repeated=True),
    Case("rocksdb_cold", "RocksDB, page cache dropped", is_cold=True),
    Case("rocksdb_killed", "RocksDB, kill -9", is_killed=True),
    Case(
        "rocksdb_killed_static",
        "RocksDB, kill -9, static member",
        is_killed=True,
        instance_id="bench",
    ),
    Case("changelog", "changelog alone", has_store=False),
    Case("changelog_cold", "changelog, page cache dropped", has_store=False, is_cold=True),
)


class Run(msgspec.Struct, frozen=True):
    """One start. Seconds from the start of the process, but recovery_s: that alone."""

    case: str
    recovery_began_s: float
    recovery_s: float
    ready_s: float
    first_verdict_s: float
    all_verdicts_s: float
    recovered_records: int
    cpu_s: float
    memory_mib: int
    peak_memory_mib: int


def main(
    broker: Annotated[str, typer.Option(help="kafka or noida.")] = "kafka",
    users: Annotated[int, typer.Option(min=10_000, help="Profiles.")] = 1_000_000,
    runs: Annotated[int, typer.Option(min=1, max=20, help="The usual start; others once.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="100,000 users, one of each.")] = False,
    only: Annotated[str | None, typer.Option(help="One case by its name.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the raw figures go.")] = None,
) -> None:
    """Make the state, start workers on it, print what it took, write the raw figures."""
    if quick:
        users, runs = 100_000, 1
    cases = [case for case in CASES if only in (None, case.name)]
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started(broker, Path(directory)) as stand,
        stand.session(
            "restart",
            crowd=Crowd(users=users, first_day=NEXT_DAY),
            rows_max=(len(cases) * runs + 2) * BATCH_ROWS,
            workers=0,
            stamped=False,
        ) as session,
    ):
        started_s = time.perf_counter()
        seeded = seed_state(session, users)
        console.print(f"{users:,} profiles made in {time.perf_counter() - started_s:.0f} s")
        disk = directory_bytes(session.state_dir())
        found = _runs(session, cases, runs)
    figures = {
        "state": seeded,
        "store_bytes_per_user": round(disk / users, 1),
        "medians": [_medians(case, found, seeded) for case in cases],
        "runs": found,
    }
    report = write("restart", figures, {"users": users, "runs": runs, "workers": 1}, stand, output)
    title = f"Start of a worker that knows {users:,} users"
    table(title, conditions(stand, "n"), performance.restart(report))


def _runs(session: Session, cases: list[Case], runs: int) -> list[Run]:
    found: list[Run] = []
    with ExitStack() as stack:
        _Worker(session, stack).end(signal.SIGTERM)  # settles what a first start makes
        for number in range(1, runs + 1):
            for case in [case for case in cases if number == 1 or case.is_repeated]:
                found.append(_run(session, stack, case))
                console.print(
                    f"run {number}, {case.title}: ready after {found[-1].ready_s:.1f} s, "
                    f"first verdict after {found[-1].first_verdict_s:.1f} s"
                )
    return found


def _run(session: Session, stack: ExitStack, case: Case) -> Run:
    if case.is_killed:  # a predecessor with work behind it
        _Worker(session, stack, case.instance_id).end(signal.SIGKILL)
    if not case.has_store:
        shutil.rmtree(session.state_dir())
    if case.is_cold:
        _drop_page_cache()
    worker = _Worker(session, stack, case.instance_id)
    run = worker.figures(case)
    worker.end(signal.SIGTERM)
    return run


class _Worker:
    """A worker started on waiting payments, and when it had done what."""

    def __init__(self, session: Session, stack: ExitStack, instance_id: str | None = None) -> None:
        self._session, self._port = session, session.port()
        before = session.tally["read_committed"]
        settings = {} if instance_id is None else {"instance_id": instance_id}
        self._started_at_s, self._started_s = time.time(), time.perf_counter()
        session.start_worker(stack, 0, settings)
        self._process = session.processes["worker0"]
        session.send_few(PAYMENTS_WAITING)
        self._ready_s = self._until(lambda: self._get("/readyz") is not None)
        self._first_s = self._until(lambda: session.tally["read_committed"] > before)
        self._all_s = self._until(lambda: session.tally["read_committed"] >= session.tally["sent"])

    def _until(self, is_so: Callable[[], bool]) -> float:
        """Seconds from the start of the process until it is so."""
        pause = threading.Event()
        while not is_so():
            if self._process.poll() is not None:
                raise BenchmarkError(f"the worker ended with code {self._process.returncode}")
            if time.perf_counter() - self._started_s > START_S_MAX:
                raise BenchmarkError(f"the worker was not ready within {START_S_MAX:.0f} s")
            pause.wait(_POLL_S)
        return round(time.perf_counter() - self._started_s, 3)

    def _get(self, path: str) -> str | None:
        url = f"http://127.0.0.1:{self._port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=START_S_MAX) as got:
                return str(got.read().decode())
        except OSError:
            return None

    def figures(self, case: Case) -> Run:
        """What it took."""
        events, pid = self._session.log_events("worker0"), self._process.pid
        recovered_at = datetime.fromisoformat(events["state_recovered"]["timestamp"])
        recovery_s = events["state_recovered"]["seconds"]
        lines = (self._get("/metrics") or "").splitlines()
        [records] = [line for line in lines if line.startswith("streamapp_recovered_records_total")]
        return Run(
            case=case.name,
            recovery_began_s=round(recovered_at.timestamp() - self._started_at_s - recovery_s, 3),
            recovery_s=recovery_s,
            ready_s=self._ready_s,
            first_verdict_s=self._first_s,
            all_verdicts_s=self._all_s,
            recovered_records=int(float(records.split()[1])),
            cpu_s=used(pid).process_s,
            memory_mib=memory_mib(pid),
            peak_memory_mib=peak_memory_mib(pid),
        )

    def end(self, number: signal.Signals) -> None:
        """Stop it, orderly or not."""
        self._process.send_signal(number)
        end(self._session.processes.pop("worker0"))


def _drop_page_cache() -> None:
    os.sync()
    try:
        _DROP_CACHES.write_text("3\n")
    except OSError as error:
        raise BenchmarkError(
            "the page cache can't be dropped: run as root, or choose a case with --only"
        ) from error


def _medians(case: Case, found: list[Run], seeded: Seeded) -> dict[str, Any]:
    runs = [run for run in found if run.case == case.name]
    recovery_s = median_of(runs, lambda run: run.recovery_s)
    records = median_of(runs, lambda run: run.recovered_records)
    million = seeded.profiles / 1e6
    each_bytes = seeded.value_bytes / seeded.changelog_records
    names = (
        "recovery_began_s",
        "ready_s",
        "first_verdict_s",
        "all_verdicts_s",
        "memory_mib",
        "peak_memory_mib",
    )
    return {
        "case": case.name,
        "n": len(runs),
        "recovery_s": recovery_s,
        "recovery_s_per_million_profiles": round(recovery_s / million, 2),
        "recovered_records": records,
        "records_per_s": round(records / recovery_s),
        "mb_per_s": round(records * each_bytes / recovery_s / 1e6, 1),
        **{name: median_of(runs, attrgetter(name)) for name in names},
    }


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"benchmarks.restart: {error}")
