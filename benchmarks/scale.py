"""How cost grows with users, skew, workers and time, under exactly-once.

    python -m benchmarks.scale [--quick] [--runs 5] [--seconds 5]

Users: the state of so many is made first (`seeded_state`), a worker started on it, and crowds of
every skew sent through it in turns. Workers: 1, 2 and 4 on fresh state. Growth: 30 days'
payments of ten thousand users, state on disk and changelog noted every five days.
docs/performance.md says more.
"""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks import worker_metrics
from benchmarks.contender import BenchmarkError
from benchmarks.crowd import Crowd
from benchmarks.machine import Use
from benchmarks.paced import SKIP_S
from benchmarks.report import conditions, console, median_of, table, write
from benchmarks.seeded_state import NEXT_DAY, seed_state
from benchmarks.session import directory_bytes, is_worker
from benchmarks.stand import Stand
from benchmarks.tables import performance
from benchmarks.worker_metrics import Inside

USERS = (10_000, 100_000, 1_000_000)
WORKERS = (1, 2, 4)
WORKERS_USERS = 10_000
#: Name, Zipf's exponent, share of the one hot key.
SKEWS = (
    ("all alike", 0.0, 0.0),
    ("Zipf 0.8", 0.8, 0.0),
    ("Zipf 1.0", 1.0, 0.0),
    ("Zipf 1.2", 1.2, 0.0),
    ("one user 80 %", 0.0, 0.8),
)
GROWTH_USERS = 10_000
GROWTH_DAYS = 30
GROWTH_STEP_DAYS = 5

_PER_S_MAX = 80_000
#: Payments waiting while a crowd pays: what is left at its end is soon done.
_AHEAD = 40_000


class Measured(msgspec.Struct, frozen=True):
    """One crowd through the workers. cpu_us_per_event and memory_mib: of all workers together.

    is_seeded: whether state of all users was there before. worker: the first one's own account.
    """

    is_seeded: bool
    users: int
    skew: str
    workers: int
    events_per_s: float
    cpu_us_per_event: float
    broker_us_per_event: float
    cores: dict[str, float]
    memory_mib: int
    worker: Inside


class Grown(msgspec.Struct, frozen=True):
    """State after so many days of payments."""

    days: int
    payments: int
    store_bytes: int
    changelog_bytes: int
    memory_mib: int


class Disk(msgspec.Struct, frozen=True):
    """What a user takes after seeding, and a worker's memory before the first payment."""

    users: int
    store_bytes_per_user: float
    changelog_bytes_per_user: float
    idle_memory_mib: int


def main(
    broker: Annotated[str, typer.Option(help="kafka or noida.")] = "kafka",
    runs: Annotated[int, typer.Option(min=1, max=20, help="Of fewest and most users.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Of each crowd.")] = 5.0,
    quick: Annotated[bool, typer.Option("--quick", help="4 s each, up to 100,000 users.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the raw figures go.")] = None,
) -> None:
    """Measure users by skew, workers, growth; print tables, write the raw figures."""
    runs, seconds = (1, 4.0) if quick else (runs, seconds)
    populations = USERS[:2] if quick else USERS
    found: list[Measured] = []
    disk: list[Disk] = []
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started(broker, Path(directory)) as stand,
    ):
        for users in populations:
            rounds = runs if users in (populations[0], populations[-1]) else 1
            disk.append(_measure_users(stand, users, rounds, seconds, found))
        for workers in WORKERS:
            found.append(_measure_workers(stand, workers, seconds))
            _tell(found[-1])
        growth = _measure_growth(stand)
    figures = {"medians": _medians(found), "disk": disk, "growth": growth, "runs": found}
    settings = {"runs": runs, "seconds": seconds, "guarantee": "exactly_once"}
    report = write("scale", figures, settings, stand, output)
    caption = conditions(stand, "n")
    table("Users, skew and workers", caption, performance.scale(report))
    table(f"Growth: {GROWTH_USERS:,} users", caption, performance.growth(report))


def _measure_users(
    stand: Stand, users: int, rounds: int, seconds: float, found: list[Measured]
) -> Disk:
    """Every skew in each round, on the state of so many users."""
    rows = int((seconds + SKIP_S) * _PER_S_MAX)
    crowd = Crowd(users=users, first_day=NEXT_DAY, seed=2)
    with (
        stand.session(
            f"users{users}", crowd=crowd, rows_max=rows, stamped=False, workers=0
        ) as session,
        ExitStack() as stack,
    ):
        seed_state(session, users)
        store_bytes = directory_bytes(session.state_dir())
        changelog_bytes = session.changelog_bytes()
        session.start_worker(stack, 0, {})
        session.warm_up()
        idle_mib = session.memory_mib()
        for name, skew, hot_share in SKEWS * rounds:
            crowd = msgspec.structs.replace(
                crowd, skew=skew, hot_share=hot_share, seed=crowd.seed + 1
            )
            session.pay(stand.recording(crowd, rows))
            before = worker_metrics.read(session.port())
            sent, used = session.send(seconds=seconds + SKIP_S, skip_s=SKIP_S, ahead=_AHEAD)
            session.await_read()
            inside = worker_metrics.between(before, worker_metrics.read(session.port()))
            found.append(_measured(used, inside, users, name, 1, is_seeded=True))
            _tell(found[-1])
            crowd = crowd.after(sent.sent)
    return Disk(users, round(store_bytes / users, 1), round(changelog_bytes / users, 1), idle_mib)


def _measure_workers(stand: Stand, workers: int, seconds: float) -> Measured:
    with stand.session(
        f"workers{workers}",
        crowd=Crowd(users=WORKERS_USERS),
        rows_max=int((seconds + SKIP_S) * _PER_S_MAX),
        stamped=False,
        workers=workers,
    ) as session:
        session.warm_up()
        session.await_ready(workers)
        before = worker_metrics.read(session.port())
        _, used = session.send(seconds=seconds + SKIP_S, skip_s=SKIP_S)
        inside = worker_metrics.between(before, worker_metrics.read(session.port()))
        return _measured(used, inside, WORKERS_USERS, SKEWS[0][0], workers, is_seeded=False)


def _measure_growth(stand: Stand) -> list[Grown]:
    crowd = Crowd(users=GROWTH_USERS)
    step = int(crowd.payments_per_day) * GROWTH_STEP_DAYS
    days = range(GROWTH_STEP_DAYS, GROWTH_DAYS + 1, GROWTH_STEP_DAYS)
    grown = []
    with stand.session(
        "growth", crowd=crowd, rows_max=step * (len(days) + 1), stamped=False
    ) as session:
        for day in days:
            session.send(rows=step)
            session.await_read()
            grown.append(
                Grown(
                    day,
                    session.tally["sent"],
                    directory_bytes(session.state_dir()),
                    session.changelog_bytes(),
                    session.memory_mib(),
                )
            )
    return grown


def _measured(
    used: Use, inside: Inside, users: int, skew: str, workers: int, *, is_seeded: bool
) -> Measured:
    each_us, cores = used.per_event_us(), used.cores()
    names = list(filter(is_worker, each_us))
    return Measured(
        is_seeded=is_seeded,
        users=users,
        skew=skew,
        workers=workers,
        events_per_s=round(used.per_s, 1),
        cpu_us_per_event=round(sum(each_us[name] for name in names), 2),
        broker_us_per_event=each_us["broker"],
        cores=cores,
        memory_mib=sum(used.memory_mib[name] for name in names),
        worker=inside,
    )


def _medians(found: list[Measured]) -> list[dict[str, Any]]:
    """A line for each setting, memory the most; cost beside ten thousand users of that skew."""
    groups: dict[tuple[bool, int, str, int], list[Measured]] = {}
    for one in found:
        groups.setdefault((one.is_seeded, one.users, one.skew, one.workers), []).append(one)
    lines: dict[tuple[bool, int, str, int], dict[str, Any]] = {
        key: {
            "is_seeded": key[0],
            "users": key[1],
            "skew": key[2],
            "workers": key[3],
            "n": len(group),
            "events_per_s": median_of(group, lambda one: one.events_per_s),
            "cpu_us_per_event": median_of(group, lambda one: one.cpu_us_per_event),
            "broker_us_per_event": median_of(group, lambda one: one.broker_us_per_event),
            "memory_mib": max(one.memory_mib for one in group),
            "anomaly_share": median_of(group, lambda one: one.worker.anomaly_share),
            "cores": {
                name: median_of([one.cores[name] for one in group], float)
                for name in group[0].cores
            },
        }
        for key, group in groups.items()
    }
    for (is_seeded, _, skew, workers), line in lines.items():
        base = lines[is_seeded, USERS[0], skew, workers]
        ratio = line["cpu_us_per_event"] / base["cpu_us_per_event"]
        line["cost_against_10_000_users"] = round(ratio, 2)
    return list(lines.values())


def _tell(one: Measured) -> None:
    console.print(
        f"{one.workers} workers, {one.users:,} users, {one.skew}: {one.events_per_s:,.0f}/s, "
        f"{one.cpu_us_per_event:.1f} µs, {one.memory_mib:,} MiB, cores {one.cores}"
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"benchmarks.scale: {error}")
