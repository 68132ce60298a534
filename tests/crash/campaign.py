"""The crash campaign on a real Apache Kafka: python -m tests.crash.campaign [--quick] [--report F].

Every row is a fault: fresh topics of 16 partitions, workers under a supervisor, traffic at a fixed
rate, the fault so many times, then a check against an undisturbed run. Exit status 1 if a row
differs in anything, or does not recover by itself.
"""

import logging
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import structlog
import typer
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine, versions
from streamapp.broker import LocalBroker
from streamapp.engine.warm_up import warm_up
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir
from tests.crash import rows
from tests.crash.checker import Findings, check
from tests.crash.faults import Row
from tests.crash.fleet import Stop
from tests.crash.sinks import migrate
from tests.crash.stage import SHUTDOWN_TIMEOUT_S, CampaignError, Evidence, Stage, open_stage
from tests.servers.postgres import start_postgres

#: A worker's own bound, and time for the supervisor to see its end.
STOP_S_MAX: Final = 2 * SHUTDOWN_TIMEOUT_S + 1.0
_CHECK_TIMEOUT_S: Final = 300.0
_COLUMNS: Final = (
    "n",
    "kills",
    "SIGTERMs",
    "worst exit s",
    "own exits",
    "rebalances",
    "records",
    "lost",
    "duplicate",
    "verdict bytes differ",
    "profiles differ",
    "other differ",
    "ready again s, median",
    "worst",
    "passed",
)
_console = Console(width=200)


@dataclass(slots=True)
class RowResult:
    """What came of a row. error: why it could not be finished; empty where it was."""

    name: str
    faults: int = 0
    kills: int = 0
    stops: list[Stop] = field(default_factory=list)
    own_exits: dict[int, int] = field(default_factory=dict)
    #: Assignments while the fault lasted, beyond the first of each worker process.
    rebalances: int = 0
    rebalances_max: int | None = None
    ready_again_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""
    findings: Findings = field(default_factory=Findings)

    @property
    def is_passed(self) -> bool:
        """Nothing differs, something was compared, and who was told to end did so in time."""
        return not self.problem and not self.findings.differences and self.findings.records > 0

    @property
    def problem(self) -> str:
        """What was wrong beside the findings; empty where nothing was."""
        if self.error:
            return self.error
        if late := [stop for stop in self.stops if stop.code or stop.seconds > STOP_S_MAX]:
            return f"ended at SIGTERM with another code than 0 or late: {late}"
        if self.rebalances_max is not None and self.rebalances > self.rebalances_max:
            return f"{self.rebalances} rebalances, expected at most {self.rebalances_max}"
        return ""


class Campaign:
    """Strikes row after row on one broker; what a row left is checked beside the next one."""

    def __init__(self, broker: LocalBroker, dsn: str, directory: Path, seed: int) -> None:
        migrate(dsn)
        warm_up(
            load(default_model_dir())
        )  # else every worker of the first row compiles the kernels
        self._broker = broker
        self._dsn = dsn
        self._directory = directory
        self._seed = seed
        self._checks = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._open: list[tuple[RowResult, Future[Findings]]] = []
        self.results: list[RowResult] = []

    def run(self, row: Row) -> None:
        """Strike, and hand the evidence to the checker."""
        if row.breaks_broker:
            self.finish_checks()
        result = RowResult(row.name, rebalances_max=row.rebalances_max)
        self.results.append(result)
        started = time.monotonic()
        try:
            evidence = self._strike(row, result)
            self._open.append((result, self._checks.submit(examine, evidence)))
            if row.breaks_broker:
                self.finish_checks()
        except CampaignError as error:
            result.error = str(error)
        except Exception as error:  # whatever it was, the other rows can still be run
            result.error = repr(error)
        result.seconds = time.monotonic() - started

    def finish_checks(self) -> None:
        """Wait for the findings of all rows so far."""
        for result, future in self._open:
            try:
                result.findings = future.result(_CHECK_TIMEOUT_S)
            except Exception as error:
                result.error = f"the check failed: {error!r}"
        self._open.clear()

    def close(self) -> None:
        """Let the checker's process go."""
        self._checks.shutdown(cancel_futures=True)

    def _strike(self, row: Row, result: RowResult) -> Evidence:
        stage = open_stage(
            row.name,
            self._directory,
            self._broker,
            self._dsn,
            seed=self._seed,
            per_s=row.per_s,
            is_static=row.is_static,
            is_trapped=row.is_trapped,
            settings=row.settings,
        )
        try:
            stage.fleet.scale(row.workers)
            stage.settle(since=None)
            before = stage.fleet.rebalances()
            row.strike(stage, row.count)
            result.rebalances = stage.fleet.rebalances() - before
            stage.drain()
            stage.fleet.stop()
            return stage.evidence()
        finally:
            stage.fleet.destroy()
            stage.sender.abandon()
            _note(stage, result)


def _note(stage: Stage, result: RowResult) -> None:
    result.faults = len(stage.ready_again_s)
    result.kills = stage.fleet.kills
    result.stops = list(stage.fleet.stops)
    result.own_exits = dict(stage.fleet.own_exits)
    result.ready_again_s = [round(seconds, 2) for seconds in stage.ready_again_s]


def examine(evidence: Evidence) -> Findings:
    """Check in a process of its own; the topics of a row that passed are deleted."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    findings = check(evidence, load(default_model_dir()))
    if not findings.differences:
        admin = AdminClient({**evidence.kafka.librdkafka()})
        names = [evidence.topics.name(role) for role in ("transactions", "verdicts", "anomalies")]
        names += [evidence.topics.name("dead_letters"), evidence.changelog]
        for future in admin.delete_topics(names).values():
            future.result(30)
    return findings


def run_rows(
    chosen: list[Row], directory: Path, *, seed: int
) -> Iterator[tuple[LocalBroker, list[RowResult]]]:
    """Run the rows on servers of their own; yields what is known after each and at the end."""
    with (
        closing(start_postgres()) as postgres,
        LocalBroker.start("kafka", directory=directory / "broker") as broker,
    ):
        campaign = Campaign(broker, postgres.url, directory, seed)
        try:
            for row in chosen:
                campaign.run(row)
                yield broker, campaign.results
            campaign.finish_checks()
            yield broker, campaign.results
        finally:
            campaign.close()


def main(
    quick: Annotated[bool, typer.Option(help="A few of each, under 5 minutes.")] = False,
    seed: Annotated[int | None, typer.Option(help="Repeats the draws of a campaign.")] = None,
    only: Annotated[str, typer.Option(help="Rows whose name contains this.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
    keep: Annotated[bool, typer.Option(help="Keep logs and state of rows that passed.")] = False,
) -> None:
    """Strike, compare, print the table; exit status 1 if any row fails."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    chosen = [row for row in (rows.quick() if quick else rows.full()) if only in row.name]
    if not chosen:
        _console.print(f"no row is called {only!r}")
        raise typer.Exit(2)
    directory = Path(tempfile.mkdtemp(prefix="crash-"))
    started = time.monotonic()
    results: list[RowResult] = []
    serving: dict[str, str] = {}
    seconds = 0.0
    for broker, known in run_rows(chosen, directory, seed=seed):
        results, serving = known, {"kind": str(broker.kind), "version": broker.version}
        seconds = time.monotonic() - started
        _console.print(_progress(results[-1], seconds))
        if report is not None:
            figures = _report(results, seed, serving, seconds)
            report.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    _console.print(_table(results, seed, serving, seconds))
    failed = [row for row in results if not row.is_passed]
    for row in failed:
        _console.print(f"[red]{row.name}: {row.problem or row.findings}[/red]")
    if failed:
        _console.print(f"logs and state are in {directory}; again: --seed {seed}")
        raise typer.Exit(1)
    if keep:
        _console.print(f"logs and state are in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


def _progress(row: RowResult, seconds: float) -> str:
    outcome = row.error or f"{row.faults} faults, {row.kills} kills in {row.seconds:.0f} s"
    return f"{seconds:5.0f} s  {row.name}: {outcome}"


def _table(results: list[RowResult], seed: int, serving: dict[str, str], seconds: float) -> Table:
    kills = sum(row.kills for row in results)
    table = Table(
        title=f"{kills} worker kills in {seconds / 60:.1f} min on {serving['kind']} "
        f"{serving['version']}, seed {seed}"
    )
    table.add_column("fault", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for row in results:
        found, ready = row.findings, row.ready_again_s
        other = found.differences - found.lost - found.duplicate
        other -= found.differing_verdicts + found.differing_profiles
        cells: list[object] = [row.faults, row.kills, len(row.stops)]
        cells += [max((stop.seconds for stop in row.stops), default="")]
        cells += [sum(row.own_exits.values()), row.rebalances, found.records, found.lost]
        cells += [found.duplicate, found.differing_verdicts, found.differing_profiles, other]
        times = [f"{statistics.median(ready):.1f}", f"{max(ready):.1f}"] if ready else ["", ""]
        passed = "yes" if row.is_passed else "NO"
        table.add_row(row.name, *map(str, cells), *times, passed)
    return table


def _report(
    results: list[RowResult], seed: int, serving: dict[str, str], seconds: float
) -> dict[str, Any]:
    return {
        "seed": seed,
        "seconds": round(seconds),
        "worker_kills": sum(row.kills for row in results),
        "passed": all(row.is_passed for row in results),
        "broker": serving,
        "versions": versions(),
        "machine": machine(),
        "rows": [asdict(row) | {"passed": row.is_passed} for row in results],
    }


if __name__ == "__main__":
    typer.run(main)
