"""Sustained throughput of a worker or more, both guarantees in turn, all on the same cores.

    python -m benchmarks.throughput [--quick] [--workers 2] [--runs 5] [--seconds 60]
    python -m benchmarks.throughput --users 1000000 --skew 1.0 --guarantee exactly_once

A generator keeps 100,000 payments ahead of the reader (or sends at --rate, or has sent --backlog of
them before a worker starts), a reader reads all verdicts as a sink would, and clock and CPU
account run over the seconds in between, start-up and the first two seconds left out. Each run ends
with the check that there is one verdict for each payment. docs/performance.md says more.
"""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks import worker_metrics
from benchmarks.contender import BenchmarkError
from benchmarks.crowd import Crowd
from benchmarks.machine import Use, peak_memory_mib
from benchmarks.paced import GUARANTEES, SKIP_S
from benchmarks.report import conditions, console, median_of, table, write
from benchmarks.session import Session, is_worker
from benchmarks.stand import Stand
from benchmarks.tables import performance
from benchmarks.worker_metrics import Inside

#: More than any worker here scores in a second: so many payments are made ready.
_PER_S_MAX = 80_000
#: What the CPU time of all workers together is called.
WORKERS = "workers"
_PROCESSES = (WORKERS, "broker", "generator", "read_committed")


class Run(msgspec.Struct, frozen=True):
    """The workers for so many seconds. cores: CPU seconds a second, by process, workers as one.

    events_per_s_lowest: of any whole second. peak_memory_mib: of all workers. worker: the first
    one's own account.
    """

    guarantee: str
    seconds: float
    events: int
    events_per_s: float
    events_per_s_lowest: int
    each_s: tuple[int, ...]
    cpu_us_per_event: dict[str, float]
    cores: dict[str, float]
    memory_mib: dict[str, int]
    peak_memory_mib: int
    worker: Inside


def main(
    broker: Annotated[str, typer.Option(help="kafka or noida.")] = "kafka",
    runs: Annotated[int, typer.Option(min=1, max=20, help="Of each, alternating.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Of each exactly-once run.")] = 60.0,
    at_least_once_seconds: Annotated[float, typer.Option(min=1, help="Of the others.")] = 20.0,
    workers: Annotated[int, typer.Option(min=1, max=4, help="Started before the payments.")] = 1,
    users: Annotated[int, typer.Option(min=160, help="Who pay.")] = 10_000,
    skew: Annotated[float, typer.Option(min=0, help="Zipf's exponent; 0: all alike.")] = 0.8,
    hot_share: Annotated[float, typer.Option(min=0, max=1, help="Of one user.")] = 0.0,
    guarantee: Annotated[list[str], typer.Option(help="Of the worker.")] = [*GUARANTEES],  # noqa: B006
    rate: Annotated[float, typer.Option(min=0, help="Payments a second; 0: all it takes.")] = 0.0,
    backlog: Annotated[int, typer.Option(min=0, help="Payments sent before it starts.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="One run of 8 s.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the raw figures go.")] = None,
) -> None:
    """Measure each guarantee, print rates and CPU per event, write the raw figures."""
    if quick:
        runs, seconds, at_least_once_seconds = 1, 8.0, 8.0
    lasting = {"exactly_once": seconds, "at_least_once": at_least_once_seconds}
    crowd = Crowd(users=users, skew=skew, hot_share=hot_share)
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started(broker, Path(directory)) as stand,
    ):
        found: list[Run] = []
        for number in range(1, runs + 1):
            for one in guarantee if number % 2 else guarantee[::-1]:
                prefix = f"run{number}.{one}"
                if backlog:
                    found.append(_measure_backlog(stand, prefix, one, crowd, backlog))
                else:
                    worker = {"guarantee": one}
                    found.append(measure(stand, prefix, worker, crowd, rate, lasting[one], workers))
                _tell(found[-1], number)
    settings = {"runs": runs, "seconds": lasting, "crowd": crowd, "rate": rate, "backlog": backlog}
    settings["workers"] = 1 if backlog else workers
    medians = {one: _medians([run for run in found if run.guarantee == one]) for one in guarantee}
    name = "throughput" if settings["workers"] == 1 else "throughput_workers"
    report = write(name, {"medians": medians, "runs": found}, settings, stand, output)
    title = "Sustained throughput; CPU µs per event (and cores) of each process"
    table(title, conditions(stand, runs), performance.throughput(report))


def measure(
    stand: Stand,
    prefix: str,
    settings: Mapping[str, str],
    crowd: Crowd,
    rate: float,
    seconds: float,
    workers: int = 1,
) -> Run:
    """Workers with these settings, their guarantee among them; rate 0: all they take."""
    per_s = rate or _PER_S_MAX
    with stand.session(
        prefix,
        crowd=crowd,
        rows_max=int((seconds + SKIP_S) * per_s),
        stamped=False,
        workers=workers,
        settings=settings,
    ) as session:
        session.await_ready(workers)
        before = worker_metrics.read(session.port())
        _, used = session.send(rate=rate, seconds=seconds + SKIP_S, skip_s=SKIP_S)
        return _figures(session, settings["guarantee"], used, before)


def _measure_backlog(stand: Stand, prefix: str, guarantee: str, crowd: Crowd, rows: int) -> Run:
    """The worker finds the payments there: no generator runs beside it."""
    with (
        stand.session(prefix, crowd=crowd, rows_max=rows, stamped=False, workers=0) as session,
        ExitStack() as stack,
    ):
        session.send(rows=rows, ahead=rows)
        session.start_worker(stack, 0, {"guarantee": guarantee})
        used = session.watch_reading()
        return _figures(session, guarantee, used, {})


def _figures(session: Session, guarantee: str, used: Use, before: dict[str, float]) -> Run:
    return Run(
        guarantee=guarantee,
        seconds=round(used.at_s, 2),
        events=used.read,
        events_per_s=round(used.per_s, 1),
        events_per_s_lowest=min(used.read_each_s, default=0),
        each_s=used.read_each_s,
        cpu_us_per_event=workers_as_one(used.per_event_us()),
        cores=workers_as_one(used.cores()),
        memory_mib=used.memory_mib,
        peak_memory_mib=sum(
            peak_memory_mib(pid) for name, pid in session.pids().items() if is_worker(name)
        ),
        worker=worker_metrics.between(before, worker_metrics.read(session.port())),
    )


def workers_as_one(spent: Mapping[str, float]) -> dict[str, float]:
    """CPU time by process, that of all workers under one name."""
    of_all = sum(one for process, one in spent.items() if is_worker(process))
    others = {process: one for process, one in spent.items() if not is_worker(process)}
    return {WORKERS: round(of_all, 2), **others}


def _medians(runs: list[Run]) -> dict[str, Any]:
    names = [name for name in _PROCESSES if name in runs[0].cpu_us_per_event]
    return {
        "events_per_s": median_of(runs, lambda run: run.events_per_s),
        "events_per_s_lowest": median_of(runs, lambda run: run.events_per_s_lowest),
        "cpu_us_per_event": {
            name: median_of([run.cpu_us_per_event[name] for run in runs], float) for name in names
        },
        "cores": {
            name: median_of([run.cores[name] for run in runs], float)
            for name in (*names, "others", "stolen")
        },
        "peak_memory_mib": median_of(runs, lambda run: run.peak_memory_mib),
    }


def _tell(run: Run, number: int) -> None:
    spent = ", ".join(f"{name} {us:.1f}" for name, us in run.cpu_us_per_event.items())
    console.print(
        f"run {number}, {run.guarantee}: {run.events_per_s:,.0f} events/s for {run.seconds:.0f} s, "
        f"lowest {run.events_per_s_lowest:,}; CPU µs/event: {spent}; "
        f"other programs {run.cores['others']:.2f} cores, stolen {run.cores['stolen']:.2f}; "
        f"{run.worker}"
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"benchmarks.throughput: {error}")
